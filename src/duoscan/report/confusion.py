"""The normalised confusion matrix of a model of several classes, each share with its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from duoscan.evaluation.intervals import Estimate, bootstrap
from duoscan.evaluation.metrics import ratio
from duoscan.evaluation.sample import measurable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.evaluation.evaluate import Evaluation
    from duoscan.evaluation.sample import BoolArray, FloatArray
    from duoscan.predictions import Prediction


class ConfusionShares:
    """Of the rows of each class, the share that gets each answer; a metric set named ``truth/answer``.

    Args:
        cells: For each name the rows of the class, shape (N,), and those among them that get the answer.
    """

    def __init__(self, cells: dict[str, tuple[BoolArray, BoolArray]]) -> None:
        self._cells = cells

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        """The shares for weights of shape (R, N), each of shape (R,)."""
        return {name: ratio(weights @ hits, weights @ own) for name, (own, hits) in self._cells.items()}

    def denominators(self) -> dict[str, BoolArray]:
        """The rows of the class."""
        return {name: own for name, (own, _) in self._cells.items()}


def class_shares(predictions: Sequence[Prediction], evaluation: Evaluation) -> list[list[Estimate]]:
    """Share of each reference class (row) that gets each answer (column); empty for a model of two classes.

    The diagonal equals the sensitivities of the evaluation, intervals included.
    """
    if evaluation.multiclass is None:
        return []
    classes = evaluation.multiclass.classes
    rows = [row for row in measurable(predictions) if row.label in classes and len(row.probabilities) == len(classes)]
    truth = np.array([row.label for row in rows])
    # max takes the first of equals, as the evaluation does
    said = np.array([max(classes, key=row.probabilities.__getitem__) for row in rows])
    cells = {f"{a}/{b}": (truth == a, (truth == a) & (said == b)) for a in classes for b in classes}
    units = [row.unit for row in rows]
    shares = bootstrap(ConfusionShares(cells), units, resamples=evaluation.resamples, seed=evaluation.seed)
    return [[shares[f"{a}/{b}"] for b in classes] for a in classes]
