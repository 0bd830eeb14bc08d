"""What is won by not answering everybody: risk over coverage and prediction sets of each phase, with intervals."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.evaluation.intervals import DEFAULT_RESAMPLES, Estimate, bootstrap
from duoscan.evaluation.proportions import Proportion
from duoscan.policies.abstention import REFERRED, PredictionSet, conformal_sets, referral_table, risk_coverage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duoscan.evaluation.sample import BoolArray, FloatArray
    from duoscan.policies.scores import PatientScores

COVERAGES = tuple(round(step * 0.05, 2) for step in range(2, 21))
"""Shares of patients answered at which the risk is stated, 0.1 to 1."""

DEFAULT_SET_ERROR = 0.1


@dataclass(frozen=True)
class Abstention:
    """One phase that may say "I do not know".

    Attributes:
        names: N test patients with an answer of the phase.
        probability: shape (N,).
        sets: Of N patients.
        document: As in ``triage.json``.
    """

    names: tuple[str, ...]
    probability: FloatArray
    sets: tuple[PredictionSet, ...]
    document: dict[str, Any]

    def referred(self) -> list[tuple[str, float, PredictionSet]]:
        """Patients for a person to answer: name, P(covid), set."""
        rows = zip(self.names, self.probability, self.sets, strict=True)
        return [(name, float(value), each) for name, value, each in rows if each in REFERRED]


def surety(probability: FloatArray, threshold: float) -> FloatArray:
    """How far an answer is from its threshold, shape (N,): 0 at it, 1 at a probability of 0 or of 1.

    Args:
        probability: shape (N,).
        threshold: From which on the answer is positive.
    """
    above = (probability - threshold) / max(1.0 - threshold, np.finfo(float).tiny)
    below = (threshold - probability) / max(threshold, np.finfo(float).tiny)
    return np.asarray(np.where(probability >= threshold, above, below))


def phase_abstention(
    calibration: tuple[FloatArray, BoolArray],
    test: PatientScores,
    scores: FloatArray,
    threshold: float,
    *,
    sources: Mapping[str, str],
    error: float = DEFAULT_SET_ERROR,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> Abstention:
    """Risk–coverage curve and prediction sets of one phase on test patients.

    Args:
        calibration: P(covid) and truth of the calibration patients; those without an answer are left out.
        test: Patients to answer.
        scores: shape (N,); their P(covid) of this phase, ``nan`` where there is none.
        threshold: Operating point.
        sources: Where each patient comes from.
        error: Largest share of each class whose set lacks its class, on average over calibrations.
        resamples: Bootstrap resamples of patients.
        seed: Makes the intervals repeatable.

    Raises:
        InputError: No patients, an error out of range or too few resamples.
    """
    known = ~np.isnan(scores)
    group, probability = test.where(known), scores[known]
    wrong = (probability >= threshold) != group.sick
    sure = surety(probability, threshold)
    drawn = bootstrap(_RiskAt(sure, wrong), group.names, resamples=resamples, seed=seed)
    has_answer = ~np.isnan(calibration[0])
    rule = conformal_sets(calibration[0][has_answer], calibration[1][has_answer], error)
    sets = rule.of(probability)
    document = {
        "patients": len(group),
        "threshold": threshold,
        "coverage": list(COVERAGES),
        "risk": [_triple(drawn[_risk_name(coverage)]) for coverage in COVERAGES],
        "area": drawn["area"].to_json() | {"value": risk_coverage(sure, wrong).area},
        "covid_from": _finite(rule.covid_from),
        "not_covid_to": _finite(rule.not_covid_to),
        "promise": rule.promise,
        **_counted(group, sets, [sources.get(name, "unknown") for name in group.names]),
    }
    return Abstention(group.names, probability, tuple(sets), document)


def _counted(group: PatientScores, sets: Sequence[PredictionSet], sources: Sequence[str]) -> dict[str, Any]:
    """Who has which set, whose set holds the truth, and who is referred."""
    labels = ["sick" if sick else "well" for sick in group.sick]
    counts = Counter(zip(sets, labels, strict=True))
    holding = {"sick": (PredictionSet.COVID, PredictionSet.BOTH), "well": (PredictionSet.NOT_COVID, PredictionSet.BOTH)}
    held = {
        label: _share(sum(counts[each, label] for each in good), labels.count(label)) for label, good in holding.items()
    }

    def referrals(groups: Sequence[str]) -> dict[str, dict[str, Any]]:
        return {
            name: {"referred": referred, "patients": total, "share": _share(referred, total)}
            for name, (referred, total) in referral_table(sets, groups).items()
        }

    return {
        "sets": {each.value: {label: counts[each, label] for label in holding} for each in PredictionSet},
        "holds_truth": held,
        "referred": referrals(["all"] * len(sets))["all"],
        "referred_by_label": referrals(labels),
        "referred_by_source": referrals(sources),
    }


class _RiskAt:
    """Share of wrong answers among the surest, at each coverage and on average over all, as a metric set."""

    def __init__(self, sure: FloatArray, wrong: BoolArray) -> None:
        self._order = np.argsort(-sure, kind="stable")
        ordered = sure[self._order]
        self._wrong = wrong[self._order].astype(np.float64)
        # Where a group of equally sure patients ends; within one, wrong answers are spread evenly.
        self._ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        ordered = weights[:, self._order]
        reached = np.cumsum(ordered, axis=1)[:, self._ends]
        errors = np.cumsum(ordered * self._wrong, axis=1)[:, self._ends]
        steps = np.arange(1, len(self._wrong) + 1) / len(self._wrong)
        shares = np.concatenate([COVERAGES, steps])
        risks = np.array(
            [
                np.interp(shares * count[-1], [0.0, *count], [0.0, *error]) / (shares * count[-1])
                for count, error in zip(reached, errors, strict=True)
            ]
        )
        named = {_risk_name(coverage): risks[:, place] for place, coverage in enumerate(COVERAGES)}
        return named | {"area": risks[:, len(COVERAGES) :].mean(axis=1)}

    def denominators(self) -> dict[str, BoolArray]:
        among = {}
        for coverage in COVERAGES:
            chosen = np.zeros(len(self._wrong), dtype=bool)
            chosen[self._order[: math.floor(coverage * len(chosen) + 1e-9) or 1]] = True
            among[_risk_name(coverage)] = chosen
        return among


def _risk_name(coverage: float) -> str:
    return f"risk at {coverage:g}"


def _share(hits: int, of: int) -> list[float | None]:
    found = Proportion.of(hits, of)
    return [None if math.isnan(value) else value for value in (found.value, found.low, found.high)]


def _triple(estimate: Estimate) -> list[float | None]:
    return [estimate.value, estimate.low, estimate.high]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
