"""STOW-RS (PS3.18 clause 10.5): DICOM objects from a modality, a router or an archive, as one upload."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from duoscan.archives.multipart import split_parts
from duoscan.errors import ImageError, InputError, TransferError
from duoscan.interfaces.serve.permissions import Action
from duoscan.interfaces.serve.room import Endpoint, Refusal, Visit
from duoscan.worklist.received import read_received
from duoscan.worklist.store.uploads import UploadedFile, add_file, begin_upload, complete_upload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from duoscan.worklist.received import Received

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_TYPE = re.compile(r'type="?application/dicom"?(?:;|\s|$)', re.IGNORECASE)
_CHUNK = 2**16
_CANNOT_UNDERSTAND = 0xC000
_SUFFIX = ".dcm"


async def store_instances(visit: Visit) -> Response:
    """Take the objects; what is answered names each that is kept and each that is not."""
    kind = visit.request.headers.get("content-type", "")
    boundary = _BOUNDARY.search(kind)
    if not kind.lower().startswith("multipart/related") or not _TYPE.search(kind) or boundary is None:
        raise Refusal(415, 'Content-Type: multipart/related; type="application/dicom"; boundary=…')
    body = visit.room.store.blobs.incoming()
    try:
        await _receive(visit, body)
        return await run_in_threadpool(_store, visit, body, (boundary[1] or boundary[2]).encode())
    finally:
        body.unlink(missing_ok=True)


async def _receive(visit: Visit, body: Path) -> None:
    limits, blobs, size = visit.room.config.limits, visit.room.store.blobs, 0
    with body.open("xb") as stream:
        async for chunk in visit.request.stream():
            size += len(chunk)
            if size > limits.max_upload_mb * 2**20:
                raise Refusal(413, f"more than {limits.max_upload_mb} MiB; send fewer objects at once")
            if blobs.free_bytes() < limits.min_free_mb * 2**20:
                raise Refusal(507, "the server's disk is full; tell an admin")
            await run_in_threadpool(stream.write, chunk)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


def _store(visit: Visit, body: Path, boundary: bytes) -> Response:
    limits, blobs, database = visit.room.config.limits, visit.room.store.blobs, visit.room.store.database
    kept: list[tuple[Received, str, int]] = []
    failed = 0
    try:
        for part in split_parts(_chunks(body), boundary):
            if len(kept) + failed >= limits.max_files:
                raise Refusal(413, f"more than {limits.max_files} objects; send fewer at once")
            path = blobs.incoming()
            with path.open("xb") as stream:
                size = sum(stream.write(piece) for piece in part)
            try:
                kept.append((read_received(path), blobs.keep(path, _SUFFIX), size))
            except ImageError:
                failed += 1
                path.unlink(missing_ok=True)
    except TransferError as error:
        raise InputError("the body is no multipart, or ends in the middle; send it again") from error
    if kept:
        with database.write() as connection:
            upload = begin_upload(connection, visit.account.id, "", None, now=visit.now)
            for number, (_, blob, size) in enumerate(kept):
                add_file(connection, upload, UploadedFile(number, f"{number:05}{_SUFFIX}", blob, size))
            complete_upload(connection, upload, visit.account.name, now=visit.now)
    status = 409 if not kept else 202 if failed else 200
    return Response(json.dumps(_told(kept, failed)), status, media_type="application/dicom+json")


def _told(kept: list[tuple[Received, str, int]], failed: int) -> dict[str, Any]:
    """PS3.18 table 10.5.3-2."""
    told: dict[str, Any] = {}
    if kept:
        told["00081199"] = {
            "vr": "SQ",
            "Value": [
                {
                    "00081150": {"vr": "UI", "Value": [received.sop_class_uid]},
                    "00081155": {"vr": "UI", "Value": [received.sop_instance_uid]},
                }
                for received, _, _ in kept
            ],
        }
    if failed:
        # Without UIDs that could be read, an item holds the reason alone.
        item = {"00081197": {"vr": "US", "Value": [_CANNOT_UNDERSTAND]}}
        told["00081198"] = {"vr": "SQ", "Value": [item] * failed}
    return told


ENDPOINTS = (
    Endpoint("POST", "/dicom-web/studies", Action.UPLOAD, stream=store_instances),
    Endpoint("POST", "/dicom-web/studies/{study}", Action.UPLOAD, stream=store_instances),
)
