"""A reading room as one file, and back; for SQLite, while it runs."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from duoscan.errors import InputError
from duoscan.files import file_sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

DATABASE_FILE = "room.sqlite"
_IMAGE = re.compile(r"images/([0-9a-f]{2})/(\1[0-9a-f]{62})(\.[a-z0-9]{1,8}){0,2}")
_PRIVATE = 0o700


def write_backup(root: Path, out: Path) -> int:
    """Write database and images; the database as of one moment, and every image it names.

    Args:
        root: Folder of the room.
        out: A tar file; whole or not at all.

    Returns:
        How many images.

    Raises:
        InputError: There is no such room, or the file is there already.
    """
    if not (root / DATABASE_FILE).is_file():
        raise InputError(f"{root}: no reading room with a database of its own; with PostgreSQL use pg_dump")
    if out.exists():
        raise InputError(f"{out}: is there already; name another file")
    with tempfile.TemporaryDirectory(dir=out.absolute().parent) as folder:
        copy, half = Path(folder) / DATABASE_FILE, Path(folder) / "half.tar"
        _copy_database(root / DATABASE_FILE, copy)
        images = 0
        # Images are never changed, and written before they are named, so all that the copy names are there.
        with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as stream:
            with tarfile.open(fileobj=stream, mode="w") as archive:
                archive.add(copy, DATABASE_FILE)
                for path in _images(root):
                    archive.add(path, path.relative_to(root).as_posix())
                    images += 1
            stream.flush()
            os.fsync(stream.fileno())
        half.replace(out)
    return images


def _copy_database(source: Path, target: Path) -> None:
    opened, copy = sqlite3.connect(source), sqlite3.connect(target)
    try:
        opened.backup(copy)
    finally:
        opened.close()
        copy.close()


def _images(root: Path) -> Iterator[Path]:
    for path in sorted((root / "images").glob("??/*")):
        if _IMAGE.fullmatch(path.relative_to(root).as_posix()):
            yield path


def restore_backup(file: Path, root: Path) -> int:
    """Make a room of what :func:`write_backup` wrote; every image is held against its hash.

    Args:
        file: The tar file.
        root: Folder that is empty or missing.

    Returns:
        How many images.

    Raises:
        InputError: The folder is not empty, or the file is damaged or holds something else; nothing is left then.
    """
    if root.exists() and any(root.iterdir()):
        raise InputError(f"{root}: is not empty; name a new folder")
    root.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
    try:
        return _unpack(file, root)
    except (tarfile.TarError, OSError) as error:
        shutil.rmtree(root)
        raise InputError(f"{file}: cannot be restored ({error}); take another backup") from error
    except InputError:
        shutil.rmtree(root)
        raise


def _unpack(file: Path, root: Path) -> int:
    with tarfile.open(file, "r:") as archive:
        images = sum(_unpacked(archive, member, root, file) for member in archive)
    if not (root / DATABASE_FILE).is_file():
        raise InputError(f"{file}: holds no {DATABASE_FILE}; it is no backup of a reading room")
    return images


def _unpacked(archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path, file: Path) -> bool:
    """Whether it was an image."""
    match = _IMAGE.fullmatch(member.name)
    packed = archive.extractfile(member) if member.isreg() else None
    if packed is None or not (match or member.name == DATABASE_FILE):
        raise InputError(f"{file}: holds something else than a reading room; it is no backup of one")
    path = root / member.name
    path.parent.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        shutil.copyfileobj(packed, stream)
        stream.flush()
        os.fsync(stream.fileno())
    if match and file_sha256(path) != match[2]:
        raise InputError(f"{file}: an image in it is damaged; take another backup")
    return match is not None
