"""Answers as they come, in a file beside the one that is written whole at the end: a killed command leaves them."""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, Self

from duoscan.files import make_folder
from duoscan.interfaces.cli.tables import echo
from duoscan.rows import csv_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SUFFIX = ".part"


class PartFile:
    """A CSV table of what is answered so far, each row handed to the system as soon as it is there.

    It is removed when the block ends, since the whole file stands then; an error leaves it, and tells where it lies.

    Args:
        whole: The file that is written at the end; ``None`` writes nothing.
        columns: The header.
        kind: What the rows are of, where one file has several such tables: part of the name.
    """

    def __init__(self, whole: Path | None, columns: Sequence[str], kind: str = "") -> None:
        self.path = None if whole is None else whole.with_name(f"{whole.name}{kind}{SUFFIX}")
        self._columns = columns
        self._stream: IO[str] | None = None
        self._rows = 0

    def add(self, cells: Sequence[object]) -> None:
        """Write one more row."""
        if self._stream is not None:
            self._write(cells)
            self._rows += 1

    def __enter__(self) -> Self:
        if self.path is not None:
            make_folder(self.path.parent)
            # For this account alone, as the whole file will be; what a killed command left is of the same images.
            self.path.unlink(missing_ok=True)
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            self._stream = os.fdopen(handle, "w", encoding="utf-8", newline="")
            self._write(self._columns)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._stream is None or self.path is None:
            return
        self._stream.close()
        if kind is None or not self._rows:
            self.path.unlink(missing_ok=True)
        else:
            echo(f"{self.path}: {self._rows} rows, answered before the command ended early", err=True)

    def _write(self, cells: Sequence[object]) -> None:
        if self._stream is not None:
            self._stream.write(csv_text([_as_text(cell) for cell in cells], ()))
            self._stream.flush()


def _as_text(cell: object) -> str:
    return "" if cell is None else repr(cell) if isinstance(cell, float) else str(cell)
