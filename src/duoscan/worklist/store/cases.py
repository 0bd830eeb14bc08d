"""Cases: what arrived of a patient, what was answered, and who is at it.

A case is a patient's images until it is signed off; what arrives later is a case of its own. Whatever a person may have
seen has a version, and a change names the version it was made on::

    waiting ──► answered ──► signed
       ▲  └───► failed ──┘      │
       └─ images, a request ────┘ (a new case)
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import case as sql_case
from sqlalchemy import select, update

from duoscan.cases.decide import decide_again
from duoscan.cases.stored import parse_screening, screening_text
from duoscan.errors import ConflictError
from duoscan.policies.rule import Answer, PhaseState
from duoscan.worklist.store.database import new_id
from duoscan.worklist.store.queue import JobKind, enqueue, finish, insert_once
from duoscan.worklist.store.schema import ACCOUNTS, CASE_IMAGES, CASES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from duoscan.cases.case import Screening
    from duoscan.worklist.store.queue import TakenJob


_MOST_TRIES = 3


class CaseState(StrEnum):
    """Where a case stands."""

    WAITING = "waiting"
    """A screening of what there is now is to come."""
    ANSWERED = "answered"
    FAILED = "failed"
    """Screening was given up; a person looks without it."""
    SIGNED = "signed"


class Urgency(StrEnum):
    """Why a case stands where it does in the list, the most urgent first."""

    POSITIVE = "positive"
    CT_NEEDED = "CT needed"
    NOT_ANSWERED = "not answered"
    WAITING = "waiting"
    NEGATIVE = "negative"
    SIGNED = "signed"

    @property
    def rank(self) -> int:
        """0 is the most urgent."""
        return list(Urgency).index(self)


# What could not be answered is never taken for a negative, so it stands before them.
_URGENCY = {
    Answer.POSITIVE: Urgency.POSITIVE,
    Answer.CT_NEEDED: Urgency.CT_NEEDED,
    Answer.UNREADABLE: Urgency.NOT_ANSWERED,
    Answer.NEGATIVE: Urgency.NEGATIVE,
}


@dataclass(frozen=True)
class CaseImage:
    """One file of a case.

    Attributes:
        name: As a person called it; told apart within the case.
        blob: Where its content is.
        modality: ``cxr``, ``ct``, or empty where only its content tells.
        study: StudyInstanceUID; empty for pictures.
        series: SeriesInstanceUID.
        described: SeriesDescription, or what else names the series.
        place_mm: Where it lies along its normal.
        number: InstanceNumber.
        frames: How many images it holds.
        row_spacing_mm: Between the centres of two rows.
        column_spacing_mm: Between those of two columns.
    """

    name: str
    blob: str
    modality: str = ""
    study: str = ""
    series: str = ""
    described: str = ""
    place_mm: float | None = None
    number: int = 0
    frames: int = 1
    row_spacing_mm: float | None = None
    column_spacing_mm: float | None = None


@dataclass(frozen=True)
class CaseRow:
    """A case as lists show it; see the table."""

    id: str
    patient: str
    patient_id: str
    state: CaseState
    answer: str
    reason: str
    urgency: Urgency
    xray_state: str
    xray_probability: float | None
    ct_state: str
    ct_probability: float | None
    need_ct: bool
    images: int
    arrived: float
    changed: float
    version: int
    claimed_by: str | None
    claimed_name: str
    claimed_until: float
    signed: float
    agreement: str


def case_columns() -> tuple[Any, ...]:
    """What :func:`case_row` needs of a query that joins the accounts of claims."""
    own = [CASES.c[name] for name in CaseRow.__dataclass_fields__ if name != "claimed_name"]
    return (*own, ACCOUNTS.c.name.label("claimed_name"))


def joined_claims() -> Any:
    """Cases, each with who is at it."""
    return CASES.outerjoin(ACCOUNTS, ACCOUNTS.c.id == CASES.c.claimed_by)


def case_row(row: Any) -> CaseRow:
    """A row of a query that has these columns, perhaps among others."""
    found = row._mapping  # noqa: SLF001 - SQLAlchemy's documented name
    values = {name: found[name] for name in CaseRow.__dataclass_fields__}
    values |= {"state": CaseState(found["state"]), "urgency": list(Urgency)[found["urgency"]]}
    return CaseRow(**values | {"claimed_name": found["claimed_name"] or ""})


def read_case(connection: Connection, case: str) -> CaseRow | None:
    """One case; ``None`` where there is none of that id."""
    query = select(*case_columns()).select_from(joined_claims()).where(CASES.c.id == case)
    row = connection.execute(query).first()
    return case_row(row) if row else None


def priors(connection: Connection, case: CaseRow) -> list[CaseRow]:
    """The patient's other cases, the latest first."""
    query = (
        select(*case_columns())
        .select_from(joined_claims())
        .where(CASES.c.patient == case.patient, CASES.c.id != case.id)
        .order_by(CASES.c.arrived.desc())
        .limit(50)
    )
    return [case_row(row) for row in connection.execute(query)]


