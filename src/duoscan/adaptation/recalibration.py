"""Recalibration at a site: as P(covid) is, moved, or moved and stretched; no further than the patients show.

A few hundred patients carry two numbers and no curve, and a test of left-out log loss sees in a hundred patients hardly
more than gross error. So this is the closed test for updating a prediction model (Vergouwe et al., Statistics in
Medicine 2017): the likelihood ratio of slope and intercept together against none (Cox, Biometrika 1958) decides whether
anything is changed, that of slope and intercept against the intercept alone whether the slope is. A calibrator is taken
in at most one of twenty sites where none is needed.

Every patient has weight 1 however many images there are, which keeps that level for images as well: the more alike a
patient's images are, the nearer it is reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from duoscan.errors import MissingExtraError
from duoscan.evaluation.calibrators import COLDEST, HOTTEST, LEAST_PATIENTS, LEVEL
from duoscan.evaluation.sample import sample_of
from duoscan.inference.calibrator import PlattCalibration, expit, logit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.evaluation.sample import FloatArray, Sample
    from duoscan.predictions import Prediction


@dataclass(frozen=True)
class Recalibration:
    """What becomes of P(covid) as it is shown.

    Attributes:
        calibration: Fitted on all rows; ``None`` where P(covid) stays.
        reason: Why, in one sentence.
    """

    calibration: PlattCalibration | None
    reason: str

    def apply(self, probability: FloatArray) -> FloatArray:
        """P(covid) as shown, for P(covid) of any shape."""
        return probability if self.calibration is None else self.calibration.apply(probability)


def recalibrate(rows: Sequence[Prediction]) -> Recalibration:
    """A line on the logit of P(covid), of slope 1 where that will do, or none.

    Args:
        rows: Answered rows of patients on whom the model was not fitted.

    Raises:
        PredictionsError: No row can be measured.
        MissingExtraError: scipy is not installed.
    """
    try:
        from scipy.stats import chi2
    except ImportError as error:
        raise MissingExtraError("evaluate", "recalibration") from error
    sample = sample_of(rows, threshold=None)
    counts = [len(set(np.array(sample.units)[of].tolist())) for of in (sample.reference, ~sample.reference)]
    if min(counts) < LEAST_PATIENTS:
        return Recalibration(
            None, f"not recalibrated: {counts[0]} patients with covid and {counts[1]} without; {LEAST_PATIENTS} needed"
        )
    weights = patient_weights(sample.units)
    stays = _deviance(sample, weights, np.array([1.0, 0.0]))
    moved, stretched = (_fit(sample, weights, moves_slope=moves_slope) for moves_slope in (False, True))
    of_moved, of_stretched = (_deviance(sample, weights, line) for line in (moved, stretched))
    any_change, slope_too = chi2.sf(stays - of_stretched, 2), chi2.sf(of_moved - of_stretched, 1)
    if any_change > LEVEL:
        return Recalibration(
            None, f"P(covid) stays: slope and intercept are within chance of 1 and 0 (p {any_change:.2g})"
        )
    slope, intercept = map(float, stretched if slope_too <= LEVEL else moved)
    calibration = PlattCalibration(slope=slope, intercept=intercept, images=len(sample), patients=sample.patients)
    which = "moved and stretched" if slope_too <= LEVEL else "moved"
    return Recalibration(
        calibration,
        f"P(covid) is {which}: slope {slope:.2f} and intercept {intercept:.2f} on the logit "
        f"(none needed: p {any_change:.2g}; no slope needed: p {slope_too:.2g})",
    )


def patient_weights(units: Sequence[str]) -> FloatArray:
    """One over the rows that each row's patient has, shape (N,)."""
    _, place, counts = np.unique(np.array(units), return_inverse=True, return_counts=True)
    return np.asarray(1.0 / counts[place])


def _fit(sample: Sample, weights: FloatArray, *, moves_slope: bool) -> FloatArray:
    """Slope and intercept of the lowest deviance; the slope is kept from 0.02 to 50."""
    from scipy.optimize import minimize

    log_odds = logit(sample.probability)

    def loss(line: FloatArray) -> tuple[float, FloatArray]:
        off = weights * (expit(line[0] * log_odds + line[1]) - sample.reference)
        return _deviance(sample, weights, line) / 2.0, np.array([off @ log_odds, off.sum()])

    slopes = (1.0 / HOTTEST, 1.0 / COLDEST) if moves_slope else (1.0, 1.0)
    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[slopes, (None, None)])
    return np.asarray(found.x)


def _deviance(sample: Sample, weights: FloatArray, line: FloatArray) -> float:
    moved = line[0] * logit(sample.probability) + line[1]
    return float(2.0 * weights @ np.logaddexp(0.0, np.where(sample.reference, -moved, moved)))
