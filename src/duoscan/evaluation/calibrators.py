"""Fitting a calibrator on validation predictions, and choosing whether one is worth it.

Never fit one on rows that are then reported: a calibrator that has seen them shows what it remembers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import InputError, MissingExtraError
from duoscan.evaluation.sample import sample_of
from duoscan.inference.calibrator import (
    IsotonicCalibration,
    PlattCalibration,
    TemperatureCalibration,
    expit,
    logit,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from duoscan.evaluation.sample import BoolArray, FloatArray, IntArray, Sample
    from duoscan.inference.calibrator import AnyCalibration
    from duoscan.predictions import Prediction

    Fit = Callable[[BoolArray, FloatArray, Sequence[str]], AnyCalibration]

FOLDS = 5
LEAST_PATIENTS = 20  # of each class; fewer cannot tell a calibrator from chance
COLDEST, HOTTEST = 0.02, 50.0
NONE = "none"
LEVEL = 0.05
"""Chance to take a calibrator that does not help, all candidates together."""


@dataclass(frozen=True)
class CalibratorCandidate:
    """One way to calibrate, as it did on patients left out of its fit.

    Attributes:
        name: ``none``, ``temperature``, ``platt`` or ``isotonic``.
        log_loss: Mean over the validation rows.
        brier_score: The same.
        added_loss_at_most: Upper limit, over patients, of its log loss less that of ``none``, at a one-sided level of
            0.05 over all candidates.
    """

    name: str
    log_loss: float
    brier_score: float
    added_loss_at_most: float = 0.0


@dataclass(frozen=True)
class CalibratorChoice:
    """What was chosen on validation, and between what.

    Attributes:
        name: The chosen candidate.
        calibration: Fitted on all validation rows; ``None`` where P(covid) is left as it is.
        candidates: All that were tried; empty where there were too few patients to try.
        reason: Why this one, in one sentence.
    """

    name: str
    calibration: AnyCalibration | None
    candidates: tuple[CalibratorCandidate, ...]
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


def fit_platt(reference: BoolArray, probability: FloatArray, units: Sequence[str]) -> PlattCalibration:
    """Slope and intercept of the lowest log loss, against Platt's targets in place of 0 and 1.

    A target is the rate that the rule of succession expects of n rows of one class, (n + 1)/(n + 2) or 1/(n + 2), so
    that classes which do not overlap give no certainty. The slope is kept from 0.02 to 50.

    Args:
        reference: shape (N,); which rows are covid.
        probability: shape (N,); P(covid).
        units: The N rows' patients.

    Raises:
        InputError: Only one class is there.
        MissingExtraError: scipy is not installed.
    """
    try:
        from scipy.optimize import minimize
    except ImportError as error:
        raise MissingExtraError("evaluate", "fitting a calibrator") from error
    _check_classes(reference)
    log_odds = logit(probability)
    covid, others = int(reference.sum()), int((~reference).sum())
    target = np.where(reference, (covid + 1.0) / (covid + 2.0), 1.0 / (others + 2.0))

    def loss(line: FloatArray) -> tuple[float, FloatArray]:
        moved = line[0] * log_odds + line[1]
        off = expit(moved) - target
        return float(np.mean(np.logaddexp(0.0, moved) - target * moved)), np.array(
            [np.mean(off * log_odds), off.mean()]
        )

    bounds = [(1.0 / HOTTEST, 1.0 / COLDEST), (None, None)]
    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds)
    slope, intercept = map(float, found.x)
    return PlattCalibration(slope=slope, intercept=intercept, images=len(reference), patients=len(set(units)))


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
# Joining images moves P(covid) to one side (the highest of many is high), which no temperature can mend.
STUDY_FITS: dict[str, Fit] = {"platt": fit_platt, **FITS}


def choose_calibrator(
    validation: Sequence[Prediction], *, fits: Mapping[str, Fit] = FITS, seed: int = 0
) -> CalibratorChoice:
    """None or one of ``fits``, by log loss on validation patients left out of the fit.

    A calibrator is taken only where it helps beyond chance: the upper limit of what it adds to the log loss of
    leaving P(covid) alone lies below 0, and its Brier score is lower too. Of two such, the one of lower log loss.

    Args:
        validation: Predictions of the validation part, no other; for studies, one row each.
        fits: What may be chosen.
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
    values = left_out(sample, fits, seed)
    level = LEVEL / len(fits)
    plain = _candidate(NONE, sample, sample.probability)
    candidates = (plain, *(_candidate(name, sample, of, level) for name, of in values.items()))
    better = [one for one in candidates[1:] if one.added_loss_at_most < 0.0 and one.brier_score < plain.brier_score]
    if not better:
        reason = "no calibrator lowers log loss, beyond chance, and Brier score on patients left out of its fit"
        return CalibratorChoice(NONE, None, candidates, reason)
    best = min(better, key=lambda one: one.log_loss)
    calibration = fits[best.name](sample.reference, sample.probability, sample.units)
    reason = (
        f"{best.name} lowers the log loss on left-out patients from {plain.log_loss:.3f} to {best.log_loss:.3f}, by "
        f"at least {-best.added_loss_at_most:.3f} (one-sided level {LEVEL:g}), and the Brier score from "
        f"{plain.brier_score:.3f} to {best.brier_score:.3f}"
    )
    return CalibratorChoice(best.name, calibration, candidates, reason)


