"""Linear heads by regularised regression on pooled features; how strongly, cross-validation over patients chooses."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from duoscan.inference.calibrator import softmax
from duoscan.manifest.dealing import deal

if TYPE_CHECKING:
    from collections.abc import Sequence

FloatArray = NDArray[np.float64]

FOLDS = 5
_SMALLEST_SCALE = 0.1  # of the mean standard deviation: a feature that is hardly ever on would get a huge weight
_LEAST_PROBABILITY = 1e-12
_SCORE_STRATA = 4


class Problem(Protocol):
    """A kind of regression.

    Attributes:
        strengths: Penalties to choose from, on the sum of squared weights, against a summed loss, for features of
            standard deviation 1.
    """

    strengths: ClassVar[tuple[float, ...]]

    def solve(self, features: FloatArray, reference: FloatArray, strength: float) -> tuple[FloatArray, FloatArray]:
        """Weights (K, D) and bias (K,) for standardised features (N, D)."""
        ...

    def loss(self, outputs: FloatArray, reference: FloatArray) -> FloatArray:
        """Of each row, shape (N,), for outputs (N, K)."""
        ...

    def strata(self, reference: FloatArray) -> FloatArray:
        """What every fold should have its share of, shape (N,)."""
        ...


@dataclass(frozen=True)
class Categories:
    """Multinomial logistic regression; the reference is the place of a category.

    Attributes:
        count: K, of the categories.
    """

    strengths: ClassVar[tuple[float, ...]] = (1e1, 1e2, 1e3, 1e4, 1e5)
    count: int

    def solve(self, features: FloatArray, reference: FloatArray, strength: float) -> tuple[FloatArray, FloatArray]:
        """As of :class:`Problem`."""
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=1.0 / strength, max_iter=1000, tol=1e-3).fit(features, reference.astype(np.int64))
        weight, bias = np.zeros((self.count, features.shape[1])), np.zeros(self.count)
        # Of two categories, one line tells the log odds of the second.
        told = model.classes_ if self.count > 2 else model.classes_[1:]
        weight[told], bias[told] = model.coef_, model.intercept_
        return weight, bias

    def loss(self, outputs: FloatArray, reference: FloatArray) -> FloatArray:
        """Minus the log of the true category's probability."""
        given = softmax(outputs.astype(np.float32))[np.arange(len(outputs)), reference.astype(np.int64)]
        return np.asarray(-np.log(np.maximum(given, _LEAST_PROBABILITY)))

    def strata(self, reference: FloatArray) -> FloatArray:
        """The categories."""
        return reference


@dataclass(frozen=True)
class Score:
    """Ridge regression; the reference is the score itself."""

    strengths: ClassVar[tuple[float, ...]] = tuple(10.0 ** np.arange(-1.0, 6.5, 0.5))

    def solve(self, features: FloatArray, reference: FloatArray, strength: float) -> tuple[FloatArray, FloatArray]:
        """As of :class:`Problem`."""
        from sklearn.linear_model import Ridge

        model = Ridge(alpha=strength).fit(features, reference)
        return model.coef_[None], np.array([model.intercept_])

    def loss(self, outputs: FloatArray, reference: FloatArray) -> FloatArray:
        """The squared error."""
        return np.asarray((outputs[:, 0] - reference) ** 2)

    def strata(self, reference: FloatArray) -> FloatArray:
        """Quarters of the images by score."""
        return np.asarray(np.argsort(np.argsort(reference)) * _SCORE_STRATA // len(reference), np.float64)


@dataclass(frozen=True)
class LinearHead:
    """A map from pooled features to outputs.

    Attributes:
        weight: shape (K, D).
        bias: shape (K,).
        strength: Of the penalty.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    strength: float

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, D) → (N, K)."""
        return features @ self.weight.T + self.bias

    def rounded(self) -> LinearHead:
        """With weights in half precision, as a bundle stores them."""
        return replace(self, weight=self.weight.astype(np.float16).astype(np.float32))


def fit(
    problem: Problem, features: NDArray[np.float32], reference: FloatArray, units: Sequence[str], seed: int
) -> LinearHead:
    """The head with the penalty that does best on patients left out.

    Args:
        problem: Which kind of regression.
        features: Pooled features, shape (N, D).
        reference: shape (N,).
        units: The N images' patients.
        seed: Deals patients to folds.
    """
    folds = deal_folds(problem.strata(reference), units, seed)
    losses = np.zeros(len(problem.strengths))
    for fold in range(FOLDS):
        left = folds == fold
        for place, strength in enumerate(problem.strengths):
            head = _solved(problem, features[~left], reference[~left], strength)
            losses[place] += problem.loss(head(features[left]).astype(np.float64), reference[left]).sum()
    return _solved(problem, features, reference, problem.strengths[int(np.argmin(losses))])


def left_out(
    problem: Problem, features: NDArray[np.float32], reference: FloatArray, units: Sequence[str], seed: int
) -> NDArray[np.float32]:
    """What heads that never saw an image's patient, nor chose a penalty on it, say of each image, shape (N, K).

    Args as in :func:`fit`.
    """
    folds = deal_folds(problem.strata(reference), units, seed)
    parts = np.asarray(units)
    said: list[tuple[NDArray[np.bool_], NDArray[np.float32]]] = []
    for fold in range(FOLDS):
        left = folds == fold
        head = fit(problem, features[~left], reference[~left], parts[~left].tolist(), seed + 1)
        said.append((left, head(features[left])))
    outputs = np.zeros((len(features), said[0][1].shape[1]), np.float32)
    for left, part in said:
        outputs[left] = part
    return outputs


def deal_folds(strata: FloatArray, units: Sequence[str], seed: int) -> NDArray[np.int64]:
    """The fold of each image, shape (N,); a patient is in one, and every fold has its share of each stratum."""
    held: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for unit, stratum in zip(units, strata, strict=True):
        held[unit][(str(stratum),)] += 1
    part = deal(held, [1 / FOLDS] * FOLDS, seed, {})
    return np.array([part[unit] for unit in units], np.int64)


def _solved(problem: Problem, features: NDArray[np.float32], reference: FloatArray, strength: float) -> LinearHead:
    """Solve on standardised features, and write the standardisation into the weights."""
    mean, scale = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
    scale = np.maximum(scale, _SMALLEST_SCALE * scale.mean() + np.finfo(np.float32).tiny)
    slopes, bias = problem.solve((features - mean) / scale, reference, strength)
    weight = np.asarray(slopes / scale)
    return LinearHead(weight.astype(np.float32), np.asarray(bias - weight @ mean, np.float32), strength)
