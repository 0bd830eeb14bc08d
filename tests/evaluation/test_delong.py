"""DeLong's variance, its clustered form, and the test of two models."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from duoscan.errors import InputError
from duoscan.evaluation.delong import Z, delong_auroc, delong_test
from duoscan.evaluation.intervals import Estimate

ALONE = [f"p{number}" for number in range(200)]


def logit_error(estimate: Estimate) -> float:
    """Standard error of the AUROC, taken back out of the interval on the logit scale."""
    assert estimate.low is not None
    assert estimate.high is not None
    ends = [math.log(end / (1 - end)) for end in (estimate.low, estimate.high)]
    return (ends[1] - ends[0]) / 2 / Z * estimate.value * (1 - estimate.value)


def test_five_rows_by_hand() -> None:
    # Positives 3, 5; negatives 1, 2, 4. Share of negatives below: 3 → 2/3, 5 → 1; mean 5/6.
    # Share of positives above: 1 → 1, 2 → 1, 4 → 1/2; mean 5/6.
    # Spread: (1/6)² + (1/6)² over 1 = 1/18 and (1/6)² + (1/6)² + (1/3)² over 2 = 1/12.
    # Variance: (1/18)/2 + (1/12)/3 = 1/36 + 1/36 = 1/18.
    found = delong_auroc(np.array([1, 1, 0, 0, 0], bool), np.array([3.0, 5, 1, 2, 4]), ALONE[:5])
    assert found.value == pytest.approx(5 / 6)
    assert logit_error(found) == pytest.approx(math.sqrt(1 / 18))
    # logit(5/6) = ln 5 = 1.6094; reach 1.96 · .2357 / (5/36) = 3.3261; expit(−1.7167) = .1523, expit(4.9355) = .9929
    assert (found.low, found.high) == (pytest.approx(0.1523, abs=1e-4), pytest.approx(0.9929, abs=1e-4))
    assert (found.n, found.units) == (5, 5)


def test_two_images_a_patient_by_hand() -> None:
    # The same five rows; the two positives are of one patient a, negatives 1 and 2 of b, 4 of c; another positive 6
    # of d. Positives 3, 5, 6: shares below 2/3, 1, 1, mean 8/9. Negatives 1, 2, 4: shares above 1, 1, 2/3.
    # Beyond the mean by patient: a −2/9 + 1/9 = −1/9, d 1/9; b 1/9 + 1/9 = 2/9, c −2/9.
    # Positives: 2/1 · (2/81) / 9 = 4/729; negatives: 2/1 · (8/81) / 9 = 16/729; nobody has both. Sum 20/729.
    found = delong_auroc(
        np.array([1, 1, 1, 0, 0, 0], bool), np.array([3.0, 5, 6, 1, 2, 4]), ["a", "a", "d", "b", "b", "c"]
    )
    assert found.value == pytest.approx(8 / 9)
    assert logit_error(found) == pytest.approx(math.sqrt(20 / 729))


def test_a_patient_with_both_classes_counts_crosswise() -> None:
    # Positives 3 (a), 5 (b); negatives 2 (a), 4 (c). Shares below: 1/2, 1, mean 3/4; shares above: 1, 1/2.
    # Beyond the mean: positives a −1/4, b 1/4; negatives a 1/4, c −1/4. Three patients.
    # 2/1 · (2/16) / 4 + 2/1 · (2/16) / 4 + 2 · 3/2 · (−1/16) / 4 = 1/16 + 1/16 − 3/64 = 5/64.
    found = delong_auroc(np.array([1, 1, 0, 0], bool), np.array([3.0, 5, 2, 4]), ["a", "b", "a", "c"])
    assert logit_error(found) == pytest.approx(math.sqrt(5 / 64))


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
        assert math.isnan(found.z)
        assert found.difference.low is None
    else:
        assert found.z == pytest.approx((found.first.value - found.second.value) / math.sqrt(variance))
        assert found.p_value == pytest.approx(math.erfc(abs(found.z) / math.sqrt(2)))


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
    assert there.z == pytest.approx(-back.z)
    assert there.p_value == pytest.approx(back.p_value)
    assert there.difference.low == pytest.approx(-(back.difference.high or 0))
    assert there.to_json()["first"]["value"] == there.first.value


def test_what_has_no_interval_says_why() -> None:
    # Perfect separation, one class, one patient of a class, and a model against itself.
    perfect = delong_auroc(np.array([1, 1, 0, 0], bool), np.array([4.0, 3, 2, 1]), ALONE[:4])
    assert (perfect.value, perfect.low) == (1.0, None)
    assert "no spread" in perfect.note
    single = delong_auroc(np.array([1, 1], bool), np.array([4.0, 3]), ALONE[:2])
    assert math.isnan(single.value)
    lonely = delong_auroc(np.array([1, 1, 0, 0], bool), np.array([4.0, 2, 3, 1]), ["a", "a", "b", "c"])
    assert (lonely.value, lonely.low) == (0.75, None)
    assert "fewer than 2 patients" in lonely.note
    reference, score = np.array([1, 0, 1, 0], bool), np.array([4.0, 3, 2, 1])
    same = delong_test(reference, score, score, ALONE[:4])
    assert (same.difference.value, same.difference.low) == (0.0, None)
    assert same.to_json()["p_value"] is None


def test_models_on_different_rows_are_refused() -> None:
    with pytest.raises(InputError, match="both models on the same rows"):
        delong_test(np.array([1, 0], bool), np.array([1.0, 0]), np.array([1.0]), ["a", "b"])