def log_loss(reference: BoolArray, probability: FloatArray) -> float:
    """Mean negative log likelihood."""
    return float(np.mean(log_losses(reference, probability)))


def log_losses(reference: BoolArray, probability: FloatArray) -> FloatArray:
    """Negative log likelihood of each row, shape (N,)."""
    log_odds = logit(probability)
    return np.asarray(np.logaddexp(0.0, np.where(reference, -log_odds, log_odds)))


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


def left_out(sample: Sample, fits: Mapping[str, Fit], seed: int) -> dict[str, FloatArray]:
    """Each row's calibrated P(covid), shape (N,), by calibrators fitted on other patients.

    Args:
        sample: Rows of both classes, of five patients or more.
        fits: What to fit.
        seed: Deals the patients into folds; equal patients and seeds give equal folds.

    Raises:
        MissingExtraError: scipy or scikit-learn is not installed.
    """
    try:
        from sklearn.model_selection import StratifiedGroupKFold
    except ImportError as error:
        raise MissingExtraError("evaluate", "choosing a calibrator") from error
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    values: dict[str, FloatArray] = {name: np.empty(len(sample)) for name in fits}
    units = np.array(sample.units)
    parts: list[tuple[IntArray, IntArray]] = list(folds.split(units, sample.reference, groups=units))
    for inside, outside in parts:
        for name, fit in fits.items():
            fitted = fit(sample.reference[inside], sample.probability[inside], units[inside].tolist())
            values[name][outside] = fitted.apply(sample.probability[outside])
    return values


def _candidate(name: str, sample: Sample, values: FloatArray, level: float = LEVEL) -> CalibratorCandidate:
    losses = log_losses(sample.reference, values)
    added = losses - log_losses(sample.reference, sample.probability)
    brier_score = float(np.mean((sample.reference - values) ** 2))
    return CalibratorCandidate(name, float(losses.mean()), brier_score, mean_at_most(added, sample.units, level))


def mean_at_most(values: FloatArray, units: Sequence[str], level: float) -> float:
    """Upper one-sided limit of a mean over rows whose patients are independent, by Student's t.

    The error is that of a ratio of sums over patients: what a patient adds beyond the mean of as many rows.
    """
    from scipy.stats import t

    _, place = np.unique(np.array(units), return_inverse=True)
    mean, patients = float(values.mean()), int(place.max()) + 1
    beyond = np.bincount(place, weights=values - mean)
    error = float(np.sqrt(patients / (patients - 1) * np.sum(beyond**2)) / len(values))
    return mean + float(t.isf(level, patients - 1)) * error


def _check_classes(reference: BoolArray) -> None:
    positives = int(np.sum(reference))
    if positives in {0, len(reference)}:
        msg = f"no calibrator can be fitted on {len(reference)} rows with {positives} covid rows; both must be there"
        raise InputError(msg)
