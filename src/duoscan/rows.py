"""Tables from elsewhere as rows of cells, within bounds: a small file can name a table that fills any memory."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MAX_COLUMNS = 2_000
MAX_CELLS = 6_000_000
"""Columns times rows, a row counting for eight cells more; 300,000 images with all that is known of them."""

MAX_CELL_BYTES = 128 * 2**10
"""The bound of Python's csv module, for Parquet too."""

_ROW_COST = 8
_BATCH = 8192


def csv_rows(text: str, delimiter: str) -> Iterator[list[str]]:
    """The rows of a CSV table.

    Raises:
        ValueError: There are too many columns or cells.
        csv.Error: It is no table; a quote that is never closed would swallow the rows after it without a word.
    """
    _check_text([text])
    columns, cells = 0, 0
    for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
        columns = max(columns, len(row))
        cells += columns + _ROW_COST
        _check_size(columns, cells)
        yield row


def parquet_rows(path: Path) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The column names of a Parquet table, and its rows.

    Raises:
        ValueError: There are too many columns or cells, or a cell is too long or of a nested kind.
        ImportError: pyarrow is not installed.
        pyarrow.ArrowException: It is no table.
        OSError: The same.
    """
    from pyarrow import parquet, types

    with parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
        names = [str(name) for name in schema.names]
        _check_size(len(names), file.metadata.num_rows * (len(names) + _ROW_COST))
    if nested := [field.name for field in schema if types.is_nested(field.type)]:
        msg = f"column {nested[0]} holds {schema.field(nested[0]).type}; cells must be numbers or text"
        raise ValueError(msg)
    rows: list[tuple[Any, ...]] = []
    # A dictionary stays one while it is measured: one long text in it may stand in a million rows.
    with parquet.ParquetFile(path, read_dictionary=names) as file:
        for batch in file.iter_batches(_BATCH):
            batch.validate(full=True)  # else an index beyond its dictionary is followed
            columns = [_cells(column) for column in batch.columns]
            rows += zip(*columns, strict=True)
            _check_size(len(names), len(rows) * (len(names) + _ROW_COST))
    return names, rows


def _cells(column: Any) -> list[Any]:
    from pyarrow import compute, types

    is_encoded = types.is_dictionary(column.type)
    values = column.dictionary if is_encoded else column
    if any(kind(values.type) for kind in (types.is_string, types.is_binary, types.is_large_string)):
        longest = compute.max(compute.binary_length(values)).as_py() or 0
        if longest > MAX_CELL_BYTES:
            msg = f"a cell has {longest:,} bytes; at most {MAX_CELL_BYTES:,} are read"
            raise ValueError(msg)
    known: list[Any] = values.to_pylist()
    _check_text(known)
    if not is_encoded:
        return known
    # Equal cells share one object.
    return [None if index is None else known[index] for index in column.indices.to_pylist()]


def _check_text(texts: Iterable[object]) -> None:
    if any(isinstance(text, str) and "\0" in text for text in texts):
        msg = "it holds a NUL character, which no table needs"
        raise ValueError(msg)


def _check_size(columns: int, cells: int) -> None:
    if columns > MAX_COLUMNS or cells > MAX_CELLS:
        msg = f"more than {MAX_COLUMNS:,} columns, or more than {MAX_CELLS:,} cells; split the table"
        raise ValueError(msg)
