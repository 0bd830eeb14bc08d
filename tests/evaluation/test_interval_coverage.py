"""95 % intervals hold the truth in about 95 of 100 simulated cohorts, and the same check finds those that do not.

The simulation is that of ``benchmarks/interval_coverage.py``, where a fuller run prints a table.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from duoscan.evaluation.intervals import bootstrap
from duoscan.evaluation.metrics import Share

COHORTS = 200
# Four standard errors of a coverage of .95 in 200 cohorts are .062; with the .03 allowed the bound is .858. A broken
# interval whose true coverage is .74 falls below it by 3.8 of its own standard errors, √(.74 · .26 / 200) = .031.
SOUND = [
    *(
        f"bootstrap {name}"
        for name in (
            "accuracy",
            "balanced_accuracy",
            "sensitivity",
            "specificity",
            "ppv",
            "npv",
            "fpr",
            "fnr",
            "fdr",
            "f1",
            "auroc",
            "average_precision",  # true coverage about .90 at this size: within the bound, and in the printed table
            "brier_score",
            "mae",
        )
    ),
    *(f"calibration {name}" for name in ("slope", "intercept", "ece", "brier_score")),
    "PPV at 10%",
    "NPV at 10%",
    "ROC band at FPR 0.2",
    "DeLong, clustered",
    "DeLong, one image a patient",
    "DeLong difference",
    *(f"paired difference {name}" for name in ("auroc", "sensitivity", "brier_score")),
    *(f"unpaired difference {name} (MOVER)" for name in ("auroc", "sensitivity", "brier_score")),
    "exact bound or percentile, 0.98 of 30",
]
BROKEN = [
    "broken: bootstrap of images, sensitivity",
    "broken: bootstrap of images, auroc",
    "broken: DeLong of images",
    "broken: DeLong at half its width",
]


@pytest.fixture(scope="module")
def simulation() -> Any:
    """The benchmark as a module."""
    path = Path(__file__).parents[2] / "benchmarks" / "interval_coverage.py"
    spec = importlib.util.spec_from_file_location("interval_coverage", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def found(simulation: Any) -> dict[str, Any]:
    """Coverage of every interval over the same cohorts."""
    coverage: dict[str, Any] = simulation.simulate(COHORTS, patients=100, resamples=200, seed=3)
    return coverage


def test_every_interval_is_either_sound_or_broken_on_purpose(found: dict[str, Any]) -> None:
    assert sorted(found) == sorted([*SOUND, *BROKEN])


@pytest.mark.parametrize("name", SOUND)
def test_about_95_of_100_hold_the_truth(simulation: Any, found: dict[str, Any], name: str) -> None:
    assert not simulation.falls_short(found[name]), found[name]
    assert found[name].none <= COHORTS * 0.05  # an interval that is seldom there would hold by silence


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_interval_is_found_out(simulation: Any, found: dict[str, Any], name: str) -> None:
    assert simulation.falls_short(found[name]), found[name]


def test_sound_intervals_are_no_wider_than_they_need_be(found: dict[str, Any]) -> None:
    # An interval from 0 to 1 would hold everything; resampling and the closed form agree on the width.
    assert found["bootstrap auroc"].width == pytest.approx(found["DeLong, clustered"].width, rel=0.15)
    assert found["paired difference auroc"].width == pytest.approx(found["DeLong difference"].width, rel=0.15)
    # A paired difference is what pairing is for: narrower than that of two independent cohorts.
    assert found["paired difference auroc"].width < 0.85 * found["unpaired difference auroc (MOVER)"].width


@pytest.mark.parametrize("patients", [5, 12, 40])
def test_the_exact_bound_is_missed_by_at_most_one_in_forty(patients: int) -> None:
    # With a truth just below the bound of "all right", all being right has a chance of just under .025: worked out,
    # not simulated, because the binomial law is known.
    bound = bootstrap(Share(np.ones(patients, bool)), list(map(str, range(patients))), resamples=100)["share"].low
    assert bound is not None
    assert binom.pmf(patients, patients, bound) == pytest.approx(0.025)
    assert binom.pmf(patients, patients, bound - 1e-3) < 0.025


def test_the_bound_of_the_check_is_derived(simulation: Any) -> None:
    # 300 cohorts: .95 − .03 − 4 · √(.0475/300) = .8697, so 260 of 300 (.8667) fall short and 261 (.87) do not.
    assert simulation.falls_short(simulation.Coverage(260, 300, 0, 0.1))
    assert not simulation.falls_short(simulation.Coverage(261, 300, 0, 0.1))
    assert simulation.falls_short(simulation.Coverage(0, 0, 300, math.nan))
