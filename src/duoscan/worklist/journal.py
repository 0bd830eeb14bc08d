"""What became of each study, in SQLite; all of the node's SQL is here.

The studies of a patient are screened together, as one case; the results of each are sent by themselves. Its moves::

    receiving ──► sending ──► reported
        │ ▲          ├──────► unanswered     nothing in it could be answered, so nothing is sent
        │ │          └──────► failed         given up; ``duoscan node retry`` takes it up again
        ├─┼─────────────────► failed
        │ └── a new object of the study arrives after it was screened
    reported, unanswered ──► sending         another study of the patient came and changed its report
    reported, unanswered ──► removed         its files were deleted after ``keep_days``
"""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from threading import RLock
from typing import TYPE_CHECKING, Any

from duoscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from duoscan.worklist.received import Received

_BUSY_S = 30.0

_VERSION = 1
"""Of the schema, as ``user_version``; 0 is a new database, or one of a duoscan that screened each study by itself."""

_SCHEMA = """
CREATE TABLE studies (
    key TEXT PRIMARY KEY,
    uid TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    patient TEXT NOT NULL,
    has_ct INTEGER NOT NULL,
    state TEXT NOT NULL,
    quiet_until REAL NOT NULL,
    retry_at REAL NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    screened_objects INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    changed REAL NOT NULL
);
CREATE INDEX studies_by_state ON studies (state, quiet_until);
CREATE INDEX studies_by_patient ON studies (patient);
CREATE TABLE received (
    study TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (study, name)
) WITHOUT ROWID;
CREATE TABLE results (uid TEXT PRIMARY KEY, study TEXT NOT NULL, path TEXT NOT NULL, state TEXT NOT NULL);
CREATE INDEX results_by_study ON results (study, state);
CREATE VIEW unsent AS SELECT rowid, * FROM results WHERE state != 'stored';
"""


class StudyState(StrEnum):
    """Where a study stands."""

    RECEIVING = "receiving"
    """It has objects that no screening has answered; it waits for quiet, or is being screened."""
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
class ReceivedStudy:
    """A row; see :class:`StudyState` and the schema."""

    key: str
    uid: str
    patient_id: str
    patient: str
    has_ct: bool
    state: StudyState
    attempts: int
    reason: str


@dataclass(frozen=True)
class ReceivedCase:
    """The studies of a patient that are screened together.

    Attributes:
        objects: Each with the names of its received objects.
    """

    objects: dict[ReceivedStudy, tuple[str, ...]]

    @property
    def studies(self) -> tuple[ReceivedStudy, ...]:
        """At least one."""
        return tuple(self.objects)

    @property
    def key(self) -> str:
        """Of the patient."""
        return self.studies[0].patient

    @property
    def unscreened(self) -> tuple[ReceivedStudy, ...]:
        """Those with objects that no screening has answered."""
        return tuple(study for study in self.studies if study.state is StudyState.RECEIVING)

    @property
    def image_set(self) -> str:
        """The same for the same objects, and for no others."""
        text = "\n".join(sorted(f"{study.key}/{name}" for study, names in self.objects.items() for name in names))
        return hashlib.sha256(text.encode()).hexdigest()[:40]


@dataclass(frozen=True)
class SentObject:
    """One object to be sent, or that was.

    Attributes:
        uid: SOPInstanceUID.
        study: Key of its study.
        path: Below the folder of results.
        delivery: Where it stands.
    """

    uid: str
    study: str
    path: str
    delivery: Delivery = Delivery.WAITING


_STUDY = "key, uid, patient_id, patient, has_ct, state, attempts, reason"


