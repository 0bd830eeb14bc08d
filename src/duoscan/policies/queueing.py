"""How long patients wait for the X-ray to be read and for a CT, by simulation.

Patients arrive at random (Poisson) and wait for one of c readers; those whom the policy sends then wait for a scanner.
Where nobody's X-ray is needed, they go to the scanner at once.
Reading and scanning take exponential times. Sick-first takes patients with a positive X-ray answer before the others
at both stations, without interrupting anyone; within each group, and in first-come altogether, who came first is
first. One replication is one run from an empty department; its first patients are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duoscan.policies.policy import BoolArray, FloatArray


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

    def check_load(self, share_to_ct: float, *, reads_xray: bool = True) -> None:
        """Refuses a station that cannot keep up.

        Args:
            share_to_ct: Of the patients.
            reads_xray: Whether their X-rays are read.

        Raises:
            InputError: Work arrives as fast as it is done, or faster, so that waiting grows for ever.
        """
        for name, rate, minutes, servers in (
            ("readers", self.arrivals_per_hour * reads_xray, self.read_minutes, self.readers),
            ("scanners", self.arrivals_per_hour * share_to_ct, self.scan_minutes, self.scanners),
        ):
            load = rate * minutes / 60.0 / servers
            if load >= 1.0:
                raise InputError(f"{name} are loaded to {load:.0%}, so the queue grows for ever; give more {name}")


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
    department: Department, flow: Flow, *, sick_first: bool, patients: int = 2000, warm_up: int = 500, seed: int = 0
) -> Waits:
    """One replication.

    Args:
        department: Arrivals and stations.
        flow: Who arrives.
        sick_first: Take positive X-rays first; otherwise first come, first served.
        patients: Counted.
        warm_up: Patients before the first counted one.
        seed: The same seed gives both orders the same arrivals and service times.

    Raises:
        InputError: A station cannot keep up.
        MissingExtraError: simpy is not installed.
    """
    try:
        import simpy
    except ImportError as error:
        raise MissingExtraError("evaluate", "simulating waiting times") from error
    department.check_load(float(flow.weights @ flow.to_ct), reads_xray=flow.reads_xray)
    rng, total = np.random.default_rng(seed), patients + warm_up
    who = rng.choice(len(flow.sick), size=total, p=flow.weights)
    gaps = rng.exponential(60.0 / department.arrivals_per_hour, total)
    services = rng.exponential(1.0, (total, 2)) * [department.read_minutes, department.scan_minutes]
    waits = np.full((total, 2), np.nan)
    waits[:, 0] = 0.0
    environment = simpy.Environment()
    stations = [simpy.PriorityResource(environment, each) for each in (department.readers, department.scanners)]

    def patient(number: int) -> Iterator[Any]:
        priority = 0 if sick_first and flow.first[who[number]] else 1
        for place in range(0 if flow.reads_xray else 1, 1 + int(flow.to_ct[who[number]])):
            came = environment.now
            with stations[place].request(priority=priority) as turn:
                yield turn
                waits[number, place] = environment.now - came
                yield environment.timeout(services[number, place])

    def arrivals() -> Iterator[Any]:
        for number in range(total):
            yield environment.timeout(gaps[number])
            environment.process(patient(number))

    environment.process(arrivals())
    environment.run()
    counted = who[warm_up:]
    return Waits(waits[warm_up:, 0], waits[warm_up:, 1], flow.sick[counted], flow.first[counted])


def at_prevalence(sick: BoolArray, prevalence: float) -> FloatArray:
    """Chance of each of N patients to arrive such that the prevalence holds, shape (N,).

    Raises:
        InputError: The prevalence is not above 0 and below 1, or a class is missing.
    """
    if not 0.0 < prevalence < 1.0 or not sick.any() or sick.all():
        raise InputError(f"prevalence {prevalence}: give one above 0 and below 1, with sick and well patients to draw")
    return np.asarray(np.where(sick, prevalence / sick.sum(), (1.0 - prevalence) / (~sick).sum()))


def replicate(
    department: Department, flow: Flow, *, sick_first: bool, replications: int = 20, patients: int = 1000, seed: int = 0
) -> dict[str, FloatArray]:
    """The summary of each replication, shape (replications,); see :meth:`Waits.summary`.

    Raises:
        InputError: A station cannot keep up.
        MissingExtraError: simpy is not installed.
    """
    seeds = np.random.SeedSequence(seed).generate_state(replications)
    runs = [
        simulate(department, flow, sick_first=sick_first, patients=patients, seed=int(each)).summary() for each in seeds
    ]
    return {name: np.array([run[name] for run in runs]) for name in runs[0]}
