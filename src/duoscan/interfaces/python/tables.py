"""Tables of any kind in: data frames, dictionaries of columns, files; and one kind out.

Whatever comes in is read by the reader of files, so that a data frame is checked as strictly as a CSV.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol, cast

from duoscan.errors import InputError
from duoscan.files import write_text
from duoscan.notebook import shown
from duoscan.predictions import Prediction, write_predictions
from duoscan.rows import csv_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_FILE = "table.csv"


class Columns(Protocol):
    """Anything with named columns: a data frame, a dictionary of lists or arrays."""

    def keys(self) -> Iterable[str]:
        """Names of the columns."""

    def __getitem__(self, name: str, /) -> Any:
        """One column."""


AnyTable = Columns | Sequence[Prediction] | str | Path
"""A file, a data frame, a dictionary of columns, or rows as this library makes them."""


class Table(dict[str, list[Any]]):
    """Columns by name; ``pandas.DataFrame(table)`` and ``polars.DataFrame(table)`` take it as it is.

    Example:
        >>> Table.of(("metric", "value"), [("AUROC", 0.9)])
        {'metric': ['AUROC'], 'value': [0.9]}
    """

    @classmethod
    def of(cls, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
        """A table of rows."""
        listed = list(rows)
        return cls({name: [row[place] for row in listed] for place, name in enumerate(columns)})

    def _repr_html_(self) -> str:
        rows = [
            [f"{cell:.3f}" if isinstance(cell, float) else cell for cell in row]
            for row in zip(*self.values(), strict=True)
        ]
        return shown("", tuple(self), rows)


@contextmanager
def as_file(table: AnyTable, columns: Mapping[str, str] | None = None) -> Iterator[Path]:
    """A table as a file that the readers take, gone afterwards unless it was one before.

    Args:
        table: Any.
        columns: Our name of a column → its name in the table.

    Raises:
        InputError: It is no table, its columns differ in length, or a column named is not there.
    """
    if isinstance(table, (str, Path)):
        if columns:
            raise InputError("columns are renamed in tables from memory; read the file first, e.g. with pandas")
        yield Path(table)
        return
    with TemporaryDirectory() as folder:
        path = Path(folder) / _FILE
        if isinstance(table, Sequence):
            write_predictions(cast("Sequence[Prediction]", table), path)
        else:
            write_text(path, _csv(table, columns or {}))
        try:
            yield path
        except InputError as error:  # nobody knows the file
            raise type(error)(str(error).replace(str(path), "the table")) from error


def _csv(table: Columns, columns: Mapping[str, str]) -> str:
    if not hasattr(table, "keys"):
        raise InputError(f"{type(table).__name__} has no columns; give a data frame, a dictionary of columns or a file")
    theirs = [str(name) for name in table.keys()]  # noqa: SIM118 - a data frame iterates over columns by keys alone
    if missing := sorted(set(columns.values()) - set(theirs)):
        raise InputError(f"no column {', '.join(missing)} (found: {', '.join(theirs)}); correct columns={{…}}")
    ours = {name: own for own, name in columns.items()}
    cells = [[_cell(value) for value in _listed(table[name])] for name in theirs]
    if len({len(column) for column in cells}) > 1:
        lengths = ", ".join(f"{name} {len(column)}" for name, column in zip(theirs, cells, strict=True))
        raise InputError(f"columns differ in length ({lengths}); give as many values in each")
    return csv_text([ours.get(name, name) for name in theirs], zip(*cells, strict=True))


def _listed(column: Any) -> list[Any]:
    return list(column.tolist() if hasattr(column, "tolist") else column)


def _cell(value: Any) -> object:
    """As a file holds it: nothing where it is missing, whole numbers without a point, else as text."""
    if value is None or (isinstance(value, numbers.Real) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        return int(number) if number.is_integer() else number
    text = str(value)
    return None if text in {"<NA>", "NaT"} else text


def as_path(model: Any) -> Path | None:
    """Where a model lies, given as its path or as a bundle in memory; ``None`` for anything else."""
    if isinstance(model, (str, Path)):
        return Path(model)
    return cast("Path", model.path) if hasattr(model, "graph") and hasattr(model, "path") else None
