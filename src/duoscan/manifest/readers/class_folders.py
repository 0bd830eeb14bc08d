"""A folder for each class: ``root/COVID/…``, or with an official split ``root/train/COVID/…``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from duoscan.errors import ImageError, ManifestError
from duoscan.formats.dicom.header import DICOM_SUFFIXES
from duoscan.formats.frame_names import split_frame
from duoscan.manifest.problems import manifest_error
from duoscan.manifest.readers.found import (
    MASK_FOLDERS,
    RASTER_SUFFIXES,
    Imported,
    SkippedFile,
    dicom_images,
    relative_name,
    walk,
    why_skipped,
)
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.names import finding_named, split_named
from duoscan.terms import Finding, Modality, Split

if TYPE_CHECKING:
    from collections.abc import Mapping

    from duoscan.manifest.readers.found import Wishes


@dataclass(frozen=True)
class _Place:
    """What the folders above an image say."""

    class_name: str
    split: Split | None


def has_class_folders(root: Path, label_map: Mapping[str, Finding] | None = None) -> bool:
    """Whether a folder, or its train/val/test folder, holds a folder named like a class."""
    folders = [child for child in root.iterdir() if child.is_dir()]
    folders += [inner for child in folders if split_named(child.name) for inner in child.iterdir() if inner.is_dir()]
    return any(finding_named(folder.name, label_map) for folder in folders)


def from_class_folders(
    root: Path | str, modality: Modality, source: str, label_map: Mapping[str, Finding] | None = None
) -> Imported:
    """Read a folder for each class, or ``{train,val,test}/{class}``, which is taken as the official split.

    Folders inside a class folder say nothing: they may be patients or days. Files in ``masks`` are the lung masks of
    the images of the same name in ``images`` beside it. Headers of DICOM files (by suffix) are read for patient,
    study, series and view.

    Args:
        root: The folder that holds the class folders.
        modality: What made the images; a class folder does not say.
        source: Name of the data set or hospital.
        label_map: Folder name → label, for names the table in `names` does not know.

    Raises:
        ManifestError: A folder with images has an unknown name, or there is no image at all.
    """
    root = Path(root)
    files, skipped = walk(root)
    masks = {relative_name(file, root) for file in files if _is_mask(file, root)}
    records: list[ImageRecord] = []
    unknown: Counter[str] = Counter()
    for file in files:
        name = relative_name(file, root)
        place = _place_of(file.relative_to(root).parts[:-1])
        suffix = file.suffix.lower()
        if suffix not in RASTER_SUFFIXES | DICOM_SUFFIXES:
            skipped.append(SkippedFile(name, f"'{suffix}' is not an image format"))
        elif name in masks:
            continue
        elif place is None:
            skipped.append(SkippedFile(name, "not in a class folder"))
        elif (label := finding_named(place.class_name, label_map)) is None:
            unknown[place.class_name] += 1
        else:
            try:
                records += _records_of(file, root, place, label, modality, source)
            except ImageError as error:
                skipped.append(why_skipped(file, root, error))
    _check_found(root, records, unknown)
    return _with_masks(Manifest(root, tuple(records)), masks, skipped)


def with_class_folders(imported: Imported, folder: Path, wishes: Wishes, table: Path) -> Imported:
    """Complete what a table of labels says of a folder's images by what their class folders say.

    The table's word counts where it has one; where the folder says another, that is told. Images of which the table
    says nothing come in with what their folder says.
    """
    manifest = imported.manifest
    records, doubts = [], list(imported.doubts)
    for record in manifest:
        place, label = _said(split_frame(manifest.file(record))[0], folder, wishes.label_map)
        if place is None or label is None:
            records.append(record)
            continue
        if record.label not in (None, label):
            why = f"{record.label} in the table, in the folder of {label}"
            doubts.append(SkippedFile(record.path, why))
        known = {} if record.label else {"label": label, "finding": record.finding or place.class_name}
        records.append(record.model_copy(update={**known, "split": record.split or place.split}))
    # Paths of another root cannot be told from here.
    is_here = manifest.root.resolve() == folder.resolve()
    more = _not_in_table(manifest, folder, wishes) if is_here else []
    masks = {relative_name(file, folder) for file in walk(folder)[0] if is_here and _is_mask(file, folder)}
    names = masks.union(record.path for record in more)
    skipped = [skip for skip in imported.skipped if skip.name not in names]
    whole = _with_masks(manifest.replace([*records, *more]), masks, skipped)
    text = f"{len(more)} images are not in {table.name}; their class folder alone says what they are"
    return replace(
        imported,
        manifest=whole.manifest,
        skipped=whole.skipped,
        doubts=tuple(doubts),
        remarks=(*imported.remarks, *([text] if more else [])),
    )


def _not_in_table(manifest: Manifest, folder: Path, wishes: Wishes) -> list[ImageRecord]:
    """The pictures of class folders that a manifest lacks."""
    there = {manifest.file(record).resolve() for record in manifest}
    source = wishes.source or folder.resolve().name
    records: list[ImageRecord] = []
    for file in walk(folder)[0]:
        place, label = _said(file, folder, wishes.label_map)
        is_picture = file.suffix.lower() in RASTER_SUFFIXES and not _is_mask(file, folder)
        if place and label and is_picture and wishes.modality and file.resolve() not in there:
            records += _records_of(file, folder, place, label, wishes.modality, source)
    return records


def _said(file: Path, folder: Path, label_map: Mapping[str, Finding] | None) -> tuple[_Place | None, Finding | None]:
    """What the folders above a file say."""
    place = _place_of(file.relative_to(folder).parts[:-1]) if file.is_relative_to(folder) else None
    return place, finding_named(place.class_name, label_map) if place else None


def _place_of(folders: tuple[str, ...]) -> _Place | None:
    split = split_named(folders[0]) if folders else None
    if split is not None:
        folders = folders[1:]
    return _Place(folders[0], split) if folders else None


def _is_mask(file: Path, root: Path) -> bool:
    return any(folder.lower() in MASK_FOLDERS for folder in file.relative_to(root).parts[:-1])


def _records_of(
    file: Path, root: Path, place: _Place, label: Finding, modality: Modality, source: str
) -> list[ImageRecord]:
    is_raster = file.suffix.lower() not in DICOM_SUFFIXES
    images = (
        [{"modality": modality, "path": relative_name(file, root)}] if is_raster else dicom_images(file, root, modality)
    )
    said = {"label": label, "finding": place.class_name, "source": source, "split": place.split}
    return [ImageRecord.model_validate({**fields, **said}) for fields in images]


def _check_found(root: Path, records: list[ImageRecord], unknown: Counter[str]) -> None:
    if unknown:
        raise manifest_error(
            f"{root}: the meaning of {len(unknown)} folder names is unknown; say it with --map "
            f"'NAME=LABEL', where LABEL is {', '.join(Finding)}",
            [f"folder '{name}' ({count} images)" for name, count in sorted(unknown.items())],
        )
    if not records:
        raise ManifestError(f"{root}: no images in class folders; make one folder for each class, e.g. covid, normal")


def _with_masks(manifest: Manifest, masks: set[str], skipped: list[SkippedFile]) -> Imported:
    records, used = [], set()
    for record in manifest:
        above, _, leaf = record.path.rpartition("/images/")
        mask = f"{above}/masks/{leaf}"
        if above and mask in masks:
            used.add(mask)
            records.append(record.model_copy(update={"lung_mask": mask}))
        else:
            records.append(record)
    lone = [SkippedFile(mask, "a mask without an image of its name") for mask in sorted(masks - used)]
    return Imported(manifest.replace(records), (*skipped, *lone))
