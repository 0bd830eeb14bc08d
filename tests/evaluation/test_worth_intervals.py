"""Intervals of net benefit, cost and waiting."""

from __future__ import annotations

import numpy as np
import pytest

from duoscan.errors import InputError
from duoscan.evaluation.policies.answered import answered
from duoscan.evaluation.policies.worth import bounded_worth_json, cost, measured_policies, waiting_times
from duoscan.policies.assumptions import Assumptions
from duoscan.policies.policy import Policy
from duoscan.policies.rule import PolicyKind
from duoscan.policies.scores import PatientScores
from duoscan.policies.worth import Costs, net_benefit_weights

POLICY = Policy(kind="xray-only", xray_threshold=0.5, ct_threshold=0.5)
# of 10 sick 8 called, of 10 well 1 called; the CT of nobody is looked at
SICK = np.arange(20) < 10
XRAY = np.where(np.isin(np.arange(20), [0, 1, 10, *range(2, 8)]), 0.9, 0.1)
PATIENTS = PatientScores(tuple(f"p{n:02}" for n in range(20)), SICK, XRAY, np.full(20, 0.5))


def test_net_benefit_has_its_hand_value_inside_its_interval() -> None:
    # 0.5·0.8 − 0.5·0.1·(0.2/0.8) = 0.3875; at 0.5: 0.4 − 0.05 = 0.35
    found = [answered(POLICY, PATIENTS).worth(net_benefit_weights(0.5, t)) for t in (0.2, 0.5)]
    assert [each.value for each in found] == pytest.approx([0.3875, 0.35])
    assert all(each.low < each.value < each.high for each in found)  # type: ignore[operator]


def test_cost_over_prevalence_has_its_hand_value() -> None:
    # misses p·0.2·100, alarms (1 − p)·0.1·10, X-ray 1 → 0.1: 2 + 0.9 + 1; 0.5: 10 + 0.5 + 1
    found = [cost(answered(POLICY, PATIENTS), POLICY, p, Costs(100, 10, 1, 5)) for p in (0.1, 0.5)]
    assert [each.value for each in found] == pytest.approx([3.9, 11.5])
    assert all(each.low < each.value < each.high for each in found)  # type: ignore[operator]


def test_waiting_is_a_mean_over_replications() -> None:
    found = waiting_times({"sick median": np.array([1.0, 2.0, 6.0])}, resamples=200)["sick median"]
    assert found.value == pytest.approx(3.0)
    assert (found.low, found.high) != (None, None)


def test_one_class_alone_is_refused() -> None:
    with pytest.raises(InputError, match="both sick and well"):
        measured_policies([POLICY], PATIENTS, PATIENTS.where(SICK))


def test_bounds_hold_what_is_measured_whatever_the_pairs() -> None:
    """The same patients with their pairs known and unknown, under every kind of policy."""
    rng = np.random.default_rng(2)
    truth = np.arange(120) < 50
    xray, ct = (np.where(truth, rng.beta(4, 2, 120), rng.beta(2, 4, 120)) for _ in range(2))
    paired = PatientScores(tuple(map(str, range(120))), truth, xray, ct)
    gap = np.full(120, np.nan)
    apart = PatientScores(
        tuple(f"{side}{n}" for side in "xc" for n in range(120)),
        np.tile(truth, 2), np.concatenate([xray, gap]), np.concatenate([gap, ct]),
    )  # fmt: skip
    stated = Assumptions(costs=Costs(100, 10, 1, 5), ct_harm=0.01)
    rule_in = {PolicyKind.THREE_ZONES: 0.7}
    policies = [
        Policy(kind=kind, xray_threshold=0.4, xray_rule_in=rule_in.get(kind), ct_threshold=0.5) for kind in PolicyKind
    ]
    found = bounded_worth_json(policies, apart, 0.2, stated, resamples=100)
    for place, policy in enumerate(policies):
        of = answered(policy, paired)
        for name, value in (
            ("net_benefit", of.worth(net_benefit_weights(0.2, 0.1, 0.01)).value),
            ("cost", cost(of, policy, 0.2, Costs(100, 10, 1, 5)).value),
        ):
            (low, *low_ends), (high, *high_ends) = found[name][place]
            assert low - 1e-12 <= value <= high + 1e-12
            assert low_ends[0] <= low <= low_ends[1]
            assert high_ends[0] <= high <= high_ends[1]
    # X-ray only needs no pairs: both bounds are the value itself.
    low, high = found["net_benefit"][list(PolicyKind).index(PolicyKind.XRAY_ONLY)]
    assert low == pytest.approx(high)
    # Rule-out, by hand: m of the sick are sent and c are CT positive, so max(0, m + c − 1) to min(m, c) are found.
    m, c = (xray[truth] >= 0.4).mean(), (ct[truth] >= 0.5).mean()
    n, d = (xray[~truth] >= 0.4).mean(), (ct[~truth] >= 0.5).mean()
    sent = 0.01 * (0.2 * m + 0.8 * n)
    low, high = found["net_benefit"][list(PolicyKind).index(PolicyKind.RULE_OUT)]
    assert low[0] == pytest.approx(0.2 * max(0, m + c - 1) - 0.8 * min(n, d) / 9 - sent)
    assert high[0] == pytest.approx(0.2 * min(m, c) - 0.8 * max(0, n + d - 1) / 9 - sent)
