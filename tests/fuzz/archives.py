"""What archives and peers send, read from a file as if it came over the network."""

from __future__ import annotations

import io
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification
from pynetdicom.transport import AssociationSocket

from duoscan.archives.archive import Limits, StudyQuery
from duoscan.archives.associations import Bounds
from duoscan.archives.intake import Intake
from duoscan.archives.keeper import Keeper
from duoscan.archives.web import WebArchive
from duoscan.errors import InputError, TransferError
from fuzz import seeds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

STUDY = "1.2.4"
LIMITS = Limits(instance_bytes=2**20, study_bytes=2**22, seconds=60, answer_seconds=60)
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
_CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
_JSON, _PARTS = b"application/dicom+json", b'multipart/related; type="application/dicom"; boundary=edge'
_LISTED = b'[{"0020000D":{"vr":"UI","Value":["1.2.4"]},"00201208":{"vr":"IS","Value":[1]}}]'
_CONFIRMED = b'{"00081199":{"vr":"SQ","Value":[{"00081155":{"vr":"UI","Value":["1.2.3"]}}]}}'
_REFUSED = b'{"00081198":{"vr":"SQ","Value":[{"00081197":{"vr":"US","Value":[42752]}}]}}'


def listings() -> list[bytes]:
    """Answers to QIDO-RS."""
    return [_answer(_JSON, _LISTED), _answer(_JSON, b"[]"), _CHUNKED % (_JSON, len(_LISTED), _LISTED)]


def studies() -> list[bytes]:
    """Answers to WADO-RS."""
    one = b"--edge\r\nContent-Type: application/dicom\r\n\r\n" + seeds.dicom()
    body = one + b"\r\n" + one + b"\r\n--edge--"
    return [_answer(_PARTS, body), _answer(b"application/dicom", seeds.dicom()), _CHUNKED % (_PARTS, len(body), body)]


def confirmations() -> list[bytes]:
    """Answers to STOW-RS."""
    return [_answer(_JSON, _CONFIRMED), _answer(_JSON, _REFUSED)]


def _answer(kind: bytes, body: bytes) -> bytes:
    return _HEAD % (kind, len(body)) + body


def conversations(folder: Path) -> list[bytes]:
    """What a peer sends that verifies and stores, as pynetdicom received it."""
    heard = bytearray()
    entity = AE("ANY")
    entity.add_supported_context(Verification)
    entity.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    handlers = [(evt.EVT_DATA_RECV, lambda event: heard.extend(event.data)), (evt.EVT_C_STORE, lambda _event: 0)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    entity.requested_contexts = entity.supported_contexts
    association = entity.associate("127.0.0.1", server.server_address[1])
    association.send_c_echo()
    association.send_c_store(dcmread(io.BytesIO(seeds.dicom(SOPClassUID=str(CTImageStorage)))))
    association.release()
    server.shutdown()
    return [bytes(heard)]


def read_listing(path: Path) -> None:
    """As ``duoscan pacs find``."""
    with _refusals():
        _archive(path.read_bytes()).find(StudyQuery())


def read_study(path: Path) -> None:
    """As ``duoscan pacs fetch``."""
    with _refusals():
        _archive(_answer(_JSON, _LISTED), path.read_bytes()).fetch(STUDY, path.parent / "in")


def read_confirmation(path: Path) -> None:
    """As ``duoscan pacs store``."""
    with _refusals():
        _archive(path.read_bytes()).store([path.parent / "IMAGES" / "A1"])


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except TransferError as error:
        raise InputError(str(error)) from error


def _archive(*answers: bytes) -> WebArchive:
    archive, left = WebArchive("http://127.0.0.1:9/dicom-web", limits=LIMITS, backoff_s=0), list(answers)
    connect: Callable[[], HTTPConnection] = lambda: _Recorded(left.pop(0) if len(left) > 1 else left[0])  # noqa: E731
    archive._service._connection = connect  # type: ignore[method-assign]
    return archive


class _Recorded(HTTPConnection):
    """A connection whose other side has said all it will say."""

    def __init__(self, said: bytes) -> None:
        super().__init__("127.0.0.1", 9)
        self._said = said

    def connect(self) -> None:
        self.sock = _Line(self._said)


class _Line:
    """As much of a socket as is used."""

    def __init__(self, said: bytes) -> None:
        self._stream = io.BytesIO(said)

    def settimeout(self, _seconds: float) -> None:
        """Nothing waits."""

    shutdown = settimeout

    def sendall(self, _content: bytes) -> None:
        """Nobody listens."""

    def makefile(self, _mode: str) -> io.BytesIO:
        return self._stream

    def recv_into(self, buffer: memoryview) -> int:
        return self._stream.readinto(buffer)

    def close(self) -> None:
        """Nothing is held."""


def read_pdus(path: Path) -> None:
    """As a peer's objects are received, without threads; pynetdicom's own refusals end the association."""
    association = Association(AE("ANY"), MODE_ACCEPTOR)
    association.set_socket(AssociationSocket(association, client_socket=_Line(path.read_bytes())))
    association.dul.event_queue.get(block=False)
    for number, sop_class in ((1, Verification), (3, CTImageStorage)):
        context = build_context(sop_class, ExplicitVRLittleEndian)
        context.context_id = number
        association._accepted_cx[number] = context
    faults: list[Exception] = []
    with Keeper(Intake(STUDY, path.parent / "in", LIMITS)) as keeper:
        for event, handler in (*Bounds(60, most_bytes=2**20, seconds=None).handlers, *keeper.handlers):
            association.bind(event, _watched(handler, faults))
        evt.trigger(association, evt.EVT_CONN_OPEN, {})
        while not association._sent_abort and not faults and _receive(association):
            pass
    if faults:
        raise faults[0]


def _watched(handler: Callable[[Any], Any], faults: list[Exception]) -> Callable[[Any], Any]:
    """A handler of ours whose faults pynetdicom does not hide."""

    def call(event: Any) -> Any:
        try:
            return handler(event)
        except Exception as error:
            faults.append(error)
            raise

    return call


def _receive(association: Association) -> bool:
    """One PDU; whether the association goes on."""
    association.dul._read_pdu_data()
    if association.dul.event_queue.get(block=False) in {"Evt17", "Evt19"}:
        return False
    try:
        association.dimse.receive_primitive(association.dul._recv_pdu.get(block=False).to_primitive())
    except Exception:  # noqa: BLE001  (pynetdicom's thread ends of it, and with it the association)
        return False
    _, message = association.dimse.get_msg()
    if isinstance(message, C_STORE) and message.is_valid_request:
        context = association.accepted_contexts[-1].as_tuple
        evt.trigger(association, evt.EVT_C_STORE, {"request": message, "context": context})
    return True
