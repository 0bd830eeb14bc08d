"""Limits in closed form: by hand, against independent libraries, and by their coverage over simulated cohorts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from duoscan.evaluation.policies.answered import answered
from duoscan.evaluation.proportions import (
    Proportion,
    Term,
    clopper_pearson,
    correlation,
    predictive_limits,
    sum_limits,
)
from duoscan.policies.policy import Policy
from duoscan.policies.scores import PatientScores
from duoscan.policies.worth import Costs, cost_weights, net_benefit_weights

COHORTS = 1000


@pytest.mark.parametrize(("hits", "patients"), [(0, 25), (25, 25), (48, 50), (1, 30), (17, 75), (1, 1)])
def test_it_is_statsmodels_limit(hits: int, patients: int) -> None:
    low, high = proportion_confint(hits, patients, method="beta")
    found = clopper_pearson(np.array([hits]), patients)
    assert [float(end[0]) for end in found] == pytest.approx([low, high])


def test_no_error_by_hand() -> None:
    # None of 25: (1 − p)²⁵ = 0.025, so p = 1 − 0.025^(1/25) = 0.1372.
    found = Proportion.of(0, 25)
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 25))
    assert math.isnan(Proportion.of(0, 0).value)


def test_a_difference_by_hand() -> None:
    # Shares 0.8 [0.7, 0.85] and 0.6 [0.5, 0.65], independent: 0.8 − 0.6 reaches √(0.1² + 0.05²) = 0.1118 below
    # (the first low, the second high) and √(0.05² + 0.1²) = 0.1118 above.
    first, second = Proportion(0.8, 0.7, 0.85), Proportion(0.6, 0.5, 0.65)
    nothing = Term(0.0, Proportion.known(1.0))
    below, above = sum_limits([(Term(1.0, first), nothing, 0.0), (Term(-1.0, second), nothing, 0.0)])
    assert (below, above) == pytest.approx((math.hypot(0.1, 0.05), math.hypot(0.05, 0.1)))
    # In one group with correlation 1 they move together: |0.1 − 0.05| = 0.05 below, |0.05 − 0.1| above.
    assert sum_limits([(Term(1.0, first), Term(-1.0, second), 1.0)]) == pytest.approx((0.05, 0.05))


def test_correlation_by_hand() -> None:
    # 2 × 2 of 10: both 4, first only 1, second only 1, neither 4: φ = (4·4 − 1·1) / √(5·5·5·5) = 0.6
    assert correlation(4, 5, 5, 10) == pytest.approx(0.6)
    assert correlation(5, 10, 5, 10) == 0.0


def test_a_predictive_value_without_errors_by_hand() -> None:
    # 0.1 of right answers [0.09, 0.1], no wrong ones [0, 0.02]: wrong/right is at most 0.02/√(0.09 · (0.2 − 0.09)) =
    # 0.201, so the value is at least 1/1.201 = 0.8327.
    low, high = predictive_limits(Term(0.1, Proportion(1.0, 0.9, 1.0)), Term(1.0, Proportion(0.0, 0.0, 0.02)))
    assert (low, high) == (pytest.approx(0.8327, abs=1e-4), 1.0)


@given(right=st.integers(0, 40), wrong=st.integers(0, 60), prevalence=st.floats(0.01, 0.9))
def test_a_predictive_value_lies_within_its_limits(right: int, wrong: int, prevalence: float) -> None:
    if right + wrong == 0:
        return
    of_right, of_wrong = Term(prevalence, Proportion.of(right, 40)), Term(1 - prevalence, Proportion.of(wrong, 60))
    value = (prevalence * right / 40) / (prevalence * right / 40 + (1 - prevalence) * wrong / 60)
    low, high = predictive_limits(of_right, of_wrong)
    assert -1e-12 <= low <= value + 1e-12
    assert value - 1e-12 <= high <= 1 + 1e-12


def cohort(rng: np.random.Generator, sick: int, well: int) -> PatientScores:
    """X-ray and CT of one patient go together, so that errors of the two are not independent."""
    truth = np.arange(sick + well) < sick
    shared = rng.normal(size=len(truth))
    xray, ct = (np.where(truth, shift, 0.0) + 0.5 * shared + 0.7 * rng.normal(size=len(truth)) for shift in (1.5, 2.5))
    return PatientScores(tuple(map(str, range(len(truth)))), truth, 1 / (1 + np.exp(-xray)), 1 / (1 + np.exp(-ct)))


POLICY = Policy(kind="three-zones", xray_threshold=0.6, xray_rule_in=0.9, ct_threshold=0.75)
COSTS = Costs(miss=40, false_positive=10, xray=1, ct=6)


@pytest.mark.parametrize("shrink", [1.0, 0.6])
def test_coverage(shrink: float) -> None:
    """95 % limits hold the truth in at least 95 % of cohorts of 50 and 100; the same at 0.6 of their width do not."""
    rng = np.random.default_rng(3)
    everyone = answered(POLICY, cohort(rng, 100_000, 100_000))
    weights = [net_benefit_weights(0.2, 0.2, 0.02), cost_weights(0.2, COSTS)]
    truth = [everyone.worth(each).value for each in weights]
    truth += [everyone.figures(0.2)[name].value for name in ("to_ct", "ppv", "npv")]
    held = np.zeros(len(truth))
    for _ in range(COHORTS):
        found = answered(POLICY, cohort(rng, 50, 100))
        estimates = [found.worth(each) for each in weights]
        figures = found.figures(0.2)
        estimates += [figures[name] for name in ("to_ct", "ppv", "npv")]
        for place, (one, true) in enumerate(zip(estimates, truth, strict=True)):
            assert one.low is not None
            assert one.high is not None
            low, high = (one.value + shrink * (end - one.value) for end in (one.low, one.high))
            held[place] += low <= true <= high
    margin = 3 * math.sqrt(0.05 * 0.95 / COHORTS)
    assert (held / COHORTS >= 0.95 - margin).all() == (shrink == 1.0)
