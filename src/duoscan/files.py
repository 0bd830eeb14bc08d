"""Files written whole or not at all, so that nothing written before is lost, and read within bounds."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import secrets
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
    """As ``json.loads``, but every failure is a ``ValueError``: a document nested without end, a number without end."""
    try:
        return json.loads(content, parse_float=_finite, parse_constant=_finite)
    except RecursionError as error:
        msg = "nested too deeply"
        raise ValueError(msg) from error


def parse_toml(content: bytes) -> dict[str, Any]:
    """As ``tomllib.loads`` of UTF-8, but every failure is a ``ValueError``; see :func:`parse_json`."""
    try:
        return tomllib.loads(content.decode("utf-8"), parse_float=_finite)
    except RecursionError as error:
        msg = "nested too deeply"
        raise ValueError(msg) from error


def _finite(text: str) -> float:
    """No document that decides holds ``nan``, which is below no threshold and above none, nor ``1e999``."""
    value = float(text)
    if not math.isfinite(value):
        msg = f"'{text}' is not a number with an end"
        raise ValueError(msg)
    return value


def safe_name(text: str) -> str:
    """A file or folder name for text from elsewhere: no way out of its folder, not hidden, not too long.

    Different texts give different names.

    Example:
        >>> safe_name("1.2.840"), safe_name("../etc")
        ('1.2.840', '_etc-f7f9121f')
    """
    name = re.sub(r"[^\w.-]+", "_", text).lstrip(".")[:_LONGEST_NAME]
    if name and name == text:
        return name
    return f"{name}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def check_out_file(path: Path) -> None:
    """Refuse, before any work is done, a file that could not be written when it is finished.

    Raises:
        InputError: It is a folder, no regular file, a link that leads round in a circle, or may not be written.
    """
    target = _target(path)
    if target.exists() and not os.access(target, os.W_OK):
        raise InputError(f"{path}: may not be written; name another file, or allow it")
    _check_may_make(path, target.parent)


def check_out_folder(path: Path) -> None:
    """Refuse, before any work is done, a folder that is none or in which nothing could be made.

    Raises:
        InputError: It is a file, a link that leads nowhere, or may not be written.
    """
    if not path.is_dir() and os.path.lexists(path):
        what = "a link that leads nowhere" if path.is_symlink() else "a file of this name is there"
        raise InputError(f"{path}: {what}; name another folder")
    _check_may_make(path, path)


def _check_may_make(path: Path, folder: Path) -> None:
    """Make a file without a name where the folder is or would be: its mode alone does not tell what may be written."""
    while not folder.is_dir():
        if os.path.lexists(folder):
            raise InputError(f"{path}: {folder} is no folder; name another place")
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{path}: nothing can be written in {folder} ({error.strerror}); name another place"
        ) from error


def _target(path: Path) -> Path:
    """Where a file really lies: a link is written through and stays.

    Raises:
        InputError: What is there is no regular file; a device, pipe or socket must not be replaced by one.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise InputError(f"{path}: is a folder; name a file")
    if os.path.lexists(target) and not target.is_file():
        raise InputError(f"{path}: not a regular file, and is not written over; name another file")
    return target


def make_folder(path: Path, *, private: bool = True) -> None:
    """Make a folder where it is missing, and those above it.

    Args:
        path: The folder; one that is there stays as it is.
        private: For this account alone: the names of files tell of patients too.
    """
    if not path.is_dir():
        make_folder(path.parent, private=private)
        path.mkdir(mode=0o700 if private else 0o777, exist_ok=True)


def write_bytes(path: Path, content: bytes, *, private: bool = True) -> None:
    """Write through a temporary file in the same folder, so that a reader never sees half a file.

    Args:
        path: Where to; a link is written through.
        content: All of it.
        private: Only this account may read it. ``False`` only for what holds nothing of a patient; then the umask
            alone decides.

    Raises:
        InputError: What is there is no regular file.
        OSError: The disk is full, or the folder may not be written.
    """
    target = _target(path)
    make_folder(target.parent, private=private)
    temporary = target.with_name(f".duoscan-{secrets.token_hex(8)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, content: str, *, private: bool = True) -> None:
    """Write UTF-8 text atomically; bytes of a file name that are no text (PEP 383) are spelled out."""
    write_bytes(path, content.encode("utf-8", "backslashreplace"), private=private)
