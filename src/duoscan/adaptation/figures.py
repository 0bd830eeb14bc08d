"""The figures of a bundle on a site's patients, before and after it was adapted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from duoscan.evaluation.calibration import CalibrationMetrics, measure_calibration
from duoscan.evaluation.delong import delong_auroc, delong_test
from duoscan.evaluation.intervals import DEFAULT_RESAMPLES, Estimate, bootstrap, paired_difference
from duoscan.evaluation.metrics import BinaryMetrics
from duoscan.evaluation.sample import Sample
from duoscan.inference.site import SITE_FIGURES, SiteFigure

if TYPE_CHECKING:
    from duoscan.evaluation.sample import BoolArray, FloatArray

_CALIBRATION = ("ece", "brier_score", "slope")


@dataclass(frozen=True)
class Measured:
    """P patients as a bundle answers them, one row each.

    Attributes:
        reference: shape (P,); who is sick.
        raw: shape (P,); P(covid) as decided on.
        shown: shape (P,); P(covid) as shown, calibrated where there is a calibrator.
        called: shape (P,); who is called positive.
        units: P keys of patients.
    """

    reference: BoolArray
    raw: FloatArray
    shown: FloatArray
    called: BoolArray
    units: tuple[str, ...]

    @property
    def sample(self) -> Sample:
        """With P(covid) as shown."""
        return Sample(self.reference, self.shown, self.called, self.units)


def figures(measured: Measured, *, resamples: int = DEFAULT_RESAMPLES, seed: int = 0) -> dict[str, SiteFigure]:
    """Every figure of ``SITE_FIGURES`` with its 95 % interval."""
    sample = measured.sample
    calls = bootstrap(BinaryMetrics(sample), sample.units, resamples=resamples, seed=seed)
    calibration = measure_calibration(sample, resamples=resamples, seed=seed).metrics
    found = {
        "auroc": delong_auroc(measured.reference, measured.raw, measured.units),
        "sensitivity": calls["sensitivity"],
        "specificity": calls["specificity"],
        **{name: calibration[name] for name in _CALIBRATION},
    }
    return {name: _stored(found[name]) for name in SITE_FIGURES}


def differences(
    after: Measured, before: Measured, *, resamples: int = DEFAULT_RESAMPLES, seed: int = 0
) -> dict[str, SiteFigure]:
    """After less before on the same patients: AUROC, ECE and Brier score."""
    calibration = paired_difference(
        (CalibrationMetrics(after.sample), after.units),
        (CalibrationMetrics(before.sample), before.units),
        resamples=resamples,
        seed=seed,
    )
    area = delong_test(after.reference, after.raw, before.raw, after.units).difference
    return {"auroc": _stored(area), **{name: _stored(calibration[name]) for name in ("ece", "brier_score")}}


def _stored(estimate: Estimate) -> SiteFigure:
    value = None if math.isnan(estimate.value) else estimate.value
    return SiteFigure(value=value, low=estimate.low, high=estimate.high)
