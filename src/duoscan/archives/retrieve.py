"""An archive over DICOM's own network: C-FIND, C-GET and C-MOVE (PS3.4 Annex C), C-STORE (Annex B).

C-GET brings the instances over the association that asked for them, so nothing must listen here and the peer needs
no entry for us but the right to ask. A peer that knows only C-MOVE calls back, at a port that it must know beforehand.
"""

from __future__ import annotations

import threading
from contextlib import closing, contextmanager
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
)
from duoscan.archives.associations import DAMAGED, LONGEST_PDU, Bounds
from duoscan.archives.intake import Intake
from duoscan.archives.send import (
    CALLING_AE_TITLE,
    STUDY_ROOT_FIND,
    TIMEOUT_S,
    UNCOMPRESSED,
    Peer,
    associated,
    send_files,
    stored_files,
)
from duoscan.errors import MissingExtraError, TransferError
from duoscan.quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

    from pydicom import Dataset

    from duoscan.archives.archive import OnStored
    from duoscan.archives.keeper import Keeper
    from duoscan.archives.tls import Tls

_SUCCESS, _PENDING, _PART_FAILED = 0x0000, frozenset({0xFF00, 0xFF01}), 0xB000
_MOST_CONTEXTS = 126  # of 128 on one association (PS3.8 9.3.2), less those of query and verification
_STUDY_ROOT_MOVE, _STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3"
_MOST_AHEAD = 64  # progress is told between objects, which wait for our answer


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

    def echo(self) -> None:
        """Ask whether it answers (C-ECHO, PS3.7 9.1.5)."""
        bounds = Bounds(self._timeout_s, seconds=self._limits.answer_seconds)
        with self._associated([], bounds) as association:
            self._check(association.send_c_echo(), "the question", bounds)

    def find(self, query: StudyQuery) -> list[FoundStudy]:
        """The studies that match (C-FIND, PS3.4 C.4.1)."""
        query.check()
        found: list[FoundStudy] = []
        bounds = Bounds(self._timeout_s, most_ahead=self._limits.studies, seconds=self._limits.answer_seconds)
        with self._associated([(STUDY_ROOT_FIND, UNCOMPRESSED)], bounds) as association:
            for status, answer in association.send_c_find(_identifier(query), STUDY_ROOT_FIND):
                if status.get("Status") in _PENDING and answer is not None:
                    with self._damage():
                        found.append(_found(answer))
                else:
                    self._check(status, "the query", bounds)
                if len(found) >= self._limits.studies:
                    association.abort()  # it would be released only once all others have come, too
                    break
        return found

    def fetch(self, study_uid: str, out: Path, on_fetched: OnStored = ignore) -> list[Path]:
        """Write all instances of a study into a folder as they come (C-GET or C-MOVE, PS3.4 C.4.3 and C.4.2)."""
        from duoscan.archives.keeper import Keeper

        query = StudyQuery(study_uid=check_uid(study_uid))
        expected = expected_instances(self.find(query), study_uid, str(self._peer))
        with Keeper(Intake(study_uid, out, self._limits, on_fetched)) as keeper:
            bounds = self._of_objects(seconds=self._limits.seconds)
            how = self._got if self._move_port is None else self._moved
            with closing(how(query, keeper, bounds)) as statuses:
                for number, status in enumerate(statuses):
                    if number > 2 * self._limits.instances + _MOST_AHEAD:
                        raise TransferError(f"{self._peer}: it tells of progress without end; see its log")
                    if status.get("Status") not in _PENDING:
                        keeper.check()
                        self._check(status, "the study", bounds)
        check_complete(keeper.written, expected, str(self._peer))
        return keeper.written

    def _of_objects(self, seconds: float | None) -> Bounds:
        # A little more than is kept, so that the reason is told where objects are counted.
        most_bytes = self._limits.instance_bytes + 2 * LONGEST_PDU
        return Bounds(self._timeout_s, most_bytes=most_bytes, most_ahead=_MOST_AHEAD, seconds=seconds)

    def _got(self, query: StudyQuery, keeper: Keeper, bounds: Bounds) -> Generator[Dataset]:
        from pynetdicom import build_role

        storage = _storage_contexts()
        roles = [build_role(sop_class, scp_role=True) for sop_class, _ in storage]
        contexts = [(_STUDY_ROOT_GET, UNCOMPRESSED), *storage]
        with self._associated(contexts, bounds, roles=roles, handlers=keeper.handlers) as association:
            for status, _ in association.send_c_get(_identifier(query), _STUDY_ROOT_GET):
                yield status

    def _moved(self, query: StudyQuery, keeper: Keeper, bounds: Bounds) -> Generator[Dataset]:
        with (
            _listening(self._move_port or 0, self._peer, keeper, self._of_objects(None), self._tls),
            self._associated([(_STUDY_ROOT_MOVE, UNCOMPRESSED)], bounds, handlers=keeper.handlers) as association,
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
    def _associated(
        self, contexts: Sequence[tuple[str, Sequence[str]]], bounds: Bounds, **options: Any
    ) -> Iterator[Any]:
        with quiet:
            try:
                with associated(self._peer, contexts, bounds, self._tls, **options) as association:
                    yield association
            except ValueError as error:  # the peer took no context for what is asked
                raise TransferError(f"{self._peer}: it does not answer this kind of question; try DICOMweb") from error

    @contextmanager
    def _damage(self) -> Iterator[None]:
        """An answer may hold anything."""
        try:
            yield
        except DAMAGED as error:
            raise TransferError(f"{self._peer}: its answer is damaged ({type(error).__name__}); see its log") from error

    def _check(self, status: Dataset, what: str, bounds: Bounds) -> None:
        code = status.get("Status")
        if code == _SUCCESS:
            return
        if code is None and bounds.problem:
            raise TransferError(f"{self._peer}: {what} was given up: {bounds.problem}; see its log")
        if code == _PART_FAILED:
            failed = status.get("NumberOfFailedSuboperations")
            raise TransferError(f"{self._peer}: {failed} instances of {what} did not come; see its log and fetch again")
        said = "no answer" if code is None else f"status 0x{code:04X}"
        raise TransferError(f"{self._peer}: {what} was not answered ({said}); may {CALLING_AE_TITLE} ask?")


@contextmanager
def _listening(port: int, peer: Peer, keeper: Keeper, bounds: Bounds, tls: Tls | None) -> Iterator[None]:
    """Take what the peer, and nobody of another title, sends to a port of ours."""
    from pynetdicom import AE

    from duoscan.archives.server import BoundedServer

    entity = AE(CALLING_AE_TITLE)
    entity.require_called_aet = True
    entity.require_calling_aet = [peer.ae_title]
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = bounds.timeout_s
    for sop_class, syntaxes in _storage_contexts():
        entity.add_supported_context(sop_class, syntaxes)
    try:
        server = entity.make_server(
            ("", port),
            evt_handlers=[*bounds.handlers, *keeper.handlers],
            server_class=BoundedServer,
            tls=tls.server_context() if tls else None,
            admits=lambda _address: True,
            on_refused=lambda _reason: None,
            timeout_s=bounds.timeout_s,
            most_of_address=entity.maximum_associations,
        )
    except OSError as error:
        raise TransferError(f"port {port}: cannot listen there ({error.strerror}); name a free one") from error
    threading.Thread(target=server.serve_forever, args=(0.1,), name="listener", daemon=True).start()
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
    """The storage classes a study may hold, in every syntax of a still image but the deflated one.

    Our own results are among them.
    """
    from pydicom import uid
    from pynetdicom import StoragePresentationContexts
    from pynetdicom.sop_class import ParametricMapStorage

    syntaxes = (
        *UNCOMPRESSED,
        uid.ExplicitVRBigEndian,
        *uid.JPEGTransferSyntaxes,
        *uid.JPEGLSTransferSyntaxes,
        *uid.JPEG2000TransferSyntaxes,
        *uid.RLETransferSyntaxes,
    )
    classes = [ParametricMapStorage, *(str(context.abstract_syntax) for context in StoragePresentationContexts)]
    return [(one, syntaxes) for one in classes[:_MOST_CONTEXTS]]
