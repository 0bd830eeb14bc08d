"""How far answers move, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from duoscan.evaluation.changed import Moved
from duoscan.evaluation.intervals import bootstrap
from duoscan.evaluation.metrics import point


def test_by_hand() -> None:
    """Changes 0.1, −0.3, 0, 0.4: mean 0.05, mean square 0.065, variance 0.0625; two of four flip at 0.5."""
    before, after = np.array([0.5, 0.6, 0.2, 0.1]), np.array([0.6, 0.3, 0.2, 0.5])
    found = point(Moved(before, after, 0.5), 4)
    assert found == pytest.approx({"change": 0.05, "spread": 0.25, "flips": 0.5})


def test_a_weight_is_a_row_repeated() -> None:
    before, after = np.array([0.1, 0.9, 0.4]), np.array([0.2, 0.1, 0.8])
    weighted = Moved(before, after, 0.5)(np.array([[2.0, 1.0, 3.0]]))
    repeated = point(Moved(np.repeat(before, [2, 1, 3]), np.repeat(after, [2, 1, 3]), 0.5), 6)
    assert {name: value[0] for name, value in weighted.items()} == pytest.approx(repeated)


def test_no_flip_among_few_is_no_certainty() -> None:
    same = np.full(30, 0.7)
    flips = bootstrap(Moved(same, same, 0.5), [str(n) for n in range(30)])["flips"]
    assert flips.value == 0.0
    assert flips.high == pytest.approx(1 - 0.025 ** (1 / 30))
