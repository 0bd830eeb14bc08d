"""Policies against the reference standard, with intervals: measured on paired patients, bounded on others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import InputError
from duoscan.evaluation.intervals import DEFAULT_RESAMPLES, Estimate, bootstrap
from duoscan.evaluation.policies.answered import answered
from duoscan.policies.joint import JointRates, Margins, bounded_rates, copula_rates, frechet_bounds, margins

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from duoscan.evaluation.sample import BoolArray, FloatArray
    from duoscan.policies.policy import Policy
    from duoscan.policies.scores import PatientScores
    from duoscan.policies.worth import Weights

# name → how a person calls it, in the order of every table
FIGURES: dict[str, str] = {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "to_ct": "Sent to CT",
    "missed_per_1000": "Missed per 1,000",
    "cts_avoided_per_100": "CTs avoided per 100",
    "ppv": "PPV",
    "npv": "NPV",
}
CORRELATIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
PAIRED = "measured on paired patients"
UNPAIRED = "not measured: X-ray and CT come from different patients, so only bounds are certain"


@dataclass(frozen=True)
class PolicyFigures:
    """What a policy does, measured.

    Attributes:
        policy: Resolved.
        prevalence: At which the figures hold.
        figures: An estimate for each of ``FIGURES``.
        patients: Paired patients measured.
        sick: Of them, the sick.
    """

    policy: Policy
    prevalence: float
    figures: dict[str, Estimate]
    patients: int
    sick: int

    def to_json(self) -> dict[str, Any]:
        """As in ``triage.json``."""
        return {
            "basis": PAIRED,
            "patients": self.patients,
            "sick": self.sick,
            "figures": {name: estimate.to_json() for name, estimate in self.figures.items()},
        }


@dataclass(frozen=True)
class PolicyBounds:
    """What a policy can do at most and at least, where the pairs are not known.

    Attributes:
        policy: Resolved.
        prevalence: At which the figures hold.
        low: Of each figure, the smaller of its Fréchet bounds.
        high: The larger.
        sweep: Assumed correlation within each class → the figures it gives.
    """

    policy: Policy
    prevalence: float
    low: dict[str, Estimate]
    high: dict[str, Estimate]
    sweep: dict[float, dict[str, float]]

    def to_json(self) -> dict[str, Any]:
        """As in ``triage.json``."""
        return {
            "basis": UNPAIRED,
            "bounds": {name: [self.low[name].to_json(), self.high[name].to_json()] for name in FIGURES},
            "sweep": [
                {"correlation": correlation, "assumption": "Gaussian copula within each class", **_defined(figures)}
                for correlation, figures in self.sweep.items()
            ],
        }


def measure_policy(policy: Policy, patients: PatientScores, *, prevalence: float | None = None) -> PolicyFigures:
    """What a policy does to paired patients of whom nobody is asked for by the clinician.

    Each patient counts once, so the intervals are in closed form. A stated prevalence is taken as known; that of the
    patients themselves is not, and its uncertainty is in the intervals.

    Args:
        policy: Resolved.
        patients: Who lack one of the two examinations are left out.
        prevalence: Share of the sick where the policy is to be used; that of these patients where ``None``.

    Raises:
        InputError: No paired patients of both classes, or a prevalence out of range.
        MissingExtraError: scipy is not installed.
    """
    paired = paired_patients(patients)
    at = float(paired.sick.mean()) if prevalence is None else _checked(prevalence)
    figures = answered(policy, paired).figures(None if prevalence is None else at)
    return PolicyFigures(policy, at, {name: figures[name] for name in FIGURES}, len(paired), int(paired.sick.sum()))


def paired_patients(patients: PatientScores) -> PatientScores:
    """Who have both examinations.

    Raises:
        InputError: They are not of both classes.
    """
    paired = patients.where(patients.is_paired)
    _check_classes(paired, "paired patients")
    return paired


def bound_policy(
    policy: Policy,
    patients: PatientScores,
    *,
    prevalence: float | None = None,
    correlations: Iterable[float] = CORRELATIONS,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> PolicyBounds:
    """What a policy may do to patients whose X-ray and CT are not of the same people.

    Each bound has its own interval; the range a reader needs runs from the lower end of the lower bound to the upper
    end of the upper one.

    Args:
        policy: Resolved.
        patients: With either score missing.
        prevalence: As in :func:`measure_policy`.
        correlations: Of latent scores within a class, each giving figures that assume it.
        resamples: Bootstrap resamples of patients.
        seed: Makes the intervals repeatable.

    Raises:
        InputError: A class without X-rays or without CTs, or too few resamples.
    """
    _check_either(patients)
    at = float(patients.sick.mean()) if prevalence is None else _checked(prevalence)
    metrics = _Bounds(policy, patients, at)
    estimates = bootstrap(metrics, patients.names, resamples=resamples, seed=seed)
    sick, well = metrics.margins(None)
    return PolicyBounds(
        policy,
        at,
        {name: estimates[f"{name} low"] for name in FIGURES},
        {name: estimates[f"{name} high"] for name in FIGURES},
        {rho: _figures(copula_rates(sick, well, at, rho)) for rho in correlations},
    )


def bound_worth(
    policy: Policy,
    patients: PatientScores,
    weights: Mapping[str, Weights],
    *,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> dict[str, tuple[Estimate, Estimate]]:
    """The least and the largest that a policy may be worth, where the pairs are not known.

    Args:
        policy: Resolved.
        patients: With either score missing.
        weights: By name, what is asked for, e.g. net benefit.
        resamples: Bootstrap resamples of patients.
        seed: Makes the intervals repeatable.

    Raises:
        InputError: A class without X-rays or without CTs, or too few resamples.
    """
    _check_either(patients)
    found = bootstrap(_WorthBounds(policy, patients, weights), patients.names, resamples=resamples, seed=seed)
    return {name: (found[f"{name} low"], found[f"{name} high"]) for name in weights}


class _WorthBounds:
    """Least and largest of weighted sums of one policy's shares, as a metric set."""

    def __init__(self, policy: Policy, patients: PatientScores, weights: Mapping[str, Weights]) -> None:
        self._margins = _Bounds(policy, patients, prevalence=0.5).margins  # a weight holds its own prevalence
        self._weights = weights

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        sick, well = self._margins(weights)
        hits, alarms = frechet_bounds(sick), frechet_bounds(well)
        bounds = {}
        for name, each in self._weights.items():
            sent = each.constant + each.sick_to_ct * sick.to_ct + each.well_to_ct * well.to_ct
            ends = [
                np.sort([weight * end for end in of], axis=0)
                for weight, of in ((each.sensitivity, hits), (each.false_positive_rate, alarms))
            ]
            bounds[f"{name} low"], bounds[f"{name} high"] = sent + ends[0] + ends[1]
        return bounds

    def denominators(self) -> dict[str, BoolArray]:
        return {}


