"""What further heads learn from: a column of the manifest, or of a table of its own that is joined by path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from duoscan.errors import ManifestError
from duoscan.inference.heads import key_of
from duoscan.manifest.cells import read_table
from duoscan.manifest.problems import manifest_error
from duoscan.training.recipe import CategoryHeadSection

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from duoscan.manifest.records import ImageRecord, Manifest
    from duoscan.training.recipe import HeadSection


@dataclass(frozen=True)
class Reference:
    """One image with what raters said of it.

    Attributes:
        record: The image.
        value: Place of the category, or the score.
    """

    record: ImageRecord
    value: float


def read_references(section: HeadSection, manifest: Manifest) -> list[Reference]:
    """The images of a manifest that a head learns from.

    An empty cell says nothing of its image, and neither does a text that is none of the head's categories.

    Args:
        section: Which head.
        manifest: Images that may be learned from, at most.

    Raises:
        ManifestError: There is no such column, a score is none or lies beyond the scale, or nothing is left.
    """
    cell_of = _column(section, manifest)
    found, problems = [], []
    for record in manifest:
        try:
            value = _value(section, cell_of(record))
        except ValueError as error:
            problems.append(f"  {record.path}: {error}")
            continue
        if value is not None:
            found.append(Reference(record, value))
    if problems:
        raise manifest_error(f"heads.{section.name}: cells of column '{section.column}' that are no score", problems)
    return found


def _column(section: HeadSection, manifest: Manifest) -> Callable[[ImageRecord], str]:
    if not section.table:
        if section.column not in type(manifest.records[0]).model_fields:
            raise ManifestError(
                f"heads.{section.name}: a manifest has no column '{section.column}'; name the table that has it, "
                "with a column path, as heads.table"
            )
        return lambda record: str(getattr(record, section.column) or "")
    path = manifest.root / section.table
    table = read_table(path)
    if lacking := [name for name in ("path", section.column) if name not in table.columns]:
        raise ManifestError(f"{path}: no column {', '.join(lacking)}; heads.{section.name} needs it")
    cells = {_place(path.parent / row.cells["path"]): row.cells[section.column] for row in table.rows}
    return lambda record: cells.get(_place(manifest.file(record)), "")


def _place(path: Path) -> str:
    return str(path.resolve())


def _value(section: HeadSection, cell: str) -> float | None:
    """The reference in a cell; ``None`` where it says nothing.

    Raises:
        ValueError: It is no number on the head's scale.
    """
    if isinstance(section, CategoryHeadSection):
        keys = [key_of(category) for category in section.categories]
        return float(keys.index(key_of(cell))) if key_of(cell) in keys else None
    if not cell.strip():
        return None
    value = float(cell)
    if not section.least <= value <= section.most:
        msg = f"{cell} is not from {section.least:g} to {section.most:g}"
        raise ValueError(msg)
    return value
