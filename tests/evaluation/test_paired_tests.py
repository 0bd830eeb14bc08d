"""McNemar's exact test, Holm's adjustment and the note on many tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoscan.errors import InputError
from duoscan.evaluation.paired_tests import holm, mcnemar_exact, multiple_comparison_note


def test_mcnemar_by_hand() -> None:
    # Of 20 patients 6 differ: 5 only the first gets right, 1 only the second. Two-sided: 2 · (1 + 6)/64 = .21875.
    first = np.array([True] * 5 + [False] + [True] * 14)
    second = np.array([False] * 5 + [True] + [True] * 14)
    found = mcnemar_exact(first, second, [f"p{number}" for number in range(20)])
    assert found.to_json() == {"only_first": 5, "only_second": 1, "patients": 20, "p_value": pytest.approx(0.21875)}
    assert mcnemar_exact(first, first, [f"p{number}" for number in range(20)]).p_value == 1.0


def test_several_images_of_a_patient_are_refused() -> None:
    right = np.array([True, False, True])
    with pytest.raises(InputError, match="3 decisions of 2 patients; make one decision a patient"):
        mcnemar_exact(right, ~right, ["a", "a", "b"])
    with pytest.raises(InputError, match="give one each"):
        mcnemar_exact(right, right[:2], ["a", "b", "c"])


def test_holm_by_hand() -> None:
    # Sorted .005, .02, .03, .9 times 4, 3, 2, 1 = .02, .06, .06, .9; none may lie below the one before it.
    assert holm({"d": 0.9, "b": 0.02, "a": 0.005, "c": 0.03}) == pytest.approx(
        {"d": 0.9, "b": 0.06, "a": 0.02, "c": 0.06}
    )
    # .3 · 2 = .6 and .4 · 1 = .4, raised to .6; the undefined one is no test.
    found = holm({"x": 0.4, "y": math.nan, "z": 0.3})
    assert (found["x"], found["z"], math.isnan(found["y"])) == (0.6, 0.6, True)


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=8))
def test_holm_lies_between_the_plain_value_and_bonferroni(p_values: dict[str, float]) -> None:
    found = holm(p_values)
    for name, value in p_values.items():
        assert value <= found[name] <= min(1.0, value * len(p_values)) + 1e-12


def test_the_note_states_the_chance_of_a_false_alarm() -> None:
    assert multiple_comparison_note(1) == ""
    # 1 − .95^14 = .512
    assert "with a chance of 51%" in multiple_comparison_note(14)
