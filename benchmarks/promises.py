"""Is what the program promises held? One check a promise, on cohorts whose truth is known.

A world is a large population of patients whose scores are drawn once; a cohort is drawn from it with replacement, so
the truth is a share of the population and not an approximation. Images of a patient correlate 0.7. A promise is a level
that an event keeps to (``broken`` in at most 0.05 of cohorts) or a number that a mean reaches. It is held where the
worst cell keeps to it within Monte Carlo error: two standard errors for one cell, more where the worst of many is
looked at (Bonferroni). Rules known to be broken stand below and must fail.

Usage: python benchmarks/promises.py [--cohorts N] [--cells N] [--only WORDS]
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm

from duoscan.errors import InputError
from duoscan.evaluation.calibrators import FITS, LEAST_PATIENTS, choose_calibrator, left_out, log_loss
from duoscan.evaluation.policies.choice import LEVEL, choose
from duoscan.evaluation.policies.measured import measure_policy
from duoscan.evaluation.policies.noninferiority import lower_limit
from duoscan.evaluation.policies.operating import Setting, operating_table
from duoscan.evaluation.sample import sample_of
from duoscan.evaluation.sample_size import patients_for_proportion, patients_overall
from duoscan.evaluation.thresholds import sensitivity_threshold
from duoscan.inference.calibration import logit
from duoscan.policies.certify import Method, Promise, Wish, allowed_misses, certify
from duoscan.policies.joint import PatientScores
from duoscan.policies.policy import Policy, apply_policy_to_all
from duoscan.policies.queueing import Department, Flow, replicate
from duoscan.policies.rule import PolicyKind
from duoscan.predictions import Prediction
from duoscan.terms import Finding, Modality, Split

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

SIZES, PREVALENCES, IMAGES, TRUTHS = (15, 30, 60, 150, 300), (0.1, 0.3, 0.5), (1, 5, 20), ("easy", "extreme")
POPULATION = 20_000  # of either class
CORRELATION = 0.7
STUDIES = (0.7, 0.2, 0.1)  # share of patients with one, two and three X-ray studies
# How far the sick lie above the well, in standard deviations: X-ray, CT.
DISTANCES = {"easy": (1.5, 2.5), "extreme": (3.5, 5.0), "alike": (2.5, 2.5)}
ALPHA, DELTA, MARGIN, TARGET = 0.1, 0.05, 0.1, 0.95


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


def _left(policy: Policy, people: PatientScores, *, both: bool) -> float:
    """Share of the population's sick who leave."""
    sick = people.where(people.sick)
    if not both:
        return float(np.mean(sick.xray < (policy.xray_threshold or 0.0)))
    return float(apply_policy_to_all(policy, sick.xray, sick.ct).negative.mean())


def _issued(patients: PatientScores, ct_threshold: float, promise: Promise) -> Policy | None:
    """Rule-out, certified; ``None`` where that is refused."""
    policy = Policy(kind=PolicyKind.RULE_OUT, xray_threshold=0.0, ct_threshold=ct_threshold)
    try:
        return certify(policy, patients, promise)
    except InputError:
        return None


def _certified(
    cell: Cell,
    cohorts: int,
    rng: np.random.Generator,
    *,
    scope: Wish,
    method: Method = "exact",
    highest: bool = False,
) -> Iterator[tuple[float, bool]]:
    """The true share who leave under each certified policy; ``nan`` where none is issued."""
    place = world(cell.images, cell.truth)
    sick = place.patients().where(place.sick)
    given = float(np.quantile(sick.ct, 0.03))
    for _ in range(cohorts):
        patients = place.patients(place.cohort(cell, rng), highest=highest)
        policy = _issued(patients, given, Promise(ALPHA, DELTA, method, scope))
        if policy is None:
            yield math.nan, False
            continue
        both = policy.certificate is not None and policy.certificate.covers != "leaving at X-ray"
        yield _left(policy, sick, both=both), both


