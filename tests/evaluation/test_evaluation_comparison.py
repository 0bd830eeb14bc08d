"""Two evaluations side by side: paired where patients are shared, and the caveat where they are not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from duoscan.evaluation.comparison import Side, compare
from duoscan.evaluation.delong import delong_test
from duoscan.evaluation.evaluate import evaluate
from duoscan.evaluation.intervals import unpaired_difference
from duoscan.terms import POSITIVE

if TYPE_CHECKING:
    from collections.abc import Callable

    from duoscan.predictions import Prediction


def side(name: str, rows: list[Prediction]) -> Side:
    return Side(name, evaluate(rows, resamples=200), rows)


def test_other_patients_are_compared_unpaired_with_a_caveat(matrix_rows: Callable[..., list[Prediction]]) -> None:
    ct = [replace(row, patient_id=f"ct-{row.patient_id}") for row in matrix_rows(40, 10, 5, 45)]
    first, second = side("chest X-ray", matrix_rows(45, 5, 2, 48)), side("chest CT", ct)
    found = compare(first, second)
    assert (found.is_paired, found.shared_patients) == (False, 0)
    assert found.caveat.startswith(
        "Unpaired: no patient is in both (chest X-ray: 100 patients; chest CT: 100 patients)"
    )
    row = next(row for row in found.rows if row.metric == "sensitivity")
    assert row.difference.value == pytest.approx(0.9 - 0.8)
    assert row.difference == unpaired_difference(row.first, row.second)
    assert (row.first_baseline, row.second_baseline) == (0.0, 0.0)
    assert [row.metric for row in found.rows] == list(first.evaluation.metrics)


def test_the_same_patients_are_compared_paired_and_without_caveat(
    matrix_rows: Callable[..., list[Prediction]],
) -> None:
    rows = matrix_rows(45, 5, 5, 45)
    worse = [replace(row, decision="negative", probability=0.0) if place < 4 else row for place, row in enumerate(rows)]
    found = compare(side("one", rows), side("two", worse))
    assert (found.is_paired, found.shared_patients, found.caveat) == (True, 100, "")
    row = next(row for row in found.rows if row.metric == "accuracy")
    assert row.difference.value == pytest.approx(0.04)
    # Four of 100 differ, all one way: no resample has a difference below 0, an unpaired interval would.
    assert row.difference.low is not None
    assert 0 <= row.difference.low < 0.04
    unpaired = unpaired_difference(row.first, row.second)
    assert unpaired.low is not None
    assert unpaired.low < 0


def test_two_models_on_the_same_rows_are_tested_in_whatever_order(
    matrix_rows: Callable[..., list[Prediction]],
) -> None:
    rows = matrix_rows(45, 5, 5, 45)
    worse = [replace(row, decision="negative", probability=0.0) if place < 6 else row for place, row in enumerate(rows)]
    found = compare(side("one", rows), side("two", worse[::-1]))
    by_metric = {test.metric: test for test in found.tests}
    # Six differ, all one way: 2 / 2⁶.
    assert by_metric["sensitivity"].p_value == pytest.approx(2 / 64)
    assert by_metric["specificity"].p_value == 1.0
    reference = np.array([row.label is POSITIVE for row in rows])
    one, two = (np.array([row.probability for row in of], dtype=np.float64) for of in (rows, worse))
    delong = delong_test(reference, one, two, [row.unit for row in rows]).p_value
    assert by_metric["auroc"].p_value == pytest.approx(delong)
    smallest = min(delong, 2 / 64)
    assert by_metric["auroc" if delong < 2 / 64 else "sensitivity"].adjusted == pytest.approx(3 * smallest)
    assert found.test_note.startswith("3 tests stand here")
    assert [test["metric"] for test in found.to_json()["tests"]] == ["auroc", "sensitivity", "specificity"]


def test_images_of_one_patient_are_no_coins(matrix_rows: Callable[..., list[Prediction]]) -> None:
    rows = [replace(row, patient_id=f"p{place // 2}") for place, row in enumerate(matrix_rows(20, 4, 4, 20))]
    found = compare(side("one", rows), side("two", rows))
    assert [test.metric for test in found.tests] == ["auroc"]
    assert np.isnan(found.tests[0].adjusted)  # the two rank alike
    assert not found.test_note


def test_other_rows_are_not_tested(matrix_rows: Callable[..., list[Prediction]]) -> None:
    rows = matrix_rows(20, 5, 5, 20)
    others = [replace(row, path=f"ct/{row.path}") for row in rows]
    for second in (others, rows[1:]):
        assert compare(side("one", rows), side("two", second)).tests == ()


def test_partly_shared_patients_are_said_to_be(matrix_rows: Callable[..., list[Prediction]]) -> None:
    rows = matrix_rows(20, 5, 5, 20)
    found = compare(side("one", rows), side("two", rows[10:]))
    assert (found.is_paired, found.shared_patients) == (True, 40)
    assert found.caveat.startswith("Partly paired: 40 patients are in both")


def test_rows_that_name_neither_patient_nor_path_are_never_paired(
    matrix_rows: Callable[..., list[Prediction]],
) -> None:
    nameless = [
        replace(row, patient_id=None, path=f"row {number}") for number, row in enumerate(matrix_rows(9, 1, 1, 9), 2)
    ]
    assert not compare(side("one", nameless), side("two", nameless)).is_paired
    by_path = [replace(row, path=f"{row.path}.png") for row in nameless]
    assert compare(side("one", by_path), side("two", by_path)).shared_patients == 20


def test_json_is_strict(matrix_rows: Callable[..., list[Prediction]]) -> None:
    assert json.dumps(compare(*[side("one", matrix_rows(5, 1, 0, 0))] * 2).to_json(), allow_nan=False)
    found = compare(side("one", matrix_rows(5, 1, 0, 0)), side("two", matrix_rows(5, 1, 1, 5)))
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    specificity = next(row for row in document["rows"] if row["metric"] == "specificity")
    assert specificity["first"]["value"] is None
    assert specificity["difference"]["value"] is None
