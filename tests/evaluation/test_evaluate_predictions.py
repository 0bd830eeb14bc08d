"""One evaluation: what is counted, what is noted, which operating point is used."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from duoscan.errors import InputError, PredictionsError
from duoscan.evaluation.evaluate import Evaluation, evaluate
from duoscan.predictions import Prediction
from duoscan.terms import Decision, Finding, Modality, Split

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def quick(rows: Sequence[Prediction], threshold: float | None = None) -> Evaluation:
    return evaluate(rows, threshold=threshold, resamples=100)


def noted(evaluation: Evaluation, words: str) -> bool:
    return any(words in note for note in evaluation.notes)


def test_metrics_stand_beside_their_baseline(matrix_rows: Callable[..., list[Prediction]]) -> None:
    found = quick(matrix_rows(110, 1, 3, 227), 0.5)
    assert found.metrics["accuracy"].value == pytest.approx(337 / 341)
    assert (found.metrics["sensitivity"].n, found.metrics["sensitivity"].units) == (111, 111)
    assert (found.overall.majority, found.baseline["accuracy"]) == ("not covid", pytest.approx(230 / 341))
    assert found.baseline.keys() == found.metrics.keys()
    assert found.overall.classes == {"covid": 111, "normal": 230}
    assert found.notes == ()


def test_the_operating_point_is_given_or_the_tables_or_one_half(matrix_rows: Callable[..., list[Prediction]]) -> None:
    rows = [replace(row, probability=0.3 + 0.2 * (row.probability or 0)) for row in matrix_rows(6, 4, 2, 8)]
    given = quick(rows, 0.3)  # every row is at .3 or .5
    assert (given.threshold, given.threshold_origin, given.metrics["sensitivity"].value) == (0.3, "given", 1.0)
    decided = quick(rows)
    assert (decided.threshold, decided.threshold_origin) == (None, "the decisions in the table")
    assert decided.metrics["sensitivity"].value == 0.6
    undecided = quick([replace(row, decision="", probability=(row.probability or 0) - 0.01) for row in rows])
    assert undecided.threshold == 0.5
    assert undecided.threshold_origin.startswith("default: none was given")
    assert undecided.metrics["sensitivity"].value == 0.0  # the highest is .49


def test_decisions_of_several_thresholds_are_taken_as_they_are() -> None:
    # Two folds with thresholds .2 and .8: no single one gives these decisions.
    rows = [
        Prediction("a", "a", None, 0.3, "positive", label=Finding.COVID),
        Prediction("b", "b", None, 0.1, "negative", label=Finding.NORMAL),
        Prediction("c", "c", None, 0.9, "positive", label=Finding.COVID),
        Prediction("d", "d", None, 0.7, "negative", label=Finding.NORMAL),
    ]
    assert quick(rows).metrics["accuracy"].value == 1.0


def test_images_without_an_answer_are_in_the_coverage_and_not_in_the_metrics(
    matrix_rows: Callable[..., list[Prediction]],
) -> None:
    lost = Prediction("lost.png", "lost", None, None, Decision.UNREADABLE, "too dark", label=Finding.COVID)
    unlabelled = Prediction("new.png", "new", None, 0.4, "negative")
    neither = replace(lost, label=None)
    found = quick([*matrix_rows(10, 2, 1, 7), lost, lost, unlabelled, neither])
    assert found.metrics["sensitivity"].value == pytest.approx(10 / 12)
    assert (found.coverage.value, found.coverage.n) == (pytest.approx(20 / 22), 22)
    assert found.counts.unreadable == {"covid": 2}
    assert (found.counts.rows, found.counts.unlabelled, found.overall.images) == (24, 2, 20)
    assert noted(found, "2 images have no answer")
    assert noted(found, "2 rows have no label")


def test_images_without_a_patient_stand_for_themselves_and_this_is_said(
    matrix_rows: Callable[..., list[Prediction]],
) -> None:
    rows = [replace(row, patient_id=None) for row in matrix_rows(20, 5, 5, 20)]
    found = quick(rows)
    assert (found.overall.patients, found.counts.without_patient) == (50, 50)
    assert noted(found, "50 of 50 images name no patient")


def test_patients_are_what_is_resampled(matrix_rows: Callable[..., list[Prediction]]) -> None:
    rows = matrix_rows(40, 10, 10, 40)
    grouped = [replace(row, patient_id=f"p{place // 5}") for place, row in enumerate(rows)]
    wide, narrow = quick(grouped).metrics["accuracy"], quick(rows).metrics["accuracy"]
    assert (wide.units, narrow.units) == (20, 100)
    assert None not in {wide.low, wide.high, narrow.low, narrow.high}
    assert wide.high - wide.low > narrow.high - narrow.low  # type: ignore[operator]


def test_each_source_by_itself(matrix_rows: Callable[..., list[Prediction]]) -> None:
    good = [replace(row, source="A", path=f"A/{row.path}") for row in matrix_rows(10, 0, 0, 10)]
    bad = [replace(row, source="B", path=f"B/{row.path}") for row in matrix_rows(5, 5, 5, 5)]
    single = [replace(row, source="C", path=f"C/{row.path}") for row in matrix_rows(4, 0, 0, 0)]
    found = quick([*good, *bad, *single])
    assert {name: result.metrics["accuracy"].value for name, result in found.by_source.items()} == {
        "A": 1.0,
        "B": 0.5,
        "C": 1.0,
    }
    assert found.by_source["B"].baseline["accuracy"] == 0.5
    assert found.counts.sources == {"A": 20, "B": 20, "C": 4}
    assert noted(found, "Sources with one class only: C.")


def test_several_classes(matrix_rows: Callable[..., list[Prediction]]) -> None:
    rows = [
        replace(
            row,
            probabilities={
                Finding.COVID: row.probability or 0.0,
                Finding.PNEUMONIA: 0.0,
                Finding.NORMAL: 1 - (row.probability or 0.0),
            },
        )
        for row in matrix_rows(8, 2, 1, 9)
    ]
    found = quick([*rows, replace(rows[0], path="o", label=Finding.OTHER)])
    assert found.multiclass is not None
    assert found.multiclass.classes == (Finding.COVID, Finding.PNEUMONIA, Finding.NORMAL)
    assert found.multiclass.confusion == [[8, 0, 2], [0, 0, 0], [1, 0, 9]]
    assert found.multiclass.metrics["accuracy"].value == pytest.approx(17 / 20)
    assert found.multiclass.baseline["accuracy"] == 0.5
    assert (found.multiclass.images, found.multiclass.excluded) == (20, 1)
    assert noted(found, "1 images are left out of the several-class numbers")


def test_two_classes_are_what_the_binary_block_shows(matrix_rows: Callable[..., list[Prediction]]) -> None:
    rows = [
        replace(row, probabilities={Finding.COVID: row.probability or 0.0, Finding.NORMAL: 1 - (row.probability or 0)})
        for row in matrix_rows(3, 1, 1, 3)
    ]
    assert quick(rows).multiclass is None


def test_what_makes_the_numbers_doubtful_is_noted(matrix_rows: Callable[..., list[Prediction]]) -> None:
    rows = matrix_rows(3, 1, 1, 3)
    doubtful = [
        replace(rows[0], split=Split.TRAIN, modality=Modality.CXR),
        *[replace(row, split=Split.TEST, modality=Modality.CT) for row in rows],
    ]
    found = quick(doubtful)
    assert noted(found, "Rows of several splits are pooled: test, train.")
    assert noted(found, "Rows of the training split")
    assert noted(found, "Several modalities are pooled")
    assert noted(found, "1 rows repeat a path")
    assert noted(found, "Only 8 patients")
    assert noted(quick(matrix_rows(30, 1, 0, 0)), "Only one class is there")


def test_json_holds_null_and_never_nan(matrix_rows: Callable[..., list[Prediction]]) -> None:
    document = json.loads(json.dumps(quick(matrix_rows(30, 1, 0, 0)).to_json(), allow_nan=False))
    assert document["metrics"]["specificity"]["value"] is None
    assert document["metrics"]["specificity"]["note"] == "undefined on these rows"
    assert document["metrics"]["sensitivity"]["baseline"] == 1.0
    assert document["confusion"] == {"labels": ["covid", "not covid"], "rows": [[30, 1], [0, 0]]}


def test_nothing_to_evaluate_and_a_wrong_threshold_are_refused(matrix_rows: Callable[..., list[Prediction]]) -> None:
    with pytest.raises(PredictionsError, match="none of 1 rows has a label; .* --column label=THEIRS"):
        quick([Prediction("a", None, None, 0.5, "positive")])
    with pytest.raises(PredictionsError, match="nothing to evaluate"):
        quick([])
    with pytest.raises(InputError, match="threshold 50 is not a probability"):
        quick(matrix_rows(1, 1, 1, 1), 50)
