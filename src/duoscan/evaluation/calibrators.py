"""Fitting a calibrator on validation predictions, and choosing whether one is worth it.

Never fit one on rows that are then reported: a calibrator that has seen them shows what it remembers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import InputError, MissingExtraError
from duoscan.evaluation.sample import sample_of
from duoscan.inference.calibration import (
    IsotonicCalibration,
    TemperatureCalibration,
    expit,
    logit,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from duoscan.evaluation.sample import BoolArray, FloatArray, IntArray, Sample
    from duoscan.predictions import Prediction

    Fit = Callable[[BoolArray, FloatArray, Sequence[str]], TemperatureCalibration | IsotonicCalibration]

FOLDS = 5
LEAST_PATIENTS = 20  # of each class; fewer cannot tell a calibrator from chance
COLDEST, HOTTEST = 0.02, 50.0
NONE = "none"


@dataclass(frozen=True)
class Candidate:
    """One way to calibrate, as it did on patients left out of its fit.

    Attributes:
        name: ``none``, ``temperature`` or ``isotonic``.
        log_loss: Mean over the validation images.
        brier_score: The same.
    """

    name: str
    log_loss: float
    brier_score: float


@dataclass(frozen=True)
class CalibratorChoice:
    """What was chosen on validation, and between what.

    Attributes:
        name: The chosen candidate.
        calibration: Fitted on all validation images; ``None`` where P(covid) is left as it is.
        candidates: All that were tried; empty where there were too few patients to try.
        reason: Why this one, in one sentence.
    """

    name: str
    calibration: TemperatureCalibration | IsotonicCalibration | None
    candidates: tuple[Candidate, ...]
    reason: str

    def apply(self, sample: Sample) -> Sample:
        """The same rows with calibrated probabilities and the decisions they had."""
        if self.calibration is None:
            return sample
        return replace(sample, probability=self.calibration.apply(sample.probability))

    def to_json(self) -> dict[str, Any]:
        """As in files."""
        return {
            "name": self.name,
            "reason": self.reason,
            "calibration": None if self.calibration is None else self.calibration.model_dump(mode="json"),
            "candidates": [dict(vars(one)) for one in self.candidates],
        }


def fit_temperature(reference: BoolArray, probability: FloatArray, units: Sequence[str]) -> TemperatureCalibration:
    """The temperature of the lowest log loss, from 0.02 to 50.

    Args:
        reference: shape (N,); which rows are covid.
        probability: shape (N,); P(covid).
        units: The N rows' patients.

    Raises:
        InputError: Only one class is there.
        MissingExtraError: scipy is not installed.
    """
    try:
        from scipy.optimize import minimize_scalar
    except ImportError as error:
        raise MissingExtraError("evaluate", "fitting a calibrator") from error
    _check_classes(reference)
    log_odds = logit(probability)

    def loss(log_temperature: float) -> float:
        scaled = log_odds * np.exp(-log_temperature)
        return float(np.mean(np.logaddexp(0.0, np.where(reference, -scaled, scaled))))

    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded", options={"xatol": 1e-8})
    return TemperatureCalibration(temperature=float(np.exp(found.x)), images=len(reference), patients=len(set(units)))


def fit_isotonic(reference: BoolArray, probability: FloatArray, units: Sequence[str]) -> IsotonicCalibration:
    """The rising step curve nearest to the reference, kept off 0 and 1.

    That no covid was seen among n patients does not make it impossible, so no value lies below 1/(n + 2) or above
    1 − 1/(n + 2), Laplace's rule of succession for all patients together.

    Args:
        reference: shape (N,); which rows are covid.
        probability: shape (N,); P(covid).
        units: The N rows' patients.

    Raises:
        InputError: Only one class is there.
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.isotonic import IsotonicRegression
    except ImportError as error:
        raise MissingExtraError("evaluate", "fitting a calibrator") from error
    _check_classes(reference)
    patients = len(set(units))
    floor = 1.0 / (patients + 2.0)
    curve = IsotonicRegression(y_min=floor, y_max=1.0 - floor).fit(probability, reference.astype(np.float64))
    return IsotonicCalibration(
        probability=tuple(map(float, curve.X_thresholds_)),
        calibrated=tuple(map(float, curve.y_thresholds_)),
        images=len(reference),
        patients=patients,
    )


FITS: dict[str, Fit] = {"temperature": fit_temperature, "isotonic": fit_isotonic}


