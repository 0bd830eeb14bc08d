"""An archive over DICOMweb (PS3.18): QIDO-RS finds, WADO-RS fetches, STOW-RS stores."""

from __future__ import annotations

import ipaddress
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from duoscan.archives.archive import (
    ANONYMOUS,
    NO_LIMITS_CHANGED,
    Access,
    FoundStudy,
    Limits,
    StudyQuery,
    check_complete,
    check_uid,
    expected_instances,
    ignore,
)
from duoscan.archives.http import BACKOFF_S, Exchange, HttpService
from duoscan.archives.intake import Intake
from duoscan.archives.multipart import split_parts
from duoscan.errors import ImageError, InputError, TransferError, UnreachableError
from duoscan.files import parse_json
from duoscan.formats.dicom.guards import read_guarded
from duoscan.formats.dicom.header import dicom_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from duoscan.archives.archive import OnStored

MAX_ANSWER_BYTES = 16 * 2**20
"""Longest answer that is no image; a thousand studies have a few megabytes."""

MAX_ANSWER_VALUES = 500_000
"""Values, attributes and lists in it; two characters of JSON become an object of 64 bytes."""

_JSON = {"Accept": "application/dicom+json"}
_AS_STORED = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}  # PS3.18 8.7.3
_FIELDS = ("StudyDescription", "ModalitiesInStudy", "NumberOfStudyRelatedInstances")
_NO_SUCH_QUESTION = (400, 404, 405, 501)
_STUDY_UID, _INSTANCE_UID = "0020000D", "00080018"
_STORED, _STORED_UID, _FAILED, _FAILURE_REASON = "00081199", "00081155", "00081198", "00081197"


class WebArchive:
    """A DICOMweb service.

    Certificates are verified. Storing an instance twice leaves one. See :class:`duoscan.archives.http.HttpService`.

    Args:
        url: Base address, e.g. ``https://pacs.example.org/dicom-web``.
        access: How to be let in.
        limits: What it may answer at most.
        backoff_s: Pause before the second repetition of a request; doubles with each one.

    Raises:
        InputError: The address is none, holds a password, credentials would travel in clear, or the certificates cannot
            be used.
    """

    def __init__(
        self,
        url: str,
        access: Access = ANONYMOUS,
        limits: Limits = NO_LIMITS_CHANGED,
        *,
        backoff_s: float = BACKOFF_S,
    ) -> None:
        _check_address(url, access)
        self._service, self._limits = HttpService(url, access, backoff_s), limits
        self._host = self._service.host

    def echo(self) -> None:
        """Ask for one study, whichever (QIDO-RS, PS3.18 10.6); there may be none."""
        with self._search("/studies", [("limit", "1")]) as exchange:
            self._datasets(exchange)

    def find(self, query: StudyQuery) -> list[FoundStudy]:
        """The studies that match (QIDO-RS, PS3.18 10.6)."""
        query.check()
        asked = {
            "PatientID": query.patient_id,
            "StudyDate": query.date,
            "ModalitiesInStudy": query.modality,
            "StudyInstanceUID": query.study_uid,
        }
        matching = [(key, value) for key, value in asked.items() if value]
        fields = [("includefield", field) for field in _FIELDS]
        with self._search("/studies", [*matching, *fields, ("limit", str(self._limits.studies))]) as exchange:
            answers = self._datasets(exchange)
        with self._understood():
            return [_found(answer) for answer in answers[: self._limits.studies]]

    def fetch(self, study_uid: str, out: Path, on_fetched: OnStored = ignore) -> list[Path]:
        """Write all instances of a study into a folder as they come (WADO-RS, PS3.18 10.4)."""
        expected = expected_instances(self.find(StudyQuery(study_uid=check_uid(study_uid))), study_uid, self._host)
        intake = Intake(study_uid, out, self._limits, on_fetched)
        asked = self._service.ask("GET", f"/studies/{study_uid}", _AS_STORED, seconds=self._limits.seconds)
        try:
            with asked as exchange:
                for part in _parts(exchange):
                    with intake.begin() as arrival:
                        for piece in part:
                            arrival.write(piece)
                        arrival.keep()
        except OSError as error:
            raise TransferError(f"{out}: cannot be written ({error.strerror}); make room, and fetch again") from error
        check_complete(intake.written, expected, self._host)
        return intake.written

    def store(self, paths: Sequence[Path], on_stored: OnStored = ignore) -> None:
        """Store every file (STOW-RS, PS3.18 10.5), one a request; one that is refused does not keep back the rest."""
        refused: list[TransferError] = []
        for path in paths:
            try:
                self._store(path)
            except UnreachableError as error:
                raise UnreachableError(f"{path.name}: not stored; {error}") from error
            except TransferError as error:
                refused.append(TransferError(f"{path.name}: not stored; {error}"))
            else:
                on_stored(path)
        if refused:
            raise refused[0]

    def holds(self, paths: Sequence[Path]) -> set[Path]:
        """Those it has (QIDO-RS, PS3.18 10.6); none of a service that only stores."""
        held: set[Path] = set()
        for path in paths:
            study_uid, uid = _identity(path)
            asked = [("StudyInstanceUID", study_uid), ("SOPInstanceUID", uid), ("limit", "1")]
            with self._search("/instances", asked) as exchange:
                if exchange.status in _NO_SUCH_QUESTION:
                    return set()
                answers = self._datasets(exchange)
            with self._understood():
                if any(uid in _values(one, _INSTANCE_UID) for one in answers):
                    held.add(path)
        return held

    def _search(self, path: str, asked: Sequence[tuple[str, str]]) -> Exchange:
        return self._service.ask("GET", f"{path}?{urlencode(asked)}", _JSON, seconds=self._limits.answer_seconds)

    def _store(self, path: Path) -> None:
        _, uid = _identity(path)
        edge = secrets.token_hex(16)
        head = f"--{edge}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        body = b"".join((head, path.read_bytes(), f"\r\n--{edge}--\r\n".encode()))
        headers = _JSON | {"Content-Type": f'multipart/related; type="application/dicom"; boundary={edge}'}
        with self._service.ask("POST", "/studies", headers, seconds=self._limits.answer_seconds, body=body) as exchange:
            answers = self._datasets(exchange)
        with self._understood():
            _check_stored(answers[0] if answers else {}, uid, path)

    def _datasets(self, exchange: Exchange) -> list[Mapping[str, Any]]:
        """An answer in the DICOM JSON model (PS3.18 F)."""
        body = exchange.read(MAX_ANSWER_BYTES)
        if sum(map(body.count, (b"[", b"{", b",", b":"))) > MAX_ANSWER_VALUES:
            raise TransferError(f"{self._host}: it answers with more than {MAX_ANSWER_VALUES:,} values; ask for less")
        with self._understood():
            answers = parse_json(body) if body else []
        return answers if isinstance(answers, list) else [answers]  # some send a single one bare

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """What is taken out of an answer may not be there, or of another type."""
        try:
            yield
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise TransferError(f"{self._host}: what it answers is no DICOM JSON; check the address") from error


