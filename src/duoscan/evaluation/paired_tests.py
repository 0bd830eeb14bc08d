"""Two models on one set of patients: whether their decisions differ, and what many tests do to a p-value.

How far apart two models are says :func:`duoscan.evaluation.intervals.paired_difference`; for the AUROC see
:mod:`duoscan.evaluation.delong`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duoscan.evaluation.sample import BoolArray

ALPHA = 0.05


@dataclass(frozen=True)
class McNemar:
    """Patients on whom two models differ in being right.

    Attributes:
        only_first: Patients that only the first model answers right.
        only_second: Patients that only the second does.
        patients: All patients.
        p_value: Exact and two-sided; 1 where the two never differ.
    """

    only_first: int
    only_second: int
    patients: int
    p_value: float

    def to_json(self) -> dict[str, Any]:
        """As in files."""
        return dict(vars(self))


def mcnemar_exact(first_right: BoolArray, second_right: BoolArray, units: Sequence[str]) -> McNemar:
    """Exact McNemar test: the patients on whom the two differ fall to either side like a fair coin.

    McNemar (Psychometrika 1947), with the binomial distribution in place of chi-squared, which is wrong for few
    differing patients. Give it the covid patients alone to compare sensitivities, the others for specificities.

    Args:
        first_right: shape (N,); whether the first model decides right.
        second_right: shape (N,); the same of the second.
        units: The N rows' patients, each once.

    Raises:
        InputError: The lengths differ, or a patient has several rows: images of a patient are no coins of their own.
        MissingExtraError: scipy is not installed.
    """
    if not len(first_right) == len(second_right) == len(units):
        msg = f"{len(first_right)} and {len(second_right)} decisions for {len(units)} patients; give one each"
        raise InputError(msg)
    if len(set(units)) < len(units):
        msg = (
            f"{len(units)} decisions of {len(set(units))} patients; make one decision a patient first, "
            "or take the paired difference, which resamples patients"
        )
        raise InputError(msg)
    only_first, only_second = int(np.sum(first_right & ~second_right)), int(np.sum(second_right & ~first_right))
    differing = only_first + only_second
    p_value = float(_stats().binomtest(only_first, differing).pvalue) if differing else 1.0
    return McNemar(only_first, only_second, len(units), p_value)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """P-values that hold for all tests together (Holm, Scandinavian Journal of Statistics 1979).

    The chance of any false alarm among them stays at the level of one, however the tests depend on each other.
    An undefined p-value stays ``nan`` and is no test.

    Args:
        p_values: One a test, by name.

    Example:
        >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
        {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    ordered = sorted((value, name) for name, value in p_values.items() if not math.isnan(value))
    adjusted = dict.fromkeys(p_values, math.nan)
    largest = 0.0
    for place, (value, name) in enumerate(ordered):
        largest = max(largest, min(1.0, value * (len(ordered) - place)))
        adjusted[name] = largest
    return adjusted


def multiple_comparison_note(tests: int) -> str:
    """What a reader must know where several tests stand side by side; empty for one."""
    if tests < 2:
        return ""
    chance = 1.0 - (1.0 - ALPHA) ** tests
    return (
        f"{tests} tests stand here. With no true difference at all, one or more of as many independent tests falls "
        f"below {ALPHA:g} with a chance of {chance:.0%}; the p-values adjusted by Holm's method allow for it."
    )


def _stats() -> Any:
    try:
        from scipy import stats
    except ImportError as error:
        raise MissingExtraError("evaluate", "an exact test") from error
    return stats
