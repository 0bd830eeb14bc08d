"""Moving P(covid) of an image to where it means what it says, as stored in a bundle.

A calibrator is fitted on validation predictions (:mod:`duoscan.evaluation.calibrators`) and only applied here, with
numpy alone. Operating points are chosen on the model's own P(covid) and go on to be compared with that, so a stored
calibrator changes no decision. One fitted on single images says nothing of studies, since the most suspicious image of
a study, or the mean of several, is no single image; studies have a calibrator of their own, fitted after their images
are joined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from duoscan.settings import Stated
from duoscan.terms import Probability

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOGIT_FLOOR = 1e-7  # P(covid) of 0 and 1 have no logit; float32 cannot tell 1 − 6e-8 from 1


def logit(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural log of the odds; probabilities nearer to 0 or 1 than ``LOGIT_FLOOR`` count as that near."""
    inside = np.clip(probability, LOGIT_FLOOR, 1.0 - LOGIT_FLOOR)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def expit(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probability with these log odds."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * log_odds)))


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities (N, K) of logits (N, K)."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


class _Fitted(Stated):
    images: int = Field(ge=1, description="validation images, or studies, it was fitted on")
    patients: int = Field(ge=1, description="patients those show")


class TemperatureCalibration(_Fitted):
    """The logit of P(covid) divided by one number (Guo et al., ICML 2017); above 1 takes confidence away.

    Example:
        >>> TemperatureCalibration(temperature=2.0, images=9, patients=9).apply(np.array([0.5, 0.9])).round(3).tolist()
        [0.5, 0.75]
    """

    kind: Literal["temperature"] = "temperature"
    temperature: float = Field(gt=0.0)

    def apply(self, probability: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrated P(covid) for P(covid), any shape."""
        return expit(logit(probability) / self.temperature)


class PlattCalibration(_Fitted):
    """A line on the logit of P(covid) (Platt 1999); moves what is off to one side, as the highest of many images is.

    Example:
        >>> moved = PlattCalibration(slope=1.0, intercept=float(-np.log(9)), images=9, patients=9)
        >>> moved.apply(np.array([0.5, 0.9])).round(3).tolist()
        [0.1, 0.5]
    """

    kind: Literal["platt"] = "platt"
    slope: float = Field(gt=0.0)
    intercept: float

    def apply(self, probability: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrated P(covid) for P(covid), any shape."""
        return expit(self.slope * logit(probability) + self.intercept)


class IsotonicCalibration(_Fitted):
    """A rising curve through knots, straight between them and level beyond (Zadrozny and Elkan, KDD 2002)."""

    kind: Literal["isotonic"] = "isotonic"
    probability: tuple[Probability, ...] = Field(min_length=1, description="knots on P(covid), rising")
    calibrated: tuple[Probability, ...] = Field(description="calibrated P(covid) at each knot, never falling")

    @model_validator(mode="after")
    def _check(self) -> IsotonicCalibration:
        knots, values = np.array(self.probability), np.array(self.calibrated)
        if knots.shape != values.shape:
            msg = f"{len(knots)} knots and {len(values)} values; give one value a knot"
            raise ValueError(msg)
        if np.any(np.diff(knots) <= 0.0) or np.any(np.diff(values) < 0.0):
            msg = "knots must rise and values must not fall"
            raise ValueError(msg)
        return self

    def apply(self, probability: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrated P(covid) for P(covid), any shape."""
        return np.asarray(np.interp(probability, self.probability, self.calibrated))


AnyCalibration = TemperatureCalibration | PlattCalibration | IsotonicCalibration
Calibration = Annotated[AnyCalibration, Field(discriminator="kind")]
