"""AUROC with an interval in closed form, and the test of two models on the same rows.

DeLong, DeLong and Clarke-Pearson (Biometrics 1988) split the AUROC into what each row adds; Sun and Xu (IEEE Signal
Processing Letters 2014) compute these placements by sorting. Images of one patient are alike, so the placements are
summed by patient first (Obuchowski, Biometrics 1997). Where each patient has one image that is DeLong's own
variance, so there is one function and not two.

The spread is estimated from few patients: those of the smaller class, and near 1 only those who carry an error.
Limits are therefore Student's (:func:`duoscan.evaluation.beta.share_limits`). At an AUROC of 1 no spread is seen; then
the limit is that of as many pairs of a positive and a negative patient as can be formed, all rightly ordered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import InputError
from duoscan.evaluation.beta import TAIL, binomial_limits, carriers, share_limits, student_p, student_quantile
from duoscan.evaluation.intervals import Estimate, unit_index

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.evaluation.sample import BoolArray, FloatArray, IntArray

CHANCE = 0.5
MIN_PATIENTS = 2  # of each class; the spread of one is unknown
NAME = "DeLong, summed by patient"


@dataclass(frozen=True)
class AurocTest:
    """Two models on the same rows.

    Attributes:
        first: AUROC of the first.
        second: AUROC of the second.
        difference: First minus second.
        t: Difference over its standard error; ``nan`` where that is 0 or unknown.
        p_value: Two-sided, by Student's t; ``nan`` where ``t`` is.
    """

    first: Estimate
    second: Estimate
    difference: Estimate
    t: float
    p_value: float

    def to_json(self) -> dict[str, Any]:
        """As in files; what is undefined is ``null``."""
        return {
            "first": self.first.to_json(),
            "second": self.second.to_json(),
            "difference": self.difference.to_json(),
            "t": None if math.isnan(self.t) else self.t,
            "p_value": None if math.isnan(self.p_value) else self.p_value,
        }


@dataclass(frozen=True)
class _Areas:
    """AUROC (K,) of K models, their covariance (K, K), how many patients carry the errors (K,); ``nan`` if undefined.

    ``fewest`` are the patients of the smaller class.
    """

    areas: FloatArray
    covariance: FloatArray
    carrying: FloatArray
    rows: int
    units: int
    fewest: int

    def estimate(self, place: int, tail: float = TAIL) -> Estimate:
        area, variance = float(self.areas[place]), float(self.covariance[place, place])
        if math.isnan(area):
            return Estimate(area, None, None, self.rows, self.units, note="undefined on these rows")
        if area in {0.0, 1.0}:
            return self._bound(area, tail)
        if math.isnan(variance):
            note = f"fewer than {MIN_PATIENTS} patients of a class"
            return Estimate(area, None, None, self.rows, self.units, note=note)
        if not variance > 0.0:
            note = "no spread, so there is nothing to tell an interval from"
            return Estimate(area, None, None, self.rows, self.units, note=note)
        carrying = min(self.freedom, float(self.carrying[place]))
        low, high = share_limits(area, math.sqrt(variance), carrying, self.pairs, tail)
        return Estimate(area, low, high, self.rows, self.units, note=NAME)

    @property
    def freedom(self) -> int:
        return self.fewest - 1

    @property
    def pairs(self) -> int:
        return max(1, min(self.fewest, self.units // 2))

    def _bound(self, area: float, tail: float) -> Estimate:
        # The chance that all pairs are right is at most that of these, AUROC to the power of their number, and is as
        # much for scores of which some lie beyond all others: no bound that holds for all scores is nearer.
        low, high = binomial_limits(self.pairs * area, self.pairs, tail)
        note = f"Clopper–Pearson bound, {self.pairs} pairs of patients as trials"
        return Estimate(area, low, high, self.rows, self.units, note=note)


def delong_auroc(reference: BoolArray, score: FloatArray, units: Sequence[str], tail: float = TAIL) -> Estimate:
    """AUROC with a 95 % interval that is symmetric on the logit scale, so it stays between 0 and 1.

    At 0 and 1 it has the limit of as many pairs of patients as can be formed of different ones.

    Args:
        reference: shape (N,); which rows are positive.
        score: shape (N,); larger means more likely positive. Of shape (K, N) it is that of K models, e.g. of as many
            seeds, and what is estimated is the mean of their AUROCs.
        units: The N rows' patients.
        tail: Chance that is left on either side.
    """
    return _areas(reference, [score], *unit_index(units)).estimate(0, tail)


def delong_test(
    reference: BoolArray, first: FloatArray, second: FloatArray, units: Sequence[str], tail: float = TAIL
) -> AurocTest:
    """Whether two models rank the same rows equally well.

    Args:
        reference: shape (N,); which rows are positive.
        first: shape (N,); scores of one model. Of shape (K, N) they are those of K models, whose mean is compared.
        second: shape (N,) or (L, N); scores of the other on the same rows in the same order.
        units: The N rows' patients.
        tail: Chance that is left on either side of the difference's interval.

    Raises:
        InputError: The two do not have a score for each row.
    """
    if not len(reference) == first.shape[-1] == second.shape[-1] == len(units):
        msg = (
            f"{first.shape[-1]} and {second.shape[-1]} scores for {len(reference)} rows; "
            "a paired test needs both models on the same rows"
        )
        raise InputError(msg)
    found = _areas(reference, [first, second], *unit_index(units))
    one, other = found.estimate(0), found.estimate(1)
    difference = float(found.areas[0] - found.areas[1])
    variance = float(found.covariance[0, 0] + found.covariance[1, 1] - 2 * found.covariance[0, 1])
    if not variance > 1e-15:  # also refuses nan; models that rank alike leave rounding only
        note = "the two rank alike or a class has too few patients, so there is nothing to tell an interval from"
        nothing = Estimate(difference, None, None, found.rows, found.units, note=note)
        return AurocTest(one, other, nothing, math.nan, math.nan)
    error = math.sqrt(variance)
    reach, t = student_quantile(1.0 - tail, found.freedom) * error, difference / error
    ends = max(-1.0, difference - reach), min(1.0, difference + reach)
    interval = Estimate(difference, *ends, found.rows, found.units, note=NAME)
    return AurocTest(one, other, interval, t, student_p(t, found.freedom))


def _areas(reference: BoolArray, scores: Sequence[FloatArray], index: IntArray, count: int) -> _Areas:
    """``scores`` are (N,) or (L, N) of K models; ``index`` (N,) is the place of each row's patient among ``count``."""
    models = len(scores)
    unknown = np.full((models, models), np.nan)
    positives, negatives = int(reference.sum()), int((~reference).sum())
    if not positives or not negatives:
        return _Areas(np.full(models, np.nan), unknown, np.full(models, np.nan), len(index), count, 0)
    above = np.stack([_placements(score, reference) for score in scores])  # (K, positives)
    below = np.stack([1.0 - _placements(score, ~reference) for score in scores])  # (K, negatives)
    areas = above.mean(axis=1)
    # What keeps each model's area from 1, or from 0 where that is nearer, by patient.
    wrong = [np.where(areas[:, None] > CHANCE, 1.0 - placements, placements) for placements in (above, below)]
    carrying = np.array(
        [
            min(
                carriers(rows[model], of) for rows, of in zip(wrong, (index[reference], index[~reference]), strict=True)
            )
            for model in range(models)
        ]
    )
    # What a patient's rows add beyond their share, (K, patients); 0 for patients without rows of the class.
    sums = [
        np.stack([np.bincount(of, weights=row, minlength=count) for row in placements - areas[:, None]])
        for placements, of in ((above, index[reference]), (below, index[~reference]))
    ]
    sick, well = len(np.unique(index[reference])), len(np.unique(index[~reference]))
    fewest = min(sick, well)
    if fewest < MIN_PATIENTS:
        return _Areas(areas, unknown, carrying, len(index), count, fewest)
    crossed = sums[0] @ sums[1].T
    covariance = (
        sick / (sick - 1) * (sums[0] @ sums[0].T) / positives**2
        + well / (well - 1) * (sums[1] @ sums[1].T) / negatives**2
        + count / (count - 1) * (crossed + crossed.T) / (positives * negatives)
    )
    return _Areas(areas, covariance, carrying, len(index), count, fewest)


def _placements(score: FloatArray, chosen: BoolArray) -> FloatArray:
    """For each chosen row the share of the others below it, equal ones counting half; the mean of several scores.

    An AUROC is the mean of its placements, so the mean of several AUROCs is that of the mean placements.
    """
    return np.asarray(np.mean([_shares_below(one[chosen], one[~chosen]) for one in np.atleast_2d(score)], axis=0))


def _shares_below(scores: FloatArray, others: FloatArray) -> FloatArray:
    ordered = np.sort(others)
    ranks = np.searchsorted(ordered, scores, side="left") + np.searchsorted(ordered, scores, side="right")
    return np.asarray(ranks / (2 * len(others)))
