"""The rule as drawn by system 1, every state against every other."""

from __future__ import annotations

import itertools

import pytest

from duoscan.policies.rule import PHASE_1, PHASE_2, Answer, PhaseState, decide

STATES = [PhaseState.POSITIVE, PhaseState.NEGATIVE, PhaseState.UNREADABLE, PhaseState.ABSENT]


@pytest.mark.parametrize(
    ("xray", "ct", "need_ct", "answer"),
    [
        # The drawing: positive → CT, and the CT decides.
        (PhaseState.POSITIVE, PhaseState.POSITIVE, False, Answer.POSITIVE),
        (PhaseState.POSITIVE, PhaseState.NEGATIVE, False, Answer.NEGATIVE),
        (PhaseState.POSITIVE, PhaseState.ABSENT, False, Answer.CT_NEEDED),
        # Negative leaves, unless the clinician asks.
        (PhaseState.NEGATIVE, PhaseState.ABSENT, False, Answer.NEGATIVE),
        (PhaseState.NEGATIVE, PhaseState.POSITIVE, False, Answer.NEGATIVE),
        (PhaseState.NEGATIVE, PhaseState.ABSENT, True, Answer.CT_NEEDED),
        (PhaseState.NEGATIVE, PhaseState.POSITIVE, True, Answer.POSITIVE),
        (PhaseState.NEGATIVE, PhaseState.NEGATIVE, True, Answer.NEGATIVE),
        # What the drawing leaves open: an unread image is never a negative.
        (PhaseState.UNREADABLE, PhaseState.ABSENT, False, Answer.UNREADABLE),
        (PhaseState.UNREADABLE, PhaseState.ABSENT, True, Answer.CT_NEEDED),
        (PhaseState.UNREADABLE, PhaseState.POSITIVE, False, Answer.POSITIVE),
        (PhaseState.POSITIVE, PhaseState.UNREADABLE, False, Answer.UNREADABLE),
        (PhaseState.ABSENT, PhaseState.POSITIVE, False, Answer.POSITIVE),
        (PhaseState.ABSENT, PhaseState.ABSENT, False, Answer.UNREADABLE),
    ],
)
def test_answer(xray: PhaseState, ct: PhaseState, need_ct: bool, answer: Answer) -> None:
    assert decide(xray, ct, need_ct=need_ct)[0] is answer


def test_every_state_has_an_answer_and_a_reason() -> None:
    for xray, ct, need_ct in itertools.product(STATES, STATES, [False, True]):
        answer, reason = decide(xray, ct, need_ct=need_ct)
        assert isinstance(answer, Answer)
        assert reason


def test_negative_needs_a_negative_image() -> None:
    for xray, ct, need_ct in itertools.product(STATES, STATES, [False, True]):
        if decide(xray, ct, need_ct=need_ct)[0] is Answer.NEGATIVE:
            assert PhaseState.NEGATIVE in {xray, ct}


def test_the_table_is_whole() -> None:
    assert set(PHASE_1) == set(itertools.product(STATES, [False, True]))
    assert set(PHASE_2) == set(STATES) - {PhaseState.ABSENT}
