"""The folder of a reading room and its database, opened together.

::

    room/
        room.sqlite      the database, unless another is named
        images/          every image once, by the hash of its content
        cache/           slices as they were shown; may be deleted
        scratch/         results half made; emptied on start
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.errors import InputError
from duoscan.worklist.store.blobs import Blobs
from duoscan.worklist.store.database import Database

if TYPE_CHECKING:
    from pathlib import Path

_PRIVATE = 0o700


class Store:
    """All that is kept.

    Args:
        root: The folder; made where missing, for its owner alone.
        url: Of the database; SQLite in the folder where ``None``.

    Raises:
        InputError: The folder or the database cannot be used.
    """

    def __init__(self, root: Path, url: str | None = None) -> None:
        self.root = root.resolve()
        try:
            for folder in (self.root, self.cache, self.scratch):
                folder.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
            self.blobs = Blobs(self.root / "images")
        except OSError as error:
            msg = f"{root}: cannot be used as a reading room ({error.strerror}); name a folder of yours"
            raise InputError(msg) from error
        self.database = Database(url or f"sqlite:///{self.root / 'room.sqlite'}")
        try:
            self.database.upgrade()
        except InputError:
            self.database.close()
            raise

    @property
    def cache(self) -> Path:
        """For slices as they were shown."""
        return self.root / "cache"

    @property
    def scratch(self) -> Path:
        """For results half made."""
        return self.root / "scratch"

    def close(self) -> None:
        """Close the database."""
        self.database.close()
