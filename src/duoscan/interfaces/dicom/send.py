"""Send DICOM files to a PACS (C-STORE, PS3.4 Annex B)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from duoscan.errors import InputError, MissingExtraError, TransferError
from duoscan.quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pydicom import Dataset

CALLING_AE_TITLE = "DUOSCAN"
TIMEOUT_S = 30.0
_PEER = re.compile(r"(?P<title>[^@\s]{1,16})@(?P<host>[^:@\s]+):(?P<port>\d{1,5})")
_SUCCESS = 0x0000
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


def send_files(paths: Sequence[Path], peer: Peer, *, timeout_s: float = TIMEOUT_S) -> None:
    """Store every file at the peer, in order, over one association.

    Args:
        paths: DICOM files, sent in their own transfer syntax.
        peer: Where to.
        timeout_s: For connecting and for each answer.

    Raises:
        TransferError: The peer cannot be reached, refuses the association, or did not store a file.
        MissingExtraError: pynetdicom is not installed.
    """
    try:
        from pynetdicom import AE
    except ImportError as error:
        raise MissingExtraError("dicom", "sending DICOM results") from error
    from pydicom import dcmread

    with quiet:
        datasets = [dcmread(path) for path in paths]
    entity = AE(CALLING_AE_TITLE)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = timeout_s
    for sop_class, syntax in dict.fromkeys((one.SOPClassUID, one.file_meta.TransferSyntaxUID) for one in datasets):
        entity.add_requested_context(sop_class, syntax)
    association = entity.associate(peer.host, peer.port, ae_title=peer.ae_title)
    if not association.is_established:
        raise TransferError(f"{peer}: no association; does it run, does it know {CALLING_AE_TITLE}?")
    try:
        for path, dataset in zip(paths, datasets, strict=True):
            _store(association, dataset, path)
    finally:
        association.release()


def _store(association: Any, dataset: Dataset, path: Path) -> None:
    try:
        status = association.send_c_store(dataset).get("Status")
    except ValueError as error:  # the peer took no context for this kind of object
        raise TransferError(f"{path.name}: the peer does not accept it ({error}); see its configuration") from error
    if status != _SUCCESS and status not in _WARNINGS:
        code = "no answer" if status is None else f"status 0x{status:04X}"
        raise TransferError(f"{path.name}: not stored ({code}); see the peer's log and send again")
