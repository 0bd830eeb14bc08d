"""How many patients an interval of a wished width needs. Plan with it before a test set is collected.

All counts are patients with one decision each. Further images of the same patients add less than new patients do,
so they are not counted.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from duoscan.errors import InputError, MissingExtraError
from duoscan.evaluation.delong import Z
from duoscan.evaluation.proportions import clopper_pearson

if TYPE_CHECKING:
    from collections.abc import Callable

Method = Literal["exact", "wilson"]
MAX_PATIENTS = 10_000_000
_FAR = 9.0  # standard deviations beyond which a binomial count adds nothing to a mean


def patients_for_proportion(expected: float, width: float, *, method: Method = "exact") -> int:
    """Patients of the class that a sensitivity or a specificity needs.

    The smallest number at which the 95 % interval is on average at most ``width`` wide, over the counts to be
    expected.

    Args:
        expected: The proportion that is expected, from 0 to 1.
        width: Whole width of the interval, from its lower to its upper end.
        method: ``exact`` (Clopper and Pearson, Biometrika 1934) or ``wilson`` (JASA 1927).

    Raises:
        InputError: A number is out of range, or so many patients do not exist.
        MissingExtraError: scipy is not installed.
    """
    _check("expected proportion", expected, low=0.0, high=1.0)
    _check("width", width, low=0.0, high=1.0, is_open=True)
    return _smallest(lambda patients: mean_width(expected, patients, method=method), width)


def mean_width(expected: float, patients: int, *, method: Method = "exact") -> float:
    """Mean width of the 95 % interval of a proportion, over the binomial counts of ``patients``.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    stats = _stats()
    middle, spread = patients * expected, _FAR * math.sqrt(patients * expected * (1.0 - expected)) + _FAR
    hits = np.arange(max(0, math.floor(middle - spread)), min(patients, math.ceil(middle + spread)) + 1)
    chance = stats.binom.pmf(hits, patients, expected)
    if method == "exact":
        low, high = clopper_pearson(hits, patients)
        return float(np.sum(chance * (high - low)))
    share = hits / patients
    reach = Z * np.sqrt(share * (1 - share) / patients + Z**2 / (4 * patients**2)) / (1 + Z**2 / patients)
    return float(np.sum(chance * 2 * reach))


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


def patients_for_auroc(expected: float, width: float, prevalence: float) -> tuple[int, int]:
    """Patients with and without covid that an AUROC needs for a 95 % interval at most ``width`` wide.

    Args:
        expected: The AUROC that is expected, between 1/2 and 1.
        width: Whole width of the interval, twice 1.96 standard errors.
        prevalence: Share of covid among the patients to be collected.

    Raises:
        InputError: A number is out of range, or so many patients do not exist.
    """
    _check("expected AUROC", expected, low=0.5, high=1.0, is_open=True)
    _check("width", width, low=0.0, high=1.0, is_open=True)
    _check("prevalence", prevalence, low=0.0, high=1.0, is_open=True)

    def split(patients: int) -> tuple[int, int]:
        positives = min(max(1, math.floor(patients * prevalence)), patients - 1)
        return positives, patients - positives

    least = 4
    return split(_smallest(lambda patients: 2 * Z * auroc_error(expected, *split(max(patients, least))), width))


def patients_overall(of_class: int, share: float) -> int:
    """Patients to collect so that on average ``of_class`` of them are of a class with this share.

    Raises:
        InputError: The share is not between 0 and 1.
    """
    _check("share of the class", share, low=0.0, high=1.0, is_open=True)
    return math.ceil(of_class / share - 1e-9)  # 9 / 0.3 is a little above 30


def _smallest(width_of: Callable[[int], float], width: float) -> int:
    """The smallest number whose width is small enough; widths fall with the number."""
    high = 8
    while width_of(high) > width:
        high *= 2
        if high > MAX_PATIENTS:
            msg = f"a width of {width:g} needs more than {MAX_PATIENTS:,} patients; wish for a wider interval"
            raise InputError(msg)
    low = 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if width_of(middle) <= width else (middle, high)
    return high


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
