"""Rows of a table that speak of one image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from duoscan.predictions import ROW_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from duoscan.predictions import Prediction

_SHOWN = 3


def repeat_notes(rows: Sequence[Prediction]) -> Iterator[str]:
    """What a reader must know of rows that stand twice, one sentence each; two labels of an image are a fault.

    Args:
        rows: Of any model. Rows that name no image are compared where they name a patient, by all that they say.
    """
    groups = [own for own in _by_image(rows).values() if len(own) > 1]
    if groups:
        count = sum(len(own) - 1 for own in groups)
        differ = sum(len({row.probability for row in own}) > 1 for own in groups)
        apart = f", {differ} with different answers" if differ else ""
        yield (
            f"{count} rows repeat a path that the table already holds ({_named(groups)}){apart}; leave one of each, or "
            "if that column names patients, say --column patient_id=THEIRS."
        )
    unnamed = [replace(row, path="") for row in rows if ROW_NAME.fullmatch(row.path) and row.patient_id]
    if alike := len(unnamed) - len({repr(row) for row in unnamed}):
        yield f"{alike} rows without a path are equal to another in all they say; if they stand twice, remove one."


def two_labels(rows: Sequence[Prediction]) -> str:
    """The fault that an image carries two labels, in one sentence; empty where none does."""
    groups = [own for own in _by_image(rows).values() if len({row.label for row in own if row.label}) > 1]
    if not groups:
        return ""
    first = groups[0]
    labels = " and ".join(sorted({row.label for row in first if row.label}))
    return f"{len(groups)} images carry two labels, e.g. {first[0].path}: {labels}."


def _by_image(rows: Sequence[Prediction]) -> dict[tuple[str | None, ...], list[Prediction]]:
    found: dict[tuple[str | None, ...], list[Prediction]] = {}
    for row in rows:
        if not ROW_NAME.fullmatch(row.path):
            found.setdefault((row.source, row.path), []).append(row)
    return found


def _named(groups: Sequence[Sequence[Prediction]]) -> str:
    shown = ", ".join(own[0].path for own in groups[:_SHOWN])
    return f"{shown}, …" if len(groups) > _SHOWN else shown
