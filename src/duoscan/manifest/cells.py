"""CSV and Parquet files as rows of text, before anything is known about what the columns mean."""

from __future__ import annotations

import csv
import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from duoscan.errors import ManifestError, MissingExtraError
from duoscan.files import read_bytes
from duoscan.rows import csv_rows, parquet_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CSV_SUFFIXES = frozenset({".csv", ".tsv", ".txt"})
PARQUET_SUFFIXES = frozenset({".parquet", ".pq"})
_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Row:
    """One row as text.

    Attributes:
        number: As a spreadsheet shows it: the header is row 1.
        cells: Column name → text without outer spaces; an empty or missing cell is ``""``.
    """

    number: int
    cells: dict[str, str]


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        path: The file it was read from.
        columns: Header names in the file's order.
        rows: Rows that hold anything; blank lines are left out but counted.
        problems: One line for each row that could not be taken apart.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    problems: tuple[str, ...] = ()


def is_table(path: Path) -> bool:
    """Whether the file name is that of a CSV or Parquet table."""
    return path.suffix.lower() in CSV_SUFFIXES | PARQUET_SUFFIXES


def read_table(path: Path) -> Table:
    """Read a CSV (comma, semicolon or tab; UTF-8 with or without BOM) or Parquet file.

    Raises:
        ManifestError: The file is missing, empty, of another kind, not UTF-8, or damaged.
        MissingExtraError: A Parquet file without the extra ``parquet``.
    """
    if not path.is_file():
        raise ManifestError(f"{path}: no such file; give the path of a CSV or Parquet table")
    if not is_table(path):
        raise ManifestError(f"{path}: '{path.suffix}' is not a known kind of table; use .csv, .tsv or .parquet")
    if path.stat().st_size == 0:
        raise ManifestError(f"{path}: the file is empty; it needs a header row and one row an image")
    table = _read_parquet(path) if path.suffix.lower() in PARQUET_SUFFIXES else _read_csv(path)
    if not table.rows and not table.problems:
        raise ManifestError(f"{path}: the table has a header but no rows; it needs one row an image")
    return table


def renamed(table: Table, columns: Mapping[str, str]) -> Table:
    """The same rows under other column names.

    Args:
        table: The rows.
        columns: New name → name in the table. A column that had the new name before gives way.

    Raises:
        ManifestError: The table lacks one of the columns.
    """
    missing = sorted(set(columns.values()) - set(table.columns))
    if missing:
        raise ManifestError(
            f"{table.path}: no column {', '.join(missing)} (found: {', '.join(table.columns)}); "
            "correct the name after '='"
        )
    rows = tuple(
        Row(row.number, {**row.cells, **{new: row.cells[old] for new, old in columns.items()}}) for row in table.rows
    )
    names = dict.fromkeys([*table.columns, *columns])
    return replace(table, columns=tuple(names), rows=rows)


def _read_csv(path: Path) -> Table:
    text = _decoded(path)
    header_line = text.lstrip().partition("\n")[0]
    # Counting in the header is enough and never fails on one column, where csv.Sniffer gives up.
    delimiter = max(_DELIMITERS, key=header_line.count)
    try:
        lines = list(csv_rows(text, delimiter))
    except (csv.Error, ValueError) as error:
        raise ManifestError(f"{path}: not a readable CSV file ({error}); save it again as CSV UTF-8") from error
    filled = [(number, [cell.strip() for cell in line]) for number, line in enumerate(lines, 1)]
    filled = [(number, line) for number, line in filled if any(line)]
    if not filled:
        raise ManifestError(f"{path}: the file is empty; it needs a header row and one row an image")
    (_, columns), *body = filled
    _check_columns(path, columns)
    rows, problems = [], []
    for number, line in body:
        if any(line[len(columns) :]):
            problems.append(
                f"row {number}: {len(line)} cells but {len(columns)} columns; put quotes around a cell that "
                f"holds the delimiter {delimiter!r}"
            )
            continue
        padded = [*line, *[""] * (len(columns) - len(line))]
        rows.append(Row(number, dict(zip(columns, padded, strict=False))))
    return Table(path, tuple(columns), tuple(rows), tuple(problems))


def _decoded(path: Path) -> str:
    data = read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ManifestError(
            f"{path}: not UTF-8 (byte 0x{data[error.start]:02X} in line {line}); save it as 'CSV UTF-8'"
        ) from error


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    twice = sorted(column for column, count in Counter(columns).items() if column and count > 1)
    if twice:
        raise ManifestError(f"{path}: columns stand twice in the header: {', '.join(twice)}; keep one of each")


def _read_parquet(path: Path) -> Table:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MissingExtraError("parquet", f"reading {path.name}") from error
    try:
        columns, found = parquet_rows(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        first = str(error).partition("\n")[0]
        raise ManifestError(f"{path}: not a readable Parquet file ({first})") from error
    _check_columns(path, columns)
    rows = tuple(
        Row(number, {column: _text(cell) for column, cell in zip(columns, cells, strict=True)})
        for number, cells in enumerate(found, 2)
    )
    return Table(path, tuple(columns), rows)


def _text(cell: Any) -> str:
    """Text of one typed cell; a whole number that pandas made a float beside gaps is whole again."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()
