"""An archive over DICOMweb (PS3.18): QIDO-RS finds, WADO-RS fetches, STOW-RS stores."""

from __future__ import annotations

import io
import ipaddress
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

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
    instance_file,
)
from duoscan.errors import InputError, MissingExtraError, TransferError, UnreachableError
from duoscan.files import make_folder, write_bytes
from duoscan.quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from dicomweb_client.api import DICOMwebClient
    from pydicom import Dataset
    from requests import PreparedRequest, Response

    from duoscan.archives.archive import OnStored

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10.0, 60.0
REPETITIONS = 3
BACKOFF_S = 0.5
_CHUNK = 2**20
_ONE_PIECE = 2**31  # a body sent in chunks could not be sent again after an error
_BUSY = (429, 500, 502, 503, 504)
_MOST_ANSWER_BYTES = 64 * 2**20
_ANY_SYNTAX = (("application/dicom", "*"),)  # as stored: nothing is decompressed on the way (PS3.18 8.7.3)
_FIELDS = ("StudyDescription", "ModalitiesInStudy", "NumberOfStudyRelatedInstances")
_NO_SUCH_QUESTION = (400, 404, 405, 501)
_INSTANCE_KEYS = ("StudyInstanceUID", "SOPInstanceUID")
_ADVICE = {
    401: "it does not know us; check the credentials",
    403: "it does not let us; check the credentials and the rights of the account",
    404: "not there; check the address and the study",
    413: "too large for it; ask its administrator",
}


class WebArchive:
    """A DICOMweb service.

    Certificates are verified. Requests are tried again after connection errors and answers that say "busy"; storing
    an instance twice leaves one. No error quotes the service or the request, because both may name a patient.

    Args:
        url: Base address, e.g. ``https://pacs.example.org/dicom-web``.
        access: How to be let in.
        limits: What it may answer at most.
        backoff_s: Pause before the second repetition of a request; doubles with each one.

    Raises:
        InputError: The address is none, holds a password, or credentials would travel in clear.
        MissingExtraError: dicomweb-client is not installed.
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
        self._url, self._access, self._limits, self._backoff_s = url.rstrip("/"), access, limits, backoff_s
        self._host = urlsplit(url).netloc
        self._meter = _Meter(limits)
        try:
            import dicomweb_client  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("dicom", "DICOMweb") from error

    def find(self, query: StudyQuery) -> list[FoundStudy]:
        """The studies that match (QIDO-RS, PS3.18 10.6)."""
        query.check()
        asked = {
            "PatientID": query.patient_id,
            "StudyDate": query.date,
            "ModalitiesInStudy": query.modality,
            "StudyInstanceUID": query.study_uid,
        }
        self._meter.start(_MOST_ANSWER_BYTES)
        with _transfer_errors(self._host), self._connected(_CHUNK) as client:
            answers = client.search_for_studies(
                search_filters={key: value for key, value in asked.items() if value},
                fields=_FIELDS,
                limit=self._limits.studies,
            )
            return [_found(answer) for answer in answers[: self._limits.studies]]

    def fetch(self, study_uid: str, out: Path) -> list[Path]:
        """Write all instances of a study into a folder (WADO-RS, PS3.18 10.4), one in memory at a time."""
        expected = expected_instances(self.find(StudyQuery(study_uid=check_uid(study_uid))), study_uid, self._host)
        make_folder(out)
        self._meter.start(self._limits.instance_bytes)
        written: list[Path] = []
        with _transfer_errors(self._host), self._connected(_CHUNK) as client:
            for dataset in client.iter_study(study_uid, media_types=_ANY_SYNTAX):
                self._meter.next_instance()
                if len(written) >= self._limits.instances:
                    raise TransferError(f"{self._host}: more than {self._limits.instances} instances; raise the limit")
                written.append(_keep(dataset, study_uid, out))
        check_complete(written, expected, self._host)
        return written

    def store(self, paths: Sequence[Path], on_stored: OnStored = ignore) -> None:
        """Store every file (STOW-RS, PS3.18 10.5), one a request; one that is refused does not keep back the rest."""
        from pydicom import dcmread

        refused: list[TransferError] = []
        with self._connected(_ONE_PIECE) as client:
            for path in paths:
                self._meter.start(_MOST_ANSWER_BYTES)
                try:
                    with _transfer_errors(self._host, f"{path.name}: not stored; "):
                        dataset = dcmread(path)
                        answer = client.store_instances([dataset])
                        _check_stored(answer, str(dataset.SOPInstanceUID), path)
                except UnreachableError:
                    raise
                except TransferError as error:
                    refused.append(error)
                else:
                    on_stored(path)
        if refused:
            raise refused[0]

    def holds(self, paths: Sequence[Path]) -> set[Path]:
        """Those it has (QIDO-RS, PS3.18 10.6); none of a service that only stores."""
        from pydicom import dcmread
        from requests import HTTPError

        held: set[Path] = set()
        with self._connected(_CHUNK) as client:
            for path in paths:
                self._meter.start(_MOST_ANSWER_BYTES)
                with _transfer_errors(self._host):
                    header = dcmread(path, specific_tags=list(_INSTANCE_KEYS), stop_before_pixels=True)
                    asked = {keyword: str(header[keyword].value) for keyword in _INSTANCE_KEYS}
                    try:
                        answers = client.search_for_instances(search_filters=asked, limit=1)
                    except HTTPError as error:
                        if error.response.status_code in _NO_SUCH_QUESTION:
                            return set()
                        raise
                    if any(asked["SOPInstanceUID"] in one.get("00080018", {}).get("Value", ()) for one in answers):
                        held.add(path)
        return held

    @contextmanager
    def _connected(self, chunk_size: int) -> Iterator[DICOMwebClient]:
        from dicomweb_client.api import DICOMwebClient
        from requests import Session
        from requests.adapters import HTTPAdapter
        from requests.utils import get_environ_proxies
        from urllib3.util import Retry

        session = Session()
        # The server does not choose how long we wait, so its Retry-After is not heard.
        retry = Retry(
            total=REPETITIONS,
            backoff_factor=self._backoff_s,
            status_forcelist=_BUSY,
            allowed_methods=("GET", "POST"),
            raise_on_status=False,
            respect_retry_after_header=False,
        )
        for scheme in ("https://", "http://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry))
        session.auth = self._sign
        session.cert = self._access.identity
        if self._access.ca_file is not None:
            # REQUESTS_CA_BUNDLE would go before the file that was named, so only the proxies are taken from there.
            session.trust_env, session.verify = False, str(self._access.ca_file)
            session.proxies.update(get_environ_proxies(self._url))
        client = DICOMwebClient(
            self._url,
            session=session,
            callback=self._meter,
            chunk_size=chunk_size,
            permissive_uid=True,
            timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
        )
        client.set_http_retry_params(retry=False)  # the session tries again itself, and only where that can help
        with session:
            yield client

    def _sign(self, request: PreparedRequest) -> PreparedRequest:
        """Our credentials, or none: with an authentication of its own a session does not look into ``.netrc``."""
        if self._access.authorization:
            request.headers["Authorization"] = self._access.authorization
        return request


class _Meter:
    """Counts what comes in, and stops it at a limit; a callback of every answer of the session."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._all = self._part = self._most_of_part = 0
        self._until = 0.0

    def start(self, most_of_part: int) -> None:
        """A new operation begins."""
        self._all = self._part = 0
        self._most_of_part, self._until = most_of_part, time.monotonic() + self._limits.seconds

    def next_instance(self) -> None:
        """What comes now belongs to another instance."""
        self._part = 0

    def __call__(self, response: Response, *_args: object, **_options: object) -> Response:
        """Count the body of an answer while it is read."""
        read = response.iter_content

        def metered(*args: Any, **options: Any) -> Iterator[bytes]:
            for chunk in read(*args, **options):
                self._count(len(chunk))
                yield chunk

        response.iter_content = metered
        return response

    def _count(self, size: int) -> None:
        self._all += size
        self._part += size
        if self._part > self._most_of_part or self._all > self._limits.study_bytes:
            raise TransferError("the answer is larger than allowed; the service is at fault, or the limit too low")
        if time.monotonic() > self._until:
            raise TransferError(f"the answer took more than {self._limits.seconds:g} s; try again later")


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


