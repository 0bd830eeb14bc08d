from __future__ import annotations

import pytest

from duoscan.cases.screening import CaseAnswer, PhaseResult
from duoscan.evaluation.policies.two_phase import two_phase_outcome
from duoscan.policies.rule import ABSENT, decide
from duoscan.terms import Decision, Finding


def case(name: str, xray: str, ct: str = ABSENT, *, need_ct: bool = False) -> CaseAnswer:
    answer, reason = decide(xray, ct, need_ct=need_ct)
    return CaseAnswer(name, answer, reason, need_ct, PhaseResult(xray), PhaseResult(ct))


CASES = [
    case("a", "positive", "positive"),
    case("b", "positive", "negative"),
    case("c", "negative"),
    case("d", "positive"),
    case("e", "negative", Decision.NOT_READ),
    case("f", "unreadable"),
    case("unlabelled", "positive", "positive"),
]
LABELS = {
    "a": Finding.COVID, "b": Finding.COVID, "c": Finding.COVID, "d": Finding.COVID,
    "e": Finding.NORMAL, "f": Finding.PNEUMONIA,
}  # fmt: skip


def test_by_hand() -> None:
    outcome = two_phase_outcome(CASES, LABELS, resamples=200)
    # Of covid patients a–d: a positive; b and c negative; d waits for CT. Of the others e is negative, f unreadable.
    # CT: a and b were read, d is needed: 3 of 6. e has a CT that the rule did not need.
    values = [outcome.sensitivity, outcome.missed, outcome.specificity, outcome.to_ct]
    assert [estimate.value for estimate in values if estimate] == [1 / 4, 2 / 4, 1 / 2, 3 / 6]
    # Columns: label, patients, negative, CT needed, positive, unreadable.
    assert outcome.rows() == [
        ["covid", "4", "2", "1", "1", "0"],
        ["pneumonia", "1", "0", "0", "0", "1"],
        ["normal", "1", "1", "0", "0", "0"],
    ]
    assert sum(outcome.to_json()["counts"].values()) == 6


@pytest.mark.parametrize("label", [Finding.COVID, Finding.NORMAL])
def test_what_cannot_be_measured_is_none(label: Finding) -> None:
    outcome = two_phase_outcome([CASES[0]], {"a": label}, resamples=200)
    assert (outcome.sensitivity is None) == (label is Finding.NORMAL)
    assert (outcome.specificity is None) == (label is Finding.COVID)
