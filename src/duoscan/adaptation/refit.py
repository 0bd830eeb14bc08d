"""Fitting the last layer anew on a site's patients, and whether that is worth it.

The log odds of covid, its logit less the log-sum-exp of the other classes' logits, are refitted by logistic regression
on the features. Two numbers come first: a scale of all logits and a shift of covid's, which recalibrate and rank almost
as before. What goes beyond them is a change of covid's weights under a ridge penalty, so that the weights are pulled to
the present ones (Daumé III 2007; Li, Grandvalet and Davoine, ICML 2018: L2-SP). Only covid's row changes beyond the
scale, so any labels will do, whatever classes the model has, and the others keep their order.

A change is taken only where it helps beyond chance: on patients left out of the fit, the upper limit of what it adds
to the log loss of the two numbers alone lies below 0, all strengths together at level 0.05, and the AUROC is higher.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from duoscan.adaptation.recalibration import patient_weights
from duoscan.errors import MissingExtraError
from duoscan.evaluation.calibrators import COLDEST, FOLDS, HOTTEST, LEVEL, log_losses, mean_at_most
from duoscan.evaluation.delong import delong_auroc
from duoscan.inference.calibrator import expit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from duoscan.evaluation.sample import BoolArray, FloatArray, IntArray

STRENGTHS = (3.0, 10.0, 30.0)
"""Standard deviation that the change of an image's log odds may have before anything is seen; 1 over the penalty."""
_GRADIENT = 1e-5
_SMALLEST = 1e-6  # spread along an axis, relative to the largest; below it is rounding


@dataclass(frozen=True)
class Images:
    """N images of a site.

    Attributes:
        reference: shape (N,); whether the label is covid.
        units: N keys of patients.
        covid: shape (N,); covid's logit.
        others: shape (N, K − 1); the other classes' logits.
        features: shape (N, D), or coordinates of the same distances.
    """

    reference: BoolArray
    units: tuple[str, ...]
    covid: FloatArray
    others: FloatArray
    features: FloatArray

    def __len__(self) -> int:
        return len(self.units)

    def where(self, rows: BoolArray | IntArray) -> Images:
        """The chosen images."""
        units = tuple(np.array(self.units)[rows].tolist())
        return Images(self.reference[rows], units, self.covid[rows], self.others[rows], self.features[rows])

    def log_odds(self, scale: float = 1.0) -> FloatArray:
        """Of covid against all other classes together, all logits multiplied by the scale; shape (N,)."""
        return np.asarray(scale * self.covid - np.logaddexp.reduce(scale * self.others, axis=1))


@dataclass(frozen=True)
class Change:
    """What becomes of the last layer: log odds = log odds of the scaled logits + shift + features · weight.

    Attributes:
        scale: Of all logits, above 0.
        shift: Of covid's logit.
        weight: shape (D,); added to covid's scaled weights.
    """

    scale: float
    shift: float
    weight: FloatArray

    def log_odds(self, images: Images) -> FloatArray:
        """Of images after the change, shape (N,)."""
        return np.asarray(images.log_odds(self.scale) + self.shift + images.features @ self.weight)


@dataclass(frozen=True)
class RefitChoice:
    """Whether the last layer changes.

    Attributes:
        change: Fitted on all images that were given; ``None`` where the present weights stay.
        reason: Why, in one sentence.
    """

    change: Change | None
    reason: str


@dataclass(frozen=True)
class Reduced:
    """Features (N, D) in the space they span: coordinates = (features − mean) · axes.

    A ridge penalty sees distances alone, so a fit on N images needs at most N coordinates. They are scaled so that a
    strength is the spread of a change of log odds.

    Attributes:
        coordinates: shape (N, R).
        mean: shape (D,).
        axes: shape (D, R).
    """

    coordinates: FloatArray
    mean: FloatArray
    axes: FloatArray

    @classmethod
    def of(cls, features: FloatArray) -> Reduced:
        """Of features, shape (N, D)."""
        mean = features.mean(axis=0)
        left, sizes, directions = np.linalg.svd(features - mean, full_matrices=False)
        kept = sizes > sizes.max(initial=0.0) * _SMALLEST
        spread = float(np.sqrt(np.sum(sizes**2) / len(features))) or 1.0
        return cls(left[:, kept] * sizes[kept] / spread, mean, directions[kept].T / spread)


