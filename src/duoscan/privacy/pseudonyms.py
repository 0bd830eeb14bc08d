"""Pseudonyms from a secret key: the same patient, study and image keep the same one over files, runs and modalities.

Every pseudonym is an HMAC-SHA256 (RFC 2104) under the key, so that who has the key can make it again and who has
not cannot try identifiers until one fits.
"""

from __future__ import annotations

import datetime as dt
import hmac
import os
import re
import secrets
import stat
from typing import TYPE_CHECKING

from duoscan.errors import InputError
from duoscan.files import read_bytes

if TYPE_CHECKING:
    from pathlib import Path

_KEY_BYTES = 32
_MOST_KEY_BYTES = 2**16
_PSEUDONYM_DIGITS = 20
_MOST_DAYS = 3650
_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})(.*)", re.DOTALL)


class Pseudonyms:
    """What replaces identifiers under one key.

    Args:
        key: At least 32 secret bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def _digest(self, kind: str, value: str) -> bytes:
        return hmac.digest(self._key, f"{kind}\0{value}".encode(), "sha256")

    def patient(self, patient_id: str) -> str:
        """80 bits as 20 hexadecimal digits; spaces around the identifier do not count."""
        return self._digest("patient", patient_id.strip()).hex()[:_PSEUDONYM_DIGITS]

    def uid(self, uid: str) -> str:
        """A UID below 2.25 (PS3.5 B.2) of 122 bits, shaped as a random UUID (RFC 4122 version 4)."""
        number = int.from_bytes(self._digest("uid", uid.strip(" \0"))[:16], "big")
        number = number & ~(0xF << 76) | (4 << 76)
        return f"2.25.{number & ~(3 << 62) | (2 << 62)}"

    def shift_days(self, patient_id: str) -> int:
        """By how many days, 1 to 3,650, all dates of a patient move into the past."""
        return 1 + int.from_bytes(self._digest("shift", patient_id.strip())[:8], "big") % _MOST_DAYS


def shifted(value: str, days: int) -> str | None:
    """A DICOM date or date-time (PS3.5 6.2) moved into the past, its time kept; ``None`` where it is not a date."""
    match = _DATE.fullmatch(value.strip(" \0"))
    if match is None:
        return None
    try:
        day = dt.date(*map(int, match.groups()[:3])) - dt.timedelta(days)
    except (ValueError, OverflowError):
        return None
    rest = match.group(4)
    return f"{day:%Y%m%d}{rest}" if re.fullmatch(r"[0-9.+-]*", rest) else None


def read_key(path: Path) -> bytes:
    """The key in a file of hexadecimal digits.

    Raises:
        InputError: The file is missing, open to other accounts, or holds no key.
    """
    try:
        text, mode = read_bytes(path, limit=_MOST_KEY_BYTES).decode("ascii").strip(), path.stat().st_mode
        key = bytes.fromhex(text)
    except OSError as error:
        raise InputError(f"{path}: no key there ({error.strerror}); make one with --new-key") from error
    except ValueError as error:
        raise InputError(f"{path}: not a key (64 hexadecimal digits); make one with --new-key") from error
    if len(key) < _KEY_BYTES:
        raise InputError(f"{path}: the key has {len(key)} bytes, {_KEY_BYTES} are needed; make one with --new-key")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InputError(f"{path}: other accounts can read the key; take that away with chmod 600")
    return key


def write_new_key(path: Path) -> None:
    """Write a new random key that only its owner may read; a file that is there is never overwritten.

    Raises:
        InputError: The file is there already or cannot be made.
    """
    write_private(path, secrets.token_hex(_KEY_BYTES) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a new file with mode 0600.

    Raises:
        InputError: The file is there already or cannot be made.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InputError(f"{path}: cannot be made ({error.strerror}); name a new file in a folder of yours") from error
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
        stream.write(text)
