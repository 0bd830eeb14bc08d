"""How an object shows itself in a notebook: a caption, a small table, notes. Whatever is shown is escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MOST_ROWS = 60
"""More are left out, and their number is told."""


def shown(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], notes: Iterable[str] = (), *, total: int = 0
) -> str:
    """HTML of one object.

    Args:
        title: What it is, above the table.
        columns: Heads.
        rows: Cells as they are read; those beyond ``MOST_ROWS`` are left out.
        notes: Below the table, a paragraph each.
        total: How many rows there are, where ``rows`` holds the first ones alone.
    """
    listed = list(rows)
    left = max(total, len(listed)) - min(len(listed), MOST_ROWS)
    head = "".join(f"<th style='text-align:left'>{_text(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{_text(cell)}</td>" for cell in row) + "</tr>"
        for row in listed[:MOST_ROWS]
    )
    said = [*([f"… and {left} more"] if left else []), *filter(None, notes)]
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if columns else ""
    return f"<div><p><b>{_text(title)}</b></p>{table}{''.join(f'<p>{_text(note)}</p>' for note in said)}</div>"


def _text(cell: object) -> str:
    return escape("–" if cell is None or cell == "" else str(cell))
