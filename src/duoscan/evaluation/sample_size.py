"""How many patients an interval of a wished width needs. Plan with it before a test set is collected.

All counts are patients with one decision each. Further images of the same patients add less than new patients do,
so they are not counted. An interval comes out wider or narrower with the patients who happen to come, so a number is
the one that gives the width with 90 % probability, not on average: on average half of the sets would miss it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from duoscan.errors import InputError, MissingExtraError
from duoscan.evaluation.beta import Z
from duoscan.evaluation.proportions import clopper_pearson
from duoscan.inference.calibrator import expit, logit

if TYPE_CHECKING:
    from collections.abc import Callable

Method = Literal["exact", "wilson"]
MAX_PATIENTS = 10_000_000
ASSURANCE = 0.9
"""Probability that an interval comes out as narrow as wished."""
EACH_OF_TWO = 0.95
"""The same for either of two things that must both come out, so that together they do with ``ASSURANCE``."""
_FAR = 9.0  # standard deviations beyond which a binomial count adds nothing to a chance


def patients_for_proportion(
    expected: float, width: float, *, method: Method = "exact", assurance: float = ASSURANCE
) -> int:
    """Patients of the class that a sensitivity or a specificity needs.

    A number at which the 95 % interval is at most ``width`` wide with the stated probability, over the counts to be
    expected.

    Args:
        expected: The proportion that is expected, from 0 to 1.
        width: Whole width of the interval, from its lower to its upper end.
        method: ``exact`` (Clopper and Pearson, Biometrika 1934) or ``wilson`` (JASA 1927).
        assurance: That probability.

    Raises:
        InputError: A number is out of range, or so many patients do not exist.
        MissingExtraError: scipy is not installed.
    """
    _check("expected proportion", expected, low=0.0, high=1.0)
    _check("width", width, low=0.0, high=1.0, is_open=True)
    return _smallest(
        lambda patients: chance_of(width, expected, patients, method=method) >= assurance, f"a width of {width:g}"
    )


def chance_of(width: float, expected: float, patients: int, *, method: Method = "exact") -> float:
    """Probability that the 95 % interval of a proportion is at most ``width`` wide, over the counts of ``patients``.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    stats = _stats()
    middle, spread = patients * expected, _FAR * math.sqrt(patients * expected * (1.0 - expected)) + _FAR
    hits = np.arange(max(0, math.floor(middle - spread)), min(patients, math.ceil(middle + spread)) + 1)
    chance = stats.binom.pmf(hits, patients, expected)
    if method == "exact":
        low, high = clopper_pearson(hits, patients)
        widths = high - low
    else:
        share = hits / patients
        reach = Z * np.sqrt(share * (1 - share) / patients + Z**2 / (4 * patients**2)) / (1 + Z**2 / patients)
        widths = 2 * reach
    return float(np.sum(chance[widths <= width]))


def auroc_error(auroc: float, positives: float, negatives: float) -> float:
    """Standard error of an AUROC (Hanley and McNeil, Radiology 1982, formula 2).

    It takes scores to be exponentially distributed; scores of another shape need somewhat more or fewer patients.

    Args:
        auroc: The area.
        positives: Patients with covid.
        negatives: Patients without.
    """
    both_above = auroc / (2 - auroc)
    both_below = 2 * auroc**2 / (1 + auroc)
    square = auroc**2
    variance = auroc * (1 - auroc) + (positives - 1) * (both_above - square) + (negatives - 1) * (both_below - square)
    return math.sqrt(variance / (positives * negatives))


def auroc_width(expected: float, positives: int, negatives: int, assurance: float = ASSURANCE) -> float:
    """Width that the 95 % interval of an AUROC does not exceed with the stated probability.

    On the logit scale, where estimates near 1 are roughly normal: the estimate that is as low as the probability
    allows, and the interval there, which is wider than at the expected area.

    Args:
        expected: The AUROC that is expected, between 1/2 and 1.
        positives: Patients with covid.
        negatives: Patients without.
        assurance: That probability.

    Raises:
        MissingExtraError: scipy is not installed.
    """

    def error(area: float) -> float:
        return auroc_error(area, positives, negatives) / (area * (1.0 - area))

    lowest = expit(logit(np.array(expected)) - float(_stats().norm.ppf(assurance)) * error(expected))
    area = max(float(lowest), 0.5)
    low, high = expit(logit(np.array(area)) + np.array([-1.0, 1.0]) * Z * error(area))
    return float(high - low)


