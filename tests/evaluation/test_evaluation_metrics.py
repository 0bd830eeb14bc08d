"""Metrics: published matrices, hand-made cases, scikit-learn as a second opinion, and laws."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoscan.evaluation.metrics import (
    METRIC_NAMES,
    BinaryMetrics,
    ClassMetrics,
    Confusion,
    majority_baseline,
    majority_class_baseline,
    point,
)
from duoscan.evaluation.sample import Sample, sample_of
from duoscan.terms import Finding

if TYPE_CHECKING:
    from collections.abc import Callable

    from duoscan.predictions import Prediction

CLASSES = (Finding.COVID, Finding.PNEUMONIA, Finding.NORMAL)


@st.composite
def samples(draw: st.DrawFn) -> tuple[Sample, np.ndarray]:
    """A sample with many ties and both classes, and whole weights that keep both classes."""
    size = draw(st.integers(2, 30))
    reference = [True, False, *draw(st.lists(st.booleans(), min_size=size - 2, max_size=size - 2))]
    grades = draw(st.lists(st.integers(0, 8), min_size=size, max_size=size))
    weights = [1, 1, *draw(st.lists(st.integers(0, 3), min_size=size - 2, max_size=size - 2))]
    values = np.array(grades) / 8
    made = Sample(np.array(reference), values, values >= draw(st.integers(0, 8)) / 8, tuple(map(str, range(size))))
    return made, np.array(weights, dtype=np.float64)


def taken(sample: Sample, rows: np.ndarray) -> Sample:
    units = tuple(sample.units[row] for row in rows)
    return Sample(sample.reference[rows], sample.probability[rows], sample.called[rows], units)


def same(first: dict[str, float], second: dict[str, float]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert value == pytest.approx(second[name], abs=1e-12, nan_ok=True), name


def test_the_published_x_ray_matrix(matrix_rows: Callable[..., list[Prediction]]) -> None:
    # The two-phase framework's second test set, 341 X-rays, 110/1/3/227, published accuracy .9883:
    # 111 covid of which 110 found, 230 normal of which 227 found; (110 + 227) / 341 = .98827.
    metrics = BinaryMetrics(sample_of(matrix_rows(110, 1, 3, 227), threshold=0.5))
    found = point(metrics, 341)
    assert found["accuracy"] == pytest.approx(337 / 341)
    assert round(found["accuracy"], 4) == 0.9883
    assert found["ppv"] == pytest.approx(110 / 113)
    assert found["sensitivity"] == pytest.approx(110 / 111)
    assert found["specificity"] == pytest.approx(227 / 230)
    assert found["npv"] == pytest.approx(227 / 228)
    assert found["fpr"] == pytest.approx(3 / 230)
    assert found["fnr"] == pytest.approx(1 / 111)
    assert found["fdr"] == pytest.approx(3 / 113)
    assert found["mae"] == pytest.approx(4 / 341)  # with hard labels: the error rate
    assert found["brier_score"] == pytest.approx(4 / 341)
    assert found["f1"] == pytest.approx(220 / 224)  # 2·110 / (2·110 + 3 + 1)
    assert found["balanced_accuracy"] == pytest.approx((110 / 111 + 227 / 230) / 2)
    assert found["auroc"] == pytest.approx(found["balanced_accuracy"])  # one step: the area is the mean of the two
    assert list(found) == list(METRIC_NAMES)
    assert metrics.confusion() == Confusion(110, 1, 3, 227)
    assert metrics.confusion().rows() == [[110, 1], [3, 227]]


def test_the_published_ct_matrix(matrix_rows: Callable[..., list[Prediction]]) -> None:
    # 2,028 slices, 1706/4/2/316, published accuracy .9970; always answering covid gives 1710/2028 = .8432.
    sample = sample_of(matrix_rows(1706, 4, 2, 316), threshold=0.5)
    assert round(point(BinaryMetrics(sample), 2028)["accuracy"], 4) == 0.9970
    assert round(majority_baseline(sample.reference)["accuracy"], 3) == 0.843


def test_auroc_and_average_precision_by_hand(sample: Callable[..., Sample]) -> None:
    # Positives .9 .5 .3, negatives .5 .1: of six pairs, .9 wins 2; .5 ties one (½) and wins 1; .3 loses one and
    # wins 1 → 4.5 / 6. Falling: .9 (P 1/1), .5 (P 2/3, one more hit), .3 (P 3/4) → (1 + 2/3 + 3/4) / 3 = 29/36.
    found = point(BinaryMetrics(sample([1, 1, 1, 0, 0], [0.9, 0.5, 0.3, 0.5, 0.1])), 5)
    assert found["auroc"] == pytest.approx(0.75)
    assert found["average_precision"] == pytest.approx(29 / 36)
    # |1−.9| + |1−.5| + |1−.3| + .5 + .1 = 1.9; squares .01 + .25 + .49 + .25 + .01 = 1.01
    assert found["mae"] == pytest.approx(1.9 / 5)
    assert found["brier_score"] == pytest.approx(1.01 / 5)


def test_what_cannot_be_divided_is_nan_and_never_0(sample: Callable[..., Sample]) -> None:
    only_positive = point(BinaryMetrics(sample([1, 1], [0.9, 0.2])), 2)
    undefined = {name for name, value in only_positive.items() if math.isnan(value)}
    assert undefined == {"balanced_accuracy", "specificity", "fpr", "auroc"}
    nothing_called = point(BinaryMetrics(sample([1, 0], [0.1, 0.2])), 2)
    assert {name for name, value in nothing_called.items() if math.isnan(value)} == {"ppv", "fdr"}
    assert nothing_called["f1"] == 0.0  # 0 / (0 + 0 + 1) is defined


@given(samples())
def test_weighted_is_repeated_and_row_order_does_not_matter(drawn: tuple[Sample, np.ndarray]) -> None:
    sample, weights = drawn
    repeated = np.repeat(np.arange(len(sample)), weights.astype(int))
    expected = point(BinaryMetrics(taken(sample, repeated)), len(repeated))
    same({name: float(value[0]) for name, value in BinaryMetrics(sample)(weights[None, :]).items()}, expected)
    same(point(BinaryMetrics(taken(sample, repeated[::-1])), len(repeated)), expected)


@given(samples())
def test_complements_add_to_one(drawn: tuple[Sample, np.ndarray]) -> None:
    sample, weights = drawn
    found = BinaryMetrics(sample)(weights[None, :])
    assert found["sensitivity"] + found["fnr"] == pytest.approx(1.0)
    assert found["specificity"] + found["fpr"] == pytest.approx(1.0)
    if sample.called[weights > 0].any():
        assert found["ppv"] + found["fdr"] == pytest.approx(1.0)
    else:
        assert np.isnan(found["ppv"] + found["fdr"])


@given(samples())
def test_auroc_does_not_change_under_a_strictly_monotone_map(drawn: tuple[Sample, np.ndarray]) -> None:
    sample, _ = drawn
    mapped = Sample(sample.reference, np.expm1(sample.probability) / 2, sample.called, sample.units)
    expected, found = (point(BinaryMetrics(one), len(one))["auroc"] for one in (sample, mapped))
    assert found == expected
    turned = Sample(sample.reference, 1 - sample.probability, sample.called, sample.units)
    assert point(BinaryMetrics(turned), len(turned))["auroc"] == pytest.approx(1 - expected)


@given(samples())
def test_scikit_learn_agrees_under_weights(drawn: tuple[Sample, np.ndarray]) -> None:
    from sklearn import metrics as reference

    sample, weights = drawn
    found = {name: float(value[0]) for name, value in BinaryMetrics(sample)(weights[None, :]).items()}
    truth, probability, called = sample.reference, sample.probability, sample.called
    weighted: dict[str, Any] = {"sample_weight": weights}
    assert found["auroc"] == pytest.approx(reference.roc_auc_score(truth, probability, **weighted))
    assert found["average_precision"] == pytest.approx(
        reference.average_precision_score(truth, probability, **weighted)
    )
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(truth, called, **weighted))
    assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(truth, called, **weighted))
    assert found["brier_score"] == pytest.approx(reference.brier_score_loss(truth, probability, **weighted))
    assert found["f1"] == pytest.approx(reference.f1_score(truth, called, **weighted))


def test_all_resamples_at_once_are_each_by_itself() -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 9, 50) / 8
    sample = Sample(rng.random(50) < 0.4, values, values >= 0.5, tuple(map(str, range(50))))
    weights = rng.integers(0, 3, (7, 50)).astype(np.float64)
    together = BinaryMetrics(sample)(weights)
    for row in range(7):
        alone = BinaryMetrics(sample)(weights[row : row + 1])
        assert {name: value[row] for name, value in together.items()} == pytest.approx(
            {name: value[0] for name, value in alone.items()}, nan_ok=True
        )


def class_metrics() -> ClassMetrics:
    # reference: covid covid covid pneumonia normal normal; answers: covid covid normal pneumonia normal covid
    reference = np.array([0, 0, 0, 1, 2, 2])
    answers = [0, 0, 2, 1, 2, 0]
    probabilities = np.full((6, 3), 0.2)
    probabilities[np.arange(6), answers] = 0.6
    return ClassMetrics(reference, probabilities, CLASSES)


def test_several_classes_by_hand() -> None:
    found = point(class_metrics(), 6)
    assert class_metrics().confusion() == [[2, 0, 1], [0, 1, 0], [1, 0, 1]]
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["sensitivity_covid"] == pytest.approx(2 / 3)
    assert found["ppv_covid"] == pytest.approx(2 / 3)
    assert found["sensitivity_pneumonia"] == found["ppv_pneumonia"] == 1.0
    assert found["sensitivity_normal"] == found["ppv_normal"] == 0.5
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 + 1 / 2) / 3)
    # One against the rest, each a single step: mean of sensitivity and specificity:
    # covid (2/3 + 2/3)/2, pneumonia (1 + 1)/2, normal (1/2 + 3/4)/2
    assert found["macro_auroc"] == pytest.approx((2 / 3 + 1 + 5 / 8) / 3)


def test_several_classes_agree_with_scikit_learn() -> None:
    from sklearn import metrics as reference

    rng = np.random.default_rng(2)
    truth, probabilities = rng.integers(0, 3, 80), rng.dirichlet([1, 1, 1], 80)
    found = point(ClassMetrics(truth, probabilities, CLASSES), 80)
    assert found["macro_auroc"] == pytest.approx(
        reference.roc_auc_score(truth, probabilities, multi_class="ovr", average="macro")
    )
    assert found["macro_f1"] == pytest.approx(reference.f1_score(truth, probabilities.argmax(axis=1), average="macro"))


def test_a_class_that_does_not_occur_is_undefined_and_not_in_the_mean() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]])
    found = point(ClassMetrics(np.array([0, 2]), probabilities, CLASSES), 2)
    assert math.isnan(found["sensitivity_pneumonia"])
    assert math.isnan(found["ppv_pneumonia"])
    assert found["macro_f1"] == found["macro_auroc"] == 1.0


def test_the_majority_baseline_knows_only_the_counts() -> None:
    # 3 of 10 are covid: answer not covid for all.
    found = majority_baseline(np.arange(10) < 3)
    assert found["accuracy"] == pytest.approx(0.7)
    assert (found["sensitivity"], found["specificity"], found["auroc"]) == (0.0, 1.0, 0.5)
    assert found["average_precision"] == pytest.approx(0.3)
    assert found["mae"] == pytest.approx(0.3)
    assert found["brier_score"] == pytest.approx(0.21)  # states .3 for all: .3·.7² + .7·.3²
    assert math.isnan(found["ppv"])
    assert majority_baseline(np.arange(10) < 8)["sensitivity"] == 1.0
    assert majority_baseline(np.arange(10) < 5)["sensitivity"] == 0.0


def test_the_majority_class_baseline_answers_the_most_common_class() -> None:
    found = majority_class_baseline(np.array([2, 2, 1, 0]), CLASSES)
    assert (found["accuracy"], found["sensitivity_normal"], found["macro_auroc"]) == (0.5, 1.0, 0.5)
