"""Net benefit and expected cost, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from duoscan.errors import InputError
from duoscan.policies.policy import Policy, apply_policy_to_all
from duoscan.policies.rule import PolicyKind
from duoscan.policies.worth import (
    ClassShares,
    Costs,
    cheapest,
    class_shares,
    expected_cost,
    net_benefit,
    treat_all,
)


def shares(sensitivity: float, fpr: float, sick_to_ct: float, well_to_ct: float, xray: float = 1.0) -> ClassShares:
    return ClassShares(sensitivity, fpr, sick_to_ct, well_to_ct, xray)


EXAMPLE = shares(0.9, 0.2, 0.8, 0.3)


def test_net_benefit_is_the_worked_example() -> None:
    # 0.25·0.9 − 0.75·0.2·(0.1/0.9) = 0.225 − 0.0166667 = 0.2083333
    assert net_benefit(EXAMPLE, 0.25, 0.1) == pytest.approx(0.2083333, abs=1e-6)
    # CT: 0.25·0.8 + 0.75·0.3 = 0.425; at harm 0.02 it takes off 0.0085
    assert net_benefit(EXAMPLE, 0.25, 0.1, 0.02) == pytest.approx(0.1998333, abs=1e-6)


def test_treat_all_is_a_policy_that_calls_everyone() -> None:
    # 0.25 − 0.75/9 = 0.1666667, and 0 where the threshold is the prevalence
    assert treat_all(0.25, 0.1) == pytest.approx(0.1666667, abs=1e-6)
    assert treat_all(0.25, 0.25) == pytest.approx(0.0)
    for threshold in (0.05, 0.1, 0.4):
        assert net_benefit(shares(1, 1, 0, 0), 0.25, threshold) == pytest.approx(treat_all(0.25, threshold))


def test_expected_cost_is_the_worked_example() -> None:
    costs = Costs(miss=100, false_positive=10, xray=1, ct=5)
    # misses 0.25·0.1·100 = 2.5; alarms 0.75·0.2·10 = 1.5; X-ray 1; CT 0.425·5 = 2.125
    assert expected_cost(EXAMPLE, 0.25, costs) == pytest.approx(7.125)
    # nobody is sick: alarms 0.2·10 = 2; X-ray 1; CT 0.3·5 = 1.5
    assert expected_cost(EXAMPLE, 0.0, costs) == pytest.approx(4.5)


def test_the_cheapest_keeps_the_target_or_there_is_none() -> None:
    costs = Costs(miss=0, false_positive=0, xray=1, ct=5)
    both = {"few": EXAMPLE, "all": shares(0.99, 0.1, 1, 1, 0.0)}
    assert cheapest(both, 0.25, costs, 0.9) == "few"  # 3.125 against 5
    assert cheapest(both, 0.25, costs, 0.95) == "all"
    assert cheapest(both, 0.25, costs, 1.0) is None


def test_shares_are_counted_within_each_class() -> None:
    policy = Policy(kind=PolicyKind.CONFIRM_POSITIVES, xray_threshold=0.5, ct_threshold=0.5)
    xray, ct = np.array([0.9, 0.1, 0.9, 0.9, 0.1]), np.array([0.9, 0.9, 0.9, 0.1, 0.1])
    sick = np.array([True, True, False, False, False])
    found = class_shares(apply_policy_to_all(policy, xray, ct), sick, policy.kind)
    # sick: one of two sent and found; well: two of three sent, one of three called
    assert [found.sensitivity, found.sick_to_ct] == [0.5, 0.5]
    assert found.false_positive_rate == pytest.approx(1 / 3)
    assert found.well_to_ct == pytest.approx(2 / 3)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="threshold probability 1"):
        net_benefit(EXAMPLE, 0.25, 1.0)
    with pytest.raises(InputError, match="harm"):
        net_benefit(EXAMPLE, 0.25, 0.1, -1.0)
    with pytest.raises(InputError, match="false positive"):
        Costs(miss=1, false_positive=-1, xray=1, ct=1)
    with pytest.raises(InputError, match="no share"):
        expected_cost(EXAMPLE, 1.5, Costs(1, 1, 1, 1))
