"""Operating points by hand, and the law each of them promises."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoscan.errors import InputError
from duoscan.evaluation.thresholds import left_out_rates, sensitivity_threshold, youden_threshold

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


def chosen(reference: np.ndarray, probability: np.ndarray, _: Sequence[str]) -> float:
    return youden_threshold(reference, probability)


@given(labelled())
def test_no_threshold_beats_youden(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    best = youden(*drawn, youden_threshold(*drawn))
    assert all(youden(*drawn, threshold) <= best + 1e-9 for threshold in np.linspace(0, 1, 21))


# Four covid rows: the k-th highest finds k/5 of new ones on average; no row finds all.
@pytest.mark.parametrize(("target", "threshold"), [(1.0, 0.2), (0.61, 0.2), (0.6, 0.6), (0.4, 0.8), (0.01, 0.9)])
def test_sensitivity_threshold_by_hand(target: float, threshold: float) -> None:
    assert sensitivity_threshold(REFERENCE, PROBABILITY, target) == threshold


def test_rounding_does_not_ask_for_one_image_too_many() -> None:
    # 0.07 · 100 is 7.000000000000001 in floats; the 7th of 99 is enough.
    reference = np.arange(100) < 99
    probability = np.arange(100)[::-1] / 100
    assert 0.07 * 100 > 7
    assert sensitivity_threshold(reference, probability, 0.07) == probability[6]


@given(labelled(), st.floats(0.01, 1.0))
def test_the_target_is_expected_and_at_no_larger_threshold(drawn: tuple[np.ndarray, np.ndarray], target: float) -> None:
    reference, probability = drawn
    threshold = sensitivity_threshold(reference, probability, target)
    covid = probability[reference]
    assert np.sum(covid >= threshold) >= min(len(covid), target * (len(covid) + 1) - 1e-9)
    assert np.sum(covid > threshold) < target * (len(covid) + 1)


def test_new_patients_are_found_as_often_as_was_wanted() -> None:
    """The k-th highest of n, k/n at least the target, found 0.936 to 0.941 of new ones for 0.95 in such cohorts."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(4000):
        covid = rng.random(int(rng.integers(40, 100)))  # the share of new ones above t is 1 − t
        reference = np.arange(len(covid) + 1) < len(covid)
        found.append(1 - sensitivity_threshold(reference, np.append(covid, 0.0), 0.95))
    assert np.mean(found) >= 0.95 - 3 * np.std(found) / np.sqrt(len(found))


def test_images_of_a_patient_are_no_more_than_the_patient() -> None:
    """Twenty equal images each of 30 patients: as if they were 600, 0.92 of new ones would be found for 0.95."""
    rng = np.random.default_rng(0)
    found: dict[bool, list[float]] = {True: [], False: []}
    units = [str(place // 20) for place in range(600)] + ["well"]
    reference = np.arange(601) < 600
    for _ in range(500):
        probability = np.append(np.repeat(rng.random(30), 20), 0.0)
        for told, rates in found.items():
            rates.append(1 - sensitivity_threshold(reference, probability, 0.95, units if told else None))
    assert np.mean(found[True]) >= 0.95
    assert np.mean(found[False]) < 0.94


def test_what_a_point_promises_on_the_rows_it_was_chosen_on_flatters() -> None:
    """Scores that tell nothing apart: Youden's index is 0 for new patients, and left out patients say so."""
    rng = np.random.default_rng(0)
    own, others = [], []
    for _ in range(16):
        reference, probability = np.arange(60) < 30, rng.random(60)
        rates = left_out_rates(chosen, reference, probability, [str(place) for place in range(60)])
        index = np.sum([rates["sensitivity"], rates["specificity"]], axis=0) - 1
        own.append(index[0])
        others.append(index[1])
    gap = np.subtract(own, others)
    assert gap.mean() > 3 * gap.std() / np.sqrt(len(gap))
    assert abs(np.mean(others)) < 3 * np.std(others) / np.sqrt(len(others))


def test_one_patient_of_a_class_cannot_be_left_out() -> None:
    reference = np.array([True, True, False, False])
    assert left_out_rates(chosen, reference, PROBABILITY[:4], ["a", "a", "b", "c"]) == {}


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