def _broken(shares: Iterator[tuple[float, bool]]) -> FloatArray:
    """1 where more than α leave; a cohort without a certificate breaks nothing."""
    return np.array([float(share > ALPHA) for share, _ in shares])


CERTIFYING = tuple(Cell(*each) for each in itertools.product((150, 300), PREVALENCES[1:], IMAGES, TRUTHS))


@promise("exact certificate, X-ray exit", DELTA, cells=CERTIFYING)
def _xray_exit(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
    return _broken(_certified(cell, cohorts, rng, scope="xray"))


@promise("exact certificate, whole policy, CT threshold given", DELTA, cells=CERTIFYING)
def _whole(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
    return _broken(_certified(cell, cohorts, rng, scope="joint"))


@promise("exact certificate, whole policy, union bound", DELTA, cells=CERTIFYING)
def _union(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
    return _broken(_certified(cell, cohorts, rng, scope="union"))


@promise("exact certificate, scope left to the numbers", DELTA, cells=CERTIFYING)
def _auto(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
    return _broken(_certified(cell, cohorts, rng, scope="auto"))


@promise("split-conformal, mean share who leave at X-ray", ALPHA, cells=CERTIFYING)
def _conformal(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
    return np.array([share for share, _ in _certified(cell, cohorts, rng, scope="xray", method="split-conformal")])


@promise(
    "broken: whole policy, CT threshold chosen on the same patients",
    DELTA,
    holds=False,
    cells=(Cell(300, 0.5, 1, "alike"),),
    times=10,
)
def _chosen_here(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
    """Of all CT thresholds that give a certificate, the one that lets most of the well go."""
    place = world(cell.images, cell.truth)
    all_x, all_ct = place.first[place.sick], place.ct[place.sick]
    found = []
    for _ in range(cohorts):
        at = place.cohort(cell, rng)
        sick, xray, ct = place.sick[at], place.first[at], place.ct[at]
        allowed = allowed_misses(int(sick.sum()), ALPHA, DELTA)
        best = (-1.0, 0.0, 0.0)
        for cut in np.sort(ct[sick])[: allowed + 1]:
            low = np.sort(np.where(ct[sick] < cut, -np.inf, xray[sick]))[allowed]
            best = max(best, (float(np.mean((xray < low) | (ct < cut), where=~sick)), low, cut))
        found.append(float(np.mean((all_x < best[1]) | (all_ct < best[2])) > ALPHA))
    return np.array(found)


@promise("broken: certified on the highest of a patient's studies", DELTA, holds=False, cells=CERTIFYING)
def _highest(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
    return _broken(_certified(cell, cohorts, rng, scope="xray", highest=True))


CHOOSING = tuple(Cell(*each) for each in itertools.product((30, 60, 150, 300, 600), PREVALENCES[1:], (1,), ("worse",)))


def _worse(cell: Cell, rng: np.random.Generator) -> PatientScores:
    """CT right in 95 of 100; the X-ray right in as many of the well and in 85 of 100 sick, on its own."""
    sick = rng.random(cell.patients) < cell.prevalence
    xray = np.where(sick == (rng.random(len(sick)) < np.where(sick, 0.95 - MARGIN, 0.95)), 0.9, 0.1)
    ct = np.where(sick == (rng.random(len(sick)) < 0.95), 0.9, 0.1)
    return PatientScores(tuple(map(str, range(len(sick)))), sick, xray, ct)


@promise("the policy chosen is not worse than CT for all by the margin", LEVEL, cells=CHOOSING)
def _choice(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
    setting = Setting(0.5, 0.5, Promise(0.3), margin=MARGIN, prevalence=0.1)
    found = []
    for _ in range(cohorts):
        patients = _worse(cell, rng)
        if not 0 < patients.sick.sum() < len(patients):
            continue
        offers = operating_table(patients, patients, setting)
        found.append(float(choose(offers, patients, setting).offer.policy.kind is PolicyKind.XRAY_ONLY))
    return np.array(found)


@promise("broken: sensitivity within the interval of CT for all", LEVEL, holds=False, cells=CHOOSING)
def _within_the_interval(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
    found = []
    for _ in range(cohorts):
        patients = _worse(cell, rng)
        if not 0 < patients.sick.sum() < len(patients):
            continue
        ours, all_ = (
            measure_policy(Policy(kind=kind, xray_threshold=0.5, ct_threshold=0.5), patients).figures["sensitivity"]
            for kind in (PolicyKind.XRAY_ONLY, PolicyKind.CT_FOR_ALL)
        )
        found.append(float(ours.value >= (all_.low or 0.0)))
    return np.array(found)


def _limits(cell: Cell, cohorts: int, rng: np.random.Generator, level: float) -> FloatArray:
    """1 where the lower limit lies above the true difference, −0.1; discordant patients are 0.1 or 0.3 of all."""
    gained = 0.1 if cell.truth == "easy" else 0.0
    drawn = rng.multinomial(cell.patients, [gained + 0.1, gained, 0.9 - 2 * gained], cohorts)
    return np.array([float(lower_limit(lost, won, cell.patients, level) > -0.1) for lost, won, _ in drawn.tolist()])


PAIRS = tuple(Cell(size, 1.0, 1, truth) for size, truth in itertools.product(SIZES[1:], TRUTHS))


@promise("lower limit of a paired difference, one-sided 0.05", 0.05, cells=PAIRS, times=5)
def _paired(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
    return _limits(cell, cohorts, rng, 0.05)


@promise("lower limit of a paired difference, one-sided 0.01", 0.01, cells=PAIRS, times=5)
def _paired_of_five(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
    return _limits(cell, cohorts, rng, 0.01)


def _outside(cell: Cell, cohorts: int, rng: np.random.Generator, figure: str, *, known: bool) -> FloatArray:
    place = world(cell.images, cell.truth)
    policy = Policy(kind=PolicyKind.RULE_OUT, xray_threshold=0.3, ct_threshold=0.5)
    everyone = place.patients()
    true = measure_policy(policy, everyone, prevalence=cell.prevalence).figures[figure].value
    found = []
    for _ in range(cohorts):
        patients = place.patients(place.cohort(cell, rng))
        if not 0 < patients.sick.sum() < len(patients):
            continue
        at = float(patients.sick.mean()) if known else None
        shown = measure_policy(policy, patients, prevalence=at).figures[figure]
        found.append(
            math.nan if shown.low is None or shown.high is None else float(not shown.low <= true <= shown.high)
        )
    return np.array(found)


for _figure in ("to_ct", "ppv", "npv"):

    @promise(f"{_figure} without a stated prevalence", 0.05)
    def _pooled(cell: Cell, cohorts: int, rng: np.random.Generator, figure: str = _figure) -> FloatArray:
        return _outside(cell, cohorts, rng, figure, known=False)


@promise("broken: to_ct with the cohort's own prevalence taken as known", 0.05, holds=False)
def _as_known(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
    return _outside(cell, cohorts, rng, "to_ct", known=True)


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
    from duoscan.evaluation.proportions import clopper_pearson

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


def main() -> None:
    """Print a table; fails where a promise is broken, or a broken rule is not found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cohorts", type=int, default=400)
    parser.add_argument("--cells", type=int, default=30, help="at most about so many of each grid")
    parser.add_argument("--only", default="", help="checks whose name holds these words")
    asked = parser.parse_args()
    began, wrong = time.monotonic(), 0
    print("| promise | level | worst of cells | there | held |\n|---|---|---|---|---|")
    for check in CHECKS:
        if asked.only not in check.name:
            continue
        found = tried(check, asked.cohorts, asked.cells)
        wrong += found.held != check.holds
        print(found.row, flush=True)
    print(f"\n{time.monotonic() - began:.0f} s; {wrong} not as they should be")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
