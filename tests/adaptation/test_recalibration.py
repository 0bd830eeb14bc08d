"""The closed test moves P(covid) where it is off, and leaves it where it is not."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import chi2

from duoscan.adaptation.recalibration import recalibrate
from duoscan.inference.calibrator import expit
from duoscan.predictions import Prediction
from duoscan.terms import Finding, Modality


def _rows(
    rng: np.random.Generator, patients: int, slope: float = 1.0, intercept: float = 0.0, images: int = 1
) -> list[Prediction]:
    """Patients whose true log odds are a line on those stated."""
    stated = rng.normal(0, 1.5, patients)
    sick = rng.random(patients) < expit(slope * stated + intercept)
    return [
        Prediction(
            path=f"{number}-{image}.png",
            patient_id=f"p{number}",
            modality=Modality.CXR,
            probability=float(expit(stated[number])),
            decision=None,
            label=Finding.COVID if sick[number] else Finding.NORMAL,
        )
        for number in range(patients)
        for image in range(images)
    ]


@pytest.mark.parametrize("images", [1, 4])
def test_calibrated_answers_are_mostly_left(images: int) -> None:
    sites = 200
    taken = sum(
        recalibrate(_rows(np.random.default_rng(seed), 100, images=images)).calibration is not None
        for seed in range(sites)
    )
    assert taken <= sites * (0.05 + 3 * np.sqrt(0.05 * 0.95 / sites))


def test_what_is_off_is_mended() -> None:
    moved = recalibrate(_rows(np.random.default_rng(0), 200, intercept=-1.5)).calibration
    assert moved is not None
    assert moved.slope == 1.0
    assert -2.2 < moved.intercept < -0.8
    stretched = recalibrate(_rows(np.random.default_rng(1), 300, slope=0.3)).calibration
    assert stretched is not None
    assert 0.1 < stretched.slope < 0.5


def test_it_is_the_likelihood_ratio_of_a_library() -> None:
    rows = _rows(np.random.default_rng(2), 120, slope=0.6, intercept=-0.5)
    stated = np.array([row.probability for row in rows])
    log_odds = np.log(stated / (1 - stated))
    sick = np.array([row.label is Finding.COVID for row in rows], float)
    theirs = sm.Logit(sick, sm.add_constant(log_odds)).fit(disp=0)
    found = recalibrate(rows)
    assert found.calibration is not None
    assert found.calibration.slope == pytest.approx(theirs.params[1], abs=1e-3)
    assert found.calibration.intercept == pytest.approx(theirs.params[0], abs=1e-3)
    untouched = float(np.sum(np.log(np.where(sick == 1, stated, 1 - stated))))
    assert f"none needed: p {chi2.sf(2 * (theirs.llf - untouched), 2):.2g}" in found.reason


def test_a_few_patients_do_not_recalibrate() -> None:
    found = recalibrate(_rows(np.random.default_rng(3), 30, intercept=-3.0))
    assert found.calibration is None
    assert "20 needed" in found.reason


def test_classes_that_do_not_overlap_give_numbers() -> None:
    rows = [
        Prediction(f"{n}.png", f"p{n}", Modality.CXR, 0.9 if n % 2 else 0.6, None, label=label)
        for n in range(80)
        for label in [Finding.COVID if n % 2 else Finding.NORMAL]
    ]
    shown = recalibrate(rows).apply(np.array([0.6, 0.9]))
    assert shown[0] < 0.1
    assert shown[1] > 0.9
