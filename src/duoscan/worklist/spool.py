"""Where a node's files lie. Names are hashes, or UIDs that were checked: what a peer sends never becomes a path.

::

    spool/
        journal.sqlite        what became of each study
        key                   secret of the hashes in the log
        lock                  held by the running node
        incoming/             objects half received; emptied on start
        staging/              results half made; emptied on start, and after a screening that failed
        studies/<study>/<object>.dcm
        results/<patient>/<set of images>/
            answer.json, maps.npz     the stored case
            <StudyInstanceUID>/       what is sent of a study
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from duoscan.errors import InputError
from duoscan.privacy.pseudonyms import read_key, write_new_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

_NAME_DIGITS = 40
_PRIVATE = 0o700


def file_key(uid: str) -> str:
    """The name of a UID on disk."""
    return hashlib.sha256(uid.encode()).hexdigest()[:_NAME_DIGITS]


@dataclass(frozen=True)
class Spool:
    """The folder.

    Attributes:
        root: Made where missing, for its owner alone.
    """

    root: Path

    @property
    def journal(self) -> Path:
        """The database."""
        return self.root / "journal.sqlite"

    @property
    def _incoming(self) -> Path:
        return self.root / "incoming"

    @property
    def staging(self) -> Path:
        """For results half made."""
        return self.root / "staging"

    def prepare(self) -> None:
        """Make the folders and remove what was left half done; call it under :meth:`lock`."""
        for folder in (self._incoming, self.staging):
            _empty(folder)
        for folder in (self.root / "studies", self.results):
            folder.mkdir(mode=_PRIVATE, exist_ok=True)
        if not self._key.exists():
            write_new_key(self._key)
        sync(self.root)

    def clear_staging(self) -> None:
        """Remove what a screening that failed left half made; not while one is under way."""
        _empty(self.staging)

    @property
    def _key(self) -> Path:
        return self.root / "key"

    def key(self) -> bytes:
        """Secret of the hashes in the log."""
        return read_key(self._key)

    def lock(self) -> int:
        """Keep other nodes out until this process ends; the open file.

        Raises:
            InputError: Another node has it, or the folder cannot be made.
        """
        try:
            self.root.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
            handle = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise InputError(
                f"{self.root}: cannot be used as spool ({error.strerror}); name a folder of yours"
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise InputError(f"{self.root}: another node runs on this spool; stop it first") from error
        return handle

    def free_bytes(self) -> int:
        """Room on the disk."""
        return shutil.disk_usage(self.root).free

    def write_incoming(self, parts: Iterable[bytes | memoryview]) -> Path:
        """Write an object to a temporary file; it is on the disk, its name is not yet.

        Raises:
            OSError: The disk is full or failing; nothing is left.
        """
        handle, name = tempfile.mkstemp(dir=self._incoming)
        try:
            with os.fdopen(handle, "wb") as stream:
                for part in parts:
                    stream.write(part)
                stream.flush()
                os.fsync(stream.fileno())
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return Path(name)

    def keep(self, temporary: Path, study: str, name: str) -> None:
        """Give a received object its place; file and name are on the disk when this returns."""
        target = self.object_file(study, name)
        if not target.parent.is_dir():
            target.parent.mkdir(mode=_PRIVATE, exist_ok=True)
            sync(target.parent.parent)
        temporary.replace(target)
        sync(target.parent)

    def object_file(self, study: str, name: str) -> Path:
        """Where an object lies; both names are from :func:`file_key`."""
        return self.root / "studies" / study / f"{name}.dcm"

    def objects(self) -> Iterator[tuple[str, str, Path]]:
        """Study, name and file of everything received."""
        for path in sorted((self.root / "studies").glob("*/*.dcm")):
            yield path.parent.name, path.stem, path

    @property
    def results(self) -> Path:
        """Folder of all results; below it the folder of each screening, which is there when they are complete."""
        return self.root / "results"

    def keep_results(self, staged: Path, target: Path) -> None:
        """Move complete results to their place; all of it is on the disk when this returns."""
        for path in staged.rglob("*"):
            sync(path)
        sync(staged)
        target.parent.mkdir(mode=_PRIVATE, exist_ok=True)
        staged.rename(target)
        sync(target.parent)
        sync(target.parent.parent)

    def remove(self, study: str) -> None:
        """Remove the files of a study."""
        shutil.rmtree(self.root / "studies" / study, ignore_errors=True)

    def remove_results(self, *, before: float, but: Collection[str]) -> None:
        """Remove results made before a time, except of some patients."""
        for folder in self.results.glob("*/*"):
            if folder.parent.name not in but and folder.stat().st_mtime < before:
                shutil.rmtree(folder, ignore_errors=True)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=_PRIVATE, exist_ok=True)


def sync(path: Path) -> None:
    """Have the disk confirm a file's content or a folder's names (fsync(2)); without, a power cut may undo them."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
