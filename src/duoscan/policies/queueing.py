"""How long patients wait for the X-ray to be read and for a CT, by simulation.

Patients arrive at random (Poisson) and wait for one of c readers; those whom the policy sends then wait for a scanner.
Where nobody's X-ray is needed, they go to the scanner at once.
Reading and scanning take exponential times. Sick-first takes patients with a positive X-ray answer before the others
at both stations, without interrupting anyone; within each group, and in first-come altogether, who came first is
first. One replication is one run from an empty department; its first patients are not counted.

A queue forgets where it began after about ρ/(1 − √ρ)² patients at load ρ: 12 at 0.6, 340 at 0.9, 9,700 at 0.98 (Cohen,
The Single Server Queue, 1982, II.2.1). Warm-up and window are multiples of that, so that near full load the department
is neither still filling nor seen in one lucky hour; where they would be too long, nothing is simulated.
The stations are two short loops: a general event simulation took thirty times as long, and a test holds both together.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import ceil, sqrt
from typing import TYPE_CHECKING

import numpy as np

from duoscan.errors import InputError

if TYPE_CHECKING:
    from duoscan.policies.policy import BoolArray, FloatArray

LEAST_WARM_UP, LEAST_COUNTED = 500, 5000
WARM_UP_MEMORIES, COUNTED_MEMORIES = 4, 40  # e⁻⁴ = 2 % of the empty start is left
MOST_PATIENTS = 250_000  # a replication


@dataclass(frozen=True)
class Department:
    """Arrivals and stations, as the user states them.

    Attributes:
        arrivals_per_hour: Patients.
        readers: Who read X-rays.
        read_minutes: Mean time of reading an X-ray.
        scanners: CT scanners.
        scan_minutes: Mean time of a CT.
    """

    arrivals_per_hour: float
    readers: int
    read_minutes: float
    scanners: int
    scan_minutes: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < np.inf:
                raise InputError(f"{name.replace('_', ' ')} {value} is out of range; give a number above 0")

    def memory(self, share_to_ct: float, *, reads_xray: bool = True) -> float:
        """After how many patients the longer of the two queues has forgotten where it began; see the module.

        Args:
            share_to_ct: Of the patients.
            reads_xray: Whether their X-rays are read.

        Raises:
            InputError: Work arrives as fast as it is done, or faster, so that waiting grows for ever; or it comes so
                near to that, that no run is long enough.
        """
        longest = 0.0
        for name, share, minutes, servers in (
            ("readers", float(reads_xray), self.read_minutes, self.readers),
            ("scanners", share_to_ct, self.scan_minutes, self.scanners),
        ):
            if not share:
                continue
            load = self.arrivals_per_hour * share * minutes / 60.0 / servers
            if load >= 1.0:
                raise InputError(f"{name} are loaded to {load:.0%}, so the queue grows for ever; give more {name}")
            memory = load / (1.0 - sqrt(load)) ** 2 / share
            if (WARM_UP_MEMORIES + COUNTED_MEMORIES) * memory > MOST_PATIENTS:
                raise InputError(
                    f"{name} are loaded to {load:.1%}, so near to full that waiting hangs on thousands of earlier "
                    f"patients and no simulation tells it; give more {name} or fewer arrivals"
                )
            longest = max(longest, memory)
        return longest


@dataclass(frozen=True)
class Flow:
    """Patients to draw from, with replacement; each shape (N,).

    Attributes:
        sick: By the reference.
        first: Whether sick-first takes them first: the X-ray answered positive.
        to_ct: Whether the policy sends them to CT.
        weights: Chance of each to arrive, sum 1; sets the prevalence.
        reads_xray: Whether the policy needs an X-ray at all.
    """

    sick: BoolArray
    first: BoolArray
    to_ct: BoolArray
    weights: FloatArray
    reads_xray: bool = True


@dataclass(frozen=True)
class Waits:
    """Waiting of the counted patients of one replication; each shape (M,).

    Attributes:
        read_minutes: Wait for the reader; 0 where no X-ray is read.
        ct_minutes: Wait for the scanner; ``nan`` where not sent.
        sick: By the reference.
        first: Whether taken first under sick-first.
    """

    read_minutes: FloatArray
    ct_minutes: FloatArray
    sick: BoolArray
    first: BoolArray

    def summary(self) -> dict[str, float]:
        """Median and 95th percentile of the whole wait in minutes, of the sick and of the others."""
        total = self.read_minutes + np.nan_to_num(self.ct_minutes)
        return {
            f"{who} {name}": float(np.quantile(total[chosen], level)) if chosen.any() else np.nan
            for who, chosen in (("sick", self.sick), ("others", ~self.sick))
            for name, level in (("median", 0.5), ("p95", 0.95))
        }


def simulate(
    department: Department,
    flow: Flow,
    *,
    sick_first: bool,
    patients: int | None = None,
    warm_up: int | None = None,
    seed: int = 0,
) -> Waits:
    """One replication.

    Args:
        department: Arrivals and stations.
        flow: Who arrives.
        sick_first: Take positive X-rays first; otherwise first come, first served.
        patients: Counted; as many as the load needs where ``None``.
        warm_up: Patients before the first counted one; the same.
        seed: The same seed gives both orders the same arrivals and service times.

    Raises:
        InputError: A station cannot keep up, or hardly.
    """
    memory = department.memory(float(flow.weights @ flow.to_ct), reads_xray=flow.reads_xray)
    counted = max(LEAST_COUNTED, ceil(COUNTED_MEMORIES * memory)) if patients is None else patients
    before = max(LEAST_WARM_UP, ceil(WARM_UP_MEMORIES * memory)) if warm_up is None else warm_up
    rng, total = np.random.default_rng(seed), counted + before
    who = rng.choice(len(flow.sick), size=total, p=flow.weights)
    came = np.cumsum(rng.exponential(60.0 / department.arrivals_per_hour, total))
    services = rng.exponential(1.0, (total, 2)) * [department.read_minutes, department.scan_minutes]
    first = flow.first[who] & sick_first
    read = np.zeros(total)
    if flow.reads_xray:
        read = waits_at(came, services[:, 0], first, department.readers)
        came = came + read + services[:, 0]
    at_ct = np.full(total, np.nan)
    sent = np.flatnonzero(flow.to_ct[who])
    order = sent[np.argsort(came[sent], kind="stable")]
    at_ct[order] = waits_at(came[order], services[order, 1], first[order], department.scanners)
    kept = who[before:]
    return Waits(read[before:], at_ct[before:], flow.sick[kept], flow.first[kept])


def waits_at(came: FloatArray, services: FloatArray, first: BoolArray, servers: int) -> FloatArray:
    """Waiting of N patients at one station, shape (N,).

    Args:
        came: shape (N,); when they come, ascending.
        services: shape (N,); how long each is served.
        first: shape (N,); who is taken before the others.
        servers: How many serve.
    """
    arrivals, lengths, goes_first = came.tolist(), services.tolist(), first.tolist()
    free = [0.0] * servers
    heapify(free)
    ahead: deque[int] = deque()
    others: deque[int] = deque()
    waits = np.empty(len(arrivals))
    next_one = 0
    for _ in arrivals:
        now = heappop(free)
        if not ahead and not others:
            now = max(now, arrivals[next_one])
        while next_one < len(arrivals) and arrivals[next_one] <= now:
            (ahead if goes_first[next_one] else others).append(next_one)
            next_one += 1
        taken = (ahead or others).popleft()
        waits[taken] = now - arrivals[taken]
        heappush(free, now + lengths[taken])
    return waits


def at_prevalence(sick: BoolArray, prevalence: float) -> FloatArray:
    """Chance of each of N patients to arrive such that the prevalence holds, shape (N,).

    Raises:
        InputError: The prevalence is not above 0 and below 1, or a class is missing.
    """
    if not 0.0 < prevalence < 1.0 or not sick.any() or sick.all():
        raise InputError(f"prevalence {prevalence}: give one above 0 and below 1, with sick and well patients to draw")
    return np.asarray(np.where(sick, prevalence / sick.sum(), (1.0 - prevalence) / (~sick).sum()))


def replicate(
    department: Department, flow: Flow, *, sick_first: bool, replications: int = 20, seed: int = 0
) -> dict[str, FloatArray]:
    """The summary of each replication, shape (replications,); see :meth:`Waits.summary`.

    Raises:
        InputError: A station cannot keep up, or hardly.
    """
    seeds = np.random.SeedSequence(seed).generate_state(replications)
    runs = [simulate(department, flow, sick_first=sick_first, seed=int(each)).summary() for each in seeds]
    return {name: np.array([run[name] for run in runs]) for name in runs[0]}