def _check_address(url: str, access: Access) -> None:
    parts = urlsplit(url)
    try:
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        raise InputError("that is no address of a DICOMweb service; write https://host:port/dicom-web")
    if parts.username or parts.password:
        raise InputError("a password in an address is seen by others on this machine; see --auth-file")
    if parts.scheme.lower() == "http" and access.authorization and not _is_loopback(host):
        raise InputError(f"{host}: credentials would travel in clear over http; use https")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parts(exchange: Exchange) -> Iterator[Iterator[bytes]]:
    """The instances of an answer; some services send a single one bare."""
    exchange.check_status()
    if exchange.content_type == "application/dicom":
        yield exchange.chunks()
    elif exchange.content_type == "multipart/related" and exchange.boundary:
        yield from split_parts(exchange.chunks(), exchange.boundary)
    else:
        raise TransferError("what it answers is no DICOM; check the address")


def _identity(path: Path) -> tuple[str, str]:
    """StudyInstanceUID and SOPInstanceUID of a file of ours.

    Raises:
        TransferError: It is no DICOM file.
    """
    try:
        with dicom_errors(path):
            header = read_guarded(path, stop_before_pixels=True, only=("StudyInstanceUID", "SOPInstanceUID"))
            return str(header.StudyInstanceUID), str(header.SOPInstanceUID)
    except ImageError as error:
        raise TransferError(f"{path.name}: {error.text}") from error


def _values(answer: Mapping[str, Any], tag: str) -> list[Any]:
    return [value for value in answer.get(tag, {}).get("Value") or () if value is not None]


def _found(answer: Mapping[str, Any]) -> FoundStudy:
    """One answer in the DICOM JSON model (PS3.18 F)."""

    def one(tag: str) -> str:
        return str(next(iter(_values(answer, tag)), ""))

    count = one("00201208")
    return FoundStudy(
        study_uid=one(_STUDY_UID),
        patient_id=one("00100020"),
        date=one("00080020"),
        modalities=tuple(map(str, _values(answer, "00080061"))),
        description=one("00081030"),
        instances=int(count) if count.isdecimal() else None,
    )


def _check_stored(answer: Mapping[str, Any], uid: str, path: Path) -> None:
    """The service must name the instance among those it stored (PS3.18 10.5.3)."""
    if any(uid in _values(item, _STORED_UID) for item in _values(answer, _STORED)):
        return
    reasons = [reason for item in _values(answer, _FAILED) for reason in _values(item, _FAILURE_REASON)]
    why = f"failure reason 0x{int(reasons[0]):04X}" if reasons else "not confirmed"
    raise TransferError(f"{why}; see the log of the service and send {path.name} again")
