"""Do the printed intervals hold the truth, over sizes, prevalences, images a patient, easy and extreme truths?

Each check is a function of a cell, a number of cohorts and chance → 1 for every cohort whose promise is broken, as
``benchmarks/promises.py`` registers them; ``CHECKS`` names them all with the level that they keep to.

Scores are binormal with unit variance, images of a patient correlate 0.7, and P(covid) is what it says.

Usage: python benchmarks/promised_intervals.py [--cohorts 300] [--only WORDS]
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm

from duoscan.evaluation.binary import measure_binary
from duoscan.evaluation.calibration import measure_calibration
from duoscan.evaluation.comparison import better_side
from duoscan.evaluation.intervals import Estimate, bootstrap
from duoscan.evaluation.metrics import BinaryMetrics, point
from duoscan.evaluation.policies.modalities import compare_modalities
from duoscan.evaluation.sample import Sample
from duoscan.policies.joint import PatientScores

FloatArray = NDArray[np.float64]
SIZES, PREVALENCES, IMAGES = (20, 60, 300), (0.1, 0.3, 0.5), (1, 5, 20)
AREAS = {"easy": 0.85, "extreme": 0.99}
CORRELATION = 0.7
RESAMPLES = 200
POPULATION = 200_000
LEVEL = 0.05


@dataclass(frozen=True)
class Cell:
    """One setting, with the fields of ``benchmarks/promises.py``."""

    patients: int
    prevalence: float
    images: int
    truth: str


Run = Callable[[Cell, int, np.random.Generator], FloatArray]


@dataclass(frozen=True)
class Promise:
    """What is promised, and how it is tried.

    Attributes:
        name: Of the promise.
        level: Largest share of cohorts that may break it.
        run: The check.
        holds: Whether it should; ``False`` for a rule known to be broken.
        cells: Where it is tried.
        short: Where the tests try it.
    """

    name: str
    level: float
    run: Run
    holds: bool
    cells: tuple[Cell, ...]
    short: tuple[Cell, ...]


CHECKS: list[Promise] = []
GRID = tuple(Cell(*each) for each in itertools.product(SIZES, PREVALENCES, IMAGES, AREAS))
SHORT = (Cell(20, 0.5, 1, "extreme"), Cell(60, 0.3, 5, "easy"))


def promise(
    name: str,
    level: float = LEVEL,
    *,
    holds: bool = True,
    cells: tuple[Cell, ...] = GRID,
    short: tuple[Cell, ...] = SHORT,
) -> Callable[[Run], Run]:
    """Put a check into ``CHECKS``."""

    def register(run: Run) -> Run:
        CHECKS.append(Promise(name, level, run, holds, cells, short))
        return run

    return register


def drawn(patients: int, prevalence: float, images: int, truth: str, rng: np.random.Generator) -> Sample:
    """A cohort whose P(covid) is the chance of covid given the score; two patients of either class at the least."""
    distance = math.sqrt(2.0) * float(norm.ppf(AREAS[truth]))
    sick = np.arange(patients) < min(max(2, round(patients * prevalence)), patients - 2)
    unit = np.repeat(np.arange(patients), images)
    noise = math.sqrt(CORRELATION) * rng.normal(size=patients)[unit]
    noise += math.sqrt(1.0 - CORRELATION) * rng.normal(size=len(unit))
    score = distance * (sick[unit] - 0.5) + noise
    probability = expit(distance * score + math.log(prevalence / (1.0 - prevalence)))
    return Sample(sick[unit], probability, probability >= prevalence, tuple(map(str, unit)))


@cache
def truths(prevalence: float, truth: str) -> dict[str, float]:
    """Every metric of the population."""
    sample = drawn(POPULATION, prevalence, 1, truth, np.random.default_rng(9))
    return point(BinaryMetrics(sample), len(sample)) | {"auroc": AREAS[truth]}


def missed(estimate: Estimate, truth: float) -> float:
    """1 where the interval does not hold the truth or is not there."""
    return float(estimate.low is None or estimate.high is None or not estimate.low <= truth <= estimate.high)


def _printed(name: str) -> Run:
    def run(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
        truth = truths(cell.prevalence, cell.truth)[name]
        samples = (drawn(cell.patients, cell.prevalence, cell.images, cell.truth, rng) for _ in range(cohorts))
        return np.array([missed(measure_binary(one, resamples=RESAMPLES)[name], truth) for one in samples])

    return run


def _percentiles(name: str) -> Run:
    def run(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
        truth = truths(cell.prevalence, cell.truth)[name]
        samples = (drawn(cell.patients, cell.prevalence, cell.images, cell.truth, rng) for _ in range(cohorts))
        found = (bootstrap(BinaryMetrics(one), one.units, resamples=RESAMPLES)[name] for one in samples)
        return np.array([missed(one, truth) for one in found])

    return run


for metric in ("auroc", "average_precision", "brier_score"):
    promise(f"interval of {metric}")(_printed(metric))
    promise(f"broken: percentiles of {metric}", holds=False)(_percentiles(metric))
for metric in ("sensitivity", "specificity", "ppv"):
    promise(f"interval of {metric}")(_printed(metric))


COMPARED = tuple(Cell(n, 0.5, 1, truth) for n in (30, 60, 150) for truth in AREAS)


@promise("X-ray against CT speaks for neither where both are alike", cells=COMPARED, short=(Cell(60, 0.5, 1, "easy"),))
def _speaks_for_neither(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
    found = []
    for _ in range(cohorts):
        rows = compare_modalities(_alike(cell, rng), 0.5, 0.5, resamples=RESAMPLES).rows
        found.append(float(any(row.better for row in rows)))
    return np.array(found)


@promise(
    "broken: a claim for each interval of its own that leaves out 0",
    holds=False,
    cells=COMPARED,
    short=(Cell(60, 0.5, 1, "easy"),),
)
def _each_on_its_own(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
    found = []
    for _ in range(cohorts):
        rows = compare_modalities(_alike(cell, rng), 0.5, 0.5, resamples=RESAMPLES).rows
        found.append(float(any(better_side(row.difference) is not None for row in rows)))
    return np.array(found)


def _alike(cell: Cell, rng: np.random.Generator) -> PatientScores:
    """Patients with both examinations, which are equally good and correlate 0.64."""
    distance = math.sqrt(2.0) * float(norm.ppf(AREAS[cell.truth]))
    sick = np.arange(cell.patients) < round(cell.patients * cell.prevalence)
    shared = 0.8 * rng.normal(size=cell.patients)
    scores = [expit(distance * (sick - 0.5) + shared + 0.6 * rng.normal(size=cell.patients)) for _ in range(2)]
    return PatientScores(tuple(map(str, range(cell.patients))), sick, *scores)


@promise("ECE interval of a perfect model holds 0")
def _ece(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
    found = []
    for _ in range(cohorts):
        sample = drawn(cell.patients, cell.prevalence, 1, cell.truth, rng)
        low = measure_calibration(sample, resamples=RESAMPLES).metrics["ece"].low
        found.append(float(low is None or low > 0.0))
    return np.array(found)


def main() -> None:
    """Print the worst cell of every check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=300)
    parser.add_argument("--cells", type=int, default=len(GRID), help="so many of each grid, drawn at random")
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    print("| promise | level | broken in the worst cell | cell |\n|---|---|---|---|")
    for check in CHECKS:
        if asked.only not in check.name:
            continue
        order = np.random.default_rng(0).permutation(len(check.cells))[: asked.cells]
        found = [
            (float(np.nanmean(check.run(cell, asked.cohorts, np.random.default_rng(place)))), cell)
            for place, cell in enumerate(check.cells[number] for number in order)
        ]
        share, cell = max(found, key=lambda one: one[0])
        error = math.sqrt(max(share * (1 - share), check.level * (1 - check.level)) / asked.cohorts)
        where = f"{cell.patients} patients, {cell.prevalence:g} sick, {cell.images} images, {cell.truth}"
        print(f"| {check.name} | {check.level:g} | {share:.3f} ± {error:.3f} | {where} |", flush=True)


if __name__ == "__main__":
    main()