def patients_for_auroc(expected: float, width: float, prevalence: float) -> tuple[int, int]:
    """Patients with and without covid that an AUROC needs for a 95 % interval at most ``width`` wide.

    Args:
        expected: The AUROC that is expected, between 1/2 and 1.
        width: Whole width of the interval, met with probability ``ASSURANCE`` where exactly so many come of each.
        prevalence: Share of covid among the patients to be collected.

    Raises:
        InputError: A number is out of range, or so many patients do not exist.
        MissingExtraError: scipy is not installed.
    """
    _check_auroc(expected, width, prevalence)

    def split(patients: int) -> tuple[int, int]:
        positives = min(max(1, math.floor(patients * prevalence)), patients - 1)
        return positives, patients - positives

    return split(
        _smallest(lambda patients: auroc_width(expected, *split(max(patients, 4))) <= width, f"a width of {width:g}")
    )


def patients_overall_for_auroc(expected: float, width: float, prevalence: float) -> int:
    """Patients to collect for the same, where it is left to chance how many of them have covid.

    Args:
        expected: As for :func:`patients_for_auroc`.
        width: The same.
        prevalence: The same.

    Raises:
        InputError: A number is out of range, or so many patients do not exist.
        MissingExtraError: scipy is not installed.
    """
    _check_auroc(expected, width, prevalence)
    binom = _stats().binom

    def is_enough(patients: int) -> bool:
        tail = (1.0 - EACH_OF_TWO) / 2
        ends = (int(binom.ppf(level, patients, prevalence)) for level in (tail, 1.0 - tail))
        return all(
            0 < positives < patients and auroc_width(expected, positives, patients - positives, EACH_OF_TWO) <= width
            for positives in ends
        )

    return _smallest(is_enough, f"a width of {width:g}")


def patients_overall(of_class: int, share: float, assurance: float = EACH_OF_TWO) -> int:
    """Patients to collect so that at least ``of_class`` of them are of a class with this share.

    Args:
        of_class: Needed.
        share: Of the class among the patients.
        assurance: Probability that so many come; on average alone, they do not in every second set.

    Raises:
        InputError: The share is not between 0 and 1, or so many patients do not exist.
        MissingExtraError: scipy is not installed.
    """
    _check("share of the class", share, low=0.0, high=1.0, is_open=True)
    binom = _stats().binom
    return _smallest(lambda patients: binom.sf(of_class - 1, patients, share) >= assurance, f"a class of {share:g}")


def _smallest(is_enough: Callable[[int], bool], wish: str) -> int:
    """The smallest number that is enough, as if every larger one were: a discrete width wavers by a patient or two."""
    high = 8
    while not is_enough(high):
        high *= 2
        if high > MAX_PATIENTS:
            msg = f"{wish} needs more than {MAX_PATIENTS:,} patients; wish for a wider interval"
            raise InputError(msg)
    low = 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def _check_auroc(expected: float, width: float, prevalence: float) -> None:
    _check("expected AUROC", expected, low=0.5, high=1.0, is_open=True)
    _check("width", width, low=0.0, high=1.0, is_open=True)
    _check("prevalence", prevalence, low=0.0, high=1.0, is_open=True)


def _check(name: str, value: float, *, low: float, high: float, is_open: bool = False) -> None:
    inside = low < value < high if is_open else low <= value <= high
    if not inside:
        between = "between" if is_open else "from"
        msg = f"{name} {value:g} is out of range; give one {between} {low:g} {'and' if is_open else 'to'} {high:g}"
        raise InputError(msg)


def _stats() -> Any:
    try:
        from scipy import stats
    except ImportError as error:
        raise MissingExtraError("evaluate", "a sample size") from error
    return stats
