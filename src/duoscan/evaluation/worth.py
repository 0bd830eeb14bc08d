"""Worth of policies on paired patients, and waiting times, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from duoscan.errors import InputError
from duoscan.evaluation.intervals import DEFAULT_RESAMPLES, Estimate, bootstrap
from duoscan.triage.policy import apply_policy_to_all
from duoscan.triage.worth import Costs, class_shares, expected_cost, net_benefit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duoscan.evaluation.sample import BoolArray, FloatArray
    from duoscan.triage.joint import PatientScores
    from duoscan.triage.policy import Policy


def net_benefit_curve(
    policy: Policy,
    patients: PatientScores,
    thresholds: Sequence[float],
    *,
    prevalence: float,
    ct_harm: float = 0.0,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> list[Estimate]:
    """Net benefit at each threshold probability, the prevalence taken as known.

    Args:
        policy: Resolved.
        patients: Who lack one of the two examinations are left out.
        thresholds: Threshold probabilities.
        prevalence: Share of the sick.
        ct_harm: Harm of a CT in true positives.
        resamples: Bootstrap resamples of patients.
        seed: Makes the intervals repeatable.

    Raises:
        InputError: No paired patients of both classes, or a value out of range.
    """
    paired = _paired(patients)
    metrics = _Worth(policy, paired, thresholds=thresholds, prevalence=prevalence, ct_harm=ct_harm)
    return list(bootstrap(metrics, paired.names, resamples=resamples, seed=seed).values())


def cost_curve(
    policy: Policy,
    patients: PatientScores,
    prevalences: Sequence[float],
    costs: Costs,
    *,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> list[Estimate]:
    """Expected cost of a patient at each prevalence; arguments as in :func:`net_benefit_curve`.

    Raises:
        InputError: No paired patients of both classes, or a prevalence out of range.
    """
    paired = _paired(patients)
    metrics = _Cost(policy, paired, prevalences, costs)
    return list(bootstrap(metrics, paired.names, resamples=resamples, seed=seed).values())


def waiting_times(
    replications: Mapping[str, FloatArray], *, resamples: int = DEFAULT_RESAMPLES, seed: int = 0
) -> dict[str, Estimate]:
    """Mean over replications of each waiting figure in minutes; the replications are what is resampled.

    Args:
        replications: As ``triage.queueing.replicate`` gives, each shape (R,).
        resamples: Bootstrap resamples.
        seed: Makes the intervals repeatable.
    """
    count = len(next(iter(replications.values())))
    return bootstrap(_Mean(replications), [str(each) for each in range(count)], resamples=resamples, seed=seed)


class _Worth:
    """Net benefit of one policy over threshold probabilities, as a metric set."""

    def __init__(
        self, policy: Policy, patients: PatientScores, *, thresholds: Sequence[float], prevalence: float, ct_harm: float
    ) -> None:
        self._outcome = apply_policy_to_all(policy, patients.xray, patients.ct)
        self._kind, self._sick = policy.kind, patients.sick
        self._thresholds, self._prevalence, self._harm = thresholds, prevalence, ct_harm

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        shares = class_shares(self._outcome, self._sick, self._kind, weights)
        return {str(t): net_benefit(shares, self._prevalence, t, self._harm) for t in self._thresholds}

    def denominators(self) -> dict[str, BoolArray]:
        return {}


class _Cost:
    """Expected cost of one policy over prevalences, as a metric set."""

    def __init__(self, policy: Policy, patients: PatientScores, prevalences: Sequence[float], costs: Costs) -> None:
        self._outcome = apply_policy_to_all(policy, patients.xray, patients.ct)
        self._kind, self._sick = policy.kind, patients.sick
        self._prevalences, self._costs = prevalences, costs

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        shares = class_shares(self._outcome, self._sick, self._kind, weights)
        return {str(p): expected_cost(shares, p, self._costs) for p in self._prevalences}

    def denominators(self) -> dict[str, BoolArray]:
        return {}


class _Mean:
    """Means of columns, as a metric set."""

    def __init__(self, columns: Mapping[str, FloatArray]) -> None:
        self._columns = columns

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        total = weights.sum(axis=1)
        return {name: np.asarray(weights @ column / total) for name, column in self._columns.items()}

    def denominators(self) -> dict[str, BoolArray]:
        return {}


def _paired(patients: PatientScores) -> PatientScores:
    paired = patients.where(patients.is_paired)
    if int(paired.sick.sum()) in {0, len(paired)}:
        raise InputError("both sick and well patients with X-ray and CT are needed; check patient_id and labels")
    return paired
