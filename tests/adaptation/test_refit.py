"""The refit is ridge logistic regression around the present weights, and taken only where it helps."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from duoscan.adaptation.refit import Images, Reduced, choose_refit, fit_change
from duoscan.inference.calibrator import expit


def _images(rng: np.random.Generator, count: int, signal: float, present: float, width: int = 40) -> Images:
    reference = rng.random(count) < 0.5
    features = rng.normal(0, 1, (count, width))
    features[:, 0] += signal * (reference - 0.5)
    known = rng.normal(present * (reference - 0.5), 1)
    others = np.stack([np.zeros(count), rng.normal(-2, 0.5, count)], axis=1)
    units = tuple(map(str, range(count)))
    return Images(reference, units, known, others, Reduced.of(features).coordinates)


def test_it_is_ridge_regression_where_present_weights_say_nothing() -> None:
    rng = np.random.default_rng(0)
    images = _images(rng, 80, signal=2.0, present=0.0)
    silent = Images(images.reference, images.units, np.zeros(80), np.zeros((80, 1)), images.features)
    change = fit_change(silent, strength=3.0)
    theirs = LogisticRegression(C=9.0, tol=1e-8, max_iter=5000).fit(silent.features, silent.reference)
    np.testing.assert_allclose(change.log_odds(silent), theirs.decision_function(silent.features), atol=1e-3)


def test_a_patient_counts_once_however_many_images() -> None:
    images = _images(np.random.default_rng(1), 60, signal=2.0, present=1.0)
    often = np.concatenate([np.arange(60), np.repeat(np.arange(10), 3)])
    one, other = fit_change(images, 3.0), fit_change(images.where(often), 3.0)
    np.testing.assert_allclose(one.log_odds(images), other.log_odds(images), atol=1e-3)


def test_weak_strength_stays_at_present_weights() -> None:
    images = _images(np.random.default_rng(2), 60, signal=2.0, present=2.0)
    pulled, plain = fit_change(images, 1e-3), fit_change(images, 0.0)
    np.testing.assert_allclose(pulled.log_odds(images), plain.log_odds(images), atol=0.1)


def test_what_helps_is_taken_and_what_does_not_is_left() -> None:
    helped = [choose_refit(_images(np.random.default_rng(seed), 150, 2.5, 0.3)).change for seed in range(3)]
    assert all(change is not None for change in helped)
    chance = [choose_refit(_images(np.random.default_rng(seed), 80, 0.0, 1.5)) for seed in range(12)]
    assert sum(choice.change is not None for choice in chance) <= 2
    assert any("its weights stay" in choice.reason for choice in chance)


def test_the_log_odds_are_those_of_softmax() -> None:
    images = _images(np.random.default_rng(3), 20, 1.0, 1.0)
    logits = 0.7 * np.column_stack([images.covid, images.others])
    covid = np.exp(logits[:, 0]) / np.exp(logits).sum(axis=1)
    np.testing.assert_allclose(expit(images.log_odds(0.7)), covid, atol=1e-12)


@pytest.mark.parametrize("width", [5, 300])
def test_coordinates_keep_distances_and_lead_back(width: int) -> None:
    features = np.random.default_rng(4).normal(3, 2, (50, width))
    space = Reduced.of(features)
    np.testing.assert_allclose((features - space.mean) @ space.axes, space.coordinates, atol=1e-9)
    assert np.mean(np.sum(space.coordinates**2, axis=1)) == pytest.approx(1.0)
    gaps = [np.linalg.norm(of[:1] - of[1:], axis=1) for of in (features, space.coordinates)]
    np.testing.assert_allclose(gaps[0] / gaps[1], (gaps[0] / gaps[1])[0], rtol=1e-6)
