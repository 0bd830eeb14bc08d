from __future__ import annotations

import pytest

from cases_by_state import case_of
from duoscan.evaluation.policies.two_phase import two_phase_outcome
from duoscan.policies.rule import PhaseState
from duoscan.terms import Finding

CASES = [
    case_of("a", PhaseState.POSITIVE, PhaseState.POSITIVE),
    case_of("b", PhaseState.POSITIVE, PhaseState.NEGATIVE),
    case_of("c", PhaseState.NEGATIVE),
    case_of("d", PhaseState.POSITIVE),
    case_of("e", PhaseState.NEGATIVE, PhaseState.NOT_READ),
    case_of("f", PhaseState.UNREADABLE),
    case_of("unlabelled", PhaseState.POSITIVE, PhaseState.POSITIVE),
]
LABELS = {
    "a": Finding.COVID, "b": Finding.COVID, "c": Finding.COVID, "d": Finding.COVID,
    "e": Finding.NORMAL, "f": Finding.PNEUMONIA,
}  # fmt: skip


def test_by_hand() -> None:
    outcome = two_phase_outcome(CASES, LABELS, resamples=200)
    # Of covid patients a–d: a positive; b and c negative; d waits for CT. Of the others e is negative, f unreadable.
    # CT: the rule sends a, b and d, and f, whose X-ray cannot be read: 4 of 6. e has a CT that it did not need.
    values = [outcome.sensitivity, outcome.missed, outcome.specificity, outcome.to_ct]
    assert [estimate.value for estimate in values if estimate] == [1 / 4, 2 / 4, 1 / 2, 4 / 6]
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
