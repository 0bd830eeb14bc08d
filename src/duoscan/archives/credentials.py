"""Who we are to a DICOMweb service; read from a file or the environment, never from the command line."""

from __future__ import annotations

import base64
import os
import stat
from typing import TYPE_CHECKING

from duoscan.archives.archive import Access, is_web_address
from duoscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VARIABLE = "DUOSCAN_DICOMWEB_AUTH"
_FORM = "write one line, 'basic USER:PASSWORD' or 'bearer TOKEN'"


def read_access(
    address: str,
    auth_file: Path | None = None,
    ca_file: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
) -> Access:
    """How an archive that a person names lets us in.

    Args:
        address: ``TITLE@host:port``, or the address of a DICOMweb service.
        auth_file: Credentials, as :func:`read_authorization` takes them; for a DICOMweb service only.
        ca_file: As of :class:`Access`.
        certificate: As of :class:`Access`.
        key: As of :class:`Access`.

    Raises:
        InputError: Credentials are named for a DICOM peer, which takes none, or cannot be read, or a certificate comes
            without its key.
    """
    if is_web_address(address):
        return Access(read_authorization(auth_file), ca_file, certificate, key)
    if auth_file is not None:
        raise InputError(
            f"{auth_file}: credentials are for an https:// address, and '{address}' is none; a DICOM peer is shown "
            "certificates instead, or nothing"
        )
    return Access("", ca_file, certificate, key)


def read_authorization(file: Path | None, environment: Mapping[str, str] = os.environ) -> str:
    """Value of the ``Authorization`` header; empty where neither file nor variable says anything.

    Args:
        file: One line, ``basic USER:PASSWORD`` or ``bearer TOKEN``; readable by its owner alone.
        environment: Its ``DUOSCAN_DICOMWEB_AUTH`` holds the same line; used without a file.

    Raises:
        InputError: The file is missing or open to other accounts, or the line has another form.

    Example:
        >>> read_authorization(None, {"DUOSCAN_DICOMWEB_AUTH": "bearer abc"})
        'Bearer abc'
    """
    if file is None:
        line, where = environment.get(VARIABLE, ""), VARIABLE
        return _header(line, where) if line else ""
    try:
        if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise InputError(f"{file}: other accounts can read the credentials; chmod 600 {file}")
        line = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({type(error).__name__}); {_FORM}") from error
    return _header(line, str(file))


def _header(line: str, where: str) -> str:
    kind, _, secret = line.strip().partition(" ")
    secret = secret.strip()
    if secret.isprintable() and secret:
        if kind.lower() == "basic" and ":" in secret:
            return f"Basic {base64.b64encode(secret.encode()).decode()}"
        if kind.lower() == "bearer" and secret.isascii() and " " not in secret:
            return f"Bearer {secret}"
    raise InputError(f"{where}: holds no credentials; {_FORM}")
