"""Saying "I do not know": risk against coverage, and prediction sets that state their error.

A set names every class that the calibration does not exclude. It is class-conditional split-conformal (Mondrian: Vovk,
Machine Learning 2013): each class has its own threshold, so the promise holds for the sick and for the well apart, and
at any prevalence. A patient with both classes or none is referred to a person.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from duoscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.policies.policy import BoolArray, FloatArray

_ROUNDING = 1e-9  # α (n + 1) is often whole on paper and not in floats


@dataclass(frozen=True)
class RiskCoverage:
    """Error among the answered patients as fewer are answered.

    Attributes:
        coverage: shape (N,); 1/N to 1, the surest patients first.
        risk: shape (N,); share of wrong answers among them.
    """

    coverage: FloatArray
    risk: FloatArray

    @property
    def area(self) -> float:
        """Mean risk over all coverages (AURC; Geifman and El-Yaniv, ICLR 2019); smaller is better."""
        return float(self.risk.mean())


def risk_coverage(confidence: FloatArray, wrong: BoolArray) -> RiskCoverage:
    """The risk–coverage curve.

    Equally sure patients are answered in random order; the risk is its expectation.

    Args:
        confidence: shape (N,); larger is surer.
        wrong: shape (N,); whether the answer is wrong.

    Raises:
        InputError: No patients.
    """
    if not len(confidence):
        raise InputError("no patients to draw a risk–coverage curve of; give at least one")
    _, group, size = np.unique(-confidence, return_inverse=True, return_counts=True)
    error_rate = np.bincount(group, weights=wrong.astype(np.float64)) / size
    answered = np.arange(1, len(confidence) + 1)
    return RiskCoverage(answered / len(confidence), np.cumsum(np.repeat(error_rate, size)) / answered)


class PredictionSet(StrEnum):
    """What is not excluded for a patient."""

    COVID = "covid"
    NOT_COVID = "not covid"
    BOTH = "both"
    NONE = "none"


REFERRED = (PredictionSet.BOTH, PredictionSet.NONE)
_BY_CODE = (PredictionSet.NONE, PredictionSet.COVID, PredictionSet.NOT_COVID, PredictionSet.BOTH)


@dataclass(frozen=True)
class ConformalSets:
    """Thresholds of prediction sets.

    Attributes:
        alpha: Largest share of each class whose set lacks the class, on average over calibrations.
        covid_from: P(covid) from which on covid is in the set; −inf where the sick are too few to exclude it.
        not_covid_to: P(covid) up to which "not covid" is in the set; inf where the well are too few.
        sick: Sick calibration patients.
        well: Well calibration patients.
    """

    alpha: float
    covid_from: float
    not_covid_to: float
    sick: int
    well: int

    @property
    def promise(self) -> str:
        """In words."""
        return (
            f"Of new sick patients, and of new well ones, like those of the calibration ({self.sick} sick, {self.well} "
            f"well), at most {self.alpha:.3g} have a set without their true class, on average over calibrations. "
            "Nothing is promised within a source or view, nor among patients with one particular set."
        )

    def of(self, probability: FloatArray) -> list[PredictionSet]:
        """The sets of N patients from their P(covid), shape (N,)."""
        codes = (probability >= self.covid_from) + 2 * (probability <= self.not_covid_to)
        return [_BY_CODE[code] for code in codes]


def conformal_sets(probability: FloatArray, sick: BoolArray, alpha: float) -> ConformalSets:
    """Calibrates prediction sets on one probability a patient, never one a slice.

    Args:
        probability: shape (N,); P(covid) of the calibration patients.
        sick: shape (N,).
        alpha: Above 0 and below 1.

    Raises:
        InputError: ``alpha`` out of range, or a probability missing.
    """
    if not 0.0 < alpha < 1.0:
        raise InputError(f"α {alpha} is out of range; give one above 0 and below 1, e.g. 0.1")
    if np.isnan(probability).any():
        raise InputError("a calibration patient has no probability; leave such patients out")
    covid_from = _smallest(probability[sick], alpha)
    not_covid_to = -_smallest(-probability[~sick], alpha)
    return ConformalSets(alpha, covid_from, not_covid_to, int(sick.sum()), int((~sick).sum()))


def referral_table(sets: Sequence[PredictionSet], groups: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Group (a source, label or view) → patients referred, patients in all.

    Args:
        sets: Of N patients.
        groups: Of N patients.

    Example:
        >>> referral_table([PredictionSet.BOTH, PredictionSet.COVID], ["north", "north"])
        {'north': (1, 2)}
    """
    table = dict.fromkeys(sorted(set(groups)), (0, 0))
    for each, group in zip(sets, groups, strict=True):
        referred, total = table[group]
        table[group] = (referred + (each in REFERRED), total + 1)
    return table


def _smallest(scores: FloatArray, alpha: float) -> float:
    """The ⌊α (n + 1)⌋-th smallest score; −inf where that is the zeroth."""
    rank = math.floor(alpha * (len(scores) + 1) + _ROUNDING)
    return float(np.sort(scores)[rank - 1]) if rank else -math.inf
