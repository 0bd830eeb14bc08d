"""AUROC with an interval in closed form, and the test of two models on the same rows.

DeLong, DeLong and Clarke-Pearson (Biometrics 1988) split the AUROC into what each row adds; Sun and Xu (IEEE Signal
Processing Letters 2014) compute these placements by sorting. Images of one patient are alike, so the placements are
summed by patient first (Obuchowski, Biometrics 1997). Where each patient has one image that is DeLong's own
variance, so there is one function and not two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import InputError
from duoscan.evaluation.intervals import TAIL, Estimate, unit_index

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.evaluation.sample import BoolArray, FloatArray, IntArray

Z = NormalDist().inv_cdf(1.0 - TAIL)  # 1.96
MIN_PATIENTS = 2  # of each class; the spread of one is unknown


@dataclass(frozen=True)
class AurocTest:
    """Two models on the same rows.

    Attributes:
        first: AUROC of the first.
        second: AUROC of the second.
        difference: First minus second.
        z: Difference over its standard error; ``nan`` where that is 0 or unknown.
        p_value: Two-sided; ``nan`` where ``z`` is.
    """

    first: Estimate
    second: Estimate
    difference: Estimate
    z: float
    p_value: float

    def to_json(self) -> dict[str, Any]:
        """As in files; what is undefined is ``null``."""
        return {
            "first": self.first.to_json(),
            "second": self.second.to_json(),
            "difference": self.difference.to_json(),
            "z": None if math.isnan(self.z) else self.z,
            "p_value": None if math.isnan(self.p_value) else self.p_value,
        }


def delong_auroc(reference: BoolArray, score: FloatArray, units: Sequence[str]) -> Estimate:
    """AUROC with a 95 % interval that is symmetric on the logit scale, so it stays between 0 and 1.

    Args:
        reference: shape (N,); which rows are positive.
        score: shape (N,); larger means more likely positive.
        units: The N rows' patients.
    """
    index, count = unit_index(units)
    areas, covariance = _areas(reference, score[None, :], index, count)
    return _interval(float(areas[0]), float(covariance[0, 0]), len(index), count)


def delong_test(reference: BoolArray, first: FloatArray, second: FloatArray, units: Sequence[str]) -> AurocTest:
    """Whether two models rank the same rows equally well.

    Args:
        reference: shape (N,); which rows are positive.
        first: shape (N,); scores of one model.
        second: shape (N,); scores of the other on the same rows in the same order.
        units: The N rows' patients.

    Raises:
        InputError: The two do not have a score for each row.
    """
    if not len(reference) == len(first) == len(second) == len(units):
        msg = (
            f"{len(first)} and {len(second)} scores for {len(reference)} rows; "
            "a paired test needs both models on the same rows"
        )
        raise InputError(msg)
    index, count = unit_index(units)
    rows = len(index)
    areas, covariance = _areas(reference, np.stack([first, second]), index, count)
    one, other = (_interval(float(areas[k]), float(covariance[k, k]), rows, count) for k in (0, 1))
    difference = float(areas[0] - areas[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if not variance > 1e-15:  # also refuses nan; models that rank alike leave rounding only
        note = "the two rank alike or a class has too few patients, so there is nothing to tell an interval from"
        return AurocTest(one, other, Estimate(difference, None, None, rows, count, note=note), math.nan, math.nan)
    error = math.sqrt(variance)
    z = difference / error
    interval = Estimate(difference, max(-1.0, difference - Z * error), min(1.0, difference + Z * error), rows, count)
    return AurocTest(one, other, interval, z, math.erfc(abs(z) / math.sqrt(2)))


def _areas(reference: BoolArray, scores: FloatArray, index: IntArray, count: int) -> tuple[FloatArray, FloatArray]:
    """AUROC (K,) of K models and their covariance (K, K); ``nan`` where it is undefined.

    ``scores`` has shape (K, N); ``index`` (N,) is the place of each row's patient among ``count``.
    """
    models = len(scores)
    positives, negatives = int(reference.sum()), int((~reference).sum())
    if not positives or not negatives:
        return np.full(models, np.nan), np.full((models, models), np.nan)
    above = np.stack([_placements(score[reference], score[~reference]) for score in scores])  # (K, positives)
    below = np.stack([1.0 - _placements(score[~reference], score[reference]) for score in scores])  # (K, negatives)
    areas = above.mean(axis=1)
    # What a patient's rows add beyond their share, (K, patients); 0 for patients without rows of the class.
    sums = [
        np.stack([np.bincount(of, weights=row, minlength=count) for row in placements - areas[:, None]])
        for placements, of in ((above, index[reference]), (below, index[~reference]))
    ]
    sick, well = len(np.unique(index[reference])), len(np.unique(index[~reference]))
    if min(sick, well) < MIN_PATIENTS:
        return areas, np.full((models, models), np.nan)
    crossed = sums[0] @ sums[1].T
    covariance = (
        sick / (sick - 1) * (sums[0] @ sums[0].T) / positives**2
        + well / (well - 1) * (sums[1] @ sums[1].T) / negatives**2
        + count / (count - 1) * (crossed + crossed.T) / (positives * negatives)
    )
    return areas, covariance


def _placements(scores: FloatArray, others: FloatArray) -> FloatArray:
    """For each score the share of the others below it, equal ones counting half."""
    ordered = np.sort(others)
    ranks = np.searchsorted(ordered, scores, side="left") + np.searchsorted(ordered, scores, side="right")
    return np.asarray(ranks / (2 * len(others)))


def _interval(area: float, variance: float, rows: int, units: int) -> Estimate:
    if math.isnan(area):
        return Estimate(area, None, None, rows, units, note="undefined on these rows")
    if math.isnan(variance):
        return Estimate(area, None, None, rows, units, note=f"fewer than {MIN_PATIENTS} patients of a class")
    if area in {0.0, 1.0} or not variance > 0.0:
        return Estimate(area, None, None, rows, units, note="no spread, so there is nothing to tell an interval from")
    centre, reach = math.log(area / (1.0 - area)), Z * math.sqrt(variance) / (area * (1.0 - area))
    low, high = (1.0 / (1.0 + math.exp(min(-end, 700.0))) for end in (centre - reach, centre + reach))
    return Estimate(area, min(low, area), max(high, area), rows, units, note="DeLong, summed by patient")
