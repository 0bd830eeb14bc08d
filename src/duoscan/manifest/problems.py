"""How the rows that are wrong are told to a person: all are gathered, the first are listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Enough to see every kind of fault; a table with ten thousand bad rows must not fill the screen.
MOST_LISTED = 50


def first_of(lines: Sequence[str], most: int = MOST_LISTED) -> list[str]:
    """The first lines, and one more that says how many were left out."""
    left = len(lines) - most
    return [*lines[:most], *([f"… and {left} more"] if left > 0 else [])]


def manifest_error(summary: str, problems: Sequence[str]) -> ManifestError:
    """An error that lists the first problems and says how many more there are."""
    return ManifestError(summary, first_of(problems))
