"""Cohorts whose truth is known, and how a promise is tried on them; the promises register themselves here.

A world is a large population of patients whose scores are drawn once; a cohort is drawn from it with replacement, so
the truth is a share of the population and not an approximation. Images of a patient correlate 0.7. A promise is a level
that an event keeps to (``broken`` in at most 0.05 of cohorts) or a number that a mean does not exceed. It is held where
the worst cell keeps to it within Monte Carlo error: two standard errors for one cell, more where the worst of many is
looked at (Bonferroni). Rules known to be broken must fail.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm

from duoscan.policies.scores import PatientScores

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

SIZES, PREVALENCES, IMAGES, TRUTHS = (15, 30, 60, 150, 300), (0.1, 0.3, 0.5), (1, 5, 20), ("easy", "extreme")
POPULATION = 20_000  # of either class
CORRELATION = 0.7
STUDIES = (0.7, 0.2, 0.1)  # share of patients with one, two and three X-ray studies
# How far the sick lie above the well, in standard deviations: X-ray, CT.
DISTANCES = {"easy": (1.5, 2.5), "extreme": (3.5, 5.0), "alike": (2.5, 2.5)}


@dataclass(frozen=True)
class Cell:
    """One setting of a simulation."""

    patients: int
    prevalence: float
    images: int
    truth: str

    @property
    def spoken(self) -> str:
        """In a table."""
        if not self.patients:
            return f"{self.truth} at {self.prevalence:g}"
        return f"{self.patients} patients, {self.prevalence:g} sick, {self.images} images, {self.truth}"


GRID = [Cell(*each) for each in itertools.product(SIZES, PREVALENCES, IMAGES, TRUTHS)]


@dataclass(frozen=True)
class World:
    """A population; each shape (2 · ``POPULATION``,), the sick first.

    Attributes:
        sick: By the reference.
        first: P(covid) of the first X-ray study.
        highest: Of the highest of all X-ray studies.
        ct: Of the CT study.
        image: shape (2 · ``POPULATION``, images); P(covid) of the images of the first X-ray study.
    """

    sick: BoolArray
    first: FloatArray
    highest: FloatArray
    ct: FloatArray
    image: FloatArray

    def cohort(self, cell: Cell, rng: np.random.Generator) -> NDArray[np.int64]:
        """Places of the patients of a cohort."""
        sick = rng.random(cell.patients) < cell.prevalence
        return rng.integers(0, POPULATION, cell.patients) + np.where(sick, 0, POPULATION)

    def patients(self, places: NDArray[np.int64] | None = None, *, highest: bool = False) -> PatientScores:
        """As triage sees them, all of them where no places are given."""
        at = np.arange(len(self.sick)) if places is None else places
        xray = self.highest if highest else self.first
        return PatientScores(tuple(map(str, range(len(at)))), self.sick[at], xray[at], self.ct[at])


@cache
def world(images: int, truth: str) -> World:
    """The population of all cells with as many images and that truth."""
    rng = np.random.default_rng(images)
    sick = np.arange(2 * POPULATION) < POPULATION
    x_ray, ct = DISTANCES[truth]
    own, shared = math.sqrt(1 - CORRELATION), math.sqrt(CORRELATION)
    patient = rng.normal(size=len(sick))

    def images_of(distance: float, count: int) -> FloatArray:
        study = shared * (shared * patient + own * rng.normal(size=len(sick)))
        return (
            expit(distance * (sick - 0.5) + study)[:, None]
            if count == 1
            else np.asarray(
                expit((distance * (sick - 0.5) + study)[:, None] + own * rng.normal(size=(len(sick), count)))
            )
        )

    studies = [images_of(x_ray, images) for _ in STUDIES]
    count = rng.choice(len(STUDIES), size=len(sick), p=STUDIES) + 1
    highs = np.column_stack([each.max(axis=1) for each in studies])
    highs[np.arange(len(STUDIES)) >= count[:, None]] = 0.0
    return World(sick, highs[:, 0], highs.max(axis=1), images_of(ct, images).mean(axis=1), studies[0])


Run = Callable[[Cell, int, np.random.Generator], FloatArray]
EVERYWHERE = tuple(GRID)


@dataclass(frozen=True)
class Check:
    """A promise and how it is tried.

    Attributes:
        name: What is promised.
        level: Largest share of cohorts that may break it, or the largest mean.
        run: Cell, cohorts and chance → one number a cohort: 1 where broken, or what is to be averaged. ``nan`` where
            the cohort has nothing to say.
        holds: Whether it should; ``False`` for a rule known to be broken.
        cells: Where it is tried.
        times: How many times the cohorts asked for, where one takes little.
    """

    name: str
    level: float
    run: Run
    holds: bool = True
    cells: tuple[Cell, ...] = EVERYWHERE
    times: int = 1


CHECKS: list[Check] = []


def promise(
    name: str, level: float, *, holds: bool = True, cells: tuple[Cell, ...] = EVERYWHERE, times: int = 1
) -> Callable[[Run], Run]:
    """Register a check."""

    def register(run: Run) -> Run:
        CHECKS.append(Check(name, level, run, holds, cells, times))
        return run

    return register


@dataclass(frozen=True)
class Found:
    """What a check found in its worst cell."""

    check: Check
    cell: Cell
    cells: int
    cohorts: int
    value: float
    error: float

    @property
    def held(self) -> bool:
        """Whether the worst of all cells keeps to the level within Monte Carlo error."""
        errors = float(norm.isf(norm.sf(2.0) / self.cells))
        return self.value <= self.check.level + errors * self.error

    @property
    def row(self) -> str:
        """Of the table; an exclamation mark where it is not as it should be."""
        share = f"{self.value:.3f} ± {self.error:.3f} of {self.cohorts} ({self.cells} cells)"
        held = f"{'yes' if self.held else 'no'}{'' if self.held == self.check.holds else ' (!)'}"
        return f"| {self.check.name} | {self.check.level:g} | {share} | {self.cell.spoken} | {held} |"


def tried(check: Check, cohorts: int, cells: int) -> Found:
    """Run a check on cells spread over its grid, and find the worst."""
    # In an order of chance, so that fewer cells still are of all sizes, prevalences and truths.
    order = np.random.default_rng(0).permutation(len(check.cells))[:cells]
    chosen = [check.cells[place] for place in order]
    worst: Found | None = None
    for number, cell in enumerate(chosen):
        values = check.run(cell, cohorts * check.times, np.random.default_rng((number, cohorts)))
        values = values[~np.isnan(values)]
        if len(values) < 2:
            continue
        mean = float(values.mean())
        # No event seen is no proof of none: the error is at least that of the level itself.
        least = math.sqrt(check.level * (1 - check.level)) if set(values) <= {0.0, 1.0} else 0.0
        spread = max(float(values.std()), least)
        found = Found(check, cell, len(chosen), len(values), mean, spread / math.sqrt(len(values)))
        if worst is None or (found.value - check.level) / found.error > (worst.value - check.level) / worst.error:
            worst = found
    if worst is None:
        msg = f"{check.name}: no cell has anything to say"
        raise ValueError(msg)
    return worst
