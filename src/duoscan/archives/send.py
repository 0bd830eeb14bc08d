"""Send DICOM files to a PACS (C-STORE, PS3.4 Annex B)."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from duoscan.archives.associations import Bounds
from duoscan.errors import ImageError, InputError, MissingExtraError, TransferError, UnreachableError
from duoscan.formats.dicom.header import dicom_errors
from duoscan.quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from pydicom import Dataset

    from duoscan.archives.tls import Tls

CALLING_AE_TITLE = "DUOSCAN"
TIMEOUT_S = 30.0
OBJECT_S = 600.0
"""For all that is said about one object that is sent."""

_PEER = re.compile(r"(?P<title>[^@\s]{1,16})@(?P<host>[^:@\s]+):(?P<port>\d{1,5})")
_VERIFICATION = "1.2.840.10008.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
UNCOMPRESSED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")  # explicit and implicit VR little endian
_IMAGE_KEYS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_SUCCESS = 0x0000
_MOST_ANSWERS = 100  # to a question for one object
_WARNINGS = range(0xB000, 0xC000)  # stored, with a remark (PS3.4 table B.2-1)


@dataclass(frozen=True)
class Peer:
    """A DICOM application to send to.

    Attributes:
        ae_title: Its application entity title, at most 16 characters.
        host: Name or address.
        port: TCP port.
    """

    ae_title: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Peer:
        """Read ``TITLE@host:port``.

        Raises:
            InputError: It is not of that form.

        Example:
            >>> Peer.parse("ORTHANC@127.0.0.1:4242").port
            4242
        """
        match = _PEER.fullmatch(text)
        if match is None or not 0 < int(match["port"]) < 2**16:
            raise InputError(f"'{text}' names no DICOM peer; write TITLE@host:port, e.g. ORTHANC@127.0.0.1:4242")
        return cls(match["title"], match["host"], int(match["port"]))


def send_files(
    paths: Sequence[Path],
    peer: Peer,
    *,
    timeout_s: float = TIMEOUT_S,
    tls: Tls | None = None,
    on_stored: Callable[[Path], None] = lambda _path: None,
) -> None:
    """Store every file at the peer, in order, over one association.

    Args:
        paths: DICOM files, sent in their own transfer syntax.
        peer: Where to.
        timeout_s: For connecting and for each answer.
        tls: Where the connection is to be secured.
        on_stored: Called with each file as soon as the peer has acknowledged it.

    Raises:
        UnreachableError: The peer cannot be reached or refuses the association.
        TransferError: One is no DICOM file, and nothing was sent; or the peer did not store one. All others were sent
            nevertheless, unless the peer fell silent or ended the association.
        MissingExtraError: pynetdicom is not installed.
    """
    contexts = dict.fromkeys(map(_context_of, paths))
    bounds, refused = Bounds(timeout_s, seconds=OBJECT_S), []
    with associated(peer, contexts, bounds, tls) as association:
        for path in paths:
            bounds.restart(association, OBJECT_S)
            if reason := _store(association, path):
                refused.append(f"{path.name}: {reason}")
            else:
                on_stored(path)
    if refused:
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        raise TransferError(refused[0] + more)


def stored_files(
    paths: Sequence[Path], peer: Peer, *, timeout_s: float = TIMEOUT_S, tls: Tls | None = None
) -> set[Path]:
    """Of these files, those whose SOPInstanceUID the peer says it has (C-FIND, PS3.4 clause C.4.1).

    A peer that does not answer queries is taken to have none of them.

    Args:
        paths: DICOM files.
        peer: Whom to ask.
        timeout_s: For connecting and for each answer.
        tls: Where the connection is to be secured.

    Raises:
        UnreachableError: The peer cannot be reached or refuses the association.
        MissingExtraError: pynetdicom is not installed.
    """
    from pydicom import dcmread

    tags = ["SOPClassUID", *_IMAGE_KEYS]
    with quiet:
        headers = [dcmread(path, specific_tags=tags, stop_before_pixels=True) for path in paths]
    # A peer that takes none of what is asked for aborts, so what it must take is asked for too.
    contexts = dict.fromkeys((one.SOPClassUID, one.file_meta.TransferSyntaxUID) for one in headers)
    queries = [(STUDY_ROOT_FIND, syntax) for syntax in UNCOMPRESSED]
    held, bounds = set(), Bounds(timeout_s, most_ahead=_MOST_ANSWERS, seconds=OBJECT_S)
    with associated(peer, [*contexts, *queries], bounds, tls) as association:
        for path, header in zip(paths, headers, strict=True):
            bounds.restart(association, OBJECT_S)
            if _has(association, header):
                held.add(path)
    return held


@contextmanager
def associated(
    peer: Peer,
    contexts: Iterable[tuple[str, str | Sequence[str]]],
    bounds: Bounds,
    tls: Tls | None,
    *,
    roles: Sequence[Any] = (),
    handlers: Sequence[Any] = (),
) -> Iterator[Any]:
    """An association of pynetdicom with a peer; released in the end, or aborted where an error ends the block.

    Args:
        peer: Whom to call.
        contexts: SOP class and transfer syntaxes of each presentation context.
        bounds: What the peer may do.
        tls: Where the connection is to be secured.
        roles: SCP/SCU role selection items (PS3.7 D.3.3.4).
        handlers: Event handlers of pynetdicom.

    Raises:
        UnreachableError: The peer cannot be reached or refuses the association.
        MissingExtraError: pynetdicom is not installed.
    """
    try:
        from pynetdicom import AE, evt
    except ImportError as error:
        raise MissingExtraError("dicom", "speaking to a PACS") from error

    entity = AE(CALLING_AE_TITLE)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = bounds.timeout_s
    for sop_class, syntaxes in [(_VERIFICATION, UNCOMPRESSED[-1]), *contexts]:
        entity.add_requested_context(sop_class, syntaxes)
    secured = (tls.client_context(), peer.host) if tls else None
    connected: list[Any] = []
    opened = (evt.EVT_CONN_OPEN, connected.append)
    options = {"ext_neg": list(roles), "evt_handlers": [opened, *bounds.handlers, *handlers], "tls_args": secured}
    try:
        try:
            association = entity.associate(peer.host, peer.port, ae_title=peer.ae_title, **options)
        except OSError as error:
            raise UnreachableError(f"{peer.host}: no such host ({error.strerror}); check the name") from error
        if not association.is_established:
            why = _why_refused(association, peer) if connected else "no connection; does it run, is that its port?"
            raise UnreachableError(f"{peer}: no association: {why}")
        try:
            yield association
        except BaseException:
            association.abort()
            raise
        association.release()
    finally:
        bounds.cancel()


def _why_refused(association: Any, peer: Peer) -> str:
    """Why a peer that was reached opened no association (PS3.8 9.3.4), and what to do."""
    if not association.is_rejected:
        return "it ended the connection; does it want TLS, do its settings know us? See its log"
    answer = association.acceptor.primitive
    advice = {
        (1, 3): f"it does not know {CALLING_AE_TITLE}; enter us there",
        (1, 7): f"it is not called {peer.ae_title}; correct the title",
        (3, 1): "it is busy; try again later",
        (3, 2): "it has too many associations; try again later",
    }
    reason = advice.get((answer.result_source, answer.diagnostic), f"{answer.reason_str}; see its log")
    return f"rejected, {reason}"


def _context_of(path: Path) -> tuple[str, str]:
    """SOP class and transfer syntax of a file.

    Raises:
        TransferError: It is no DICOM file.
    """
    from pydicom import dcmread

    try:
        with dicom_errors(path):
            header = dcmread(path, stop_before_pixels=True)
            return header.SOPClassUID, header.file_meta.TransferSyntaxUID
    except ImageError as error:
        raise TransferError(str(error)) from error


def _store(association: Any, path: Path) -> str:
    """Why the peer did not store it; empty where it did."""
    from pydicom import dcmread

    with quiet:
        dataset = dcmread(path)
    try:
        status = association.send_c_store(dataset).get("Status")
    except ValueError as error:  # the peer took no context for this kind of object
        return f"the peer does not accept it ({error}); see its configuration"
    except RuntimeError:  # there is no association any more
        return "not sent, the association had ended; see the peer's log and send again"
    if status == _SUCCESS or status in _WARNINGS:
        return ""
    code = "no answer" if status is None else f"status 0x{status:04X}"
    return f"not stored ({code}); see the peer's log and send again"


def _has(association: Any, header: Dataset) -> bool:
    from pydicom.dataset import Dataset as Query

    query = Query()
    query.QueryRetrieveLevel = "IMAGE"
    for key in _IMAGE_KEYS:
        setattr(query, key, header.get(key, ""))
    uid = str(header.SOPInstanceUID)
    try:
        answers = islice(association.send_c_find(query, STUDY_ROOT_FIND), _MOST_ANSWERS)
        return uid in {str(identifier.get("SOPInstanceUID", "")) for _, identifier in answers if identifier is not None}
    except (ValueError, RuntimeError):  # the peer took no context for queries, or ended the association over one
        return False
