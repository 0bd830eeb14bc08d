"""Who did what, and when: a list that only grows, each entry sealed with the one before it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from duoscan.worklist.store.schema import TRAIL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Row

_LOCK = 0x74726C
_START = ""
_PAGE = 1000


@dataclass(frozen=True)
class Entry:
    """One line.

    Attributes:
        seq: Its number, from 1, without gaps.
        at: Seconds since 1970.
        actor: Name of the account, or of the part of duoscan.
        action: What was done.
        subject: To which case, upload or account.
        detail: What else there is to say.
    """

    seq: int
    at: float
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]


def record(
    connection: Connection, *, actor: str, action: str, subject: str, now: float, **detail: str | int | float | bool
) -> None:
    """Add a line, in the transaction of what it tells of; it may run to the end of that alone."""
    if connection.dialect.name == "postgresql":
        # Two lines would otherwise follow on the same one.
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    last = connection.execute(select(TRAIL.c.seq, TRAIL.c.digest).order_by(TRAIL.c.seq.desc()).limit(1)).first()
    seq, before = (last.seq + 1, last.digest) if last else (1, _START)
    text = json.dumps(detail, sort_keys=True)
    digest = _digest(before, seq, now, actor, action, subject, text)
    connection.execute(
        TRAIL.insert().values(seq=seq, at=now, actor=actor, action=action, subject=subject, detail=text, digest=digest)
    )


def entries(
    connection: Connection, *, subject: str | None = None, before: int | None = None, limit: int = 100
) -> list[Entry]:
    """The latest lines, the newest first; of one subject, or before one number."""
    query = select(TRAIL).order_by(TRAIL.c.seq.desc()).limit(limit)
    if subject is not None:
        query = query.where(TRAIL.c.subject == subject)
    if before is not None:
        query = query.where(TRAIL.c.seq < before)
    return [_entry(row) for row in connection.execute(query)]


def check_trail(connection: Connection, *, expected: str | None = None) -> tuple[int, str, str]:
    """Go through the whole list.

    Lines cut off at the end leave a shorter list that is sound in itself, so the last digest is to be kept elsewhere.

    Args:
        connection: To read by.
        expected: A digest that was printed earlier and must be among the lines; ``None`` where there is none.

    Returns:
        How many lines were sound, the digest of the last of them, and what is wrong; empty where nothing is.
    """
    digest, count, is_met = _START, 0, expected is None
    for row in _rows(connection):
        if row.seq != count + 1:
            return count, digest, f"line {count + 1} is missing"
        made = _digest(digest, row.seq, row.at, row.actor, row.action, row.subject, row.detail)
        if made != row.digest:
            return count, digest, f"line {row.seq} was changed"
        digest, count = made, row.seq
        is_met = is_met or digest == expected
    return count, digest, "" if is_met else "the digest that was printed earlier is none of its lines: the end was cut"


def _rows(connection: Connection) -> Iterator[Row[Any]]:
    last = -1
    while rows := connection.execute(
        select(TRAIL).where(TRAIL.c.seq > last).order_by(TRAIL.c.seq).limit(_PAGE)
    ).fetchall():
        yield from rows
        last = rows[-1].seq


def _digest(before: str, *parts: str | float) -> str:
    return hashlib.sha256(json.dumps([before, *parts]).encode()).hexdigest()


def _entry(row: Row[Any]) -> Entry:
    return Entry(row.seq, row.at, row.actor, row.action, row.subject, json.loads(row.detail))
