"""An archive by its address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.archives.archive import ANONYMOUS, NO_LIMITS_CHANGED, Access, Limits, is_web_address
from duoscan.archives.send import Peer
from duoscan.errors import InputError

if TYPE_CHECKING:
    from duoscan.archives.archive import Archive


def open_archive(
    text: str,
    access: Access = ANONYMOUS,
    limits: Limits = NO_LIMITS_CHANGED,
    *,
    move_port: int | None = None,
) -> Archive:
    """The archive a person names; nothing is sent yet.

    Args:
        text: ``TITLE@host:port``, or the ``https://…`` address of a DICOMweb service.
        access: How to be let in.
        limits: What it may answer at most.
        move_port: Port of ours that a DICOM peer sends to, for C-MOVE in place of C-GET.

    Raises:
        InputError: It is neither, credentials would travel in clear, or the certificates cannot be used.
        MissingExtraError: The extra [dicom] is not installed.
    """
    if is_web_address(text):
        from duoscan.archives.web import WebArchive

        return WebArchive(text, access, limits)
    from duoscan.archives.retrieve import PeerArchive

    try:
        peer = Peer.parse(text)
    except InputError as error:
        raise InputError(f"{error}, or the https:// address of a DICOMweb service") from error
    tls = access.tls
    if tls is not None:
        tls.client_context()  # now, and not when everything is screened
    return PeerArchive(peer, limits, tls=tls, move_port=move_port)
