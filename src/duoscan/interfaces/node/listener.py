"""C-ECHO and C-STORE (PS3.4 Annexes A and B): an object is acknowledged once the disk has it."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any

from pydicom.uid import (
    JPEG2000,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    LegacyConvertedEnhancedCTImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import Verification

from duoscan.archives.associations import LONGEST_PDU, Bounds, file_head
from duoscan.archives.server import BoundedServer
from duoscan.errors import ImageError, InputError
from duoscan.worklist.journal import Journal, StudyState
from duoscan.worklist.log import EventLog, place
from duoscan.worklist.received import Received, read_received

if TYPE_CHECKING:
    from pathlib import Path

    from duoscan.worklist.config import NodeConfig
    from duoscan.worklist.spool import Spool

SOP_CLASSES = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    SecondaryCaptureImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
)
"""What may hold a chest X-ray or CT; nothing else is accepted, structured reports least of all."""

TRANSFER_SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
    RLELossless,
)
"""What is decoded. Not the deflated one: a few kilobytes of it unfold to gigabytes while the header is read."""

# PS3.4 table B.2-1 and PS3.7 annex C.
SUCCESS = 0x0000
DUPLICATE_SOP_INSTANCE = 0x0111
OUT_OF_RESOURCES = 0xA700
DATA_SET_DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
STUDY_IS_CLOSED = 0xC100

_MEGABYTE = 2**20


class RefusedError(Exception):
    """An object is not kept.

    Args:
        status: Of the answer.
        reason: In a word; tells of no patient.
    """

    def __init__(self, status: int, reason: str) -> None:
        self.status, self.reason = status, reason
        super().__init__(reason)


class Listener:
    """The server.

    Args:
        config: Who may store what.
        spool: Where it goes.
        log: For events.

    Raises:
        InputError: The TLS files cannot be used.
    """

    def __init__(self, config: NodeConfig, spool: Spool, log: EventLog) -> None:
        self._config = config.listen
        self._quiet_s = config.study.quiet_s
        self._spool = spool
        self._log = log
        self._locks = [threading.Lock() for _ in range(16)]
        self._tls = self._config.tls.server_context() if self._config.tls else None
        self._journal = Journal(spool.journal, durable=False)
        self._server: Any = None

    @property
    def port(self) -> int:
        """Where it listens; of use where the configured port is 0."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Accept associations from now on.

        Raises:
            InputError: The address cannot be listened at.
        """
        _config.LOG_HANDLER_LEVEL = "none"  # pynetdicom's own log quotes data sets
        entity = AE(self._config.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = list(self._config.calling)
        entity.maximum_associations = self._config.max_associations
        entity.maximum_pdu_size = LONGEST_PDU
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = self._config.timeout_s
        entity.add_supported_context(Verification)
        for sop_class in SOP_CLASSES:
            entity.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
        most_bytes = self._config.max_object_mb * _MEGABYTE
        bounds = Bounds(self._config.timeout_s, most_bytes=most_bytes, on_ended=self._on_ended)
        handlers = [
            (evt.EVT_C_STORE, self._on_store),
            *bounds.handlers,
            (evt.EVT_REJECTED, self._on_rejected),
        ]
        try:
            self._server = entity.make_server(
                (self._config.host, self._config.port),
                evt_handlers=handlers,
                server_class=BoundedServer,
                tls=self._tls,
                admits=self._config.admits,
                on_refused=lambda reason: self._log.write("connection-refused", reason=reason),
                timeout_s=self._config.timeout_s,
                most_of_address=self._config.max_associations_per_address,
            )
        except OSError as error:
            where = f"{self._config.host}:{self._config.port}"
            raise InputError(f"cannot listen at {where} ({error.strerror}); choose another address or port") from error
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="listener", daemon=True).start()

    def stop(self) -> None:
        """Accept nothing more and end what is open; what was not acknowledged will be sent again."""
        if self._server is not None:
            self._server.shutdown()
        self._journal.close()

    def _on_rejected(self, event: Any) -> None:
        caller, answer = event.assoc.requestor, event.assoc.acceptor.primitive
        self._log.write(
            "association-rejected",
            reason=answer.reason_str,
            calling=caller.primitive.calling_ae_title,
            called=caller.primitive.called_ae_title,
            peer=caller.address,
        )

    def _on_ended(self, association: Any, reason: str) -> None:
        self._log.write("refused", reason=reason, peer=association.requestor.address)

    def _on_store(self, event: Any) -> int:
        peer = event.assoc.requestor.address
        try:
            received, is_new, size = self._receive(event)
        except RefusedError as error:
            self._log.write("refused", reason=error.reason, status=f"0x{error.status:04X}", peer=peer)
            return error.status
        except Exception as error:
            self._log.write("refused", reason="fault", kind=type(error).__name__, where=place(error), peer=peer)
            raise  # pynetdicom answers with a failure
        uids = {"study": received.study_uid, "object": received.sop_instance_uid}
        self._log.write("stored" if is_new else "repeated", uids=uids, bytes=size, peer=peer)
        return SUCCESS

    def _receive(self, event: Any) -> tuple[Received, bool, int]:
        """Keep an object: what it is, whether it is new, and its size in bytes."""
        request = event.request
        syntax = str(event.context.transfer_syntax)
        content = request.DataSet.getbuffer()
        if self._spool.free_bytes() - len(content) < self._config.min_free_mb * _MEGABYTE:
            raise RefusedError(OUT_OF_RESOURCES, "disk almost full")
        try:
            head = file_head(request.AffectedSOPClassUID, request.AffectedSOPInstanceUID, syntax)
            temporary = self._spool.write_incoming((head, content))
            try:
                received = _checked(temporary, request)
                is_new = self._keep(temporary, received)
            finally:
                temporary.unlink(missing_ok=True)
        except (OSError, sqlite3.OperationalError) as error:
            raise RefusedError(OUT_OF_RESOURCES, f"disk ({type(error).__name__})") from error
        return received, is_new, len(content)

    def _keep(self, temporary: Path, received: Received) -> bool:
        """Put the file in its place and record it; whether it is new."""
        if self._journal.is_result(received.sop_instance_uid):
            return False  # a destination that forwards what it gets would send our own results round for ever
        digest = file_digest(temporary)
        with self._locks[int(received.study, 16) % len(self._locks)]:
            known = self._journal.digest(received.study, received.name)
            if known is not None:
                if known != digest:
                    raise RefusedError(DUPLICATE_SOP_INSTANCE, "same UID, other content")
                return False
            study = self._journal.study(received.study)
            if study is not None and study.patient_id != received.patient_id:
                raise RefusedError(DATA_SET_DOES_NOT_MATCH, "same study, other patient")
            if study is not None and study.state is StudyState.REMOVED:
                raise RefusedError(STUDY_IS_CLOSED, "study is closed")
            self._spool.keep(temporary, received.study, received.name)
            if not self._journal.add(received, digest, now=time.time(), quiet_s=self._quiet_s):
                raise RefusedError(STUDY_IS_CLOSED, "study is being closed")
        return True


def file_digest(path: Path) -> str:
    """SHA-256 of a received file; its meta information is the same for the same object and transfer syntax."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _checked(path: Path, request: Any) -> Received:
    """What a file is.

    Raises:
        RefusedError: It is damaged, or the command said another thing.
    """
    try:
        received = read_received(path)
    except ImageError as error:
        raise RefusedError(CANNOT_UNDERSTAND, "damaged or without UIDs") from error
    stated = (str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
    if stated != (received.sop_class_uid, received.sop_instance_uid):
        raise RefusedError(DATA_SET_DOES_NOT_MATCH, "command and data set name different objects")
    return received