def case_images(connection: Connection, case: str) -> list[CaseImage]:
    """The files of a case, in the order to be shown: by series, and by place in it."""
    names = list(CaseImage.__dataclass_fields__)
    rows = connection.execute(select(*(CASE_IMAGES.c[name] for name in names)).where(CASE_IMAGES.c.case_id == case))
    images = [CaseImage(**dict(row._mapping)) for row in rows]  # noqa: SLF001
    return sorted(images, key=lambda one: (one.study, one.series, one.place_mm or 0.0, one.number, one.name))


def read_screening_of(connection: Connection, case: str) -> tuple[Screening, str | None] | None:
    """The stored case and the blob of its activation maps; ``None`` before it was screened."""
    row = connection.execute(select(CASES.c.document, CASES.c.maps).where(CASES.c.id == case)).first()
    if row is None or row.document is None:
        return None
    return parse_screening(row.document.encode(), f"case {case}"), row.maps


def patient_key(patient_id: str) -> str:
    """Key of a patient, as the node's (:mod:`duoscan.worklist.received`)."""
    return hashlib.sha256(f"patient {patient_id}".encode("utf-8", "surrogateescape")).hexdigest()


def add_images(connection: Connection, patient_id: str, images: Iterable[CaseImage], *, setup: str, now: float) -> str:
    """Add what arrived of a patient to the open case, or to a new one, and ask for a screening.

    Args:
        connection: To write by.
        patient_id: Whose.
        images: Those that the case holds already are left out.
        setup: Digest of models and policy.
        now: Seconds since 1970.

    Returns:
        Id of the case.
    """
    key = patient_key(patient_id)
    case, need_ct = _open_case(connection, key, patient_id, now)
    have = case_images(connection, case)
    blobs, names = {one.blob for one in have}, {one.name for one in have}
    for image in images:
        if image.blob not in blobs:
            named = replace(image, name=_free_name(image.name, names))
            connection.execute(CASE_IMAGES.insert().values(case_id=case, **vars(named)))
            blobs.add(named.blob)
            names.add(named.name)
    if len(names) > len(have):
        _await_screening(connection, case, need_ct=need_ct, setup=setup, now=now)
    return case


def _open_case(connection: Connection, key: str, patient_id: str, now: float) -> tuple[str, bool]:
    """The patient's open case, made where there is none, and whether CT is asked for.

    Nobody signs it off before the transaction ends.
    """
    for _ in range(_MOST_TRIES):
        insert_once(
            connection, CASES, id=new_id(), patient=key, patient_id=patient_id, state=CaseState.WAITING,
            urgency=Urgency.WAITING.rank, arrived=now, changed=now,
        )  # fmt: skip
        query = select(CASES.c.id, CASES.c.need_ct).where(CASES.c.patient == key, CASES.c.signed == 0)
        if (row := connection.execute(query.with_for_update()).first()) is not None:
            return row.id, row.need_ct  # else it was signed off between the two statements
    raise ConflictError("the patient's case is signed off again and again meanwhile")


def _free_name(name: str, taken: set[str]) -> str:
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name} ({number})"
    return free


def _await_screening(connection: Connection, case: str, *, need_ct: bool, setup: str, now: float) -> None:
    """Have the case screened as it is now; an answer to what it was before is not stored any more.

    A case that was answered before keeps its place in the list meanwhile.
    """
    images = sorted((one.blob, one.name) for one in case_images(connection, case))
    asked = json.dumps([case, images, need_ct, setup])
    key = hashlib.sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()
    values = {
        "state": CaseState.WAITING,
        "urgency": sql_case((CASES.c.document.is_(None), Urgency.WAITING.rank), else_=CASES.c.urgency),
        "need_ct": need_ct,
        "wanted": key,
        "images": len(images),
        "changed": now,
        "version": CASES.c.version + 1,
    }
    connection.execute(update(CASES).where(CASES.c.id == case).values(**values))
    enqueue(connection, JobKind.SCREEN, case, key, now=now)