@contextmanager
def _transfer_errors(host: str, prefix: str = "") -> Iterator[None]:
    """Turn what goes wrong on the network into what to do about it."""
    from requests import exceptions as failed

    try:
        with quiet:
            yield
    except TransferError as error:
        raise type(error)(f"{prefix}{error}") from error
    except failed.SSLError as error:
        raise TransferError(f"{prefix}{host}: its certificate is not trusted; name its authority, --ca-file") from error
    except failed.HTTPError as error:
        status = error.response.status_code
        advice = _ADVICE.get(status, "see its log, and try again")
        raise TransferError(f"{prefix}{host}: HTTP status {status}: {advice}") from error
    except failed.Timeout as error:
        raise UnreachableError(f"{prefix}{host}: no answer in time; try again later") from error
    except (failed.ConnectionError, failed.ChunkedEncodingError) as error:
        raise UnreachableError(f"{prefix}{host}: no connection, or it broke off; does it run? Try again") from error
    except failed.RequestException as error:
        raise TransferError(f"{prefix}{host}: not a DICOMweb service ({type(error).__name__})") from error
    except Exception as error:
        message = f"{prefix}{host}: what it answers is no DICOM ({type(error).__name__}); see its log"
        raise TransferError(message) from error


def _found(answer: Mapping[str, Any]) -> FoundStudy:
    """One answer in the DICOM JSON model (PS3.18 F)."""

    def values(tag: str) -> list[str]:
        return [str(value) for value in answer.get(tag, {}).get("Value") or () if value is not None]

    def one(tag: str) -> str:
        return next(iter(values(tag)), "")

    count = one("00201208")
    return FoundStudy(
        study_uid=one("0020000D"),
        patient_id=one("00100020"),
        date=one("00080020"),
        modalities=tuple(values("00080061")),
        description=one("00081030"),
        instances=int(count) if count.isdecimal() else None,
    )


def _keep(dataset: Dataset, study_uid: str, out: Path) -> Path:
    """Write an instance as it came."""
    if str(dataset.StudyInstanceUID) != study_uid:
        raise TransferError("an instance of another study came; see the log of the service")
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    path = instance_file(out, str(dataset.SOPInstanceUID))
    write_bytes(path, buffer.getvalue())
    return path


def _check_stored(answer: Dataset, uid: str, path: Path) -> None:
    """The service must name the instance among those it stored (PS3.18 10.5.3)."""
    if uid in {str(item.get("ReferencedSOPInstanceUID")) for item in answer.get("ReferencedSOPSequence") or ()}:
        return
    reasons = [item.get("FailureReason") for item in answer.get("FailedSOPSequence") or ()]
    why = f"failure reason 0x{int(reasons[0]):04X}" if reasons and reasons[0] is not None else "not confirmed"
    raise TransferError(f"{why}; see the log of the service and send {path.name} again")
