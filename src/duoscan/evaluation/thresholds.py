"""Choosing an operating point. Do it on validation predictions only, never on what is then reported."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from duoscan.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from duoscan.evaluation.sample import BoolArray, FloatArray

    Choose = Callable[[BoolArray, FloatArray, Sequence[str]], float]

_FOLDS = 10


def youden_threshold(reference: BoolArray, probability: FloatArray) -> float:
    """The threshold with the largest sensitivity + specificity − 1 (Youden, Cancer 1950).

    It lies half-way between the lowest probability it calls positive and the next lower one, so that images
    slightly off either are still called the same. Of equally good ones it is the lowest, which misses fewest.

    Args:
        reference: shape (N,); which rows are covid.
        probability: shape (N,); P(covid).

    Raises:
        InputError: Only one class is there.
    """
    _check(reference, probability)
    scores = np.unique(probability)
    positive = np.sort(probability[reference])
    negative = np.sort(probability[~reference])
    # For the threshold scores[i]: positives at or above it, negatives below it.
    sensitivity = 1.0 - np.searchsorted(positive, scores, side="left") / len(positive)
    specificity = np.searchsorted(negative, scores, side="left") / len(negative)
    best = int(np.argmax(np.round(sensitivity + specificity, 12)))  # rounded: equal sums stay equal
    between = float(scores[max(best - 1, 0)] + scores[best]) / 2
    # Neighbouring floats have nothing between them, and nothing lies below the lowest score.
    return between if best and between > scores[best - 1] else float(scores[best])


def sensitivity_threshold(
    reference: BoolArray, probability: FloatArray, target: float, units: Sequence[str] | None = None
) -> float:
    """The largest threshold at which at least ``target`` of new covid rows are expected to be called positive.

    The k-th highest of n covid rows finds k/n of these and, on average over sets of rows, k/(n + 1) of new ones: new
    rows may fall below, as one of n + 1 places. Rows of P patients are only as good as P: k/n · P/(P + 1), and k is the
    smallest for which that is the target. Where even k = n falls short, the lowest covid row is taken. On average is
    no guarantee: that needs the certified thresholds of triage.

    Args:
        reference: shape (N,); which rows are covid.
        probability: shape (N,); P(covid).
        target: Sensitivity wanted, above 0 and at most 1.
        units: The N rows' patients; one each where ``None``.

    Raises:
        InputError: The target is out of range or only one class is there.
    """
    if not 0.0 < target <= 1.0:
        msg = f"target sensitivity {target} is out of range; give one above 0 and at most 1"
        raise InputError(msg)
    _check(reference, probability)
    positive = np.sort(probability[reference])[::-1]
    patients = len(positive) if units is None else len(set(np.array(units)[reference].tolist()))
    called = math.ceil(target * len(positive) * (patients + 1) / patients - 1e-9)  # 0.07 · 100 is a little above 7
    return float(positive[min(called, len(positive)) - 1])


def left_out_rates(
    choose: Choose,
    reference: BoolArray,
    probability: FloatArray,
    units: Sequence[str],
) -> dict[str, list[float]]:
    """Sensitivity and specificity on the rows a threshold is chosen on, and on patients left out of the choice.

    The first flatters, since the threshold suits these very rows; the second, from ten folds, says by how much.

    Args:
        choose: A way to choose from rows' references, probabilities and patients.
        reference: shape (N,); which rows are covid.
        probability: shape (N,); P(covid).
        units: The N rows' patients.

    Returns:
        By name, both shares; empty where a class has fewer than two patients.

    Raises:
        InputError: Only one class is there.
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.model_selection import StratifiedGroupKFold
    except ImportError as error:
        raise MissingExtraError("evaluate", "judging an operating point") from error
    names = np.array(units)
    folds = min(_FOLDS, *(len(set(names[of].tolist())) for of in (reference, ~reference)))
    if folds < 2:
        return {}
    called = probability >= choose(reference, probability, units)
    others = np.zeros(len(reference), dtype=bool)
    dealt = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    for inside, outside in dealt.split(probability, reference, groups=names):
        if reference[inside].all() or not reference[inside].any():
            return {}
        others[outside] = probability[outside] >= choose(reference[inside], probability[inside], names[inside].tolist())
    return {
        name: [float(np.mean(answers[of] == is_called)) for answers in (called, others)]
        for name, of, is_called in (("sensitivity", reference, True), ("specificity", ~reference, False))
    }


def _check(reference: BoolArray, probability: FloatArray) -> None:
    positives = int(np.sum(reference))
    if positives in {0, len(reference)} or np.isnan(probability).any():
        msg = (
            f"no threshold can be chosen on {len(reference)} rows with {positives} covid rows; "
            "both classes must be there and every row answered"
        )
        raise InputError(msg)
