"""95 % limits of proportions, of weighted sums of them, and of predictive values, in closed form.

For patients who each count once, so that counts are binomial and nothing needs to be resampled. The limits of a
proportion are Clopper and Pearson's (Biometrika 1934). Sums join them by MOVER, the method of variance estimates
recovery (Zou and Donner, Statistics in Medicine 2008), which reaches as far as each part does in the unfavourable
direction, so that no error among few patients is not shown as certainty.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from duoscan.errors import MissingExtraError
from duoscan.evaluation.beta import TAIL, binomial_limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.evaluation.sample import FloatArray, IntArray

Limits = tuple[float, float]


@dataclass(frozen=True)
class Proportion:
    """A share with its 95 % limits, each from 0 to 1; ``nan`` where there is nobody."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, hits: int, patients: int) -> Proportion:
        """Observed."""
        if not patients:
            return cls(math.nan, math.nan, math.nan)
        return cls(hits / patients, *binomial_limits(hits, patients))

    @classmethod
    def known(cls, value: float) -> Proportion:
        """Known by definition, so that nothing is uncertain."""
        return cls(value, value, value)

    @property
    def limits(self) -> Limits:
        """Lower and upper."""
        return self.low, self.high


def clopper_pearson(hits: IntArray, patients: int) -> tuple[FloatArray, FloatArray]:
    """Exact limits of binomial proportions, each shape (N,), as :func:`binomial_limits` gives one.

    Args:
        hits: shape (N,); from 0 to ``patients``.
        patients: At least 1.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    try:
        from scipy.stats import beta
    except ImportError as error:
        raise MissingExtraError("evaluate", "exact intervals") from error
    low = np.where(hits > 0, beta.ppf(TAIL, np.maximum(hits, 1), patients - hits + 1), 0.0)
    high = np.where(hits < patients, beta.ppf(1 - TAIL, hits + 1, np.maximum(patients - hits, 1)), 1.0)
    return low, high


@dataclass(frozen=True)
class Term:
    """One part of a weighted sum.

    Attributes:
        weight: Of either sign.
        share: What is weighed.
    """

    weight: float
    share: Proportion

    def reach(self, *, upwards: bool) -> float:
        """How far the part may lie from its value in one direction of the sum; with the sign of the weight."""
        share = self.share
        is_high = (self.weight > 0) == upwards
        return self.weight * (share.high - share.value if is_high else share.value - share.low)


def sum_limits(groups: Sequence[tuple[Term, Term, float]]) -> Limits:
    """How far below and above its value a sum may lie; both at least 0.

    Args:
        groups: Independent of each other; each two terms of the same patients and the correlation between them.
    """
    below = above = 0.0
    for first, second, correlation in groups:
        for upwards in (False, True):
            one, other = first.reach(upwards=upwards), second.reach(upwards=upwards)
            square = max(0.0, one**2 + other**2 + 2.0 * correlation * one * other)
            above, below = (above + square, below) if upwards else (above, below + square)
    return math.sqrt(below), math.sqrt(above)


def predictive_limits(right: Term, wrong: Term) -> Limits:
    """Limits of ``right / (right + wrong)``, two independent weighted shares, not both 0.

    Those of the ratio of the two (MOVER-R: Donner and Zou, Statistical Methods in Medical Research 2012), which a
    predictive value falls with.

    Args:
        right: Rightly answered so.
        wrong: Wrongly answered so.
    """
    if right.share.value == 0.0:
        low, high = predictive_limits(wrong, right)
        return 1.0 - high, 1.0 - low
    a, b = (term.weight * term.share.value for term in (wrong, right))
    (a_low, a_high), (b_low, b_high) = ((t.weight * t.share.low, t.weight * t.share.high) for t in (wrong, right))
    product = a * b
    least = a_low * (2 * a - a_low)
    lowest = least / (product + math.sqrt(max(0.0, product**2 - least * b_high * (2 * b - b_high)))) if least else 0.0
    most = b_low * (2 * b - b_low)
    highest = (product + math.sqrt(max(0.0, product**2 - a_high * (2 * a - a_high) * most))) / most
    return 1.0 / (1.0 + highest), 1.0 / (1.0 + lowest)


def correlation(both: int, first: int, second: int, patients: int) -> float:
    """φ of two yes-or-no facts of the same patients; 0 where one of them never varies.

    Args:
        both: Patients with both.
        first: With the first.
        second: With the second.
        patients: In all.
    """
    spread = first * (patients - first) * second * (patients - second)
    return (both * patients - first * second) / math.sqrt(spread) if spread else 0.0
