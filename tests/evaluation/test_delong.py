"""DeLong's variance, its clustered form, and the test of two models."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, norm
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from duoscan.errors import InputError
from duoscan.evaluation.delong import delong_auroc, delong_test

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ALONE = [f"p{number}" for number in range(200)]


def standard_error(reference: NDArray[np.bool_], score: NDArray[np.float64], units: Sequence[str]) -> float:
    """Of the AUROC, taken out of the test against a model that gives all rows one score and so has none."""
    found = delong_test(reference, score, np.zeros(len(score)), units)
    return found.difference.value / found.t


def test_five_rows_by_hand() -> None:
    # Positives 3, 5; negatives 1, 2, 4. Share of negatives below: 3 → 2/3, 5 → 1; mean 5/6.
    # Share of positives above: 1 → 1, 2 → 1, 4 → 1/2; mean 5/6.
    # Spread: (1/6)² + (1/6)² over 1 = 1/18 and (1/6)² + (1/6)² + (1/3)² over 2 = 1/12.
    # Variance: (1/18)/2 + (1/12)/3 = 1/36 + 1/36 = 1/18.
    rows = np.array([1, 1, 0, 0, 0], bool), np.array([3.0, 5, 1, 2, 4]), ALONE[:5]
    found = delong_auroc(*rows)
    assert found.value == pytest.approx(5 / 6)
    assert standard_error(*rows) == pytest.approx(math.sqrt(1 / 18))
    # t of 1 degree of freedom leads almost to 0 and 1; a plain proportion of 5/6 · 2 of 2 patients does not go so far.
    assert found.low == pytest.approx(beta.ppf(0.025, 5 / 3, 1 / 3 + 1))
    assert found.high == pytest.approx(beta.ppf(0.975, 5 / 3 + 1, 1 / 3))
    assert (found.n, found.units) == (5, 5)


def test_two_images_a_patient_by_hand() -> None:
    # The same five rows; the two positives are of one patient a, negatives 1 and 2 of b, 4 of c; another positive 6
    # of d. Positives 3, 5, 6: shares below 2/3, 1, 1, mean 8/9. Negatives 1, 2, 4: shares above 1, 1, 2/3.
    # Beyond the mean by patient: a −2/9 + 1/9 = −1/9, d 1/9; b 1/9 + 1/9 = 2/9, c −2/9.
    # Positives: 2/1 · (2/81) / 9 = 4/729; negatives: 2/1 · (8/81) / 9 = 16/729; nobody has both. Sum 20/729.
    rows = np.array([1, 1, 1, 0, 0, 0], bool), np.array([3.0, 5, 6, 1, 2, 4]), ["a", "a", "d", "b", "b", "c"]
    assert delong_auroc(*rows).value == pytest.approx(8 / 9)
    assert standard_error(*rows) == pytest.approx(math.sqrt(20 / 729))


def test_a_patient_with_both_classes_counts_crosswise() -> None:
    # Positives 3 (a), 5 (b); negatives 2 (a), 4 (c). Shares below: 1/2, 1, mean 3/4; shares above: 1, 1/2.
    # Beyond the mean: positives a −1/4, b 1/4; negatives a 1/4, c −1/4. Three patients.
    # 2/1 · (2/16) / 4 + 2/1 · (2/16) / 4 + 2 · 3/2 · (−1/16) / 4 = 1/16 + 1/16 − 3/64 = 5/64.
    rows = np.array([1, 1, 0, 0], bool), np.array([3.0, 5, 2, 4]), ["a", "b", "a", "c"]
    assert standard_error(*rows) == pytest.approx(math.sqrt(5 / 64))


@given(
    rows=st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 6)), min_size=8, max_size=40),
)
def test_the_areas_are_those_of_scikit_learn_and_the_variance_that_of_the_definition(
    rows: list[tuple[bool, int, int]],
) -> None:
    reference = np.array([row[0] for row in rows])
    scores = np.array([row[1:] for row in rows], float).T
    if min(reference.sum(), (~reference).sum()) < 2:
        return
    found = delong_test(reference, scores[0], scores[1], ALONE[: len(rows)])
    for estimate, score in ((found.first, scores[0]), (found.second, scores[1])):
        assert estimate.value == pytest.approx(roc_auc_score(reference, score))
    # DeLong's definition: every positive against every negative, one image a patient.
    kernels = [
        (score[reference][:, None] > score[~reference]) + 0.5 * (score[reference][:, None] == score[~reference])
        for score in scores
    ]
    covariance = np.cov([k.mean(1) for k in kernels]) / reference.sum()
    covariance += np.cov([k.mean(0) for k in kernels]) / (~reference).sum()
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    if variance < 1e-12:
        assert math.isnan(found.t)
        assert found.difference.low is None
    else:
        assert found.t == pytest.approx((found.first.value - found.second.value) / math.sqrt(variance))
        freedom = min(reference.sum(), (~reference).sum()) - 1
        assert found.p_value == pytest.approx(2 * student.sf(abs(found.t), freedom))


def test_limits_are_students_on_the_logit_scale() -> None:
    # 60 sick, 80 others, one image each. Of 60 sick patients those who carry the errors are fewer than 59.
    rng = np.random.default_rng(4)
    reference = np.arange(140) < 60
    score = reference + rng.normal(size=140)
    found = delong_auroc(reference, score, ALONE[:140])
    placed = [
        (score[one][:, None] > score[other]).mean(1)
        for one, other in ((reference, ~reference), (~reference, reference))
    ]
    wrong = [1 - placed[0], placed[1]]
    carrying = min(float(one.sum() ** 2 / (one @ one)) for one in wrong)
    assert 10 < carrying < 59
    area = found.value
    reach = student.ppf(0.975, carrying) * standard_error(reference, score, ALONE[:140]) / (area * (1 - area))
    ends = [1 / (1 + math.exp(-(math.log(area / (1 - area)) + sign * reach))) for sign in (-1, 1)]
    assert (found.low, found.high) == (pytest.approx(ends[0]), pytest.approx(ends[1]))


def test_the_spread_is_that_of_another_implementation() -> None:
    # roc_auc_score(y, score, confidence_level=0.95) of confidenceinterval 1.0.5 on these rows: 0.708125 with the normal
    # limits (0.6224765363893722, 0.7937734540738847), so 1.96 standard errors are half of their distance.
    rng = np.random.default_rng(4)
    reference = np.arange(140) < 60
    score = reference + rng.normal(size=140)
    assert delong_auroc(reference, score, ALONE[:140]).value == pytest.approx(0.708125)
    error = (0.7937734540738847 - 0.6224765363893722) / 2 / norm.ppf(0.975)
    assert standard_error(reference, score, ALONE[:140]) == pytest.approx(error, rel=1e-6)


def test_copies_of_every_image_change_nothing() -> None:
    rng = np.random.default_rng(1)
    reference, score = rng.random(40) < 0.5, rng.random(40)
    once = delong_auroc(reference, score, ALONE[:40])
    threefold = delong_auroc(np.tile(reference, 3), np.tile(score, 3), ALONE[:40] * 3)
    assert (threefold.low, threefold.high) == (pytest.approx(once.low), pytest.approx(once.high))
    as_if_new = delong_auroc(np.tile(reference, 3), np.tile(score, 3), ALONE[:120])
    assert as_if_new.low is not None
    assert once.low is not None
    assert as_if_new.low > once.low  # what ignoring patients would claim


def test_the_test_swaps_signs_with_its_sides() -> None:
    rng = np.random.default_rng(2)
    reference = rng.random(60) < 0.4
    one, other = reference + rng.normal(size=60), reference + 2 * rng.normal(size=60)
    there, back = delong_test(reference, one, other, ALONE[:60]), delong_test(reference, other, one, ALONE[:60])
    assert there.t == pytest.approx(-back.t)
    assert there.p_value == pytest.approx(back.p_value)
    assert there.difference.low == pytest.approx(-(back.difference.high or 0))
    assert there.to_json()["first"]["value"] == there.first.value


def test_what_has_no_interval_says_why() -> None:
    # One score for all, one class, one patient of a class, and a model against itself.
    tied = delong_auroc(np.array([1, 1, 0, 0], bool), np.array([1.0, 1, 1, 1]), ALONE[:4])
    assert (tied.value, tied.low) == (0.5, None)
    assert "no spread" in tied.note
    single = delong_auroc(np.array([1, 1], bool), np.array([4.0, 3]), ALONE[:2])
    assert math.isnan(single.value)
    lonely = delong_auroc(np.array([1, 1, 0, 0], bool), np.array([4.0, 2, 3, 1]), ["a", "a", "b", "c"])
    assert (lonely.value, lonely.low) == (0.75, None)
    assert "fewer than 2 patients" in lonely.note
    reference, score = np.array([1, 0, 1, 0], bool), np.array([4.0, 3, 2, 1])
    same = delong_test(reference, score, score, ALONE[:4])
    assert (same.difference.value, same.difference.low) == (0.0, None)
    assert same.to_json()["p_value"] is None


def test_perfect_ranking_has_the_bound_that_no_scores_break() -> None:
    # Of 3 sick and 5 others three pairs of different patients can be formed: .025^(1/3) = .2924. Three images each add
    # nothing, nor does turning the scores.
    reference = np.array([1] * 3 + [0] * 5, bool)
    score = reference + np.arange(8) / 100
    for found in (
        delong_auroc(reference, score, ALONE[:8]),
        delong_auroc(np.tile(reference, 3), np.tile(score, 3), ALONE[:8] * 3),
    ):
        assert (found.value, found.low, found.high) == (1.0, pytest.approx(0.025 ** (1 / 3)), 1.0)
        assert found.note == "Clopper–Pearson bound, 3 pairs of patients as trials"
    turned = delong_auroc(reference, -score, ALONE[:8])
    assert (turned.low, turned.high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 3)))


@pytest.mark.parametrize(
    ("sick", "others", "area", "images"), [(8, 30, 0.98, 1), (20, 20, 0.99, 1), (10, 90, 0.95, 1), (6, 54, 0.99, 8)]
)
def test_the_interval_holds_an_extreme_auroc_of_few_patients(sick: int, others: int, area: float, images: int) -> None:
    # Binormal scores, images of a patient correlate 0.7. At 1,000 cohorts two standard errors are .014. Normal limits
    # hold the last case in .85 of cohorts, percentiles of resamples in fewer.
    rng = np.random.default_rng(5)
    patients = np.repeat(np.arange(sick + others), images)
    reference, names = patients < sick, [str(patient) for patient in patients]
    held = 0
    for _ in range(1000):
        shared, own = rng.normal(size=sick + others)[patients], rng.normal(size=len(names))
        score = math.sqrt(0.7) * shared + math.sqrt(0.3) * own + math.sqrt(2) * norm.ppf(area) * reference
        found = delong_auroc(reference, score, names)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= area <= found.high
    assert held >= 936


def test_models_on_different_rows_are_refused() -> None:
    with pytest.raises(InputError, match="both models on the same rows"):
        delong_test(np.array([1, 0], bool), np.array([1.0, 0]), np.array([1.0]), ["a", "b"])
