"""Manifests as files: CSV or Parquet, one row an image, checked when they are read."""

from __future__ import annotations

import io
import os
import posixpath
from pathlib import Path

from pydantic import ValidationError

from duoscan.errors import ManifestError, MissingExtraError
from duoscan.files import write_bytes
from duoscan.formats.frame_names import split_frame
from duoscan.manifest.cells import PARQUET_SUFFIXES, Row, Table, read_table
from duoscan.manifest.crossing import crossing_problems
from duoscan.manifest.problems import manifest_error
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.rows import csv_text, storable
from duoscan.terms import Finding, Modality, Split

COLUMNS = tuple(ImageRecord.model_fields)
REQUIRED = ("path", "modality")
_TERMS: dict[str, tuple[str, ...]] = {
    "modality": tuple(Modality),
    "label": tuple(Finding),
    "split": tuple(Split),
}
_WHAT_TO_DO = {
    "label": "use {terms}, or say what it means with: duoscan import --map '{found}=LABEL'",
    "modality": "use {terms}",
    "split": "use {terms}, or leave it empty",
    "lung_boxes": "write 'x y width height' of each box in pixels, with ' | ' between two",
}
_PATHS = ("path", "lung_mask")


def read_manifest(
    path: Path | str, *, root: Path | str | None = None, check_files: bool = True, check_patients: bool = True
) -> Manifest:
    """Read a manifest and check every row.

    Columns are the fields of `ImageRecord`; others are ignored. Required are ``path`` and ``modality``.

    Args:
        path: A CSV (comma, semicolon or tab; UTF-8) or Parquet file.
        root: Folder the paths are relative to; when not given, the manifest's own folder. Absolute
            paths stand.
        check_files: Whether every image and mask must be there.
        check_patients: Whether a patient in two splits is an error. Only a tool that looks for this fault
            turns it off.

    Raises:
        ManifestError: Names every bad row, as a spreadsheet counts rows, with what was found and what to do.
        MissingExtraError: A Parquet file without the extra ``parquet``.
    """
    path = Path(path)
    folder = path.parent if root is None else Path(root)
    return manifest_of(read_table(path), folder, check_files=check_files, check_patients=check_patients)


def manifest_of(table: Table, root: Path, *, check_files: bool = True, check_patients: bool = True) -> Manifest:
    """Turn rows of text into a manifest; see `read_manifest` for the checks.

    Raises:
        ManifestError: A required column is missing or a row is wrong.
    """
    missing = [column for column in REQUIRED if column not in table.columns]
    if missing:
        found = ", ".join(column for column in table.columns if column)
        raise ManifestError(
            f"{table.path}: required columns are missing: {', '.join(missing)} (found: {found}); "
            "make a manifest of it with: duoscan import … --modality cxr|ct --column path=THEIR_NAME"
        )
    records: list[ImageRecord] = []
    problems = list(table.problems)
    seen: dict[str, int] = {}
    for row in table.rows:
        record, wrong = _record_of(row)
        if record is not None:
            wrong += _file_problems(record, row.number, root, seen, check_files=check_files)
            records.append(record)
        problems += wrong
    if check_patients:
        problems += [f"{line}; give it one split" for line in crossing_problems(records)]
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise manifest_error(f"{table.path}: {count}; correct the rows and try again", problems)
    return Manifest(root, tuple(records))


def _record_of(row: Row) -> tuple[ImageRecord | None, list[str]]:
    cells = {column: row.cells[column] for column in COLUMNS if row.cells.get(column)}
    for column in _TERMS.keys() & cells.keys():
        cells[column] = cells[column].lower()
    for column in _PATHS:
        if column in cells:
            cells[column] = cells[column].replace("\\", "/")
    try:
        return ImageRecord.model_validate(cells), []
    except ValidationError as error:
        return None, [_spoken(row, str(fault["loc"][0]), empty=fault["type"] == "missing") for fault in error.errors()]


def _spoken(row: Row, column: str, *, empty: bool) -> str:
    terms = ", ".join(_TERMS.get(column, ()))
    if empty:
        advice = f"use {terms}" if terms else "give the path of the image, relative to the manifest's folder"
        return f"row {row.number}: {column} is empty; {advice}"
    found = row.cells[column]
    advice = _WHAT_TO_DO[column].format(terms=terms, found=found)
    return f"row {row.number}: {column} '{found}' is unknown; {advice}"


def _file_problems(
    record: ImageRecord, number: int, root: Path, seen: dict[str, int], *, check_files: bool
) -> list[str]:
    problems = []
    first = seen.setdefault(posixpath.normpath(record.path), number)
    if first != number:
        problems.append(f"row {number}: path '{record.path}' stands in row {first} already; keep one of them")
    if check_files:
        problems += [
            f"row {number}: {column} '{name}' is not a file under {root}; correct it or remove the row"
            for column, name in (("path", record.path), ("lung_mask", record.lung_mask))
            if name is not None and not split_frame(root / name)[0].is_file()
        ]
    return problems


def write_manifest(manifest: Manifest, path: Path | str) -> None:
    """Write a manifest so that `read_manifest` gives the same records back.

    When the file does not lie in the manifest's root, paths are rewritten relative to the file's folder.
    The file appears whole or not at all; an existing one is replaced.

    Raises:
        ManifestError: The file name ends in neither ``.csv`` nor ``.parquet``.
        MissingExtraError: A Parquet file without the extra ``parquet``.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in {".csv", *PARQUET_SUFFIXES}:
        raise ManifestError(f"{path}: a manifest is written as .csv or .parquet, not '{suffix}'")
    rows = [record.model_dump(mode="json") for record in moved(manifest, path.parent)]
    write_bytes(path, _parquet_bytes(rows) if suffix in PARQUET_SUFFIXES else _csv_bytes(rows))


def moved(manifest: Manifest, folder: Path) -> Manifest:
    """The same images with paths relative to another folder; absolute paths stay as they are."""
    here, there = manifest.root.resolve(), folder.resolve()
    if here == there:
        return Manifest(folder, manifest.records)

    def relative(name: str | None) -> str | None:
        if name is None or Path(name).is_absolute():
            return name
        try:
            return Path(os.path.relpath(here / name, there)).as_posix()
        except ValueError:  # another drive on Windows: only the absolute path leads there
            return (here / name).as_posix()

    return Manifest(
        folder,
        tuple(
            record.model_copy(update={"path": relative(record.path), "lung_mask": relative(record.lung_mask)})
            for record in manifest
        ),
    )


def _csv_bytes(rows: list[dict[str, str | None]]) -> bytes:
    return csv_text(COLUMNS, ([row[column] for column in COLUMNS] for row in rows)).encode()


def _parquet_bytes(rows: list[dict[str, str | None]]) -> bytes:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("parquet", "writing a Parquet manifest") from error
    schema = pa.schema([(column, pa.string()) for column in COLUMNS])
    kept = [{column: cell and storable(cell) for column, cell in row.items()} for row in rows]
    stream = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(kept, schema=schema), stream)
    return stream.getvalue()
