"""Uploads: a file a request, streamed to the disk within limits; promised once all of it is there."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from duoscan.errors import InputError
from duoscan.interfaces.serve.permissions import Action
from duoscan.interfaces.serve.room import Endpoint, Refusal, Visit
from duoscan.worklist.store.uploads import (
    Upload,
    UploadedFile,
    UploadState,
    add_file,
    begin_upload,
    complete_upload,
    read_upload,
    upload_size,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_LONGEST_NAME = 400
_LONGEST_ID = 100
_KEY = re.compile(r"[\x21-\x7e]{1,200}")


def begin(visit: Visit) -> Response:
    """Begin an upload; the same Idempotency-Key names the same one."""
    patient = visit.form.get("patient", "").strip()
    if len(patient) > _LONGEST_ID or not patient.isprintable():
        raise InputError(f"patient: write up to {_LONGEST_ID} printable characters")
    key = visit.request.headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise InputError("Idempotency-Key: write up to 200 visible ASCII characters")
    with visit.room.store.database.write() as connection:
        identifier = begin_upload(connection, visit.account.id, patient, key, now=visit.now)
    return _shown(visit, identifier, 201)


async def put_file(visit: Visit) -> Response:
    """Take one file; sent again it is the same file."""
    upload, number, name = await run_in_threadpool(_expected, visit)
    path, size = await _received(visit, upload)
    await run_in_threadpool(_keep, visit, upload.id, number, name, path, size)
    return Response(status_code=204)


def _expected(visit: Visit) -> tuple[Upload, int, str]:
    upload = _read(visit)
    name, number = visit.query.get("name", ""), str(visit.path["number"])
    if not number.isascii() or not number.isdecimal() or int(number) >= visit.room.config.limits.max_files:
        raise InputError(f"number: from 0 to {visit.room.config.limits.max_files - 1}")
    if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable():
        raise InputError(f"name: write up to {_LONGEST_NAME} printable characters")
    if upload.state is not UploadState.OPEN:
        raise Refusal(409, "the upload is complete; begin a new one")
    return upload, int(number), name


async def _received(visit: Visit, upload: Upload) -> tuple[Path, int]:
    """The file, on the disk; what it has beyond the limits is not read."""
    path, size = visit.room.store.blobs.incoming(), 0
    try:
        with path.open("xb") as stream:
            async for chunk in _within_limits(visit, upload):
                size += len(chunk)
                await run_in_threadpool(stream.write, chunk)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path, size


async def _within_limits(visit: Visit, upload: Upload) -> AsyncIterator[bytes]:
    limits, blobs = visit.room.config.limits, visit.room.store.blobs
    files, before = await run_in_threadpool(_size, visit, upload.id)
    left = limits.max_upload_mb * 2**20 - before
    if files >= limits.max_files or left <= 0:
        raise Refusal(413, "the upload is as large as one may be; complete it and begin another")
    most, size = min(limits.max_file_mb * 2**20, left), 0
    async for chunk in visit.request.stream():
        size += len(chunk)
        if size > most:
            raise Refusal(413, f"more than {most // 2**20} MiB; send less at once")
        if blobs.free_bytes() < limits.min_free_mb * 2**20:
            raise Refusal(507, "the server's disk is full; tell an admin")
        yield chunk
    if not size:
        raise InputError("the file is empty")


def _size(visit: Visit, upload: str) -> tuple[int, int]:
    with visit.room.store.database.read() as connection:
        return upload_size(connection, upload)


def _keep(visit: Visit, upload: str, number: int, name: str, path: Path, size: int) -> None:
    blob = visit.room.store.blobs.keep(path, name)
    with visit.room.store.database.write() as connection:
        add_file(connection, upload, UploadedFile(number, name, blob, size))


def complete(visit: Visit) -> Response:
    """All files are there; from now on it is promised that each is looked at."""
    upload = _read(visit)
    with visit.room.store.database.write() as connection:
        complete_upload(connection, upload.id, visit.account.name, now=visit.now)
    return _shown(visit, upload.id, 202)


def show(visit: Visit) -> Response:
    """Where an upload stands."""
    return _shown(visit, _read(visit).id, 200)


def _read(visit: Visit) -> Upload:
    with visit.room.store.database.read() as connection:
        upload = read_upload(connection, visit.path["upload"], visit.account.id)
    if upload is None:
        raise Refusal(404, "no such upload of yours")
    return upload


def _shown(visit: Visit, identifier: str, status: int) -> Response:
    with visit.room.store.database.read() as connection:
        upload = read_upload(connection, identifier, visit.account.id)
        files, size = upload_size(connection, identifier)
    state = upload.state if upload else UploadState.OPEN
    remark = upload.remark if upload else ""
    content = {"id": identifier, "state": state, "files": files, "bytes": size, "remark": remark}
    location = {"Location": f"/api/v1/uploads/{identifier}"}
    return Response(json.dumps(content), status, location, media_type="application/json")


ENDPOINTS = (
    Endpoint("POST", "/api/v1/uploads", Action.UPLOAD, begin),
    Endpoint("GET", "/api/v1/uploads/{upload}", Action.UPLOAD, show),
    Endpoint("PUT", "/api/v1/uploads/{upload}/files/{number}", Action.UPLOAD, stream=put_file),
    Endpoint("POST", "/api/v1/uploads/{upload}/complete", Action.UPLOAD, complete),
)
