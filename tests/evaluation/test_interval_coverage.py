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

COHORTS, PATIENTS, RESAMPLES = 250, 100, 200
# A sound percentile interval is expected to hold .927, see test_what_is_expected_is_worked_out; four standard errors of
# 250 cohorts are .066, so the bound is .861. A broken interval whose true coverage is .74 falls below it by 4.4 of its
# own standard errors, √(.74 · .26 / 250) = .028.
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
            "average_precision",
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
    "Clopper–Pearson, 0.98 of 30",
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
    coverage: dict[str, Any] = simulation.simulate(COHORTS, patients=PATIENTS, resamples=RESAMPLES, seed=3)
    return coverage


def test_every_interval_is_either_sound_or_broken_on_purpose(found: dict[str, Any]) -> None:
    assert sorted(found) == sorted([*SOUND, *BROKEN])


@pytest.mark.parametrize("name", SOUND)
def test_about_95_of_100_hold_the_truth(simulation: Any, found: dict[str, Any], name: str) -> None:
    assert not simulation.falls_short(found[name], simulation.expected_of(name, PATIENTS, RESAMPLES)), found[name]
    assert found[name].none <= COHORTS * 0.05  # an interval that is seldom there would hold by silence


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_interval_is_found_out(simulation: Any, found: dict[str, Any], name: str) -> None:
    assert simulation.falls_short(found[name], simulation.expected_of(name, PATIENTS, RESAMPLES)), found[name]


def test_sound_intervals_are_no_wider_than_they_need_be(found: dict[str, Any]) -> None:
    # An interval from 0 to 1 would hold everything. Percentiles, which hold the AUROC too seldom, are narrower than
    # Student's limits of those who carry the errors, by a quarter at the most.
    percentiles, closed = found["bootstrap auroc"], found["DeLong, clustered"]
    assert percentiles.share < closed.share
    assert percentiles.width < closed.width < 1.25 * percentiles.width
    assert found["paired difference auroc"].width == pytest.approx(found["DeLong difference"].width, rel=0.15)
    # A paired difference is what pairing is for: narrower than that of two independent cohorts.
    assert found["paired difference auroc"].width < 0.85 * found["unpaired difference auroc (MOVER)"].width


@pytest.mark.parametrize("patients", [5, 12, 40])
def test_the_bound_of_no_error_is_missed_by_at_most_one_in_forty(patients: int) -> None:
    # With a truth just below the bound of "all right", all being right has a chance of just under .025: worked out,
    # not simulated, because the binomial law is known.
    bound = bootstrap(Share(np.ones(patients, bool)), list(map(str, range(patients))), resamples=100)["share"].low
    assert bound is not None
    assert binom.pmf(patients, patients, bound) == pytest.approx(0.025)
    assert binom.pmf(patients, patients, bound - 1e-3) < 0.025


def test_what_is_expected_is_worked_out(simulation: Any) -> None:
    # 40 of 100 are sick and weigh like 40 · 9/11 = 32.7. With very many resamples the chance that Student's t with 31.7
    # degrees of freedom lies within 1.96 · √(31.7/32.7) is .937; 200 resamples cut off .0297 on either side, where the
    # normal quantile is 1.885, and it falls to .927. A closed form has neither the shrunken spread nor the resamples.
    assert simulation.expected_coverage(100, 10**9) == pytest.approx(0.937, abs=5e-4)
    assert simulation.expected_coverage(100, 200) == pytest.approx(0.927, abs=5e-4)
    assert simulation.expected_coverage(100, None) == pytest.approx(0.941, abs=5e-4)
    assert simulation.expected_coverage(10**6, 10**9) == pytest.approx(0.95, abs=1e-5)


@pytest.mark.parametrize("resamples", [100, 400])
def test_resampling_costs_what_it_is_said_to_cost(simulation: Any, resamples: int) -> None:
    # Means of 12 normal values, resampled by normal values of the same mean and shrunken spread, so that nothing else
    # is wrong. 10,000 trials: four standard errors of a share of .87 are .0135.
    expected = simulation.expected_coverage(12.0 / (simulation.SICK * 9 / 11), resamples)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(10_000, 12))
    centre, spread = values.mean(axis=1), values.std(axis=1) / np.sqrt(12)
    drawn = centre[:, None] + spread[:, None] * rng.normal(size=(10_000, resamples))
    low, high = np.quantile(drawn, [0.025, 0.975], axis=1)
    assert np.mean((low <= 0) & (high >= 0)) == pytest.approx(expected, abs=0.0135)


def test_the_bound_of_the_check_is_derived(simulation: Any) -> None:
    # Where .93 is expected of 300 cohorts the bound is .93 − 4 · √(.0651/300) = .8711, between 261 and 262 of 300.
    assert simulation.falls_short(simulation.Coverage(261, 300, 0, 0.1), 0.93)
    assert not simulation.falls_short(simulation.Coverage(262, 300, 0, 0.1), 0.93)
    assert simulation.falls_short(simulation.Coverage(0, 0, 300, math.nan), 0.93)
