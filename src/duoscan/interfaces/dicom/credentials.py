"""Who we are to a DICOMweb service; read from a file or the environment, never from the command line."""

from __future__ import annotations

import base64
import os
import stat
from typing import TYPE_CHECKING

from duoscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VARIABLE = "DUOSCAN_DICOMWEB_AUTH"
_FORM = "write one line, 'basic USER:PASSWORD' or 'bearer TOKEN'"


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
