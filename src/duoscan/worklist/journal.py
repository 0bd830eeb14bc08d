"""What became of each study, in SQLite; all of the node's SQL is here.

Moves of a study::

    receiving ──► screening ──► sending ──► reported
        ▲             │            └──────► failed      given up; ``duoscan node retry`` takes it up again
        │             ├─► unanswered                    nothing in it could be answered, so nothing is sent
        │             └─► failed
        └── a new object of the study arrives after it was screened
    reported, unanswered ──► removed                    its files were deleted after ``keep_days``
"""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from threading import RLock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from duoscan.worklist.received import Received

_BUSY_S = 30.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS studies (
    key TEXT PRIMARY KEY,
    uid TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    has_ct INTEGER NOT NULL,
    state TEXT NOT NULL,
    quiet_until REAL NOT NULL,
    retry_at REAL NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    image_set TEXT NOT NULL DEFAULT '',
    screened_objects INTEGER NOT NULL DEFAULT 0,
    answer TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    changed REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS studies_by_state ON studies (state, quiet_until);
CREATE INDEX IF NOT EXISTS studies_by_patient ON studies (patient_id);
CREATE TABLE IF NOT EXISTS received (
    study TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (study, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS screenings (
    study TEXT NOT NULL, image_set TEXT NOT NULL, finished REAL NOT NULL, PRIMARY KEY (study, image_set)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS results (
    uid TEXT PRIMARY KEY, study TEXT NOT NULL, path TEXT NOT NULL, number INTEGER NOT NULL, state TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS results_by_study ON results (study, state);
"""


class State(StrEnum):
    """Where a study stands."""

    RECEIVING = "receiving"
    SCREENING = "screening"
    SENDING = "sending"
    REPORTED = "reported"
    UNANSWERED = "unanswered"
    FAILED = "failed"
    REMOVED = "removed"


class Delivery(StrEnum):
    """Where a result object stands."""

    WAITING = "waiting"
    OFFERED = "offered"
    """It was being sent when last seen; the destination may have it."""
    STORED = "stored"


@dataclass(frozen=True)
class Study:
    """A row; see :class:`State` and the schema."""

    key: str
    uid: str
    patient_id: str
    has_ct: bool
    state: State
    attempts: int
    image_set: str
    answer: str
    reason: str


@dataclass(frozen=True)
class Case:
    """What is screened together: a study and its patient's other studies.

    Attributes:
        study: The one that is answered.
        objects: (study, name) of every received object, the own study's first.
        has_ct: Whether there is CT among them.
    """

    study: Study
    objects: tuple[tuple[str, str], ...]
    has_ct: bool

    @property
    def image_set(self) -> str:
        """The same for the same study and objects, and for no others."""
        text = "\n".join([self.study.key, *sorted(f"{study}/{name}" for study, name in self.objects)])
        return hashlib.sha256(text.encode()).hexdigest()[:40]

    @property
    def own_objects(self) -> int:
        """How many are of the study itself."""
        return sum(study == self.study.key for study, _ in self.objects)


@dataclass(frozen=True)
class Result:
    """One object to be sent, or that was.

    Attributes:
        uid: SOPInstanceUID.
        path: Below the study's folder of results.
        delivery: Where it stands.
    """

    uid: str
    path: str
    delivery: Delivery = Delivery.WAITING


_STUDY = "key, uid, patient_id, has_ct, state, attempts, image_set, answer, reason"


class Journal:
    """The database; each part of the node opens its own.

    Args:
        path: Made where missing.
        durable: Whether each change is on the disk when a call returns. The listener does without: what it records
            can be read again from the files, and it has the disk confirm those.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self._lock = RLock()
        self._connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        with self._change():
            for statement in _SCHEMA.split(";"):
                self._connection.execute(statement)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One transaction, kept whole or not at all."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def _studies(self, condition: str, values: Sequence[Any] = ()) -> list[Study]:
        rows = self._rows(f"SELECT {_STUDY} FROM studies WHERE {condition}", values)  # noqa: S608 - our own words
        return [Study(row[0], row[1], row[2], bool(row[3]), State(row[4]), *row[5:]) for row in rows]

    def study(self, key: str) -> Study | None:
        """One study."""
        return next(iter(self._studies("key = ?", (key,))), None)

    def studies_in(self, state: State) -> list[Study]:
        """All studies of one state, the longest unchanged first."""
        return self._studies("state = ? ORDER BY changed", (state,))

    def digest(self, study: str, name: str) -> str | None:
        """Digest of a received object."""
        rows = self._rows("SELECT digest FROM received WHERE study = ? AND name = ?", (study, name))
        return str(rows[0][0]) if rows else None

    def is_result(self, uid: str) -> bool:
        """Whether an object is one of the node's own results."""
        return bool(self._rows("SELECT 1 FROM results WHERE uid = ?", (uid,)))

    def add(self, received: Received, digest: str, *, now: float, quiet_s: float) -> bool:
        """Record an object whose file is in its place; a study at rest is taken up again.

        Returns:
            Whether it is recorded: a study whose files are deleted, or just being deleted, takes nothing more.
        """
        with self._change() as connection:
            cursor = connection.execute(
                "INSERT INTO studies (key, uid, patient_id, has_ct, state, quiet_until, changed)"
                " VALUES (?, ?, ?, ?, 'receiving', ?, ?) ON CONFLICT (key) DO UPDATE SET"
                " has_ct = has_ct OR excluded.has_ct, quiet_until = excluded.quiet_until, changed = excluded.changed,"
                " retry_at = CASE WHEN state IN ('screening', 'sending') THEN retry_at ELSE 0 END,"
                " attempts = CASE WHEN state IN ('screening', 'sending') THEN attempts ELSE 0 END,"
                " state = CASE WHEN state IN ('screening', 'sending') THEN state ELSE 'receiving' END"
                " WHERE state != 'removed'",
                (received.study, received.study_uid, received.patient_id, received.is_ct, now + quiet_s, now),
            )
            if cursor.rowcount == 0:
                return False
            connection.execute("INSERT INTO received VALUES (?, ?, ?)", (received.study, received.name, digest))
        return True

    def next_to_screen(self, now: float) -> Study | None:
        """The study that has been complete for longest."""
        condition = "state = 'receiving' AND quiet_until <= ? AND retry_at <= ? ORDER BY quiet_until LIMIT 1"
        return next(iter(self._studies(condition, (now, now))), None)

    def case_of(self, study: Study, *, now: float, memory_s: float) -> Case:
        """A study with the other complete studies of its patient; without PatientID it stands alone."""
        others = self._studies(
            "patient_id = ? AND patient_id != '' AND key != ? AND quiet_until <= ? AND quiet_until >= ?"
            " AND state NOT IN ('failed', 'removed') ORDER BY key",
            (study.patient_id, study.key, now, now - memory_s),
        )
        together = [study, *others]
        objects: list[tuple[str, str]] = []
        for one in together:
            rows = self._rows("SELECT name FROM received WHERE study = ? ORDER BY name", (one.key,))
            objects.extend((one.key, name) for (name,) in rows)
        return Case(study, tuple(objects), any(one.has_ct for one in together))

    def begin_screening(self, case: Case, *, now: float) -> None:
        """The study is being screened."""
        with self._change() as connection:
            connection.execute(
                "UPDATE studies SET state = 'screening', image_set = ?, screened_objects = ?, changed = ?"
                " WHERE key = ?",
                (case.image_set, case.own_objects, now, case.study.key),
            )

    def was_screened(self, case: Case) -> bool:
        """Whether this very set of images was answered before."""
        values = (case.study.key, case.image_set)
        return bool(self._rows("SELECT 1 FROM screenings WHERE study = ? AND image_set = ?", values))

    def finish_screening(
        self, study: Study, image_set: str, answer: str, reason: str, results: Iterable[Result], *, now: float
    ) -> None:
        """Results are in their place; objects of an earlier screening that come again are not sent again."""
        with self._change() as connection:
            connection.execute("INSERT INTO screenings VALUES (?, ?, ?)", (study.key, image_set, now))
            for number, one in enumerate(results):
                connection.execute(
                    "INSERT INTO results VALUES (?, ?, ?, ?, ?) ON CONFLICT (uid) DO NOTHING",
                    (one.uid, study.key, one.path, number, one.delivery),
                )
            connection.execute(
                "UPDATE studies SET state = 'sending', attempts = 0, retry_at = 0, answer = ?, reason = ?, changed = ?"
                " WHERE key = ?",
                (answer, reason, now, study.key),
            )

    def put_back(self, key: str, state: State, *, now: float, retry_at: float, reason: str, attempts: int) -> None:
        """A screening or sending did not succeed; it is tried again later, or given up as failed."""
        with self._change() as connection:
            connection.execute(
                "UPDATE studies SET state = ?, retry_at = ?, reason = ?, attempts = ?, changed = ? WHERE key = ?",
                (state, retry_at, reason, attempts, now, key),
            )

    def next_to_send(self, now: float) -> Study | None:
        """The study whose results wait for longest."""
        condition = "state = 'sending' AND retry_at <= ? ORDER BY retry_at, changed LIMIT 1"
        return next(iter(self._studies(condition, (now,))), None)

    def unsent(self, study: str) -> list[Result]:
        """The results that the destination has not acknowledged, in the order to be sent."""
        rows = self._rows(
            "SELECT uid, path, state FROM results WHERE study = ? AND state != 'stored' ORDER BY number", (study,)
        )
        return [Result(uid, path, Delivery(state)) for uid, path, state in rows]

    def deliver(self, uids: Iterable[str], delivery: Delivery) -> None:
        """Results were offered, or acknowledged."""
        with self._change() as connection:
            connection.executemany("UPDATE results SET state = ? WHERE uid = ?", [(delivery, uid) for uid in uids])

    def finish_sending(self, study: str, *, now: float) -> State:
        """Nothing is left to send; a study that grew meanwhile is received on."""
        with self._change() as connection:
            connection.execute(
                "UPDATE studies SET attempts = 0, retry_at = 0, changed = ?, state = CASE"
                " WHEN (SELECT count(*) FROM received WHERE study = key) > screened_objects THEN 'receiving'"
                " WHEN EXISTS (SELECT 1 FROM results WHERE study = key) THEN 'reported'"
                " ELSE 'unanswered' END WHERE key = ?",
                (now, study),
            )
            return State(connection.execute("SELECT state FROM studies WHERE key = ?", (study,)).fetchone()[0])

    def wait_anew(self, *, now: float, quiet_s: float) -> None:
        """Quiet periods begin again: while the node was down, nobody could send to it."""
        with self._change() as connection:
            connection.execute("UPDATE studies SET quiet_until = ? WHERE state = 'receiving'", (now + quiet_s,))

    def retry(self, keys: Sequence[str], *, now: float) -> list[str]:
        """Take up failed studies again, all where no keys are given; their keys."""
        failed = [one.key for one in self.studies_in(State.FAILED) if not keys or one.key in keys]
        with self._change() as connection:
            for key in failed:
                connection.execute(
                    "UPDATE studies SET attempts = 0, retry_at = 0, changed = ?, state = CASE"
                    " WHEN EXISTS (SELECT 1 FROM results WHERE study = key AND state != 'stored') THEN 'sending'"
                    " ELSE 'receiving' END WHERE key = ?",
                    (now, key),
                )
        return failed

    def remove_finished(self, *, before: float) -> list[str]:
        """Close studies that came to rest before a time; their files may then be deleted."""
        with self._change() as connection:
            rows = connection.execute(
                "UPDATE studies SET state = 'removed' WHERE state IN ('reported', 'unanswered') AND changed < ?"
                " RETURNING key",
                (before,),
            ).fetchall()
        return [str(key) for (key,) in rows]

    def counts(self) -> dict[State, int]:
        """How many studies stand where."""
        found = dict(self._rows("SELECT state, count(*) FROM studies GROUP BY state"))
        return {state: int(found.get(state, 0)) for state in State}

    def screenings(self) -> dict[str, int]:
        """How often each study was screened to the end."""
        return dict(self._rows("SELECT study, count(*) FROM screenings GROUP BY study"))
