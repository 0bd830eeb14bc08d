"""Quantiles of the beta distribution and of Student's t, and the exact limits of a proportion that follow from them.

Without scipy: ``duoscan evaluate`` prints its numbers in the base install. Tests hold them to scipy's.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from duoscan.evaluation.sample import FloatArray, IntArray

TAIL = 0.025  # on either side of a 95 % interval
Z = NormalDist().inv_cdf(1.0 - TAIL)  # 1.96
_TERMS, _ENOUGH, _TINY = 2000, 1e-15, 1e-300
_HALVINGS = 60


def beta_share(x: float, a: float, b: float) -> float:
    """Share of the beta distribution (a, b) at or below ``x`` (regularised incomplete beta function; DLMF 8.17).

    Args:
        x: From 0 to 1.
        a: Above 0.
        b: Above 0.
    """
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    if x > (a + 1.0) / (a + b + 2.0):  # the fraction converges fast on the other side only
        return 1.0 - beta_share(1.0 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) / (a * _fraction(x, a, b))


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of DLMF 8.17.22, by Lentz's method (Thompson and Barnett 1986)."""
    value = over = 1.0
    under = 0.0
    for term in range(1, _TERMS):
        m = term // 2
        if term % 2:
            part = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            part = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        under = 1.0 / (1.0 + part * under or _TINY)
        over = 1.0 + part / over or _TINY
        value *= over * under
        if abs(over * under - 1.0) < _ENOUGH:
            break
    return value


@lru_cache(maxsize=4096)
def beta_quantile(share: float, a: float, b: float) -> float:
    """The value below which ``share`` of the beta distribution (a, b) lies, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if beta_share(middle, a, b) < share else (low, middle)
    return (low + high) / 2.0


def binomial_limits(hits: float, trials: float, tail: float = TAIL) -> tuple[float, float]:
    """Exact limits of a proportion (Clopper and Pearson, Biometrika 1934).

    Args:
        hits: From 0 to ``trials``; need not be whole.
        trials: At least 1.
        tail: Chance that is left on either side.
    """
    low = beta_quantile(tail, hits, trials - hits + 1) if hits else 0.0
    high = beta_quantile(1.0 - tail, hits + 1, trials - hits) if hits < trials else 1.0
    return low, high


def share_limits(value: float, error: float, carrying: float, trials: float, tail: float = TAIL) -> tuple[float, float]:
    """Limits of a share between 0 and 1 that is no plain proportion, symmetric on the logit scale.

    They are Student's, with as many degrees of freedom as patients carry what is missing to 1 (or to 0, the nearer):
    where one patient does, its like may or may not come again. They are no wider than Clopper and Pearson's of a plain
    proportion of so many patients, which no mean of shares varies more than.

    Args:
        value: Above 0 and below 1.
        error: Standard error, above 0.
        carrying: How many patients carry it; 1 at the least.
        trials: Patients, of the smaller class.
        tail: Chance that is left on either side.
    """
    reach = student_quantile(1.0 - tail, max(1.0, carrying)) * error / (value * (1.0 - value))
    centre = math.log(value / (1.0 - value))
    low, high = (1.0 / (1.0 + math.exp(min(-end, 700.0))) for end in (centre - reach, centre + reach))
    lowest, highest = binomial_limits(value * trials, trials, tail)
    return min(value, max(low, lowest)), max(value, min(high, highest))


def carriers(values: FloatArray, index: IntArray) -> float:
    """As how many equal patients they weigh who carry a sum, (Σ x)² / Σ x² (Kish, Survey Sampling 1965); 0 without any.

    Args:
        values: shape (N,); what each row adds, at least 0.
        index: shape (N,); each row's patient.
    """
    sums = np.bincount(index, weights=values).astype(np.float64)
    square = float(sums @ sums)
    return float(sums.sum()) ** 2 / square if square > 0.0 else 0.0


def student_quantile(share: float, freedom: float) -> float:
    """The value below which ``share``, above one half, of Student's t with so many degrees of freedom lies."""
    # The chance of |t| or more is that of a beta variable (freedom/2, 1/2) of freedom/(freedom + t²) or less.
    at = beta_quantile(2.0 * (1.0 - share), freedom / 2.0, 0.5)
    return math.sqrt(freedom * (1.0 - at) / at)


def student_p(t: float, freedom: float) -> float:
    """Two-sided p-value of Student's t."""
    return beta_share(freedom / (freedom + t * t), freedom / 2.0, 0.5)
