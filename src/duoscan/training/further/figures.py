"""How well a further head does on patients left out, and how wide the interval of a score must be."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.evaluation.delong import delong_auroc
from duoscan.evaluation.intervals import bootstrap
from duoscan.evaluation.metrics import Means
from duoscan.inference.calibrator import softmax
from duoscan.inference.heads import middle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from duoscan.training.further.fits import FloatArray

COVERAGE = 0.9


class WeightedKappa:
    """Cohen's kappa with weights (Cohen, Psychological Bulletin 1968), as ``quadratic_kappa`` and ``linear_kappa``.

    Args:
        reference: Places of categories, shape (N,).
        answer: The same as answered.
        count: Of the categories.
    """

    def __init__(self, reference: NDArray[np.int64], answer: NDArray[np.int64], count: int) -> None:
        self._cells = np.eye(count * count)[reference * count + answer]  # N × cells of the confusion matrix
        self._count = count

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        """Both for weights of shape (R, N), shape (R,)."""
        table = (weights @ self._cells).reshape(-1, self._count, self._count)
        table = table / table.sum(axis=(1, 2), keepdims=True)
        chance = table.sum(2)[:, :, None] * table.sum(1)[:, None, :]
        apart = np.abs(np.subtract.outer(np.arange(self._count), np.arange(self._count))).astype(np.float64)
        found = {}
        for name, cost in (("quadratic_kappa", apart**2), ("linear_kappa", apart)):
            expected = (chance * cost).sum(axis=(1, 2))
            with np.errstate(invalid="ignore", divide="ignore"):
                found[name] = 1.0 - (table * cost).sum(axis=(1, 2)) / expected
        return found

    def denominators(self) -> dict[str, NDArray[np.bool_]]:
        """None is a proportion."""
        return {}


def category_figures(
    outputs: NDArray[np.float32], reference: FloatArray, units: Sequence[str], categories: Sequence[str], seed: int
) -> dict[str, Any]:
    """AUROC of each category against the others, and weighted kappa of the middle one, with 95 % intervals.

    Args:
        outputs: Logits, shape (N, K).
        reference: Places of the categories, shape (N,).
        units: The N images' patients.
        categories: K, in rising order: that is what the weights of kappa mean.
        seed: Of the bootstrap.
    """
    probabilities, truth = softmax(outputs), reference.astype(np.int64)
    auroc = {
        category: delong_auroc(truth == place, probabilities[:, place], units).to_json()
        for place, category in enumerate(categories)
        if 0 < (truth == place).sum() < len(truth)
    }
    answer = np.array([middle(row) for row in probabilities], np.int64)
    kappa = bootstrap(WeightedKappa(truth, answer, len(categories)), units, seed=seed)
    return {"auroc": auroc} | {name: estimate.to_json() for name, estimate in kappa.items()}


def score_figures(
    outputs: NDArray[np.float32],
    reference: FloatArray,
    units: Sequence[str],
    scale: tuple[float, float],
    seed: int,
) -> dict[str, Any]:
    """Mean absolute error with its 95 % interval, and that of telling everybody the median.

    Args:
        outputs: Scores, shape (N, 1).
        reference: shape (N,).
        units: The N images' patients.
        scale: Its ends; what is told is cut to it.
        seed: Of the bootstrap.
    """
    errors = {
        "mean_absolute_error": np.abs(outputs[:, 0].clip(*scale) - reference),
        "of_the_median": np.abs(np.median(reference) - reference),
    }
    return {name: estimate.to_json() for name, estimate in bootstrap(Means(errors), units, seed=seed).items()}


def half_width(errors: FloatArray, units: Sequence[str], coverage: float = COVERAGE) -> float:
    """Half the width of an interval that holds the score of a new patient's image with this chance.

    Split-conformal prediction over patients: each patient counts once, spread over the images, and the new patient is
    counted as one beyond all (Dunn, Wasserman and Ramdas, JASA 2022, "pooling CDFs"). The errors are those of heads
    that did not see the patient.

    Args:
        errors: Absolute errors, shape (N,).
        units: The N images' patients.
        coverage: The chance, below 1.

    Raises:
        ValueError: There are too few patients for it.
    """
    images = Counter(units)
    share = np.array([1 / images[unit] for unit in units]) / (len(images) + 1)
    order = np.argsort(errors)
    reached = np.flatnonzero(np.cumsum(share[order]) >= coverage - 1e-12)
    if not reached.size:
        msg = f"{len(images)} patients are too few for intervals that hold {coverage:.0%}"
        raise ValueError(msg)
    return float(errors[order[reached[0]]])
