"""What the program promises is held, in short; ``benchmarks/promises.py`` tries the same on more cohorts and cells."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
PROMISES: Any = importlib.import_module("promises")
CELL: Any = importlib.import_module("promise_cells").Cell
HELD = [check for check in PROMISES.CHECKS if check.holds]
# Fewer of what takes long.
COHORTS = {
    "no calibrator for probabilities that are right": 8,
    "the policy chosen is not worse than CT for all by the margin": 20,
    "the same, every threshold chosen on the same patients": 20,
}
# Where a short run is enough to find the broken rule: cell and cohorts.
TELLING = {
    "broken: whole policy, CT threshold chosen on the same patients": ((300, 0.5, 1, "alike"), 80),
    "broken: certified on the highest of a patient's studies": ((300, 0.5, 1, "easy"), 150),
    "broken: sensitivity within the interval of CT for all": ((30, 0.5, 1, "worse"), 40),
    "broken: to_ct with the cohort's own prevalence taken as known": ((300, 0.5, 1, "extreme"), 60),
    "broken: operating point by the k-th of n": ((60, 0.5, 20, "easy"), 150),
    "broken: any calibrator of lower log loss": ((60, 0.5, 5, "right"), 30),
    "broken: percentiles of auroc": ((20, 0.5, 1, "extreme"), 60),
    "broken: percentiles of average_precision": ((20, 0.5, 1, "extreme"), 60),
    "broken: percentiles of brier_score": ((20, 0.5, 1, "extreme"), 60),
    "broken: a claim for each interval of its own that leaves out 0": ((60, 0.5, 1, "easy"), 60),
}


@pytest.mark.parametrize("check", HELD, ids=lambda check: check.name)
def test_it_is_held(check: Any) -> None:
    found = PROMISES.tried(check, COHORTS.get(check.name, 40), 3)
    assert found.held, found.row


def test_every_broken_rule_is_tried() -> None:
    assert set(TELLING) == {check.name for check in PROMISES.CHECKS if not check.holds}


@pytest.mark.parametrize("name", TELLING)
def test_a_broken_rule_fails_the_same_check(name: str) -> None:
    check = next(check for check in PROMISES.CHECKS if check.name == name)
    cell, cohorts = TELLING[name]
    only = replace(check, cells=(CELL(*cell),))
    found = PROMISES.tried(only, cohorts, 1)
    assert not found.held, found.row
