"""For whoever watches: is the server alive, can it work, how much waits, what went through; nothing of any patient."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from duoscan.interfaces.serve.permissions import Action
from duoscan.interfaces.serve.room import Endpoint, Visit
from duoscan.worklist.store.listing import counts
from duoscan.worklist.store.monitoring import read_lately
from duoscan.worklist.store.queue import JobState, job_counts
from duoscan.worklist.store.schema import CASES, JOBS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from duoscan.interfaces.serve.room import Room


def is_alive(_visit: Visit) -> Response:
    """The process answers."""
    return Response('{"status": "alive"}', media_type="application/json")


def is_ready(visit: Visit) -> Response:
    """Database and disk take what comes."""
    room = visit.room
    faults = []
    try:
        with room.store.database.read() as connection:
            connection.execute(select(func.count()).select_from(JOBS)).scalar_one()
    except SQLAlchemyError:
        faults.append("the database does not answer")
    if room.store.blobs.free_bytes() < room.config.limits.min_free_mb * 2**20:
        faults.append("the disk is full")
    content = {"status": "not ready" if faults else "ready", "faults": faults}
    return Response(json.dumps(content), 503 if faults else 200, media_type="application/json")


class _Collected:
    """What the store holds, asked for when it is asked for."""

    def __init__(self, room: Room, now: float) -> None:
        self._room = room
        self._now = now

    def collect(self) -> Iterator[Metric]:
        with self._room.store.database.read() as connection:
            jobs, cases = job_counts(connection), counts(connection)
            unsigned = select(func.min(CASES.c.arrived)).where(CASES.c.signed == 0)
            oldest = connection.execute(unsigned).scalar_one()
        found = GaugeMetricFamily("duoscan_jobs", "Jobs by state.", labels=["state"])
        for state in JobState:
            found.add_metric([state], jobs[state])
        yield found
        found = GaugeMetricFamily("duoscan_cases", "Cases by state and answer.", labels=["state", "answer"])
        for (name, answer), count in sorted(cases.items()):
            found.add_metric([name, answer], count)
        yield found
        waits = self._now - oldest if oldest else 0.0
        yield GaugeMetricFamily("duoscan_oldest_open_case_seconds", "Since the oldest open case arrived.", value=waits)
        free = self._room.store.blobs.free_bytes()
        yield GaugeMetricFamily("duoscan_disk_free_bytes", "Room for images.", value=free)


def metrics(visit: Visit) -> Response:
    """For Prometheus."""
    registry = CollectorRegistry()
    registry.register(_Collected(visit.room, visit.now))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def monitoring_page(visit: Visit) -> Response:
    """What went through lately."""
    with visit.room.store.database.read() as connection:
        lately = read_lately(connection, now=visit.now)
    return visit.page("monitoring.html", lately=lately)


ENDPOINTS = (
    Endpoint("GET", "/lately", Action.LOOK, monitoring_page),
    Endpoint("GET", "/health/live", Action.COME_IN, is_alive),
    Endpoint("GET", "/health/ready", Action.COME_IN, is_ready),
    Endpoint("GET", "/metrics", Action.ADMINISTER, metrics),
)