def finish_screening(
    connection: Connection, job: TakenJob, screening: Screening, maps: str | None, *, now: float
) -> bool:
    """Store the answer of a job and end it, in one transaction; whether it was still wanted."""
    if not finish(connection, job, now=now):
        return False
    stored = update(CASES).where(CASES.c.id == job.subject, CASES.c.wanted == job.key, CASES.c.signed == 0)
    return bool(connection.execute(stored.values(**_answered(screening), maps=maps, changed=now)).rowcount)


def fail_screening(connection: Connection, job: TakenJob, reason: str, *, now: float) -> None:
    """The screening was given up; the case is for a person to look at."""
    values = {"state": CaseState.FAILED, "reason": reason, "urgency": Urgency.NOT_ANSWERED.rank, "changed": now}
    failed = update(CASES).where(CASES.c.id == job.subject, CASES.c.wanted == job.key, CASES.c.signed == 0)
    connection.execute(failed.values(**values, version=CASES.c.version + 1))


def _answered(screening: Screening) -> dict[str, Any]:
    (answer,) = screening.cases
    return {
        "state": CaseState.ANSWERED,
        "answer": answer.answer,
        "reason": answer.reason_elsewhere,
        "urgency": _URGENCY[answer.answer].rank,
        "xray_state": answer.xray.state,
        "xray_probability": answer.xray.probability,
        "ct_state": answer.ct.state,
        "ct_probability": answer.ct.probability,
        "need_ct": answer.need_ct,
        "document": screening_text(screening),
        "version": CASES.c.version + 1,
    }


def request_ct(
    connection: Connection, case: CaseRow, *, need_ct: bool, version: int, setup: str, now: float
) -> Screening | None:
    """The clinician's answer to "need CT?": decided again at once from what is stored; no model is run.

    A CT that is there and was not read is read next, by a job.

    Raises:
        ConflictError: The case changed since that version, or is signed off.
    """
    check_version(connection, case.id, version)
    found = read_screening_of(connection, case.id)
    if found is None:
        _await_screening(connection, case.id, need_ct=need_ct, setup=setup, now=now)
        return None
    again = decide_again(found[0], need_ct=need_ct)
    (answer,) = again.cases
    values = _answered(again) | {"changed": now}
    if case.state is not CaseState.ANSWERED:  # a screening is under way, or was given up
        values |= {"state": case.state, "urgency": case.urgency.rank}
    connection.execute(update(CASES).where(CASES.c.id == case.id).values(**values))
    is_to_be_read = answer.to_ct and answer.ct.state is PhaseState.NOT_READ
    if is_to_be_read or case.state is not CaseState.ANSWERED:
        _await_screening(connection, case.id, need_ct=need_ct, setup=setup, now=now)
    return again


def screen_again(connection: Connection, case: CaseRow, *, version: int, setup: str, now: float) -> None:
    """Try a screening that was given up once more.

    Raises:
        ConflictError: The case changed since that version, or is signed off.
    """
    check_version(connection, case.id, version)
    _await_screening(connection, case.id, need_ct=case.need_ct, setup=setup, now=now)


def check_version(connection: Connection, case: str, version: int) -> None:
    """Refuse a change made on something else than what is there now; the row stays as it is until the end.

    Raises:
        ConflictError: The case changed since that version, or is signed off.
    """
    row = connection.execute(select(CASES.c.version, CASES.c.signed).where(CASES.c.id == case).with_for_update()).one()
    if row.signed:
        raise ConflictError("the case is signed off; what arrives anew of the patient becomes a case of its own")
    if row.version != version:
        msg = f"the case changed while you looked at it (version {version}, now {row.version}); look again, then decide"
        raise ConflictError(msg)


def claim(connection: Connection, case: str, account: str, *, now: float, until: float) -> None:
    """Say that somebody works on a case; it runs out by itself.

    Raises:
        ConflictError: Somebody else does.
    """
    is_free = (CASES.c.claimed_by.is_(None)) | (CASES.c.claimed_by == account) | (CASES.c.claimed_until < now)
    taken = update(CASES).where(CASES.c.id == case, CASES.c.signed == 0, is_free)
    if connection.execute(taken.values(claimed_by=account, claimed_until=until, changed=now)).rowcount:
        return
    found = read_case(connection, case)
    if found is not None and found.signed:
        raise ConflictError("the case is signed off")
    raise ConflictError(f"{found.claimed_name if found else 'somebody'} is at this case; wait, or ask them")


def release(connection: Connection, case: str, account: str, *, now: float) -> None:
    """End one's own claim."""
    own = update(CASES).where(CASES.c.id == case, CASES.c.claimed_by == account)
    connection.execute(own.values(claimed_by=None, claimed_until=0.0, changed=now))
