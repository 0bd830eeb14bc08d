"""Work that outlives whoever does it: jobs with a key of their own, taken for a while, and given back by a clock.

A worker that is killed leaves a lease that runs out; the next one takes the job up. What a worker found is stored in
the transaction that ends its job, and only while the lease is still its own, so each job has one result.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from duoscan.worklist.store.database import new_id
from duoscan.worklist.store.schema import JOBS

if TYPE_CHECKING:
    from sqlalchemy import Connection


class JobKind(StrEnum):
    """What is to be done."""

    SPLIT = "split"
    """Tell the patients of an upload."""
    SCREEN = "screen"
    """Answer a case."""


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class TakenJob:
    """A job while it is somebody's.

    Attributes:
        id: Of the job.
        key: What is never done twice: upload, or images, request, models and policy of a case.
        kind: What is to be done.
        subject: Id of the upload or case.
        attempts: How often it was taken, this time among them; with the worker's name, it is the lease.
        worker: Whose it is.
    """

    id: str
    key: str
    kind: JobKind
    subject: str
    attempts: int
    worker: str


def insert_once(connection: Connection, table: Any, **values: object) -> bool:
    """Insert a row where no unique key forbids it; whether it was."""
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert
    # PostgreSQL's driver counts no rows of an insert, so the row is asked for.
    inserted = insert(table).values(**values).on_conflict_do_nothing().returning(*table.primary_key)
    return connection.execute(inserted).first() is not None


def enqueue(connection: Connection, kind: JobKind, subject: str, key: str, *, now: float) -> bool:
    """Ask for a job; whether it is new. One that failed is tried again."""
    if insert_once(
        connection,
        JOBS,
        id=new_id(),
        key=key,
        kind=kind,
        subject=subject,
        state=JobState.QUEUED,
        created=now,
        changed=now,
        not_before=now,
    ):
        return True
    again = update(JOBS).where(JOBS.c.key == key, JOBS.c.state == JobState.FAILED)
    values = {"state": JobState.QUEUED, "attempts": 0, "not_before": now, "changed": now, "reason": ""}
    return bool(connection.execute(again.values(**values)).rowcount)


def take(connection: Connection, worker: str, *, now: float, lease_s: float) -> TakenJob | None:
    """The job that is due for longest, from now on this worker's; call it in a transaction that writes."""
    is_due = or_(
        and_(JOBS.c.state == JobState.QUEUED, JOBS.c.not_before <= now),
        and_(JOBS.c.state == JobState.RUNNING, JOBS.c.lease_until < now),
    )
    # Splitting comes first: it is short, and tells what else there is.
    query = select(JOBS).where(is_due).order_by(JOBS.c.kind.desc(), JOBS.c.created).limit(1)
    row = connection.execute(query.with_for_update(skip_locked=True)).first()
    if row is None:
        return None
    values = {"state": JobState.RUNNING, "attempts": row.attempts + 1, "worker": worker}
    connection.execute(update(JOBS).where(JOBS.c.id == row.id).values(**values, lease_until=now + lease_s, changed=now))
    return TakenJob(row.id, row.key, JobKind(row.kind), row.subject, row.attempts + 1, worker)


def _own(job: TakenJob) -> Any:
    return (
        JOBS.c.id == job.id,
        JOBS.c.state == JobState.RUNNING,
        JOBS.c.worker == job.worker,
        JOBS.c.attempts == job.attempts,
    )


def beat(connection: Connection, job: TakenJob, *, now: float, lease_s: float) -> bool:
    """Go on; whether the job is still this worker's."""
    renewed = update(JOBS).where(*_own(job)).values(lease_until=now + lease_s)
    return bool(connection.execute(renewed).rowcount)


def finish(connection: Connection, job: TakenJob, *, now: float) -> bool:
    """It is done; call it in the transaction that stores the result, and store nothing where it says ``False``."""
    values = {"state": JobState.DONE, "changed": now, "reason": ""}
    return bool(connection.execute(update(JOBS).where(*_own(job)).values(**values)).rowcount)


def give_back(
    connection: Connection, job: TakenJob, reason: str, *, now: float, retry_s: float, most_attempts: int
) -> JobState | None:
    """It did not succeed; it is tried again later, or given up.

    Returns:
        Where it stands now; ``None`` where it was another's by then.
    """
    state = JobState.FAILED if job.attempts >= most_attempts else JobState.QUEUED
    values = {"state": state, "reason": reason, "changed": now, "not_before": now + retry_s * 2 ** (job.attempts - 1)}
    is_own = connection.execute(update(JOBS).where(*_own(job)).values(**values)).rowcount
    return state if is_own else None


def job_counts(connection: Connection) -> dict[JobState, int]:
    """How many jobs stand where."""
    query = select(JOBS.c.state, func.count().label("jobs")).group_by(JOBS.c.state)
    found = {row.state: int(row.jobs) for row in connection.execute(query)}
    return {state: found.get(state, 0) for state in JobState}
