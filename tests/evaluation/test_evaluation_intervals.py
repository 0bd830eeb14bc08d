"""Intervals: they contain their estimate, they resample patients, and 95 % of them hold the truth."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from duoscan.errors import InputError
from duoscan.evaluation import intervals
from duoscan.evaluation.intervals import (
    Estimate,
    bootstrap,
    draws,
    paired_difference,
    unpaired_difference,
)
from duoscan.evaluation.metrics import BinaryMetrics, Means, Share
from duoscan.evaluation.sample import Sample

if TYPE_CHECKING:
    from collections.abc import Callable


def contains(estimate: Estimate, value: float) -> bool:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low <= value <= estimate.high


@given(
    rows=st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 9)), min_size=1, max_size=25),
    seed=st.integers(0, 5),
)
def test_an_interval_contains_its_estimate_and_row_order_does_not_matter(
    rows: list[tuple[bool, int, int]], seed: int
) -> None:
    def intervals(ordered: list[tuple[bool, int, int]]) -> dict[str, Estimate]:
        reference, grades, units = zip(*ordered, strict=True)
        values = np.array(grades) / 4
        sample = Sample(np.array(reference), values, values >= 0.5, tuple(f"p{unit}" for unit in units))
        return bootstrap(BinaryMetrics(sample), sample.units, resamples=100, seed=seed)

    found, turned = intervals(rows), intervals(rows[::-1])
    for name, estimate in found.items():
        assert (estimate.low is None) == (estimate.high is None)
        assert estimate.low is not None or estimate.note, name
        if estimate.low is not None:
            assert contains(estimate, estimate.value), name
        for end in ("value", "low", "high"):
            one, other = getattr(estimate, end), getattr(turned[name], end)
            assert one == other or one == pytest.approx(other, abs=1e-12, nan_ok=True), name


def test_percentiles_that_miss_the_estimate_are_moved_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Draws that never take the wrong patient "c" would say [1, 1] of a mean that is 2/3.
    monkeypatch.setattr(intervals, "draws", lambda *arguments: [np.tile([2.0, 1.0, 0.0], (100, 1))])
    found = bootstrap(Means({"right": np.array([1.0, 1.0, 0.0])}), ["a", "b", "c"], resamples=100)["right"]
    assert (found.value, found.low, found.high) == (pytest.approx(2 / 3), found.value, 1.0)


def test_a_patient_who_counts_once_needs_no_resamples(sample: Callable[..., Sample]) -> None:
    # One image each: 17 of 20 sick patients found, 29 of 30 others let go.
    made = sample([1] * 20 + [0] * 30, [0.9] * 17 + [0.1] * 32 + [0.9])
    found = bootstrap(BinaryMetrics(made), made.units, resamples=100)
    for name, hits, trials in (("sensitivity", 17, 20), ("specificity", 29, 30), ("fpr", 1, 30), ("ppv", 17, 18)):
        exact = binomtest(hits, trials).proportion_ci(method="exact")
        assert (found[name].low, found[name].high) == (pytest.approx(exact.low), pytest.approx(exact.high))
        assert found[name].note == "Clopper–Pearson"
    assert found["balanced_accuracy"].note == ""


def test_the_same_seed_gives_the_same_interval_and_another_does_not(sample: Callable[..., Sample]) -> None:
    rng = np.random.default_rng(0)
    made = sample(rng.random(60) < 0.5, rng.random(60))
    first, again, other = (bootstrap(BinaryMetrics(made), made.units, resamples=200, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first["auroc"] != other["auroc"]


def test_every_draw_takes_as_many_patients_as_there_are() -> None:
    chunks = list(draws(7, 1000, 0, rows=40_000))  # 2,000,000 weights at once: 50 resamples a chunk
    assert [len(chunk) for chunk in chunks] == [50] * 20
    drawn = np.concatenate(chunks)
    assert np.all(drawn.sum(axis=1) == 7)
    # Each patient is drawn once on average; 1000 draws of variance 6/7 put the mean within ±0.15 (5 sigma).
    assert drawn.mean(axis=0) == pytest.approx(np.ones(7), abs=0.15)


def test_images_of_a_patient_come_along_together() -> None:
    # Two patients, one all right and one all wrong, say as much as one of two coins, however many images there are.
    right = np.repeat([True, False], 500)
    found = bootstrap(Share(right), ["a"] * 500 + ["b"] * 500, resamples=500)["share"]
    coins = binomtest(1, 2).proportion_ci(method="exact")
    assert (found.value, found.n, found.units) == (0.5, 1000, 2)
    assert (found.low, found.high) == (pytest.approx(coins.low), pytest.approx(coins.high))
    by_image = bootstrap(Share(right), list(map(str, range(1000))), resamples=500)["share"]
    assert by_image.low is not None
    assert by_image.low > 0.45


def test_no_error_among_few_patients_is_not_certainty(sample: Callable[..., Sample]) -> None:
    # 10 covid images of 5 patients, all found: the 95 % lower bound with 5 trials is .025^(1/5) = .4782.
    made = sample([1] * 10 + [0] * 3, [0.9] * 10 + [0.1] * 3, units=[*"aabbccddee", *"xyz"])
    found = bootstrap(BinaryMetrics(made), made.units, resamples=100)
    assert (found["sensitivity"].n, found["sensitivity"].units) == (10, 5)
    assert found["sensitivity"].low == pytest.approx(0.4782, abs=1e-4)
    assert found["sensitivity"].high == 1.0
    assert (found["fnr"].low, found["fnr"].high) == (0.0, pytest.approx(1 - 0.4782, abs=1e-4))
    assert found["specificity"].low == pytest.approx(0.025 ** (1 / 3))
    # AUROC 1 in every resample: there is nothing to tell an interval from, and [1, 1] would be a lie.
    assert (found["auroc"].value, found["auroc"].low) == (1.0, None)
    assert "no resample differs" in found["auroc"].note


def test_resamples_without_a_class_are_dropped_counted_and_end_the_interval(sample: Callable[..., Sample]) -> None:
    # One covid patient of 30 is missing from (29/30)^30 = 36 % of the resamples.
    made = sample([1] + [0] * 29, [0.9, *np.linspace(0, 1, 29)])
    found = bootstrap(BinaryMetrics(made), made.units, resamples=1000)["auroc"]
    assert found.low is None
    assert found.dropped == pytest.approx(362, abs=76)  # 5 sigma of a binomial
    assert found.note == f"undefined in {found.dropped} of 1000 resamples"
    # Five of 30 are missing from (25/30)^30 = 0.4 %.
    made = sample([1] * 5 + [0] * 25, [0.9, 0.8, 0.7, 0.6, 0.1, *np.linspace(0, 1, 25)])
    found = bootstrap(BinaryMetrics(made), made.units, resamples=1000)["auroc"]
    assert found.low is not None
    assert 0 < found.dropped < 20


def test_the_undefined_and_the_single_patient_have_no_interval(sample: Callable[..., Sample]) -> None:
    made = sample([1, 1, 0], [0.9, 0.2, 0.4], units=["a", "a", "a"])
    found = bootstrap(BinaryMetrics(made), made.units, resamples=100)
    assert (found["accuracy"].low, found["accuracy"].note) == (None, "one patient only")
    made = sample([1, 1], [0.9, 0.2])
    found = bootstrap(BinaryMetrics(made), made.units, resamples=100)
    assert found["auroc"].note == "undefined on these rows"
    assert found["auroc"].to_json()["value"] is None


def test_too_few_resamples_are_refused() -> None:
    with pytest.raises(InputError, match="99 resamples"):
        bootstrap(Share(np.array([True, False])), ["a", "b"], resamples=99)


def test_a_paired_difference_is_narrower_than_an_unpaired_one() -> None:
    # Both models fail on the same hard patients and the second fails on three more of 100.
    first, second = np.arange(100) < 80, np.arange(100) < 77
    units = [f"p{number}" for number in range(100)]
    paired = paired_difference((Share(first), units), (Share(second), units))["share"]
    estimates = [bootstrap(Share(rows), units)["share"] for rows in (first, second)]
    unpaired = unpaired_difference(*estimates)
    assert paired.value == unpaired.value == pytest.approx(0.03)
    assert (paired.n, paired.units) == (200, 100)
    assert paired.low is not None
    assert paired.high is not None
    assert unpaired.low is not None
    assert 0.0 <= paired.low < 0.03 < paired.high
    # Three of 100 differ: standard error √(.03·.97/100) = .017, so the upper end is near .03 + 1.96·.017 = .063.
    assert paired.high == pytest.approx(0.063, abs=0.012)
    assert unpaired.low < -0.05


def test_a_paired_difference_pairs_patients_and_not_rows() -> None:
    # The second has each patient twice and in another order; patient by patient the two are equally right.
    right = np.arange(40) < 30
    units = [f"p{number}" for number in range(40)]
    found = paired_difference((Share(right), units), (Share(np.tile(right, 2)[::-1]), [*units, *units][::-1]))["share"]
    assert found.value == 0.0
    assert (found.low, found.high) == (None, None)  # no resample differs


def test_an_unpaired_difference_by_hand() -> None:
    # .9 [.8, .95] and .7 [.6, .75]: low .2 − √(.1² + .05²), high .2 + √(.05² + .1²); both roots are .1118.
    found = unpaired_difference(Estimate(0.9, 0.8, 0.95, 50, 40), Estimate(0.7, 0.6, 0.75, 30, 20))
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == (pytest.approx(0.2 - 0.1118, abs=1e-4), pytest.approx(0.2 + 0.1118, abs=1e-4))
    assert (found.n, found.units) == (80, 60)
    without = unpaired_difference(Estimate(0.9, None, None, 50, 40), Estimate(0.7, 0.6, 0.75, 30, 20))
    assert (without.low, without.note) == (None, "one of the two has no interval")


@pytest.mark.slow
def test_about_95_of_100_intervals_hold_the_truth() -> None:
    """Nominal coverage on images clustered in patients; the intervals by image fall short of it."""
    simulations, patients = 400, 200
    truth_auroc = 0.5 * (1 + math.erf(1.5 / 2))  # Φ(1.5/√2): the scores' distance over the spread of a difference
    rng = np.random.default_rng(7)
    held = {"by patient": 0, "by image": 0, "auroc": 0}
    for simulation in range(simulations):
        images = rng.integers(1, 8, patients)
        unit = np.repeat(np.arange(patients), images)
        names = [f"p{number}" for number in unit]
        # Each patient has a chance of being answered right, Beta(2, 1), mean 2/3; its images share it.
        right = rng.random(len(unit)) < rng.beta(2, 1, patients)[unit]
        by_patient = bootstrap(Share(right), names, resamples=200, seed=simulation)["share"]
        held["by patient"] += contains(by_patient, 2 / 3)
        by_image = bootstrap(Share(right), list(map(str, range(len(unit)))), resamples=200, seed=simulation)["share"]
        held["by image"] += contains(by_image, 2 / 3)
        # Scores of unit variance, four fifths of it shared by a patient's images; covid lies 1.5 higher.
        sick = rng.random(patients) < 0.4
        score = math.sqrt(0.8) * rng.normal(size=patients)[unit] + math.sqrt(0.2) * rng.normal(size=len(unit))
        score += 1.5 * sick[unit]
        sample = Sample(sick[unit], score, score > 0, tuple(names))
        if simulation < 150:
            auroc = bootstrap(BinaryMetrics(sample), names, resamples=200, seed=simulation)["auroc"]
            held["auroc"] += contains(auroc, truth_auroc)
    assert 0.90 <= held["by patient"] / simulations <= 0.99
    assert 0.90 <= held["auroc"] / 150 <= 0.99
    assert held["by image"] / simulations < 0.90
