"""The node's log: one JSON object a line on standard error, an event each.

Identifiers appear as keyed hashes, so that lines of one study can be told together but not whose they are; patients
do not appear at all. Free text (reasons, exceptions) may quote a file and is kept in the journal, not here.
"""

from __future__ import annotations

import datetime as dt
import hmac
import json
import logging
import sys
import traceback
import warnings
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HASH_DIGITS = 12


def silence_libraries() -> None:
    """Drop what libraries write to standard error in this process: they quote what they find odd in a data set."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)


def place(error: BaseException) -> str:
    """File and line an error came from, without its text, which may quote anything."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


Value = str | int | float | bool | None


class EventLog:
    """Writes events.

    Args:
        key: Secret of the hashes.
        identifiers: Whether to write UIDs as they are.
        stream: Where to; standard error where ``None``.
    """

    def __init__(self, key: bytes, *, identifiers: bool = False, stream: TextIO | None = None) -> None:
        self._key = key
        self._identifiers = identifiers
        self._stream = stream
        self._lock = Lock()

    def write(self, event: str, *, uids: Mapping[str, str | Sequence[str]] | None = None, **values: Value) -> None:
        """Write one line.

        Args:
            event: What happened, in one word.
            uids: Identifiers by name, one or several; hashed unless asked otherwise.
            values: Anything that tells of no patient.
        """
        named = {
            name: self._shown(uid) if isinstance(uid, str) else [self._shown(one) for one in uid]
            for name, uid in (uids or {}).items()
        }
        time = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": time, "event": event} | named | values)
        with self._lock:
            print(line, file=self._stream or sys.stderr, flush=True)

    def _shown(self, uid: str) -> str:
        if self._identifiers:
            return uid
        return "#" + hmac.digest(self._key, uid.encode(), "sha256").hex()[:_HASH_DIGITS]
