"""The rule as drawn by system 1, every state against every other."""

from __future__ import annotations

import itertools

import pytest

from duoscan.policies.rule import ABSENT, PHASE_1, PHASE_2, Answer, decide
from duoscan.terms import Decision

STATES = [Decision.POSITIVE, Decision.NEGATIVE, Decision.UNREADABLE, ABSENT]


@pytest.mark.parametrize(
    ("xray", "ct", "need_ct", "answer"),
    [
        # The drawing: positive → CT, and the CT decides.
        ("positive", "positive", False, Answer.POSITIVE),
        ("positive", "negative", False, Answer.NEGATIVE),
        ("positive", ABSENT, False, Answer.CT_NEEDED),
        # Negative leaves, unless the clinician asks.
        ("negative", ABSENT, False, Answer.NEGATIVE),
        ("negative", "positive", False, Answer.NEGATIVE),
        ("negative", ABSENT, True, Answer.CT_NEEDED),
        ("negative", "positive", True, Answer.POSITIVE),
        ("negative", "negative", True, Answer.NEGATIVE),
        # What the drawing leaves open: an unread image is never a negative.
        ("unreadable", ABSENT, False, Answer.UNREADABLE),
        ("unreadable", ABSENT, True, Answer.CT_NEEDED),
        ("unreadable", "positive", False, Answer.POSITIVE),
        ("positive", "unreadable", False, Answer.UNREADABLE),
        (ABSENT, "positive", False, Answer.POSITIVE),
        (ABSENT, ABSENT, False, Answer.UNREADABLE),
    ],
)
def test_answer(xray: str, ct: str, need_ct: bool, answer: Answer) -> None:
    assert decide(xray, ct, need_ct=need_ct)[0] is answer


def test_every_state_has_an_answer_and_a_reason() -> None:
    for xray, ct, need_ct in itertools.product(STATES, STATES, [False, True]):
        answer, reason = decide(xray, ct, need_ct=need_ct)
        assert isinstance(answer, Answer)
        assert reason


def test_negative_needs_a_negative_image() -> None:
    for xray, ct, need_ct in itertools.product(STATES, STATES, [False, True]):
        if decide(xray, ct, need_ct=need_ct)[0] is Answer.NEGATIVE:
            assert Decision.NEGATIVE in {xray, ct}


def test_the_table_is_whole() -> None:
    assert set(PHASE_1) == set(itertools.product(STATES, [False, True]))
    assert set(PHASE_2) == set(STATES) - {ABSENT}
