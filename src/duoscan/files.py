"""Files written whole or not at all, so that nothing written before is lost, and read within bounds."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from duoscan.errors import InputError

MAX_TEXT_BYTES = 64 * 2**20
"""Largest table or document that is read; a manifest of half a million images has as much."""

_LONGEST_NAME = 100
_LARGE_READ = 2**20


class BoundedReader(io.BufferedReader):
    """An open file that allocates for what it holds, not for what is asked of it.

    Formats state lengths in their headers, and Python allocates what is asked for before it reads.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        """Read so many bytes, or less at the end."""
        if size is not None and size > _LARGE_READ:
            size = min(size, max(0, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


def open_bounded(path: Path) -> BoundedReader:
    """Open a file for reading.

    Raises:
        OSError: It is missing or may not be read.
    """
    return BoundedReader(io.FileIO(path))


def read_bytes(path: Path, *, limit: int = MAX_TEXT_BYTES) -> bytes:
    """All bytes of a regular file.

    Raises:
        InputError: It is larger than ``limit``, or no regular file: a pipe or device may never end.
        OSError: It is missing or may not be read.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: not a regular file; copy its content into one")
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > limit:
            raise InputError(f"{path}: larger than {limit // 2**20} MiB, which no such file needs; check what it is")
        return stream.read(size)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        OSError: It is missing or may not be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def parse_json(content: bytes | str) -> Any:
    """As ``json.loads``, but every failure is a ``ValueError``, also that of a document nested without end."""
    try:
        return json.loads(content)
    except RecursionError as error:
        msg = "nested too deeply"
        raise ValueError(msg) from error


def parse_toml(content: bytes) -> dict[str, Any]:
    """As ``tomllib.loads`` of UTF-8, but every failure is a ``ValueError``; see :func:`parse_json`."""
    try:
        return tomllib.loads(content.decode("utf-8"))
    except RecursionError as error:
        msg = "nested too deeply"
        raise ValueError(msg) from error


def safe_name(text: str) -> str:
    """A file or folder name for text from elsewhere: no way out of its folder, not hidden, not too long.

    Different texts give different names.

    Example:
        >>> safe_name("1.2.840"), safe_name("../etc")
        ('1.2.840', '_etc-f7f9121f')
    """
    name = re.sub(r"[^\w.-]+", "_", text).lstrip(".")[:_LONGEST_NAME]
    return (
        name if name and name == text else f"{name}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]}"
    )


def write_bytes(path: Path, content: bytes) -> None:
    """Write through a temporary file in the same folder, so that a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, content.encode())
