"""Images as they came, each once, named by the hash of its content.

The ending of a file's name is part of the name here where it tells the format, since some formats say what they are
nowhere else.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from duoscan.files import file_sha256
from duoscan.formats.reader import IMAGE_SUFFIXES
from duoscan.worklist.spool import sync

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"[0-9a-f]{64}(\.[a-z0-9]{1,8}){0,2}")
_PRIVATE = 0o700
_ENDING = re.compile(r"(\.[a-z0-9]{1,8}){1,2}")


class Blobs:
    """The folder.

    Args:
        root: Made where missing, for its owner alone.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / "incoming"
        self._incoming.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)

    def incoming(self) -> Path:
        """A new name for a file on its way in."""
        return self._incoming / secrets.token_hex(16)

    def clear_incoming(self, *, older_than: float) -> None:
        """Remove what was left half received, where nothing was written to it since a time."""
        for path in self._incoming.iterdir():
            if path.stat().st_mtime < older_than:
                path.unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Room on the disk."""
        return shutil.disk_usage(self._root).free

    def path(self, blob: str) -> Path:
        """Where a blob lies.

        Raises:
            ValueError: It is no name of a blob.
        """
        if not _NAME.fullmatch(blob):
            msg = "not the name of a blob"
            raise ValueError(msg)
        return self._root / blob[:2] / blob

    def keep(self, incoming: Path, name: str) -> str:
        """Move a file in; content and name are on the disk when this returns.

        Args:
            incoming: On the same disk; gone afterwards.
            name: As a person called it, for its ending.

        Returns:
            The name of the blob.
        """
        blob = file_sha256(incoming) + _ending(name)
        target = self.path(blob)
        if target.exists():
            incoming.unlink()
            return blob
        if not target.parent.is_dir():
            target.parent.mkdir(mode=_PRIVATE, exist_ok=True)
            sync(self._root)
        sync(incoming)
        incoming.replace(target)
        sync(target.parent)
        return blob

    def keep_copy(self, path: Path, name: str) -> str:
        """As :meth:`keep`, of a file that may lie elsewhere and stays."""
        copy = self.incoming()
        shutil.copyfile(path, copy)
        os.chmod(copy, 0o600)  # noqa: PTH101 - beside its copy
        return self.keep(copy, name)


def _ending(name: str) -> str:
    lower = PurePosixPath(name.replace("\\", "/")).name.lower()
    known = (suffix for suffix in IMAGE_SUFFIXES if lower.endswith(suffix))
    ending = max(known, key=len, default=PurePosixPath(lower).suffix)
    return ending if _ENDING.fullmatch(ending) else ""
