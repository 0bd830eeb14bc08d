"""How far a model's answers move when its images are changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from duoscan.evaluation.sample import BoolArray, FloatArray


class Moved:
    """Mean and spread of the change of P(covid), and the share of decisions that flip.

    Args:
        before: shape (N,); P(covid) of the images as they are.
        after: shape (N,); of the same images, changed.
        threshold: A probability at or above it is called positive.
    """

    def __init__(self, before: FloatArray, after: FloatArray, threshold: float) -> None:
        self._change = after - before
        self._flips = (before >= threshold) != (after >= threshold)

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        """Metrics for weights of shape (R, N), each of shape (R,); ``spread`` is the standard deviation."""
        total = weights.sum(axis=1)
        mean, square = (weights @ values / total for values in (self._change, self._change**2))
        # Rounding may leave a variance just below 0 where all changes are alike.
        spread = np.sqrt(np.maximum(square - mean**2, 0.0))
        return {"change": mean, "spread": spread, "flips": weights @ self._flips / total}

    def denominators(self) -> dict[str, BoolArray]:
        """Flips are a proportion of all rows."""
        return {"flips": np.ones_like(self._flips)}