def choose_refit(images: Images, seed: int = 0) -> RefitChoice:
    """The change of the last layer that helps beyond chance, if any.

    Args:
        images: Of both classes, of five patients or more each.
        seed: Deals the patients into folds.

    Raises:
        MissingExtraError: scipy or scikit-learn is not installed.
    """
    plain, *tried = (expit(of) for of in _left_out(images, seed))
    losses = log_losses(images.reference, plain)
    area = delong_auroc(images.reference, plain, images.units).value
    better: list[tuple[float, float, float, float]] = []
    for strength, values in zip(STRENGTHS, tried, strict=True):
        own = log_losses(images.reference, values)
        at_most = mean_at_most(own - losses, images.units, LEVEL / len(STRENGTHS))
        own_area = delong_auroc(images.reference, values, images.units).value
        if at_most < 0.0 and own_area > area:
            better.append((float(own.mean()), strength, at_most, own_area))
    if not better:
        why = "no change of the last layer lowers the log loss on patients left out of it beyond chance"
        return RefitChoice(None, f"{why}; its weights stay")
    loss, strength, at_most, own_area = min(better)
    reason = (
        f"new weights of the last layer lower the log loss on left-out patients from {losses.mean():.3f} (recalibrated "
        f"alone) to {loss:.3f}, by at least {-at_most:.3f} (one-sided level {LEVEL:g}), and raise the AUROC from "
        f"{area:.3f} to {own_area:.3f}"
    )
    return RefitChoice(fit_change(images, strength), reason)


def fit_change(images: Images, strength: float) -> Change:
    """Scale and shift, and beyond them weights of the lowest penalised log loss; each patient counts once.

    Args:
        images: Of both classes.
        strength: As in ``STRENGTHS``; 0 for scale and shift alone.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    weights = patient_weights(images.units)
    scale, shift = _scale_and_shift(images, weights)
    if not strength:
        return Change(scale, shift, np.zeros(images.features.shape[1]))
    offset = images.log_odds(scale)
    penalty = 1.0 / strength**2

    def loss(at: FloatArray) -> tuple[float, FloatArray]:
        log_odds = offset + at[0] + images.features @ at[1:]
        off = weights * (expit(log_odds) - images.reference)
        value = weights @ (np.logaddexp(0.0, log_odds) - images.reference * log_odds) + penalty / 2 * at[1:] @ at[1:]
        return float(value), np.concatenate([[off.sum()], images.features.T @ off + penalty * at[1:]])

    start = np.concatenate([[shift], np.zeros(images.features.shape[1])])
    found = _minimise(loss, start)
    return Change(scale, float(found[0]), np.asarray(found[1:]))


def _scale_and_shift(images: Images, weights: FloatArray) -> tuple[float, float]:
    """As Platt fits them, against his targets in place of 0 and 1."""
    counts = {of: float(weights[images.reference == of].sum()) for of in (True, False)}
    high, low = (counts[True] + 1.0) / (counts[True] + 2.0), 1.0 / (counts[False] + 2.0)
    target = np.where(images.reference, high, low)

    def loss(at: FloatArray) -> tuple[float, FloatArray]:
        scale = float(at[0])
        of_others = scale * images.others
        joined = np.logaddexp.reduce(of_others, axis=1)
        log_odds = scale * images.covid - joined + at[1]
        slope = images.covid - np.sum(np.exp(of_others - joined[:, None]) * images.others, axis=1)
        off = weights * (expit(log_odds) - target)
        return float(weights @ (np.logaddexp(0.0, log_odds) - target * log_odds)), np.array([off @ slope, off.sum()])

    scale, shift = _minimise(loss, np.array([1.0, 0.0]), [(1.0 / HOTTEST, 1.0 / COLDEST), (None, None)])
    return float(scale), float(shift)


def _left_out(images: Images, seed: int) -> Iterator[FloatArray]:
    """Log odds (N,) by fits on other patients: of scale and shift alone, then of each strength."""
    try:
        from sklearn.model_selection import StratifiedGroupKFold
    except ImportError as error:
        raise MissingExtraError("evaluate", "choosing a last layer") from error
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    parts = list(folds.split(images.features, images.reference, groups=np.array(images.units)))
    for strength in (0.0, *STRENGTHS):
        values = np.empty(len(images))
        for inside, outside in parts:
            values[outside] = fit_change(images.where(inside), strength).log_odds(images.where(outside))
        yield values


def _minimise(
    loss: object, start: FloatArray, bounds: Sequence[tuple[float | None, float | None]] | None = None
) -> FloatArray:
    try:
        from scipy.optimize import minimize
    except ImportError as error:
        raise MissingExtraError("evaluate", "fitting a last layer") from error
    options = {"gtol": _GRADIENT, "maxiter": 500}
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x)
