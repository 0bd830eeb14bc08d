"""Finding out what a person gave: a table, class folders, DICOM files, or images with a table of labels."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from duoscan.errors import ManifestError
from duoscan.formats.dicom.header import is_dicom
from duoscan.manifest.cells import is_table
from duoscan.manifest.readers.class_folders import from_class_folders, has_class_folders, with_class_folders
from duoscan.manifest.readers.dicom_folder import from_dicom_folder
from duoscan.manifest.readers.foreign_table import from_table
from duoscan.manifest.readers.found import RASTER_SUFFIXES, Imported, SkippedFile, Wishes, relative_name, walk

if TYPE_CHECKING:
    from pathlib import Path


def read_anything(path: Path, wishes: Wishes) -> Imported:
    """Read a path with the reader that fits it.

    In this order: a CSV or Parquet file; without a table of labels, class folders; DICOM files; with a table of
    labels, other images. What a table of labels leaves open, class folders say.

    Raises:
        ManifestError: No reader fits, or the one that does finds something wrong.
        MissingExtraError: A Parquet file without the extra ``parquet``.
    """
    if path.is_file() and is_table(path):
        return _table(path, wishes, wishes.root)
    files, _ = walk(path)
    has_classes = has_class_folders(path, wishes.label_map)
    if wishes.labels is None and has_classes:
        if wishes.modality is None:
            raise ManifestError(f"{path}: class folders do not say what made the images; give --modality cxr or ct")
        source = wishes.source or path.resolve().name
        return from_class_folders(path, wishes.modality, source, wishes.label_map)
    if any(is_dicom(file) for file in files):
        imported = from_dicom_folder(
            path,
            wishes.labels,
            source=wishes.source,
            modality=wishes.modality,
            columns=wishes.columns,
            label_map=wishes.label_map,
        )
    elif wishes.labels is not None:
        imported = _images_with_labels(path, files, wishes, wishes.labels)
    else:
        raise ManifestError(f"{path}: {_what_is_there(path, files)}; give a table, class folders or DICOM files")
    if wishes.labels is not None and has_classes:
        return with_class_folders(imported, path, wishes, wishes.labels)
    return imported


def _table(path: Path, wishes: Wishes, root: Path | None) -> Imported:
    return from_table(
        path,
        modality=wishes.modality,
        source=wishes.source,
        columns=wishes.columns,
        label_map=wishes.label_map,
        root=root,
    )


def _images_with_labels(folder: Path, files: list[Path], wishes: Wishes, labels: Path) -> Imported:
    imported = _table(labels, wishes, wishes.root or folder)
    listed = {imported.manifest.file(record).resolve() for record in imported.manifest}
    left = [
        SkippedFile(relative_name(file, folder), f"not in {labels.name}")
        for file in files
        if file.suffix.lower() in RASTER_SUFFIXES and file.resolve() not in listed
    ]
    return replace(imported, skipped=tuple(left))


def _what_is_there(path: Path, files: list[Path]) -> str:
    if not files:
        return "the folder holds no files"
    kinds = Counter(file.suffix.lower() or "no suffix" for file in files)
    folders = sorted(child.name for child in path.iterdir() if child.is_dir())
    text = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5))
    return f"found {text} in folders {', '.join(folders[:8]) or '(none)'}, none named like a class"