class _Bounds:
    """Fréchet bounds of one policy's figures, as a metric set."""

    def __init__(self, policy: Policy, patients: PatientScores, prevalence: float) -> None:
        self._policy, self._patients, self._prevalence = policy, patients, prevalence

    def margins(self, weights: FloatArray | None) -> tuple[Margins, Margins]:
        sick, well = (
            margins(self._policy, self._patients, of_sick=of_sick, weights=weights) for of_sick in (True, False)
        )
        return sick, well

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        worst, best = (vars(rates) for rates in bounded_rates(*self.margins(weights), self._prevalence))
        bounds = {}
        for name in FIGURES:
            bounds[f"{name} low"] = np.minimum(worst[name], best[name])
            bounds[f"{name} high"] = np.maximum(worst[name], best[name])
        return bounds

    def denominators(self) -> dict[str, BoolArray]:
        return {}


def _figures(rates: JointRates) -> dict[str, float]:
    return {name: float(vars(rates)[name][0]) for name in FIGURES}


def _defined(figures: dict[str, float]) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else value for name, value in figures.items()}


def _checked(prevalence: float) -> float:
    if not 0.0 < prevalence < 1.0:
        raise InputError(f"prevalence {prevalence} is out of range; give a share above 0 and below 1, e.g. 0.1")
    return prevalence


def _check_either(patients: PatientScores) -> None:
    for name, scores in (("patients with an X-ray", patients.xray), ("patients with a CT", patients.ct)):
        _check_classes(patients.where(~np.isnan(scores)), name)


def _check_classes(patients: PatientScores, who: str) -> None:
    sick = int(patients.sick.sum())
    if sick in {0, len(patients)}:
        raise InputError(
            f"of {len(patients)} {who} {sick} are sick; both sick and well are needed. Is patient_id the same in both "
            "tables, and are the labels there?"
        )
