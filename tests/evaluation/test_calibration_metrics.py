"""Slope, intercept, ECE and Brier score, against hand-worked numbers, scikit-learn and root finding by scipy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from duoscan.evaluation.calibration import (
    CALIBRATION_NAMES,
    CalibrationMetrics,
    bin_count,
    calibration_in_the_large,
    calibration_slope,
    ece_by_chance,
    equal_mass_bins,
    measure_calibration,
)
from duoscan.evaluation.evaluate import evaluate
from duoscan.evaluation.metrics import point
from duoscan.evaluation.sample import Sample
from duoscan.inference.calibrator import expit, logit
from duoscan.predictions import Prediction
from duoscan.terms import Finding

if TYPE_CHECKING:
    from collections.abc import Callable


def grouped(counts: list[tuple[float, int, int]]) -> Sample:
    """A sample of (probability, covid rows, other rows), each row its own patient."""
    reference = np.concatenate([np.repeat([True, False], (sick, well)) for _, sick, well in counts])
    values = np.concatenate([np.full(sick + well, value) for value, sick, well in counts])
    return Sample(reference, values, values >= 0.5, tuple(map(str, range(len(values)))))


def drawn(images: int, seed: int, slope: float = 1.0, shift: float = 0.0) -> Sample:
    """Images whose reference follows expit(shift + slope · logit P(covid))."""
    rng = np.random.default_rng(seed)
    log_odds = 1.5 * rng.normal(size=images)
    reference = rng.random(images) < expit(shift + slope * log_odds)
    values = expit(log_odds)
    return Sample(reference, values, values >= 0.5, tuple(map(str, range(images))))


def test_two_probabilities_by_hand() -> None:
    # P .1 with 4 covid of 20 (odds 1/4) and P .9 with 16 of 20 (odds 4): log odds ±1.3863 against ±2.1972 said.
    # Slope 1.3863/2.1972 = .6309; as many above as below, so nothing is to be shifted.
    sample = grouped([(0.1, 4, 16), (0.9, 16, 4)])
    found = point(CalibrationMetrics(sample), len(sample))
    assert list(found) == list(CALIBRATION_NAMES)
    assert found["slope"] == pytest.approx(math.log(4) / math.log(9))
    assert found["intercept"] == pytest.approx(0.0, abs=1e-9)
    # Every image is .1 off its share: |.2 − .1| and |.8 − .9|.
    assert found["ece"] == pytest.approx(0.1)
    # .2 · .81 + .8 · .01 = .17 in either half
    assert found["brier_score"] == pytest.approx(0.17)


def test_one_probability_by_hand() -> None:
    # Half of the images are covid at P .2: log odds 0 against ln(1/4), so 1.3863 must be added; no slope is there.
    sample = grouped([(0.2, 15, 15)])
    found = point(CalibrationMetrics(sample), len(sample))
    assert found["intercept"] == pytest.approx(math.log(4))
    assert math.isnan(found["slope"])
    assert found["ece"] == pytest.approx(0.3)


@given(seed=st.integers(0, 1000), spread=st.floats(0.1, 6), shift=st.floats(-3, 3))
def test_slope_and_intercept_are_those_of_a_general_optimiser(seed: int, spread: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    log_odds = logit(expit(spread * rng.normal(size=60)))
    reference = (rng.random(60) < expit(shift + log_odds / 2)).astype(float)
    weights = rng.integers(0, 4, (3, 60)).astype(float)
    slopes = calibration_slope(reference, log_odds, weights)
    shifts = calibration_in_the_large(reference, log_odds, weights)
    for row, slope, moved in zip(weights, slopes, shifts, strict=True):
        sick = log_odds[(row > 0) & (reference == 1)]
        well = log_odds[(row > 0) & (reference == 0)]
        if not len(sick) or not len(well):
            assert math.isnan(slope)
            assert math.isnan(moved)
            continue

        def loss(ends: np.ndarray, row: np.ndarray = row) -> float:
            fitted = ends[0] + ends[1] * log_odds
            return float(row @ np.logaddexp(0, np.where(reference == 1, -fitted, fitted)))

        if sick.min() < well.max() and well.min() < sick.max():
            best = minimize(loss, [0.0, 0.5], method="BFGS", options={"gtol": 1e-8})
            assert slope == pytest.approx(best.x[1], rel=1e-3, abs=1e-4)
        missing = brentq(lambda a, row=row: row @ (reference - expit(log_odds + a)), -60, 60, xtol=1e-12)
        assert moved == pytest.approx(missing, abs=1e-6)


def test_separated_classes_have_no_slope_and_one_class_neither() -> None:
    weights = np.ones((1, 4))
    log_odds = np.array([-2.0, -1, 1, 2])
    assert math.isnan(calibration_slope(np.array([0.0, 0, 1, 1]), log_odds, weights)[0])
    assert math.isnan(calibration_slope(np.array([1.0, 1, 0, 0]), log_odds, weights)[0])
    assert math.isnan(calibration_slope(np.ones(4), log_odds, weights)[0])
    assert math.isnan(calibration_in_the_large(np.zeros(4), log_odds, weights)[0])


def test_weights_are_repeated_rows() -> None:
    sample = drawn(60, seed=3, slope=0.5)
    weights = np.random.default_rng(4).integers(0, 3, 60)
    metrics = CalibrationMetrics(sample)
    found = metrics(weights[None, :].astype(float))
    rows = np.repeat(np.arange(60), weights)
    reference, values = sample.reference[rows].astype(float), sample.probability[rows]
    assert found["slope"][0] == pytest.approx(calibration_slope(reference, logit(values), np.ones((1, len(rows))))[0])
    assert found["brier_score"][0] == pytest.approx(brier_score_loss(reference, values))


def test_bins_are_those_of_scikit_learn_where_no_probability_is_shared() -> None:
    sample = drawn(200, seed=5)
    observed, stated = calibration_curve(sample.reference, sample.probability, n_bins=10, strategy="quantile")
    bins = equal_mass_bins(sample)
    assert [one.n for one in bins] == [20] * 10
    assert [one.mean_probability for one in bins] == pytest.approx(stated)
    assert [one.observed for one in bins] == pytest.approx(observed)
    # ECE is the mean gap, as all bins weigh the same.
    found = point(CalibrationMetrics(sample), 200)["ece"]
    assert found == pytest.approx(np.abs(observed - stated).mean())


def test_equal_probabilities_share_a_bin_and_few_images_have_few_bins() -> None:
    assert [bin_count(images) for images in (3, 29, 30, 149, 150, 5000)] == [1, 1, 2, 9, 10, 10]
    (one, other) = equal_mass_bins(grouped([(0.2, 100, 100), (0.7, 50, 50)]))
    assert (one.low, one.high, one.n, other.low, other.n) == (0.2, 0.2, 200, 0.7, 100)


def test_a_perfect_model_shows_about_the_chance_error_and_a_wrong_one_far_more() -> None:
    found = [
        (point(CalibrationMetrics(one), 300)["ece"], ece_by_chance(one)[0])
        for one in (drawn(300, k) for k in range(60))
    ]
    shown, chance = np.mean(found, axis=0)
    # The ECE of one sample of 300 spreads by about .012, so the mean of 60 by .0016; four times that.
    assert shown == pytest.approx(chance, abs=0.0064)
    assert shown > 0.02  # though not one of these models is wrong
    wrong = drawn(300, 0, slope=0.3)
    assert point(CalibrationMetrics(wrong), 300)["ece"] > 2 * ece_by_chance(wrong)[0]


def test_chance_is_larger_where_images_are_alike() -> None:
    sample = drawn(300, 1)
    fourfold = Sample(
        *(np.tile(row, 4) for row in (sample.reference, sample.probability, sample.called)), sample.units * 4
    )
    assert ece_by_chance(fourfold) == pytest.approx(ece_by_chance(sample))  # both the mean and the limit
    apart = Sample(fourfold.reference, fourfold.probability, fourfold.called, tuple(map(str, range(1200))))
    assert ece_by_chance(apart)[0] == pytest.approx(ece_by_chance(sample)[0] / 2, rel=0.05)


@pytest.mark.parametrize(("slope", "shift"), [(1.0, 0.0), (0.4, 0.0), (1.0, 1.0)])
def test_the_intervals_find_what_is_wrong(slope: float, shift: float) -> None:
    found = measure_calibration(drawn(1500, 8, slope, shift), resamples=300).metrics
    for name, ideal, is_wrong in (("slope", 1.0, slope != 1), ("intercept", 0.0, shift != 0)):
        low, high = found[name].low, found[name].high
        assert low is not None
        assert high is not None
        assert (low <= ideal <= high) != is_wrong, name
        assert low <= found[name].value <= high


def test_a_repeatable_result_in_any_order(sample: Callable[..., Sample]) -> None:
    made = drawn(80, 9)
    turned = Sample(made.reference[::-1], made.probability[::-1], made.called[::-1], made.units[::-1])
    one, other = (measure_calibration(rows, resamples=100).to_json() for rows in (made, turned))
    assert one["slope"]["low"] == pytest.approx(other["slope"]["low"])
    assert one["ece"]["high"] == pytest.approx(other["ece"]["high"])
    assert one["ece_by_chance"] == pytest.approx(other["ece_by_chance"])


def test_an_evaluation_carries_calibration_and_one_interval_a_number_by_source() -> None:
    rows = [
        Prediction(
            f"{place}.png",
            f"p{place}",
            None,
            float(value),
            "",
            source="ab"[place % 2],
            label=Finding.COVID if is_sick else Finding.OTHER,
        )
        for place, (value, is_sick) in enumerate(zip(drawn(80, 2).probability, drawn(80, 2).reference, strict=True))
    ]
    found = evaluate(rows, threshold=0.5, resamples=100).to_json()
    brier = {name: value for name, value in found["metrics"]["brier_score"].items() if name != "baseline"}
    assert found["calibration"]["brier_score"] == brier
    for block in (found, *found["sources"].values()):
        assert set(CALIBRATION_NAMES) <= set(block["calibration"])
        assert block["metrics"]["auroc"]["note"] == "DeLong, summed by patient"
