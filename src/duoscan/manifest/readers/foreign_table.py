"""A CSV or Parquet table made by somebody else: their column names, their words for labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from duoscan.errors import ManifestError
from duoscan.manifest.cells import Row, Table, read_table, renamed
from duoscan.manifest.names import finding_named, modality_named, split_named
from duoscan.manifest.readers.doubts import doubts_about
from duoscan.manifest.readers.found import Imported
from duoscan.manifest.table import COLUMNS, manifest_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from duoscan.terms import Finding, Modality


def from_table(
    path: Path | str,
    *,
    modality: Modality | None = None,
    source: str | None = None,
    columns: Mapping[str, str] | None = None,
    label_map: Mapping[str, Finding] | None = None,
    root: Path | str | None = None,
) -> Imported:
    """Read any table that has a column of image paths.

    Words for labels, splits and modalities are looked up in `names`; the label's own text is kept in
    ``finding`` when the table has no such column. The site is the host of ``url`` where the table has no ``site``.

    Args:
        path: The table.
        modality: Of the rows whose own cell is empty, or of all where there is no such column.
        source: Likewise.
        columns: Our column → theirs, e.g. ``{"path": "filename"}``.
        label_map: Their label → ours, asked before the table of names.
        root: Folder the paths are relative to; the table's own folder when not given.

    Raises:
        ManifestError: A column is missing, or rows are wrong; every bad row is named.
        MissingExtraError: A Parquet file without the extra ``parquet``.
    """
    path = Path(path)
    table = with_our_columns(read_table(path), columns or {})
    given = {"modality": modality, "source": source}
    names = dict.fromkeys([*table.columns, "site", *(name for name, value in given.items() if value)])
    rows = tuple(_in_our_words(row, given, label_map) for row in table.rows)
    folder = path.parent if root is None else Path(root)
    # A patient in two of the set's own splits is a fault of the set, not of the table: an audit must be
    # able to show it, so it comes in; whoever trains on the manifest is stopped by read_manifest.
    table = replace(table, columns=tuple(names), rows=rows)
    manifest = manifest_of(table, folder, check_patients=False)
    return Imported(manifest, doubts=doubts_about((row.cells.get("patient_id") for row in rows), manifest))


def with_our_columns(table: Table, columns: Mapping[str, str]) -> Table:
    """Rename a table's columns to ours.

    Raises:
        ManifestError: A name on our side is not a column of a manifest, or the table lacks theirs.
    """
    unknown = sorted(set(columns) - set(COLUMNS))
    if unknown:
        raise ManifestError(
            f"{', '.join(unknown)}: not a column of a manifest; before '=' use one of {', '.join(COLUMNS)}"
        )
    return renamed(table, columns)


def _in_our_words(row: Row, given: Mapping[str, str | None], label_map: Mapping[str, Finding] | None) -> Row:
    cells = dict(row.cells)
    for column, value in given.items():
        cells[column] = cells.get(column) or value or ""
    known = {
        "label": finding_named(cells.get("label", ""), label_map),
        "split": split_named(cells.get("split", "")),
        "modality": modality_named(cells["modality"]),
    }
    # Collections of published cases say where each was published, and pictures of one place look alike.
    cells["site"] = cells.get("site") or _host(cells.get("url", ""))
    cells["finding"] = cells.get("finding") or cells.get("label", "")
    # A word that is not known stays as it is, so that the error can show it.
    cells.update({column: value for column, value in known.items() if value is not None})
    return replace(row, cells=cells)


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:  # brackets that are no address
        return ""
