"""Promises of the printed intervals and of what is concluded from them; see ``promise_cells.py``.

Scores are binormal with unit variance, images of a patient correlate 0.7, and P(covid) is what it says.
"""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
from promise_cells import CORRELATION, Cell, FloatArray, Run, promise
from scipy.special import expit
from scipy.stats import norm

from duoscan.evaluation.binary import measure_binary
from duoscan.evaluation.calibration import measure_calibration
from duoscan.evaluation.differences import better_side
from duoscan.evaluation.intervals import Estimate, bootstrap
from duoscan.evaluation.metrics import BinaryMetrics, point
from duoscan.evaluation.policies.modalities import compare_modalities
from duoscan.evaluation.sample import Sample
from duoscan.policies.scores import PatientScores

PREVALENCES, IMAGES = (0.1, 0.3, 0.5), (1, 5, 20)
AREAS = {"easy": 0.85, "extreme": 0.99}
RESAMPLES = 200
TRUTH_IMAGES = 200_000
LEVEL = 0.05
PRINTED = (
    *(Cell(*each) for each in itertools.product((20, 60), PREVALENCES, IMAGES, AREAS)),
    *(Cell(300, *each) for each in itertools.product(PREVALENCES, (1,), AREAS)),
)
COMPARED = tuple(Cell(patients, 0.5, 1, truth) for patients in (30, 60, 150) for truth in AREAS)


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
    sample = drawn(TRUTH_IMAGES, prevalence, 1, truth, np.random.default_rng(9))
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
    promise(f"interval of {metric}", LEVEL, cells=PRINTED)(_printed(metric))
    promise(f"broken: percentiles of {metric}", LEVEL, holds=False, cells=PRINTED)(_percentiles(metric))
for metric in ("sensitivity", "specificity", "ppv"):
    promise(f"interval of {metric}", LEVEL, cells=PRINTED)(_printed(metric))


@promise("X-ray against CT speaks for neither where both are alike", LEVEL, cells=COMPARED)
def _speaks_for_neither(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
    found = []
    for _ in range(cohorts):
        rows = compare_modalities(_alike(cell, rng), 0.5, 0.5, resamples=RESAMPLES).rows
        found.append(float(any(row.better for row in rows)))
    return np.array(found)


@promise(
    "broken: a claim for each interval of its own that leaves out 0",
    LEVEL,
    holds=False,
    cells=COMPARED,
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


@promise("ECE interval of a perfect model holds 0", LEVEL, cells=PRINTED)
def _ece(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
    found = []
    for _ in range(cohorts):
        sample = drawn(cell.patients, cell.prevalence, 1, cell.truth, rng)
        low = measure_calibration(sample, resamples=RESAMPLES).metrics["ece"].low
        found.append(float(low is None or low > 0.0))
    return np.array(found)
