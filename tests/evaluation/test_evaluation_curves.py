"""Curves by hand and against scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from duoscan.evaluation import curves
from duoscan.evaluation.curves import GRID, precision_recall_curve, reliability_bins, roc_band, roc_curve
from duoscan.evaluation.metrics import BinaryMetrics, point

if TYPE_CHECKING:
    from collections.abc import Callable

    from duoscan.evaluation.sample import Sample


@pytest.fixture
def tied(sample: Callable[..., Sample]) -> Sample:
    """Positives .9 .5 .3, negatives .5 .1."""
    return sample([1, 1, 1, 0, 0], [0.9, 0.5, 0.3, 0.5, 0.1])


def test_roc_by_hand(tied: Sample) -> None:
    curve = roc_curve(tied)
    assert curve.threshold.tolist() == [np.inf, 0.9, 0.5, 0.3, 0.1]
    assert curve.sensitivity == pytest.approx([0, 1 / 3, 2 / 3, 1, 1])
    assert curve.false_positive_rate == pytest.approx([0, 0, 1 / 2, 1 / 2, 1])


def test_the_area_under_the_curve_is_the_auroc() -> None:
    from sklearn.metrics import roc_curve as reference_curve

    from duoscan.evaluation.sample import Sample

    rng = np.random.default_rng(3)
    values = rng.integers(0, 30, 200) / 30
    made = Sample(rng.random(200) < 0.3, values, values > 0.5, tuple(map(str, range(200))))
    curve = roc_curve(made)
    area = np.trapezoid(curve.sensitivity, curve.false_positive_rate)
    assert area == pytest.approx(point(BinaryMetrics(made), 200)["auroc"])
    fpr, tpr, thresholds = reference_curve(made.reference, made.probability, drop_intermediate=False)
    assert curve.threshold == pytest.approx(thresholds)
    assert (curve.false_positive_rate, curve.sensitivity) == (pytest.approx(fpr), pytest.approx(tpr))


def test_precision_and_recall_by_hand(tied: Sample) -> None:
    curve = precision_recall_curve(tied)
    assert curve.recall == pytest.approx([1 / 3, 2 / 3, 1, 1])
    assert curve.precision == pytest.approx([1, 2 / 3, 3 / 4, 3 / 5])


def test_one_class_alone_has_no_rate_of_the_other(sample: Callable[..., Sample]) -> None:
    curve = roc_curve(sample([1, 1], [0.2, 0.8]))
    assert np.isnan(curve.false_positive_rate[1:]).all()
    assert curve.sensitivity[-1] == 1.0


def test_the_band_contains_the_curve_and_is_repeatable() -> None:
    from duoscan.evaluation.sample import Sample

    rng = np.random.default_rng(4)
    reference = rng.random(80) < 0.5
    values = np.clip(reference * 0.3 + rng.random(80) * 0.7, 0, 1)
    made = Sample(reference, values, values > 0.5, tuple(f"p{row // 2}" for row in range(80)))
    band = roc_band(made, resamples=200, seed=1)
    assert band is not None
    curve = roc_curve(made)
    own = np.interp(GRID, curve.false_positive_rate, curve.sensitivity)
    assert np.all(band.low <= own)
    assert np.all(own <= band.high)
    assert np.any(band.high - band.low > 0.1)
    again = roc_band(made, resamples=200, seed=1)
    assert again is not None
    assert np.array_equal(again.low, band.low)


def test_a_band_that_misses_the_curve_is_widened_to_it(
    sample: Callable[..., Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every draw leaves out the third image, the only one ranked wrongly: all resampled curves are perfect.
    monkeypatch.setattr(curves, "draws", lambda *arguments: [np.tile([2.0, 1.0, 0.0, 1.0], (100, 1))])
    band = roc_band(sample([1, 1, 1, 0], [0.9, 0.8, 0.1, 0.5]), resamples=100)
    assert band is not None
    assert band.high[0] == 1.0
    assert band.low[0] == pytest.approx(2 / 3)  # of the sample itself: two of three found without a false alarm


def test_no_band_where_a_class_is_often_missing(sample: Callable[..., Sample]) -> None:
    assert roc_band(sample([1] + [0] * 29, list(np.linspace(0, 1, 30))), resamples=200) is None


def test_reliability_bins_by_hand(sample: Callable[..., Sample]) -> None:
    # Edges .0 .5 1.: an edge belongs to the bin above it, and 1 to the last.
    low, high = reliability_bins(sample([0, 1, 1, 1, 0], [0.0, 0.4, 0.5, 1.0, 0.6]), bins=2)
    assert (low.low, low.high, low.n) == (0.0, 0.5, 2)
    assert (low.mean_probability, low.observed) == (pytest.approx(0.2), 0.5)
    assert (high.n, high.mean_probability, high.observed) == (3, pytest.approx(0.7), pytest.approx(2 / 3))
    assert [one.n for one in reliability_bins(sample([1, 0], [0.05, 0.95]))] == [1, 1]  # empty bins are left out