class Journal:
    """The database; each part of the node opens its own.

    Args:
        path: Made where missing.
        durable: Whether each change is on the disk when a call returns. The listener does without: what it records
            can be read again from the files, and it has the disk confirm those.

    Raises:
        InputError: It is of another version of duoscan.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self._lock = RLock()
        self._connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        with self._change():
            version = self._rows("PRAGMA user_version")[0][0]
            if not version and not self._rows("SELECT 1 FROM sqlite_master"):
                for statement in _SCHEMA.split(";"):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {_VERSION}")
                version = _VERSION
        if version != _VERSION:
            self.close()
            raise InputError(
                f"{path}: a journal of version {version}, this duoscan keeps version {_VERSION};"
                " let the duoscan that made it finish, then name a new spool"
            )

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

    def _rows(self, query: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def _studies(self, condition: str, values: Sequence[Any] = ()) -> list[ReceivedStudy]:
        rows = self._rows(f"SELECT {_STUDY} FROM studies WHERE {condition}", values)  # noqa: S608 - our own words
        return list(map(_study, rows))

    def study(self, key: str) -> ReceivedStudy | None:
        """One study."""
        return next(iter(self._studies("key = ?", (key,))), None)

    def studies_in(self, state: StudyState) -> list[ReceivedStudy]:
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
        study = (received.study, received.study_uid, received.patient_id, received.patient, received.is_ct)
        with self._change() as connection:
            cursor = connection.execute(
                "INSERT INTO studies (key, uid, patient_id, patient, has_ct, state, quiet_until, changed)"
                " VALUES (?, ?, ?, ?, ?, 'receiving', ?, ?) ON CONFLICT (key) DO UPDATE SET"
                " has_ct = has_ct OR excluded.has_ct, quiet_until = excluded.quiet_until, changed = excluded.changed,"
                " retry_at = CASE state WHEN 'sending' THEN retry_at ELSE 0 END,"
                " attempts = CASE state WHEN 'sending' THEN attempts ELSE 0 END,"
                " state = CASE state WHEN 'sending' THEN state ELSE 'receiving' END"
                " WHERE state != 'removed'",
                (*study, now + quiet_s, now),
            )
            if cursor.rowcount == 0:
                return False
            connection.execute("INSERT INTO received VALUES (?, ?, ?)", (received.study, received.name, digest))
        return True

    def next_to_screen(self, *, now: float, memory_s: float) -> ReceivedCase | None:
        """The case that has been complete for longest: it has unscreened objects, and all its studies are quiet.

        Left out are studies without new objects for longer than ``memory_s``, and those that were given up.
        """
        rows = self._rows(
            f"SELECT {_STUDY}, group_concat(name) FROM studies JOIN received ON study = key WHERE patient = ("  # noqa: S608
            "  SELECT patient FROM studies AS one WHERE state = 'receiving' AND retry_at <= :now AND NOT EXISTS ("
            "   SELECT 1 FROM studies AS other WHERE other.patient = one.patient AND other.quiet_until > :now"
            "   AND other.state != 'removed')"
            "  ORDER BY quiet_until LIMIT 1)"
            " AND (state = 'receiving' OR state NOT IN ('failed', 'removed') AND quiet_until >= :oldest)"
            " GROUP BY key ORDER BY key",
            {"now": now, "oldest": now - memory_s},
        )
        return ReceivedCase({_study(row[:-1]): tuple(sorted(row[-1].split(","))) for row in rows}) if rows else None

    def finish_screening(
        self, case: ReceivedCase, results: Iterable[SentObject], reason: str, given_up: Mapping[str, str], *, now: float
    ) -> None:
        """Results of all studies are in their place; those that were sent before are not sent again.

        A study goes on where it had unscreened objects, or has a new result: it is sent, or ``given_up`` for a reason.
        """
        with self._change() as connection:
            connection.executemany(
                "INSERT INTO results VALUES (?, ?, ?, ?) ON CONFLICT (uid) DO NOTHING",
                [(one.uid, one.study, one.path, one.delivery) for one in results],
            )
            for study, names in case.objects.items():
                state = StudyState.FAILED if study.key in given_up else StudyState.SENDING
                why = given_up.get(study.key, reason)
                connection.execute(
                    "UPDATE studies SET attempts = 0, retry_at = 0, state = ?, reason = ?, screened_objects = ?,"
                    " changed = ? WHERE key = ? AND (? OR EXISTS (SELECT 1 FROM unsent WHERE study = key))",
                    (state, why, len(names), now, study.key, study in case.unscreened),
                )

    def put_back(self, key: str, state: StudyState, *, now: float, retry_at: float, reason: str, attempts: int) -> None:
        """A screening or sending did not succeed; it is tried again later, or given up as failed."""
        with self._change() as connection:
            connection.execute(
                "UPDATE studies SET state = ?, retry_at = ?, reason = ?, attempts = ?, changed = ? WHERE key = ?",
                (state, retry_at, reason, attempts, now, key),
            )

    def next_to_send(self, now: float) -> ReceivedStudy | None:
        """The study whose results wait for longest."""
        condition = "state = 'sending' AND retry_at <= ? ORDER BY retry_at, changed LIMIT 1"
        return next(iter(self._studies(condition, (now,))), None)

    def unsent(self, study: str) -> list[SentObject]:
        """The results that the destination has not acknowledged, in the order to be sent."""
        rows = self._rows("SELECT uid, study, path, state FROM unsent WHERE study = ? ORDER BY rowid", (study,))
        return [SentObject(uid, study, path, Delivery(state)) for uid, study, path, state in rows]

    def deliver(self, uids: Iterable[str], delivery: Delivery) -> None:
        """Results were offered, or acknowledged."""
        with self._change() as connection:
            connection.executemany("UPDATE results SET state = ? WHERE uid = ?", [(delivery, uid) for uid in uids])

    def finish_sending(self, study: str, *, now: float) -> StudyState:
        """All is sent that was to be; a study that grew meanwhile is received on, one with newer results sent on."""
        with self._change() as connection:
            connection.execute(
                "UPDATE studies SET attempts = 0, retry_at = 0, changed = ?, state = CASE"
                " WHEN EXISTS (SELECT 1 FROM unsent WHERE study = key) THEN state"
                " WHEN (SELECT count(*) FROM received WHERE study = key) > screened_objects THEN 'receiving'"
                " WHEN EXISTS (SELECT 1 FROM results WHERE study = key) THEN 'reported'"
                " ELSE 'unanswered' END WHERE key = ?",
                (now, study),
            )
            return StudyState(connection.execute("SELECT state FROM studies WHERE key = ?", (study,)).fetchone()[0])

    def wait_anew(self, *, now: float, quiet_s: float) -> None:
        """Quiet periods begin again: while the node was down, nobody could send to it."""
        with self._change() as connection:
            connection.execute("UPDATE studies SET quiet_until = ? WHERE state = 'receiving'", (now + quiet_s,))

    def retry(self, keys: Sequence[str], *, now: float) -> list[str]:
        """Take up failed studies again, all where no keys are given; their keys."""
        failed = [one.key for one in self.studies_in(StudyState.FAILED) if not keys or one.key in keys]
        with self._change() as connection:
            for key in failed:
                connection.execute(
                    "UPDATE studies SET attempts = 0, retry_at = 0, changed = ?, state = CASE"
                    " WHEN EXISTS (SELECT 1 FROM unsent WHERE study = key) THEN 'sending'"
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

    def unfinished(self) -> set[str]:
        """Patients with a study that is received, sent or given up: their results may still be needed."""
        rows = self._rows("SELECT patient FROM studies WHERE state IN ('receiving', 'sending', 'failed')")
        return {str(patient) for (patient,) in rows}

    def counts(self) -> dict[StudyState, int]:
        """How many studies stand where."""
        found = dict(self._rows("SELECT state, count(*) FROM studies GROUP BY state"))
        return {state: int(found.get(state, 0)) for state in StudyState}


def _study(row: Sequence[Any]) -> ReceivedStudy:
    key, uid, patient_id, patient, has_ct, state, attempts, reason = row
    return ReceivedStudy(key, uid, patient_id, patient, bool(has_ct), StudyState(state), attempts, reason)
