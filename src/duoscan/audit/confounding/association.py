"""How strongly two attributes of patients go together: bias-corrected Cramér's V with its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from duoscan.evaluation.metrics import ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.evaluation.sample import BoolArray, FloatArray, IntArray


class CramersV:
    """Cramér's V of two attributes, corrected for its bias in small tables, as metric ``cramers_v``.

    0 means that knowing the one tells nothing of the other, 1 that it tells all. The plain V is above 0 by
    chance alone, the more so the fewer rows there are; the correction subtracts what chance gives (Bergsma,
    Journal of the Korean Statistical Society 2013). ``scipy.stats.contingency.association`` has the plain V
    only, and a test holds the two together.

    Rows should be patients, since images of one patient are no independent trials.

    Args:
        first: shape (N,); index of the first attribute's value.
        second: shape (N,); index of the second's.
    """

    def __init__(self, first: IntArray, second: IntArray) -> None:
        self._shape = (int(first.max()) + 1, int(second.max()) + 1)
        cell = first * self._shape[1] + second
        self._in_cell = np.eye(self._shape[0] * self._shape[1])[cell]  # (N, cells)

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        """V for weights of shape (R, N), shape (R,); ``nan`` where an attribute has one value only."""
        tables = (weights @ self._in_cell).reshape(-1, *self._shape)
        total = tables.sum(axis=(1, 2))
        rows, columns = tables.sum(axis=2), tables.sum(axis=1)
        expected = rows[:, :, None] * columns[:, None, :] / total[:, None, None]
        # A value that a resample does not hold takes no part in its table.
        held = expected > 0
        squares = np.divide((tables - expected) ** 2, expected, out=np.zeros_like(tables), where=held)
        phi_squared = squares.sum(axis=(1, 2)) / total
        r, k = (rows > 0).sum(axis=1).astype(np.float64), (columns > 0).sum(axis=1).astype(np.float64)
        corrected = np.maximum(0.0, phi_squared - (r - 1) * (k - 1) / (total - 1))
        smaller = np.minimum(r - (r - 1) ** 2 / (total - 1), k - (k - 1) ** 2 / (total - 1)) - 1
        return {"cramers_v": np.sqrt(np.minimum(ratio(corrected, smaller), 1.0))}

    def denominators(self) -> dict[str, BoolArray]:
        """V is no proportion of rows."""
        return {}


def smallest_seen(rows: int, shape: tuple[int, int], alpha: float, power: float = 0.8) -> float:
    """Cramér's V from which Pearson's test finds an association in ``power`` of all samples; ``inf`` where never.

    By the noncentral chi-squared law, of which rows · V² · (smaller side − 1) is the noncentrality (Cohen 1988, ch. 7).

    Args:
        rows: Patients.
        shape: Values of either attribute, each at least 2.
        alpha: Of the test.
        power: From 0 to 1.
    """
    from scipy.optimize import brentq
    from scipy.stats import chi2, ncx2

    freedom = (shape[0] - 1) * (shape[1] - 1)
    scale, limit = rows * (min(shape) - 1), chi2.isf(alpha, freedom)

    def missing(v: float) -> float:
        return power - float(ncx2.sf(limit, freedom, scale * v**2))

    return float(brentq(missing, 1e-6, 1.0)) if missing(1.0) < 0 else float("inf")


def indices(values: Sequence[str]) -> tuple[IntArray, list[str]]:
    """Index (N,) of each value among the sorted distinct values, and those values."""
    names, index = np.unique(np.asarray(values, dtype=np.str_), return_inverse=True)
    return index.astype(np.int64), [str(name) for name in names]


def independence_p(first: IntArray, second: IntArray) -> float:
    """p-value of Pearson's test that two attributes are independent; 1 where one has a single value."""
    from scipy.stats import chi2_contingency

    table = np.zeros((int(first.max()) + 1, int(second.max()) + 1))
    np.add.at(table, (first, second), 1)
    if min(table.shape) < 2:
        return 1.0
    return float(chi2_contingency(table, correction=False).pvalue)
