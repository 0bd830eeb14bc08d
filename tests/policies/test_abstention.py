"""Risk against coverage, and the coverage of prediction sets over simulated cohorts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from duoscan.errors import InputError
from duoscan.policies.abstention import PredictionSet, conformal_sets, referral_table, risk_coverage

COHORTS, SICK, WELL, ALPHA = 2000, 47, 83, 0.1


def test_risk_and_area_by_hand() -> None:
    curve = risk_coverage(np.array([0.9, 0.6, 0.8, 0.7]), np.array([False, True, False, True]))
    # surest first: right, right, wrong, wrong → 0, 0, 1/3, 1/2; mean 5/24
    assert curve.risk == pytest.approx([0, 0, 1 / 3, 1 / 2])
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.area == pytest.approx(5 / 24)


def test_ties_do_not_depend_on_the_order_of_rows() -> None:
    wrong = np.array([True, False])
    tied = np.array([0.5, 0.5])
    # either may come first: half an error at coverage 1/2, one of two at 1
    assert risk_coverage(tied, wrong).risk.tolist() == [0.5, 0.5]
    assert risk_coverage(tied, wrong[::-1]).risk.tolist() == [0.5, 0.5]


def test_thresholds_by_hand() -> None:
    sick = np.array([True] * 9 + [False] * 9)
    probability = np.concatenate([np.arange(1, 10) / 10, np.arange(1, 10) / 10])
    sets = conformal_sets(probability, sick, 0.2)
    # ⌊0.2 · 10⌋ = 2: the second smallest of the sick and the second largest of the well
    assert (sets.covid_from, sets.not_covid_to) == (0.2, 0.8)
    assert sets.of(np.array([0.1, 0.5, 0.9])) == [PredictionSet.NOT_COVID, PredictionSet.BOTH, PredictionSet.COVID]
    assert "9 sick, 9 well" in sets.promise


def test_well_parted_classes_leave_none_between() -> None:
    sick = np.array([True] * 9 + [False] * 9)
    sets = conformal_sets(np.where(sick, 0.9, 0.1), sick, 0.2)
    assert sets.of(np.array([0.5])) == [PredictionSet.NONE]


def test_too_few_exclude_nothing() -> None:
    sets = conformal_sets(np.array([0.9, 0.1]), np.array([True, False]), 0.1)
    assert (sets.covid_from, sets.not_covid_to) == (-math.inf, math.inf)
    assert sets.of(np.array([0.0, 1.0])) == [PredictionSet.BOTH] * 2


def average_misses(shift: int, *, ties: bool) -> tuple[float, float]:
    """Mean over cohorts of the share of new sick and new well patients whose set lacks their class."""
    rng = np.random.default_rng(7)
    sick = np.arange(SICK + WELL) < SICK
    missed = np.zeros((COHORTS, 2))
    for row in missed:
        scores, fresh = (np.where(sick, *rng.beta([[4], [2]], [[2], [4]], (2, SICK + WELL))) for _ in range(2))
        if ties:
            scores, fresh = np.round(scores, 1), np.round(fresh, 1)
        # The broken rule calibrates without its lowest sick scores.
        keep = np.ones(len(sick), dtype=bool)
        keep[np.argsort(np.where(sick, scores, 2.0))[:shift]] = False
        sets = conformal_sets(scores[keep], sick[keep], ALPHA)
        row[:] = (fresh[sick] < sets.covid_from).mean(), (fresh[~sick] > sets.not_covid_to).mean()
    return float(missed[:, 0].mean()), float(missed[:, 1].mean())


# One cohort's miss rate has a standard deviation below √(0.1·0.9·(1/47 + 1/48)) = 0.062; four of its means' are 0.006.
MARGIN = 4 * 0.062 / math.sqrt(COHORTS)


@pytest.mark.parametrize("ties", [False, True])
def test_each_class_keeps_its_promise_over_cohorts(ties: bool) -> None:
    assert max(average_misses(0, ties=ties)) <= ALPHA + MARGIN


def test_the_check_catches_a_broken_rule() -> None:
    assert average_misses(3, ties=False)[0] > ALPHA + MARGIN


def test_referrals_are_counted_by_group() -> None:
    sets = [PredictionSet.BOTH, PredictionSet.COVID, PredictionSet.NONE]
    assert referral_table(sets, ["north", "north", "south"]) == {"north": (1, 2), "south": (1, 1)}


def test_wrong_input_is_refused() -> None:
    with pytest.raises(InputError, match="out of range"):
        conformal_sets(np.array([0.5]), np.array([True]), 1.0)
    with pytest.raises(InputError, match="no probability"):
        conformal_sets(np.array([np.nan]), np.array([True]), 0.1)
    with pytest.raises(InputError, match="no patients"):
        risk_coverage(np.array([]), np.array([], dtype=bool))
