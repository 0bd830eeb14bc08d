"""Tables as rows of cells: from elsewhere within bounds, since a small file can name one that fills any memory.

What duoscan writes it reads back unchanged, and a spreadsheet shows it and computes nothing (docs/security.md).
"""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

MAX_COLUMNS = 2_000
MAX_CELLS = 6_000_000
"""Columns times rows, a row counting for eight cells more; 300,000 images with all that is known of them."""

MAX_CELL_BYTES = 128 * 2**10
"""The bound of Python's csv module, for Parquet too."""

_ROW_COST = 8
_BATCH = 8192

# What a spreadsheet takes for a formula where it begins a cell, the wide forms of East Asian keyboards too
# (OWASP, "CSV Injection"). The apostrophes before it are of an earlier writing, or of the text itself.
_FORMULA = re.compile("'*[=+\\-@\t\n\r\uff0b\uff0d\uff1d\uff20]")
_NEGATIVE = re.compile(r"-\d+(\.\d+)?(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)

_OCTET = 0xEF00
"""A byte that is no text, plus this, is a character of the private use area that UTF-8 can hold."""

_NO_TEXT = re.compile("[\0\ud800-\udfff\uef80-\uefff]")
_KEPT = re.compile("[\uef80-\uefff]")


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A CSV table that :func:`csv_rows` reads back.

    A text that a spreadsheet would take for a formula gets an apostrophe before it. Numbers are written by ``repr``
    and so come back bit for bit; ``None`` is an empty cell.

    Args:
        columns: The header.
        rows: As many cells each.
    """
    stream = io.StringIO(newline="")
    plain = csv.writer(stream, lineterminator="\n")
    quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in (columns, *rows):
        cells = [_shown(cell) if isinstance(cell, str) else cell for cell in row]
        # The writer quotes a line feed within a cell, being the line's end, but no carriage return.
        has_return = any("\r" in cell for cell in cells if isinstance(cell, str))
        (quoted if has_return else plain).writerow(cells)
    return stream.getvalue()


def storable(text: str) -> str:
    """Text that UTF-8 can hold, for a cell; :func:`stored` gives the text back.

    Bytes of a file name that are no text (PEP 383), and characters that would be taken for such bytes, stand in the
    private use area U+EF80 to U+EFFF. A NUL, which no reader of tables takes, becomes a visible mark.
    """
    return _NO_TEXT.sub(_octets, text)


def stored(text: str) -> str:
    """The text that :func:`storable` was given."""
    if _KEPT.search(text) is None:
        return text
    named = _KEPT.sub(lambda found: chr(ord(found[0]) - _OCTET + 0xDC00), text)
    return named.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _octets(found: re.Match[str]) -> str:
    character = found[0]
    if character == "\0":
        return "\u2400"
    is_byte = "\udc80" <= character <= "\udcff"
    octets = bytes([ord(character) & 0xFF]) if is_byte else character.encode("utf-8", "surrogatepass")
    return "".join(chr(_OCTET + octet) for octet in octets)


def _shown(text: str) -> str:
    is_formula = _FORMULA.match(text) and not _NEGATIVE.fullmatch(text)
    return storable(f"'{text}" if is_formula else text)


def _meant(cell: str) -> str:
    return stored(cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell)


def csv_rows(text: str, delimiter: str) -> Iterator[list[str]]:
    """The rows of a CSV table.

    A cell that :func:`csv_text` wrote, or a spreadsheet marked as text in the same way, is read as what is meant.

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
        yield [_meant(cell) for cell in row]


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
    known: list[Any] = [stored(value) if isinstance(value, str) else value for value in values.to_pylist()]
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
