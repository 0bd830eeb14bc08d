"""A table of boxes around lungs, one row a box, as labelling tools write it: path, x, y, w, h in pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from duoscan.errors import ManifestError
from duoscan.manifest.cells import read_table
from duoscan.manifest.problems import manifest_error

if TYPE_CHECKING:
    from pathlib import Path

    from duoscan.manifest.cells import Row
    from duoscan.manifest.records import Manifest

_NUMBERS = ("x", "y", "w", "h")


def with_lung_boxes(manifest: Manifest, path: Path) -> Manifest:
    """The manifest with the boxes of a table in its column ``lung_boxes``.

    Args:
        manifest: Its paths are those that the table names.
        path: CSV or Parquet with ``path`` and the left, top, width and height ``x, y, w, h`` in pixels of the image;
            other columns are ignored.

    Raises:
        ManifestError: A column is missing, a row is no box, or no row is of an image in the manifest.
        MissingExtraError: A Parquet file without the extra ``parquet``.
    """
    table = read_table(path)
    if missing := [name for name in ("path", *_NUMBERS) if name not in table.columns]:
        raise ManifestError(f"{path}: columns are missing: {', '.join(missing)} (found: {', '.join(table.columns)})")
    problems = list(table.problems)
    boxes: dict[str, list[str]] = {}
    for row in table.rows:
        box = _box(row)
        if box is None:
            found = ", ".join(row.cells[name] or "nothing" for name in _NUMBERS)
            problems.append(f"row {row.number}: {found} is no box; give x, y and a width and height above 0 in pixels")
        else:
            boxes.setdefault(row.cells["path"].replace("\\", "/"), []).append(box)
    if problems:
        raise manifest_error(f"{path}: {len(problems)} rows are no boxes; correct or remove them", problems)
    if not boxes.keys() & {record.path for record in manifest}:
        raise ManifestError(f"{path}: names no image of the manifest; its paths must be those of the imported table")
    return manifest.replace(
        [
            record.model_copy(update={"lung_boxes": " | ".join(boxes[record.path])}) if record.path in boxes else record
            for record in manifest
        ]
    )


def _box(row: Row) -> str | None:
    """As a record holds it; ``None`` where it is no box."""
    try:
        left, top, width, height = (float(row.cells[name]) for name in _NUMBERS)
    except ValueError:
        return None
    if not (math.isfinite(left + top) and 0 < width < math.inf and 0 < height < math.inf):
        return None
    return " ".join(f"{value:.1f}" for value in (left, top, width, height))
