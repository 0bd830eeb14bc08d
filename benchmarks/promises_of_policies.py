"""What certificates, the choice of a policy and its figures promise."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
from promise_cells import IMAGES, PREVALENCES, SIZES, TRUTHS, Cell, FloatArray, promise, world

from duoscan.errors import InputError
from duoscan.evaluation.policies.choice import LEVEL, choose
from duoscan.evaluation.policies.measured import measure_policy
from duoscan.evaluation.policies.noninferiority import lower_limit
from duoscan.evaluation.policies.operating import Setting, operating_table
from duoscan.evaluation.thresholds import youden_threshold
from duoscan.policies.certify import Method, Promise, Wish, allowed_misses, certify
from duoscan.policies.policy import Policy, apply_policy_to_all
from duoscan.policies.rule import PolicyKind
from duoscan.policies.scores import PatientScores

if TYPE_CHECKING:
    from collections.abc import Iterator

ALPHA, DELTA, MARGIN = 0.1, 0.05, 0.1


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


OFFERING = tuple(Cell(*each) for each in itertools.product((150, 300, 600), PREVALENCES[1:], (1, 5), TRUTHS))


@promise("the same, every threshold chosen on the same patients", LEVEL, cells=OFFERING)
def _offered(cell: Cell, cohorts: int, rng: np.random.Generator) -> FloatArray:
    """1 where the policy chosen loses more than the margin of the population's sensitivity or specificity."""
    place = world(cell.images, cell.truth)
    everyone, found = place.patients(), []
    for _ in range(cohorts):
        patients = place.patients(place.cohort(cell, rng))
        points = (youden_threshold(patients.sick, scores) for scores in (patients.xray, patients.ct))
        setting = Setting(*points, Promise(ALPHA), margin=MARGIN, prevalence=0.1)
        chosen = choose(operating_table(patients, patients, setting), patients, setting).offer.policy
        ct_for_all = Policy(kind=PolicyKind.CT_FOR_ALL, xray_threshold=0.5, ct_threshold=setting.ct_threshold)
        ours, theirs = (apply_policy_to_all(each, everyone.xray, everyone.ct) for each in (chosen, ct_for_all))
        losses = (
            np.mean(theirs.positive[place.sick]) - np.mean(ours.positive[place.sick]),
            np.mean(theirs.negative[~place.sick]) - np.mean(ours.negative[~place.sick]),
        )
        found.append(float(max(losses) > MARGIN))
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
