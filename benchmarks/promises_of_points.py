"""What operating points, calibrators, planned sizes and waiting times promise."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
from promise_cells import IMAGES, PREVALENCES, TRUTHS, BoolArray, Cell, FloatArray, promise, world
from scipy.special import expit

from duoscan.evaluation.calibrators import FITS, LEAST_PATIENTS, choose_calibrator, left_out, log_loss
from duoscan.evaluation.proportions import clopper_pearson
from duoscan.evaluation.sample import sample_of
from duoscan.evaluation.sample_size import patients_for_proportion, patients_overall
from duoscan.evaluation.thresholds import sensitivity_threshold
from duoscan.inference.calibrator import logit
from duoscan.policies.queueing import Department, Flow, replicate
from duoscan.predictions import Prediction
from duoscan.terms import Finding, Modality, Split

if TYPE_CHECKING:
    from collections.abc import Callable

TARGET = 0.95


def _missed_of_new(
    cell: Cell, cohorts: int, rng: np.random.Generator, choose_on: Callable[[BoolArray, FloatArray, list[str]], float]
) -> FloatArray:
    """Share of new images of the sick below a threshold chosen on a cohort's images."""
    place = world(cell.images, cell.truth)
    every = np.sort(place.image[place.sick].ravel())
    found = []
    for _ in range(cohorts):
        at = place.cohort(cell, rng)
        sick = place.sick[at]
        # Where even the lowest row falls short of the target, nothing is promised.
        if sick.sum() < TARGET / (1 - TARGET) or sick.all():
            continue
        units = np.repeat(np.arange(len(at)), cell.images).astype(str).tolist()
        threshold = choose_on(np.repeat(sick, cell.images), place.image[at].ravel(), units)
        found.append(np.searchsorted(every, threshold, side="left") / len(every))
    return np.array(found)


POINTS = tuple(Cell(*each) for each in itertools.product((60, 150, 300), PREVALENCES[1:], IMAGES, TRUTHS))


@promise("operating point: images of new sick missed, on average, target 0.95", 1 - TARGET, cells=POINTS)
def _target(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
    return _missed_of_new(
        cell, cohorts, rng, lambda sick, score, units: sensitivity_threshold(sick, score, TARGET, units)
    )


@promise("broken: operating point by the k-th of n", 1 - TARGET, holds=False, cells=POINTS)
def _kth(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
    def kth(sick: BoolArray, score: FloatArray, _: list[str]) -> float:
        ordered = np.sort(score[sick])[::-1]
        return float(ordered[math.ceil(TARGET * len(ordered)) - 1])

    return _missed_of_new(cell, cohorts, rng, kth)


CALIBRATING = tuple(Cell(*each) for each in itertools.product((60, 150), PREVALENCES[1:], (1, 5), ("right",)))


def _perfect(cell: Cell, rng: np.random.Generator) -> list[Prediction] | None:
    """P(covid) as it is: nothing to calibrate. Images of a patient say much the same."""
    patient = expit(logit(np.array(cell.prevalence)) + rng.normal(0, 1.5, cell.patients))
    sick = rng.random(cell.patients) < patient
    if min(sick.sum(), (~sick).sum()) < LEAST_PATIENTS:
        return None
    return [
        Prediction(
            f"{number}/{image}", str(number), Modality.CXR, float(chance), "", split=Split.VAL,
            label=Finding.COVID if is_sick else Finding.NORMAL,
        )
        for number, (chance, is_sick) in enumerate(zip(patient, sick, strict=True))
        for image in range(cell.images)
    ]  # fmt: skip


@promise("no calibrator for probabilities that are right", 0.05, cells=CALIBRATING)
def _calibrator(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
    tables = (_perfect(cell, rng) for _ in range(cohorts))
    return np.array([float(choose_calibrator(rows).calibration is not None) for rows in tables if rows])


@promise("broken: any calibrator of lower log loss", 0.05, holds=False, cells=CALIBRATING)
def _any_calibrator(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
    found = []
    for rows in filter(None, (_perfect(cell, rng) for _ in range(cohorts))):
        sample = sample_of(rows, threshold=None)
        losses = [log_loss(sample.reference, values) for values in left_out(sample, FITS, 0).values()]
        found.append(float(min(losses) < log_loss(sample.reference, sample.probability)))
    return np.array(found)


PLANS = (Cell(0, 0.1, 1, "0.9"), Cell(0, 0.5, 1, "0.98"))


@promise("samplesize: the width of a sensitivity, truth as expected, is not met", 0.1, cells=PLANS)
def _planned(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
    expected, width = float(cell.truth), 0.1
    collected = patients_overall(patients_for_proportion(expected, width, assurance=0.95), cell.prevalence)
    came = rng.binomial(collected, cell.prevalence, cohorts)
    hits = rng.binomial(came, expected)
    limits = (clopper_pearson(np.array([hit]), int(count)) for hit, count in zip(hits, came, strict=True))
    return np.array([float(high[0] - low[0] > width) for low, high in limits])


LOADS = tuple(Cell(0, load, 1, "M/M/1") for load in (0.6, 0.9, 0.95))


@promise("waiting: 95th percentile below the theory, relative", 0.02, cells=LOADS)
def _waiting(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
    load, both = cell.prevalence, np.array([True, False])
    department = Department(10 * load, 1, 6, 1, 1)
    flow = Flow(both, both, ~both & both, np.array([0.5, 0.5]))
    seed = int(rng.integers(2**31))
    runs = replicate(department, flow, sick_first=False, replications=min(cohorts, 40), seed=seed)
    # P(wait > t) = ρ e^(−(1 − ρ) t / 6); below the theory is what an empty start and a short window give.
    theory = math.log(load / 0.05) * 6 / (1 - load)
    return 1.0 - (runs["sick p95"] + runs["others p95"]) / 2 / theory
