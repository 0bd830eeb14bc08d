"""Operating points by hand, and the law each of them promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoscan.errors import InputError
from duoscan.evaluation.thresholds import sensitivity_threshold, youden_threshold

REFERENCE = np.array([1, 1, 1, 1, 0, 0, 0, 0], dtype=bool)
PROBABILITY = np.array([0.9, 0.8, 0.6, 0.2, 0.7, 0.4, 0.3, 0.1])


@st.composite
def labelled(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    more = draw(st.lists(st.booleans(), max_size=20))
    reference = np.array([True, False, *more])
    grades = draw(st.lists(st.integers(0, 10), min_size=len(reference), max_size=len(reference)))
    return reference, np.array(grades) / 10


def youden(reference: np.ndarray, probability: np.ndarray, threshold: float) -> float:
    called = probability >= threshold
    return float(called[reference].mean() - called[~reference].mean())


def test_youden_by_hand() -> None:
    # At .6: sensitivity 3/4, specificity 3/4 → ½; at .8: 2/4 and 4/4 → ½ too. The lower one misses fewer;
    # the next score below .6 is .4, so the threshold lies at .5.
    assert youden_threshold(REFERENCE, PROBABILITY) == pytest.approx(0.5)


def test_youden_of_separated_classes_lies_half_way() -> None:
    assert youden_threshold(np.array([True, False]), np.array([0.9, 0.2])) == pytest.approx(0.55)


def test_youden_between_neighbouring_floats_still_separates() -> None:
    low = 0.5
    high = np.nextafter(low, 1)
    assert youden_threshold(np.array([True, False]), np.array([high, low])) == high


@given(labelled())
def test_no_threshold_beats_youden(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    best = youden(*drawn, youden_threshold(*drawn))
    assert all(youden(*drawn, threshold) <= best + 1e-9 for threshold in np.linspace(0, 1, 21))


@pytest.mark.parametrize(("target", "threshold"), [(1.0, 0.2), (0.76, 0.2), (0.75, 0.6), (0.5, 0.8), (0.01, 0.9)])
def test_sensitivity_threshold_by_hand(target: float, threshold: float) -> None:
    assert sensitivity_threshold(REFERENCE, PROBABILITY, target) == threshold


def test_rounding_does_not_ask_for_one_image_too_many() -> None:
    # 0.07 · 100 is 7.000000000000001 in floats; 7 of 100 are enough.
    reference = np.arange(101) < 100
    probability = np.arange(101)[::-1] / 101
    assert 0.07 * 100 > 7
    assert sensitivity_threshold(reference, probability, 0.07) == probability[6]


@given(labelled(), st.floats(0.01, 1.0))
def test_the_target_is_met_and_no_larger_threshold_meets_it(
    drawn: tuple[np.ndarray, np.ndarray], target: float
) -> None:
    reference, probability = drawn
    threshold = sensitivity_threshold(reference, probability, target)
    assert np.mean(probability[reference] >= threshold) >= target
    assert np.mean(probability[reference] > threshold) < target


@pytest.mark.parametrize("target", [0.0, 1.01, float("nan")])
def test_a_target_out_of_range_is_refused(target: float) -> None:
    with pytest.raises(InputError, match="out of range"):
        sensitivity_threshold(REFERENCE, PROBABILITY, target)


def test_one_class_is_refused() -> None:
    for reference in (np.ones(3, dtype=bool), np.zeros(3, dtype=bool)):
        with pytest.raises(InputError, match="both classes"):
            youden_threshold(reference, np.array([0.1, 0.2, 0.3]))
        with pytest.raises(InputError, match="both classes"):
            sensitivity_threshold(reference, np.array([0.1, 0.2, 0.3]), 0.9)
