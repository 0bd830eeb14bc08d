"""Cohorts whose true miss rate is known, to hold a certified threshold against; for tests and a benchmark.

Scores of the sick are uniform ranks: P(score < t | sick) is t itself, for any model seen through its own ranks.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from duoscan.policies.certify import allowed_misses, conformal_threshold, exact_threshold

# The sick are drawn from the same scores in each; what differs is how the cohort is made up.
SHAPES = ("continuous", "ties", "coarse ties", "prevalence shift")
SLICES = 8
_LEVELS = {"ties": 100, "coarse ties": 8}


def true_miss_rate(method: str, shape: str, alpha: float, *, cohorts: int, seed: int) -> NDArray[np.float64]:
    """P(score < t | sick) of the threshold each of ``cohorts`` cohorts gives.

    Scores are uniform ranks, rounded down to a grid where there are ties, so that P(score < t) is t itself, for t on
    the grid too. A cohort has 400 to 700 patients; half are sick, and under "prevalence shift" 25 to 75 % of the
    calibration while the promise is used where 2 % are sick. The miss rate is that of the sick in use.

    Args:
        method: ``exact``, ``split-conformal``, or a rule known to be broken: ``empirical`` (the plain quantile),
            ``per slice`` (every slice of a patient counted as a patient of its own), ``among everyone`` (misses
            per patient, taking half of them to be sick), or ``two ranks late`` (split-conformal that lets two more go).
        shape: One of ``SHAPES``.
        alpha: Miss rate wanted; δ is 0.05.
        cohorts: How many.
        seed: Of all chance.
    """
    rng = np.random.default_rng(seed)
    rates = np.empty(cohorts)
    for index in range(cohorts):
        size = int(rng.integers(400, 701))
        share = rng.uniform(0.25, 0.75) if shape == "prevalence shift" else 0.5
        sick = int(rng.binomial(size, share))
        scores = rng.random(sick)
        if shape in _LEVELS:
            scores = np.floor(scores * _LEVELS[shape]) / _LEVELS[shape]
        rates[index] = _threshold(method, scores, size, alpha)
    return rates


def within_monte_carlo(broken: NDArray[np.bool_], delta: float) -> bool:
    """Whether promises are broken no more often than δ, three standard errors aside."""
    return bool(broken.mean() <= delta + 3 * sqrt(delta * (1 - delta) / len(broken)))


def _threshold(method: str, scores: NDArray[np.float64], size: int, alpha: float) -> float:
    if method == "exact":
        return exact_threshold(scores, alpha, 0.05)
    if method == "split-conformal":
        return conformal_threshold(scores, alpha)
    if method == "two ranks late":
        lower = scores < conformal_threshold(scores, alpha)
        return float(np.sort(scores)[min(int(lower.sum()) + 2, len(scores) - 1)])
    if method == "per slice":  # slices as alike as can be: each patient's score eight times
        return exact_threshold(np.repeat(scores, SLICES), alpha, 0.05)
    if method == "among everyone":
        return float(np.sort(scores)[allowed_misses(size, alpha / 2, 0.05)])
    return float(np.quantile(scores, alpha, method="lower"))
