"""Choosing an operating point. Do it on validation predictions only, never on what is then reported."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from duoscan.errors import InputError

if TYPE_CHECKING:
    from duoscan.evaluation.sample import BoolArray, FloatArray


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


def sensitivity_threshold(reference: BoolArray, probability: FloatArray, target: float) -> float:
    """The largest threshold at which at least ``target`` of the covid rows are called positive.

    The sensitivity is that of these rows; on new patients it may be lower. A guarantee needs the certified
    thresholds of triage.

    Args:
        reference: shape (N,); which rows are covid.
        probability: shape (N,); P(covid).
        target: Sensitivity wanted, above 0 and at most 1.

    Raises:
        InputError: The target is out of range or only one class is there.
    """
    if not 0.0 < target <= 1.0:
        msg = f"target sensitivity {target} is out of range; give one above 0 and at most 1"
        raise InputError(msg)
    _check(reference, probability)
    positive = np.sort(probability[reference])[::-1]
    called = math.ceil(target * len(positive))
    if (called - 1) / len(positive) >= target:  # 0.07 · 100 is a little above 7
        called -= 1
    return float(positive[called - 1])


def _check(reference: BoolArray, probability: FloatArray) -> None:
    positives = int(np.sum(reference))
    if positives in {0, len(reference)} or np.isnan(probability).any():
        msg = (
            f"no threshold can be chosen on {len(reference)} rows with {positives} covid rows; "
            "both classes must be there and every row answered"
        )
        raise InputError(msg)
