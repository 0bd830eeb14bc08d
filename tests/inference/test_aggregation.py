"""The laws of joining images: one probability of many."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoscan.inference.aggregation import DEFAULTS, Aggregation, AggregationKind
from duoscan.inference.calibrator import expit, logit
from duoscan.terms import Modality

NAMES = ("max", "mean", "top-1", "top-3", "noisy-or", "attention")
EVERY = st.sampled_from([Aggregation.named(name) for name in NAMES])
# Attention works on logits, which reach no further than 1e-7.
INSIDE = st.floats(1e-6, 1 - 1e-6)
IMAGES = st.lists(st.tuples(INSIDE, st.floats(-30, 30)), min_size=1, max_size=20)


def joined(aggregation: Aggregation, images: list[tuple[float, float]]) -> float:
    return aggregation.apply([p for p, _ in images], [score for _, score in images])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("max", 0.9),
        ("mean", 0.45),  # 1.8 / 4
        ("top-2", 0.75),  # (0.9 + 0.6) / 2
        ("top-9", 0.45),
        ("noisy-or", 1 - 0.1 * 0.4 * 0.7 * 1.0),
        # Weights 3/4 and 1/4 of ln 9 and ln 1.5; the others have none.
        ("attention", 1 / (1 + math.exp(-(0.75 * math.log(9) + 0.25 * math.log(1.5))))),
    ],
)
def test_by_hand(name: str, expected: float) -> None:
    scores = [-1e3, math.log(3.0), 0.0, -1e3]
    assert Aggregation.named(name).apply([0.0, 0.9, 0.6, 0.3], scores) == pytest.approx(expected)


@given(EVERY, IMAGES, st.randoms())
def test_order_does_not_matter_to_the_last_bit(aggregation, images, random) -> None:
    shuffled = list(images)
    random.shuffle(shuffled)
    assert joined(aggregation, shuffled) == joined(aggregation, images)


@given(EVERY, IMAGES, st.data())
def test_a_more_suspicious_image_never_lowers_the_study(aggregation, images, data) -> None:
    place = data.draw(st.integers(0, len(images) - 1))
    raised = list(images)
    raised[place] = (data.draw(st.floats(images[place][0], 1 - 1e-6)), images[place][1])
    assert joined(aggregation, raised) >= joined(aggregation, images) - 1e-12


@given(EVERY, INSIDE, st.floats(-30, 30))
def test_a_single_image_is_its_study(aggregation, probability, score) -> None:
    assert joined(aggregation, [(probability, score)]) == pytest.approx(probability, rel=1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_noisy_or_lies_between_the_highest_and_the_sum(probabilities) -> None:
    value = Aggregation.named("noisy-or").apply(probabilities)
    assert max(probabilities) - 1e-12 <= value <= min(1.0, sum(probabilities)) + 1e-12


def test_noisy_or_keeps_tiny_chances() -> None:
    # 1 − (1 − 1e-20)² is 0 in plain arithmetic.
    assert Aggregation.named("noisy-or").apply([1e-20, 1e-20]) == pytest.approx(2e-20)


@given(st.sampled_from([Aggregation.named(name) for name in NAMES if name != "noisy-or"]), IMAGES)
def test_all_but_noisy_or_stay_inside_the_images(aggregation, images) -> None:
    probabilities = [p for p, _ in images]
    assert min(probabilities) - 1e-9 <= joined(aggregation, images) <= max(probabilities) + 1e-9


@given(st.lists(INSIDE, min_size=1, max_size=20), st.floats(-30, 30))
def test_attention_of_equal_scores_is_the_mean_logit(probabilities, score) -> None:
    value = Aggregation.named("attention").apply(probabilities, [score] * len(probabilities))
    assert value == pytest.approx(float(expit(logit(np.array(probabilities)).mean())), rel=1e-9)


@given(EVERY, IMAGES)
def test_what_carries_an_answer_is_in_the_study_and_falls(aggregation, images) -> None:
    probabilities, scores = [p for p, _ in images], [score for _, score in images]
    places = aggregation.carrying(probabilities, scores)
    shares = aggregation.contributions(probabilities, scores)
    assert len(places) == len(set(places)) <= 3
    assert [shares[place] for place in places] == sorted(shares, reverse=True)[: len(places)]


def test_the_defaults_are_carried_by_the_images_that_make_them() -> None:
    probabilities = [0.1, 0.9, 0.6, 0.3]
    assert DEFAULTS[Modality.CXR].carrying(probabilities) == [1]
    assert DEFAULTS[Modality.CT].carrying(probabilities) == [1, 2, 3]


def test_a_negative_study_is_carried_by_what_attention_heeded() -> None:
    # The first image is heeded and speaks against; the last speaks for, unheeded.
    assert Aggregation.named("attention").carrying([0.1, 0.4, 0.6], [5.0, 0.0, -5.0])[0] == 0
    assert Aggregation.named("attention").carrying([0.9, 0.4, 0.6], [5.0, 0.0, -5.0])[0] == 0


@pytest.mark.parametrize("name", ["", "top", "top-0", "top--3", "median", "top-3 "])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="use max, mean, top-K"):
        Aggregation.named(name)


@pytest.mark.parametrize("name", NAMES)
def test_names_come_back(name: str) -> None:
    assert Aggregation.named(name).name == name
    assert Aggregation.named(name).spoken


def test_attention_needs_a_score_for_each_image() -> None:
    for scores in (None, [1.0]):
        with pytest.raises(ValueError, match="a score for every image"):
            Aggregation(AggregationKind.ATTENTION).apply([0.2, 0.3], scores)
    with pytest.raises(ValueError, match="no probability"):
        Aggregation(AggregationKind.MEAN).apply([])
