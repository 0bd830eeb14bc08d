"""The last multi-frame file that was opened, kept for the frames that are wanted next."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class _KeptOpen:
    """A context in which the file opened last stays in memory, so that its frames are read from it one by one.

    A file of hundreds of slices would otherwise be parsed, and a compressed volume be unpacked, for each of them.
    One shared instance counts who is inside and lets go of the file when the last one leaves. Outside of it nothing
    is kept.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._key: tuple[Path, int, int] | None = None
        self._content: Any = None

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._key = self._content = None

    def opened(self, path: Path, opener: Callable[[Path], Any]) -> Any:
        """What ``opener`` makes of the file, or made of it last time.

        Threads that want frames of one file wait for the one that opens it.
        """
        with self._lock:
            status = path.stat()
            key = (path, status.st_mtime_ns, status.st_size)
            if self._key == key:
                return self._content
            # Let go first, so that two files are never held.
            self._key = self._content = None
            content = opener(path)
            if self._inside:
                self._key, self._content = key, content
            return content


kept_open = _KeptOpen()
"""``with kept_open:`` around reading many images."""
