"""An archive over DICOM's own network: C-FIND, C-GET and C-MOVE (PS3.4 Annex C), C-STORE (Annex B).

C-GET brings the instances over the association that asked for them, so nothing must listen here and the peer needs
no entry for us but the right to ask. A peer that knows only C-MOVE calls back, at a port that it must know beforehand.
"""

from __future__ import annotations

import io
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from duoscan.archives.archive import (
    NO_LIMITS_CHANGED,
    FoundStudy,
    Limits,
    StudyQuery,
    check_complete,
    check_uid,
    expected_instances,
    ignore,
    instance_file,
)
from duoscan.archives.send import (
    CALLING_AE_TITLE,
    STUDY_ROOT_FIND,
    TIMEOUT_S,
    UNCOMPRESSED,
    Peer,
    associate,
    send_files,
    stored_files,
)
from duoscan.errors import MissingExtraError, TransferError
from duoscan.files import make_folder, write_bytes
from duoscan.quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pydicom import Dataset
    from pynetdicom.events import Event

    from duoscan.archives.archive import OnStored
    from duoscan.archives.tls import Tls

_SUCCESS, _PENDING, _PART_FAILED = 0x0000, frozenset({0xFF00, 0xFF01}), 0xB000
_CANNOT_STORE = 0xA700  # "refused: out of resources" stops the peer (PS3.4 table B.2-1)
_MOST_CONTEXTS = 126  # of 128 on one association (PS3.8 9.3.2), less those of query and verification
_STUDY_ROOT_MOVE, _STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3"
_DAMAGED = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, OSError, NotImplementedError)


class PeerArchive:
    """A DICOM application that answers queries.

    Args:
        peer: Where.
        limits: What it may answer at most.
        timeout_s: For connecting and for each answer.
        tls: Where the connection is to be secured.
        move_port: Port of ours that the peer sends to, for C-MOVE in place of C-GET.

    Raises:
        MissingExtraError: pynetdicom is not installed.
    """

    def __init__(
        self,
        peer: Peer,
        limits: Limits = NO_LIMITS_CHANGED,
        *,
        timeout_s: float = TIMEOUT_S,
        tls: Tls | None = None,
        move_port: int | None = None,
    ) -> None:
        try:
            import pynetdicom  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("dicom", "asking a PACS") from error
        self._peer, self._limits, self._timeout_s, self._tls = peer, limits, timeout_s, tls
        self._move_port = move_port

    def find(self, query: StudyQuery) -> list[FoundStudy]:
        """The studies that match (C-FIND, PS3.4 C.4.1)."""
        query.check()
        found: list[FoundStudy] = []
        with self._associated([(STUDY_ROOT_FIND, UNCOMPRESSED)]) as association:
            for status, answer in association.send_c_find(_identifier(query), STUDY_ROOT_FIND):
                if status.get("Status") in _PENDING and answer is not None:
                    found.append(_found(answer))
                else:
                    self._check(status, "the query")
                if len(found) >= self._limits.studies:
                    break
        return found

    def fetch(self, study_uid: str, out: Path) -> list[Path]:
        """Write all instances of a study into a folder (C-GET or C-MOVE, PS3.4 C.4.3 and C.4.2)."""
        query = StudyQuery(study_uid=check_uid(study_uid))
        expected = expected_instances(self.find(query), study_uid, str(self._peer))
        make_folder(out)
        keeper = _Keeper(study_uid, out, self._limits)
        statuses = self._got(query, keeper) if self._move_port is None else self._moved(query, keeper, self._move_port)
        for status in statuses:
            if status.get("Status") not in _PENDING:
                keeper.check()
                self._check(status, "the study")
        check_complete(keeper.written, expected, str(self._peer))
        return keeper.written

    def _got(self, query: StudyQuery, keeper: _Keeper) -> Iterator[Dataset]:
        from pynetdicom import build_role, evt

        storage = _storage_contexts()
        roles = [build_role(sop_class, scp_role=True) for sop_class, _ in storage]
        contexts = [(_STUDY_ROOT_GET, UNCOMPRESSED), *storage]
        with self._associated(contexts, roles=roles, handlers=[(evt.EVT_C_STORE, keeper)]) as association:
            for status, _ in association.send_c_get(_identifier(query), _STUDY_ROOT_GET):
                yield status

    def _moved(self, query: StudyQuery, keeper: _Keeper, port: int) -> Iterator[Dataset]:
        with (
            _listening(port, self._peer, keeper, self._tls),
            self._associated([(_STUDY_ROOT_MOVE, UNCOMPRESSED)]) as association,
        ):
            for status, _ in association.send_c_move(_identifier(query), CALLING_AE_TITLE, _STUDY_ROOT_MOVE):
                yield status

    def store(self, paths: Sequence[Path], on_stored: OnStored = ignore) -> None:
        """Store every file (C-STORE)."""
        send_files(paths, self._peer, timeout_s=self._timeout_s, tls=self._tls, on_stored=on_stored)

    def holds(self, paths: Sequence[Path]) -> set[Path]:
        """Those it has (C-FIND)."""
        return stored_files(paths, self._peer, timeout_s=self._timeout_s, tls=self._tls)

    @contextmanager
    def _associated(self, contexts: Sequence[tuple[str, Sequence[str]]], **options: Any) -> Iterator[Any]:
        with quiet:
            association = associate(self._peer, contexts, self._timeout_s, self._tls, **options)
            try:
                yield association
            except ValueError as error:  # the peer took no context for what is asked
                raise TransferError(f"{self._peer}: it does not answer this kind of question; try DICOMweb") from error
            finally:
                association.release()

    def _check(self, status: Dataset, what: str) -> None:
        code = status.get("Status")
        if code == _SUCCESS:
            return
        if code == _PART_FAILED:
            failed = status.get("NumberOfFailedSuboperations")
            raise TransferError(f"{self._peer}: {failed} instances of {what} did not come; see its log and fetch again")
        said = "no answer" if code is None else f"status 0x{code:04X}"
        raise TransferError(f"{self._peer}: {what} was not answered ({said}); may {CALLING_AE_TITLE} ask?")


