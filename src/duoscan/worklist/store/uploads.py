"""What people and programs hand in: files that arrive one by one, and the word that they are all."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sqlalchemy import func, select, update

from duoscan.errors import ConflictError
from duoscan.worklist.store.database import new_id
from duoscan.worklist.store.queue import JobKind, enqueue, finish, insert_once
from duoscan.worklist.store.schema import UPLOAD_FILES, UPLOADS
from duoscan.worklist.store.trail import record

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from duoscan.worklist.store.queue import TakenJob


class UploadState(StrEnum):
    """Where an upload stands."""

    OPEN = "open"
    """Files still come."""
    RECEIVED = "received"
    """All is on the disk, and promised to be looked at."""
    SPLIT = "split"
    """Every image is in the case of its patient."""
    FAILED = "failed"


@dataclass(frozen=True)
class Upload:
    """One upload; see the table."""

    id: str
    account: str
    state: UploadState
    patient: str
    remark: str
    created: float


@dataclass(frozen=True)
class UploadedFile:
    """One file of it."""

    number: int
    name: str
    blob: str
    bytes: int


def begin_upload(connection: Connection, account: str, patient: str, idempotency_key: str | None, *, now: float) -> str:
    """Begin one; its id. The same key of the same account names the same upload."""
    identifier = new_id()
    is_new = insert_once(
        connection, UPLOADS, id=identifier, account=account, idempotency_key=idempotency_key,
        state=UploadState.OPEN, patient=patient, created=now,
    )  # fmt: skip
    if is_new:
        return identifier
    same = select(UPLOADS.c.id).where(UPLOADS.c.account == account, UPLOADS.c.idempotency_key == idempotency_key)
    return str(connection.execute(same).scalar_one())


def read_upload(connection: Connection, upload: str, account: str) -> Upload | None:
    """One of an account; ``None`` where there is none."""
    query = select(UPLOADS).where(UPLOADS.c.id == upload, UPLOADS.c.account == account)
    row = connection.execute(query).first()
    if row is None:
        return None
    return Upload(row.id, row.account, UploadState(row.state), row.patient, row.remark, row.created)


def stated_patient(connection: Connection, upload: str) -> str:
    """Whose the pictures are that name nobody, as whoever uploaded them said."""
    return str(connection.execute(select(UPLOADS.c.patient).where(UPLOADS.c.id == upload)).scalar_one())


def upload_size(connection: Connection, upload: str) -> tuple[int, int]:
    """How many files it has, and bytes."""
    query = select(func.count(), func.coalesce(func.sum(UPLOAD_FILES.c.bytes), 0)).where(
        UPLOAD_FILES.c.upload == upload
    )
    row = connection.execute(query).one()
    return int(row[0]), int(row[1])


def uploaded_files(connection: Connection, upload: str) -> list[UploadedFile]:
    """Its files, in order."""
    query = select(UPLOAD_FILES).where(UPLOAD_FILES.c.upload == upload).order_by(UPLOAD_FILES.c.number)
    return [UploadedFile(row.number, row.name, row.blob, row.bytes) for row in connection.execute(query)]


def add_file(connection: Connection, upload: str, file: UploadedFile) -> None:
    """Record a file whose content is in its place; the same file sent again is the same.

    Raises:
        ConflictError: Another one came under this number, or the upload takes no more.
    """
    state = connection.execute(select(UPLOADS.c.state).where(UPLOADS.c.id == upload).with_for_update()).scalar_one()
    if state == UploadState.OPEN and insert_once(connection, UPLOAD_FILES, upload=upload, **vars(file)):
        return
    same = select(UPLOAD_FILES).where(UPLOAD_FILES.c.upload == upload, UPLOAD_FILES.c.number == file.number)
    found = connection.execute(same).first()
    if found is not None and (found.name, found.blob) == (file.name, file.blob):
        return
    raise ConflictError("the upload is complete, or has another file of this number; begin a new one")


def complete_upload(connection: Connection, upload: str, actor: str, *, now: float) -> None:
    """All files are there; from now on it is promised that each is looked at.

    Raises:
        ConflictError: It has none.
    """
    files, size = upload_size(connection, upload)
    if not files:
        raise ConflictError("the upload has no file; send some first")
    opened = update(UPLOADS).where(UPLOADS.c.id == upload, UPLOADS.c.state == UploadState.OPEN)
    if connection.execute(opened.values(state=UploadState.RECEIVED)).rowcount:
        enqueue(connection, JobKind.SPLIT, upload, f"upload {upload}", now=now)
        record(connection, actor=actor, action="upload", subject=upload, now=now, files=files, bytes=size)


def finish_splitting(connection: Connection, job: TakenJob, remark: str, *, now: float) -> bool:
    """All images are in their cases; call it in the transaction that put them there."""
    if not finish(connection, job, now=now):
        return False
    _end(connection, job.subject, UploadState.SPLIT, remark)
    return True


def fail_splitting(connection: Connection, job: TakenJob, remark: str) -> None:
    """It was given up."""
    _end(connection, job.subject, UploadState.FAILED, remark)


def _end(connection: Connection, upload: str, state: UploadState, remark: str) -> None:
    connection.execute(update(UPLOADS).where(UPLOADS.c.id == upload).values(state=state, remark=remark))
