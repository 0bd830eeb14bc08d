"""Intervals of net benefit, cost and waiting."""

from __future__ import annotations

import numpy as np
import pytest

from duoscan.errors import InputError
from duoscan.evaluation.answered import answered
from duoscan.evaluation.worth import cost, measured_policies, waiting_times
from duoscan.triage.joint import PatientScores
from duoscan.triage.policy import Policy
from duoscan.triage.worth import Costs, net_benefit_weights

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
