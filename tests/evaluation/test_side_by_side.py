"""Several models: pairs of each with the first, and all tests adjusted together."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from duoscan.evaluation.comparison import Side
from duoscan.evaluation.evaluate import evaluate
from duoscan.evaluation.side_by_side import side_by_side
from duoscan.predictions import Prediction
from duoscan.terms import Finding


def side(name: str, skill: float, *, has_paths: bool = True) -> Side:
    rng, noise = np.random.default_rng(0), np.random.default_rng(len(name))
    rows = []
    for place in range(120):
        sick = bool(rng.integers(2))
        probability = float(np.clip(noise.normal(0.4 + skill * sick, 0.2), 0, 1))
        path = f"{place}.png" if has_paths else f"row {place + 2}"
        label = Finding.COVID if sick else Finding.NORMAL
        rows.append(Prediction(path, f"p{place}", None, probability, None, label=label))
    return Side(name, evaluate(rows, threshold=0.5, resamples=100), rows)


def test_all_tests_are_adjusted_together() -> None:
    found = side_by_side([side("a", 0.3), side("bb", 0.3), side("ccc", 0.05)])
    tests = [test for one in found.comparisons for test in one.tests]
    assert [one.names for one in found.comparisons] == [("a", "bb"), ("a", "ccc")]
    assert len(tests) == 6
    expected = multipletests([test.p_value for test in tests], method="holm")[1]
    assert [test.adjusted for test in tests] == pytest.approx(list(expected))
    assert "6 tests stand here" in found.test_note
    assert found.to_json()["comparisons"][1]["tests"][0]["adjusted"] == tests[3].adjusted


def test_rows_without_paths_are_paired_by_patient() -> None:
    (comparison,) = side_by_side([side("a", 0.3, has_paths=False), side("bb", 0.1, has_paths=False)]).comparisons
    (by_path,) = side_by_side([side("a", 0.3), side("bb", 0.1)]).comparisons
    assert [test.p_value for test in comparison.tests] == [test.p_value for test in by_path.tests]