def choose_calibrator(validation: Sequence[Prediction], *, seed: int = 0) -> CalibratorChoice:
    """None, temperature or isotonic, by log loss on validation patients left out of the fit.

    A calibrator is taken only if both its log loss and its Brier score are below those of leaving P(covid) alone;
    of two such, the one of lower log loss.

    Args:
        validation: Predictions of the validation part, no other.
        seed: Deals the patients into folds.

    Raises:
        PredictionsError: No row can be measured.
        MissingExtraError: scipy or scikit-learn is not installed.
    """
    sample = sample_of(validation, threshold=None)
    classes = [
        len({unit for unit, is_in in zip(sample.units, rows, strict=True) if is_in})
        for rows in (sample.reference, ~sample.reference)
    ]
    if min(classes) < LEAST_PATIENTS:
        reason = (
            f"validation has {classes[0]} patients with covid and {classes[1]} without; "
            f"a calibrator needs {LEAST_PATIENTS} of each"
        )
        return CalibratorChoice(NONE, None, (), reason)
    candidates = _cross_validated(sample, seed)
    plain = candidates[0]
    better = [one for one in candidates[1:] if one.log_loss < plain.log_loss and one.brier_score < plain.brier_score]
    if not better:
        reason = "no calibrator lowers both log loss and Brier score on patients left out of its fit"
        return CalibratorChoice(NONE, None, candidates, reason)
    best = min(better, key=lambda one: one.log_loss)
    calibration = FITS[best.name](sample.reference, sample.probability, sample.units)
    reason = (
        f"{best.name} lowers the log loss on left-out patients from {plain.log_loss:.3f} to {best.log_loss:.3f} "
        f"and the Brier score from {plain.brier_score:.3f} to {best.brier_score:.3f}"
    )
    return CalibratorChoice(best.name, calibration, candidates, reason)


def log_loss(reference: BoolArray, probability: FloatArray) -> float:
    """Mean negative log likelihood."""
    log_odds = logit(probability)
    return float(np.mean(np.logaddexp(0.0, np.where(reference, -log_odds, log_odds))))


def at_prevalence(probability: FloatArray, *, was: float, becomes: float) -> FloatArray:
    """P(covid) where covid is more or less common than where the model was calibrated.

    The odds are multiplied by the ratio of the two prevalences' odds (Saerens, Latinne and Decaestecker, Neural
    Computation 2002; Elkan, IJCAI 2001). That holds as long as covid looks the same in both places and only its
    share differs.

    Args:
        probability: Calibrated P(covid), any shape.
        was: Prevalence among the images it was calibrated on.
        becomes: Prevalence where it is to be used.

    Raises:
        InputError: A prevalence is not between 0 and 1.

    Example:
        >>> at_prevalence(np.array([0.5, 0.9]), was=0.5, becomes=0.1).round(3).tolist()
        [0.1, 0.5]
    """
    for prevalence in (was, becomes):
        if not 0.0 < prevalence < 1.0:
            msg = f"prevalence {prevalence:g} is out of range; give one between 0 and 1"
            raise InputError(msg)
    shift = np.log(becomes / (1.0 - becomes)) - np.log(was / (1.0 - was))
    return expit(logit(probability) + shift)


def _cross_validated(sample: Sample, seed: int) -> tuple[Candidate, ...]:
    try:
        from sklearn.model_selection import StratifiedGroupKFold
    except ImportError as error:
        raise MissingExtraError("evaluate", "choosing a calibrator") from error
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    left_out: dict[str, FloatArray] = {name: np.empty(len(sample)) for name in FITS}
    units = np.array(sample.units)
    parts: list[tuple[IntArray, IntArray]] = list(folds.split(units, sample.reference, groups=units))
    for inside, outside in parts:
        for name, fit in FITS.items():
            fitted = fit(sample.reference[inside], sample.probability[inside], units[inside].tolist())
            left_out[name][outside] = fitted.apply(sample.probability[outside])
    return tuple(
        Candidate(name, log_loss(sample.reference, values), float(np.mean((sample.reference - values) ** 2)))
        for name, values in ({NONE: sample.probability} | left_out).items()
    )


def _check_classes(reference: BoolArray) -> None:
    positives = int(np.sum(reference))
    if positives in {0, len(reference)}:
        msg = f"no calibrator can be fitted on {len(reference)} rows with {positives} covid rows; both must be there"
        raise InputError(msg)
