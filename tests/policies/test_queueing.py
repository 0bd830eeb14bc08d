"""Simulated waits against the formulas of queueing theory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import simpy

from duoscan.errors import InputError
from duoscan.policies.queueing import Department, Flow, at_prevalence, replicate, simulate, waits_at

REPLICATIONS = 16


def flow(first: float, to_ct: bool = False) -> Flow:
    chosen = np.array([True, False])
    return Flow(chosen, chosen, np.array([to_ct, to_ct]), np.array([first, 1 - first]))


def mean_waits(department: Department, of: Flow, *, sick_first: bool) -> np.ndarray:
    """Mean wait to be read, of the first and of the others, and for CT; shape (replications, 3)."""
    rows = []
    for seed in range(REPLICATIONS):
        waits = simulate(department, of, sick_first=sick_first, patients=3000, seed=seed)
        read, ct = waits.read_minutes, waits.ct_minutes
        first = read[waits.first].mean() if waits.first.any() else 0.0
        rows.append([first, read[~waits.first].mean(), np.mean(ct)])
    return np.array(rows)


def assert_mean(drawn: np.ndarray, expected: float) -> None:
    # four standard errors over replications, and they are small enough to tell a wrong formula
    error = drawn.std(ddof=1) / math.sqrt(len(drawn))
    assert error < 0.06 * expected
    assert abs(drawn.mean() - expected) < 4 * error


def test_one_reader_waits_as_in_m_m_1() -> None:
    # 6 an hour, 6 minutes each: ρ = 0.6, wait = ρ/(1 − ρ) · 6 = 9 minutes; the CT behind it is M/M/1 too (Burke):
    # 6 an hour, 5 minutes: ρ = 0.5, wait 5 minutes
    found = mean_waits(Department(6, 1, 6, 1, 5), flow(0.5, to_ct=True), sick_first=False)
    assert_mean(found[:, :2].mean(axis=1), 9.0)
    assert_mean(found[:, 2], 5.0)


def test_without_x_rays_nobody_waits_for_a_reader() -> None:
    # CT alone, 6 an hour at 5 minutes: M/M/1 as above, 5 minutes; the reader could not keep up and need not.
    chosen = np.array([True, False])
    alone = Flow(chosen, ~chosen & chosen, chosen | True, np.array([0.5, 0.5]), reads_xray=False)
    found = mean_waits(Department(6, 1, 60, 1, 5), alone, sick_first=False)
    assert_mean(found[:, 2], 5.0)
    assert not found[:, 1].any()


def test_three_readers_wait_as_erlang_c() -> None:
    # a = 12 · 10 / 60 = 2 Erlang on 3: C = (8/6 · 3) / (1 + 2 + 2 + 4) = 4/9; wait = C · 10 / (3 − 2) = 40/9 minutes
    found = mean_waits(Department(12, 3, 10, 1, 1), flow(0.5), sick_first=False)
    assert_mean(found[:, :2].mean(axis=1), 40 / 9)


def test_sick_first_waits_as_cobham() -> None:
    # Cobham 1954: ρ = 0.6 of which 0.3 first; W0 = ρ · 6 = 3.6 minutes;
    # first W0/(1 − 0.3) = 5.142857; others W0/((1 − 0.3)(1 − 0.6)) = 12.857143
    found = mean_waits(Department(6, 1, 6, 1, 1), flow(0.5), sick_first=True)
    assert_mean(found[:, 0], 3.6 / 0.7)
    assert_mean(found[:, 1], 3.6 / 0.28)


def test_sick_first_helps_the_sick_at_the_cost_of_the_others() -> None:
    department = Department(6, 1, 8, 1, 6)
    runs = {order: replicate(department, flow(0.3), sick_first=order, replications=4) for order in (True, False)}
    assert runs[True]["sick p95"].mean() < runs[False]["sick p95"].mean()
    assert runs[True]["others p95"].mean() > runs[False]["others p95"].mean()


def test_the_same_seed_gives_the_same_waits() -> None:
    department = Department(6, 1, 6, 1, 5)
    first, second = (replicate(department, flow(0.3), sick_first=True, replications=2, seed=3) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_weights_give_the_prevalence() -> None:
    # one sick at 0.1, three well share 0.9
    weights = at_prevalence(np.array([True, False, False, False]), 0.1)
    assert weights == pytest.approx([0.1, 0.3, 0.3, 0.3])
    with pytest.raises(InputError, match="prevalence 0"):
        at_prevalence(np.array([True, False]), 0)


def test_a_queue_that_grows_for_ever_is_refused() -> None:
    with pytest.raises(InputError, match="readers are loaded to 100%"):
        simulate(Department(10, 1, 6, 1, 1), flow(0.5), sick_first=False)
    with pytest.raises(InputError, match="scanners are loaded"):
        simulate(Department(6, 1, 6, 1, 12), flow(0.5, to_ct=True), sick_first=False)
    with pytest.raises(InputError, match="readers 0"):
        Department(6, 0, 6, 1, 1)
    with pytest.raises(InputError, match="readers are loaded to 99.0%, so near to full"):
        simulate(Department(9.9, 1, 6, 1, 1), flow(0.5), sick_first=False)
    # The scanner is loaded to 0.8, and only one patient of ten is sent: it takes ten times as many to fill it.
    both = np.array([True, False])
    rarely = Flow(both, both, both, np.array([0.1, 0.9]))
    assert Department(6, 9, 6, 1, 80).memory(0.1) == pytest.approx(10 * Department(6, 9, 6, 1, 8).memory(1.0))
    assert len(simulate(Department(6, 9, 6, 1, 80), rarely, sick_first=False).sick) > 10_000


def test_near_full_load_the_department_is_not_still_filling() -> None:
    # M/M/1 at ρ = 0.95: P(wait > t) = ρ e^(−(1 − ρ) t / 6), so 95 of 100 wait ln(0.95/0.05) · 6 / 0.05 = 353.3 minutes
    # at most. 500 patients to warm up and 1,000 counted said 208.
    runs = replicate(Department(9.5, 1, 6, 1, 1), flow(0.5), sick_first=False, replications=16, seed=1)
    p95 = (runs["sick p95"] + runs["others p95"]) / 2
    error = p95.std(ddof=1) / math.sqrt(len(p95))
    assert error < 0.15 * 353.3
    assert abs(p95.mean() - 353.3) < 3 * error


@pytest.mark.parametrize("servers", [1, 3])
def test_a_station_waits_as_simpy_says(servers: int) -> None:
    """The general simulation, given the same patients; every wait of every patient."""
    rng = np.random.default_rng(servers)
    came, first = np.cumsum(rng.exponential(1.0, 2000)), rng.random(2000) < 0.3
    services = rng.exponential(0.9 * servers, 2000)
    environment = simpy.Environment()
    station = simpy.PriorityResource(environment, servers)
    found = np.empty(2000)

    def patient(number: int) -> Iterator[Any]:
        yield environment.timeout(came[number])
        with station.request(priority=0 if first[number] else 1) as turn:
            yield turn
            found[number] = environment.now - came[number]
            yield environment.timeout(services[number])

    for number in range(2000):
        environment.process(patient(number))
    environment.run()
    np.testing.assert_allclose(waits_at(came, services, first, servers), found, atol=1e-9)