class _Keeper:
    """Writes each instance that arrives before it is acknowledged."""

    def __init__(self, study_uid: str, out: Path, limits: Limits) -> None:
        self.written: list[Path] = []
        self._study_uid, self._out, self._limits = study_uid, out, limits
        self._bytes = 0
        self._until = time.monotonic() + limits.seconds
        self._problem = ""

    def __call__(self, event: Event) -> int:
        """Status of one C-STORE."""
        from pydicom.errors import InvalidDicomError

        try:
            self._keep(event.encoded_dataset(), str(event.request.AffectedSOPInstanceUID))
        except TransferError as error:
            self._problem = self._problem or str(error)
        except (*_DAMAGED, InvalidDicomError) as error:
            self._problem = self._problem or f"an instance could not be kept ({type(error).__name__})"
        else:
            return _SUCCESS
        return _CANNOT_STORE

    def check(self) -> None:
        """Say what went wrong here, which the peer cannot know.

        Raises:
            TransferError: An instance could not be kept.
        """
        if self._problem:
            raise TransferError(f"{self._problem}; {len(self.written)} instances came")

    def _keep(self, content: bytes, uid: str) -> None:
        from pydicom import dcmread

        self._bytes += len(content)
        if self._bytes > self._limits.study_bytes or len(content) > self._limits.instance_bytes:
            raise TransferError("the study is larger than allowed; raise the limit")
        if len(self.written) >= self._limits.instances:
            raise TransferError(f"more than {self._limits.instances} instances; raise the limit")
        if time.monotonic() > self._until:
            raise TransferError(f"the study took more than {self._limits.seconds:g} s; try again later")
        header = dcmread(io.BytesIO(content), stop_before_pixels=True, specific_tags=["StudyInstanceUID"])
        if str(header.StudyInstanceUID) != self._study_uid:
            raise TransferError("an instance of another study came; see the log of the peer")
        path = instance_file(self._out, uid)
        write_bytes(path, content)
        self.written.append(path)


@contextmanager
def _listening(port: int, peer: Peer, keeper: _Keeper, tls: Tls | None) -> Iterator[None]:
    """Take what the peer, and nobody of another title, sends to a port of ours."""
    from pynetdicom import AE, evt

    entity = AE(CALLING_AE_TITLE)
    entity.require_called_aet = True
    entity.require_calling_aet = [peer.ae_title]
    for sop_class, syntaxes in _storage_contexts():
        entity.add_supported_context(sop_class, syntaxes)
    secured = tls.server_context() if tls else None
    handlers = [(evt.EVT_C_STORE, keeper)]
    try:
        server = entity.start_server(("", port), block=False, evt_handlers=handlers, ssl_context=secured)
    except OSError as error:
        raise TransferError(f"port {port}: cannot listen there ({error.strerror}); name a free one") from error
    try:
        yield
    finally:
        server.shutdown()


def _identifier(query: StudyQuery) -> Dataset:
    """Matching keys, and the empty keys whose values are wanted back (PS3.4 C.6.2.1)."""
    from pydicom import Dataset

    keys = Dataset()
    keys.QueryRetrieveLevel = "STUDY"
    keys.StudyInstanceUID = query.study_uid
    keys.PatientID = query.patient_id
    keys.StudyDate = query.date
    keys.ModalitiesInStudy = query.modality
    keys.StudyDescription = ""
    keys.NumberOfStudyRelatedInstances = None
    return keys


def _found(answer: Dataset) -> FoundStudy:
    modalities = answer.get("ModalitiesInStudy") or ()
    count = answer.get("NumberOfStudyRelatedInstances")
    return FoundStudy(
        study_uid=str(answer.get("StudyInstanceUID") or ""),
        patient_id=str(answer.get("PatientID") or ""),
        date=str(answer.get("StudyDate") or ""),
        modalities=(modalities,) if isinstance(modalities, str) else tuple(map(str, modalities)),
        description=str(answer.get("StudyDescription") or ""),
        instances=None if count is None else int(count),
    )


def _storage_contexts() -> list[tuple[str, Sequence[str]]]:
    """The storage classes a study may hold, in every syntax of a still image; our own results are among them."""
    from pydicom import uid
    from pynetdicom import DEFAULT_TRANSFER_SYNTAXES, StoragePresentationContexts
    from pynetdicom.sop_class import ParametricMapStorage

    compressed = (
        *uid.JPEGTransferSyntaxes,
        *uid.JPEGLSTransferSyntaxes,
        *uid.JPEG2000TransferSyntaxes,
        *uid.RLETransferSyntaxes,
    )
    classes = [ParametricMapStorage, *(str(context.abstract_syntax) for context in StoragePresentationContexts)]
    return [(one, [*DEFAULT_TRANSFER_SYNTAXES, *compressed]) for one in classes[:_MOST_CONTEXTS]]
