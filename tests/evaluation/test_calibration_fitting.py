"""Calibrators fitted on validation: against independent fits, and the choice between them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as sklearn_log_loss

from duoscan.errors import InputError
from duoscan.evaluation.calibrators import (
    at_prevalence,
    choose_calibrator,
    fit_isotonic,
    fit_temperature,
    log_loss,
)
from duoscan.inference.calibrator import IsotonicCalibration, TemperatureCalibration, expit, logit
from duoscan.predictions import Prediction
from duoscan.terms import Finding


def made(images: int, seed: int, truth: str = "calibrated") -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    log_odds = 2.5 * rng.normal(size=images)
    chance = {
        "calibrated": expit(log_odds),
        "overconfident": expit(log_odds / 3),
        "stepped": np.where(log_odds > 1, 0.65, 0.3),
    }[truth]
    return rng.random(images) < chance, expit(log_odds)


def rows(images: int, seed: int, truth: str = "calibrated") -> list[Prediction]:
    reference, values = made(images, seed, truth)
    return [
        Prediction(
            f"{place}.png",
            f"p{place}",
            None,
            float(value),
            "positive" if value >= 0.3 else "negative",
            label=Finding.COVID if is_sick else Finding.NORMAL,
        )
        for place, (is_sick, value) in enumerate(zip(reference, values, strict=True))
    ]


def names(images: int) -> list[str]:
    return [f"p{place}" for place in range(images)]


def test_the_temperature_is_one_over_the_slope_of_a_regression_through_the_origin() -> None:
    reference, values = made(400, 1, "overconfident")
    found = fit_temperature(reference, values, names(400))
    regression = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(logit(values)[:, None], reference)
    assert found.temperature == pytest.approx(1 / regression.coef_[0, 0], rel=1e-4)
    assert (found.images, found.patients) == (400, 400)


def test_a_temperature_by_hand() -> None:
    # P .9 and .1 with 3 of 4 right: the log odds ±ln 9 should be ±ln 3, so T = 2.
    reference = np.array([1, 1, 1, 0, 0, 0, 0, 1], bool)
    values = np.array([0.9] * 4 + [0.1] * 4)
    assert fit_temperature(reference, values, list("abcdefgh")).temperature == pytest.approx(2.0, abs=1e-5)


def test_isotonic_by_hand_and_by_scikit_learn() -> None:
    # Shares at .1, .2, .3, .4: 0, 1, 0, 1. The middle two pool to 1/2; 0 and 1 stop at 1/6 and 5/6 with 4 patients.
    values = np.array([0.1, 0.2, 0.3, 0.4])
    reference = np.array([0, 1, 0, 1], bool)
    found = fit_isotonic(reference, values, list("abcd"))
    assert found.apply(values) == pytest.approx([1 / 6, 1 / 2, 1 / 2, 5 / 6])
    reference, values = made(300, 2)
    curve = IsotonicRegression(y_min=1 / 302, y_max=301 / 302, out_of_bounds="clip").fit(values, reference)
    grid = np.linspace(0, 1, 501)
    assert fit_isotonic(reference, values, names(300)).apply(grid) == pytest.approx(curve.predict(grid))


def test_the_log_loss_is_that_of_scikit_learn() -> None:
    reference, values = made(50, 3)
    assert log_loss(reference, values) == pytest.approx(sklearn_log_loss(reference, values))


@pytest.mark.parametrize(
    ("truth", "name"), [("calibrated", "none"), ("overconfident", "temperature"), ("stepped", "isotonic")]
)
def test_the_choice_follows_what_is_wrong(truth: str, name: str) -> None:
    found = choose_calibrator(rows(1200, 11, truth))
    assert found.name == name, found.to_json()
    assert [one.name for one in found.candidates] == ["none", "temperature", "isotonic"]
    kinds = {"none": type(None), "temperature": TemperatureCalibration, "isotonic": IsotonicCalibration}
    assert isinstance(found.calibration, kinds[name])


def test_few_patients_get_no_calibrator() -> None:
    twice = [
        Prediction(f"{k}{row.path}", row.patient_id, None, row.probability, "", label=row.label)
        for k in range(4)
        for row in rows(30, 4, "overconfident")
    ]
    found = choose_calibrator(twice)
    assert (found.name, found.calibration, found.candidates) == ("none", None, ())
    assert "a calibrator needs 20 of each" in found.reason


def test_left_out_patients_are_left_out_whole() -> None:
    """Six images a patient with noise for P(covid): isotonic would remember patients if folds cut through them."""
    rng = np.random.default_rng(5)
    table = []
    for patient in range(150):
        value = float(rng.random())
        label = Finding.COVID if rng.random() < 0.5 else Finding.OTHER
        table += [Prediction(f"{patient}-{k}.png", f"p{patient}", None, value, "", label=label) for k in range(6)]
    by_patient = choose_calibrator(table).candidates[2]
    apart = [Prediction(row.path, row.path, None, row.probability, "", label=row.label) for row in table]
    by_image = choose_calibrator(apart).candidates[2]
    # ln 2 = .693 is what chance allows; folds by image go below it by memory.
    assert by_patient.log_loss > 0.68
    assert by_image.log_loss < by_patient.log_loss


def test_applying_the_choice_changes_no_decision() -> None:
    from duoscan.evaluation.sample import sample_of

    table = rows(400, 6, "overconfident")
    sample = sample_of(table, None)
    moved = choose_calibrator(table).apply(sample)
    assert np.array_equal(moved.called, sample.called)
    assert not np.allclose(moved.probability, sample.probability)


def test_one_class_is_refused() -> None:
    for fit in (fit_temperature, fit_isotonic):
        with pytest.raises(InputError, match="2 rows with 2 covid rows"):
            fit(np.array([True, True]), np.array([0.2, 0.4]), ["a", "b"])


def test_prior_shift_is_bayes_theorem() -> None:
    # Counts: of 1000 images where half are sick, 400 of 500 sick and 100 of 500 well look so: P = .8.
    # Where a tenth is sick: .1 · .8 / (.1 · .8 + .9 · .2) = .08/.26.
    assert at_prevalence(np.array([0.8]), was=0.5, becomes=0.1)[0] == pytest.approx(0.08 / 0.26)


@given(st.floats(0.001, 0.999), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_prior_shift_can_be_taken_back(value: float, was: float, becomes: float) -> None:
    there = at_prevalence(np.array([value]), was=was, becomes=becomes)
    assert at_prevalence(there, was=becomes, becomes=was)[0] == pytest.approx(value, abs=1e-6)


def test_prior_shift_needs_a_prevalence() -> None:
    with pytest.raises(InputError, match="prevalence 0 is out of range"):
        at_prevalence(np.array([0.5]), was=0.5, becomes=0.0)
