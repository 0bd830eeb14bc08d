"""Cramér's V against hand and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats.contingency import association

from duoscan.audit.confounding.association import CramersV, independence_p, indices
from duoscan.evaluation.intervals import bootstrap
from duoscan.evaluation.metrics import point


def _v(first: list[int], second: list[int]) -> float:
    return point(CramersV(np.array(first), np.array(second)), len(first))["cramers_v"]


def test_by_hand() -> None:
    # Source equals class: phi² = 1; (1 - 1/7) / (2 - 1/7 - 1) = 1.
    assert _v([0] * 4 + [1] * 4, [0] * 4 + [1] * 4) == pytest.approx(1.0)
    # Each source half and half: phi² = 0, and the correction may not make it negative.
    assert _v([0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0, 1, 1]) == 0.0
    # Cells 3 1 / 1 3: phi² = (9 - 1)² / 4⁴ = 1/4; (1/4 - 1/7) / (1 - 1/7) = 1/8.
    assert _v([0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 0, 1, 1, 1]) == pytest.approx(math.sqrt(1 / 8))
    assert math.isnan(_v([0, 0, 0], [0, 1, 1]))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=8, max_size=60))
@example([(0, 0)] * 4 + [(0, 1), (0, 2), (0, 3), (1, 1)])
def test_it_is_scipys_v_less_the_bias(rows: list[tuple[int, int]]) -> None:
    first, _ = indices([str(a) for a, _ in rows])
    second, _ = indices([str(b) for _, b in rows])
    table = np.zeros((first.max() + 1, second.max() + 1), dtype=int)
    np.add.at(table, (first, second), 1)
    if min(table.shape) < 2:
        assert math.isnan(_v(first.tolist(), second.tolist()))
        return
    n, (r, k) = len(rows), table.shape
    phi_squared = association(table, method="cramer") ** 2 * (min(r, k) - 1)
    corrected = max(0.0, phi_squared - (r - 1) * (k - 1) / (n - 1))
    smaller = min(r - (r - 1) ** 2 / (n - 1), k - (k - 1) ** 2 / (n - 1))
    # Of squares: where chance explains all, a root of rounding errors would be compared with 0.
    assert _v(first.tolist(), second.tolist()) ** 2 == pytest.approx(min(1.0, corrected / (smaller - 1)))


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(1, 3)), min_size=4, max_size=20))
def test_a_weight_is_a_row_repeated(rows: list[tuple[int, int, int]]) -> None:
    first, second, times = (np.array(column) for column in zip(*rows, strict=True))
    weighted = CramersV(first, second)(times[None, :].astype(np.float64))["cramers_v"][0]
    repeated = _v(np.repeat(first, times).tolist(), np.repeat(second, times).tolist())
    assert weighted == pytest.approx(repeated, nan_ok=True)


def test_chance_is_corrected_away() -> None:
    rng = np.random.default_rng(3)
    plain, corrected = [], []
    for _ in range(200):
        first, second = rng.integers(3, size=60), rng.integers(4, size=60)
        table = np.zeros((3, 4), dtype=int)
        np.add.at(table, (first, second), 1)
        plain.append(association(table) ** 2 * 2)
        corrected.append(_v(first.tolist(), second.tolist()))
    # Expected phi² of independent attributes is (3-1)(4-1)/(60-1) ≈ 0.10; most corrected values are near 0.
    assert np.mean(plain) == pytest.approx(6 / 59, abs=0.02)
    assert np.median(corrected) < 0.05


def test_interval_and_p_of_a_strong_association() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(2, size=100)
    second = np.where(rng.random(100) < 0.85, first, 1 - first)
    found = bootstrap(CramersV(first, second), [str(row) for row in range(100)], resamples=500)["cramers_v"]
    assert found.low is not None
    assert found.high is not None
    # With 15 % turned, the truth is phi = 1 - 2 · 0.15 = 0.7.
    assert 0.1 < found.low < 0.7 < found.high
    assert independence_p(first, second) < 1e-6
    assert independence_p(first, np.zeros(100, dtype=np.int64)) == 1.0
