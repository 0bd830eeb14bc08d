"""A folder of DICOM files: headers say what belongs together, a small table says the labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from duoscan.errors import ImageError, ManifestError
from duoscan.formats.frame_names import split_frame
from duoscan.manifest.cells import Row, read_table
from duoscan.manifest.problems import manifest_error
from duoscan.manifest.readers.doubts import doubts_about
from duoscan.manifest.readers.foreign_table import with_our_columns
from duoscan.manifest.readers.found import (
    Imported,
    SkippedFile,
    dicom_images,
    walk,
    why_skipped,
)
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.names import finding_named, near_ids
from duoscan.terms import Finding, Modality

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class _Label:
    """One row of the label table; ``text`` is the label as written there."""

    row: int
    finding: Finding
    text: str


@dataclass(frozen=True)
class _Labels:
    """What the label table says of patients and of single files; files are keyed by their resolved path."""

    patients: dict[str, _Label] = field(default_factory=dict)
    files: dict[Path, _Label] = field(default_factory=dict)


def from_dicom_folder(
    root: Path | str,
    labels_csv: Path | str | None = None,
    *,
    source: str | None = None,
    modality: Modality | None = None,
    columns: Mapping[str, str] | None = None,
    label_map: Mapping[str, Finding] | None = None,
) -> Imported:
    """Read every DICOM file under a folder; patient, study, series, modality and view come from the headers.

    Each frame of a multi-frame file is an image of its own, with the path ``file.dcm#12``.

    Labels are per patient (or per file): of a CT study every slice gets the patient's label, although
    disease need not show on each.

    Args:
        root: Searched with all its folders.
        labels_csv: A table with ``label`` and ``patient_id`` or ``path`` (relative to ``root`` or the table).
        source: Name of the hospital or set; the folder's name when not given.
        modality: Of files whose header names none.
        columns: Our column → theirs, for the label table.
        label_map: Their label → ours.

    Returns:
        The manifest, every file that is not in it with the reason, and the label rows that match no image.

    Raises:
        ManifestError: The label table is wrong, or no file is a usable DICOM image.
    """
    root = Path(root)
    files, skipped = walk(root)
    table = None if labels_csv is None else Path(labels_csv)
    labels = _Labels() if table is None else _read_labels(table, root, columns or {}, label_map)
    records: list[ImageRecord] = []
    stated: list[str | None] = []
    for file in files:
        if table is not None and file.resolve() == table.resolve():
            continue
        try:
            images = dicom_images(file, root, modality)
        except ImageError as error:
            skipped.append(why_skipped(file, root, error))
            continue
        stated += [fields["patient_id"] for fields in images]
        label = labels.files.get(file.resolve()) or labels.patients.get(str(images[0]["patient_id"]))
        said = {"label": label.finding, "finding": label.text} if label else {}
        records += [
            ImageRecord.model_validate({**fields, **said, "source": source or root.resolve().name}) for fields in images
        ]
    if not records:
        raise manifest_error(
            f"{root}: none of {len(files)} files is a usable DICOM image; give another folder",
            [f"{skip.name}: {skip.reason}" for skip in skipped],
        )
    absent = [] if table is None else _unmatched(labels, records, root, table)
    doubts = doubts_about(stated, records)
    return Imported(Manifest(root, tuple(records)), tuple(skipped), tuple(absent), doubts)


def _read_labels(
    path: Path, root: Path, columns: Mapping[str, str], label_map: Mapping[str, Finding] | None
) -> _Labels:
    table = with_our_columns(read_table(path), columns)
    if "label" not in table.columns or not {"patient_id", "path"} & set(table.columns):
        raise ManifestError(
            f"{path}: a label table needs the column label and patient_id or path "
            f"(found: {', '.join(table.columns)}); name theirs with --column label=THEIRS"
        )
    labels, problems = _Labels(), list(table.problems)
    for row in table.rows:
        text = row.cells["label"]
        if not text:
            continue
        finding = finding_named(text, label_map)
        if finding is None:
            problems.append(
                f"row {row.number}: label '{text}' is unknown; use {', '.join(Finding)}, or --map '{text}=LABEL'"
            )
            continue
        problem = _keep(labels, row, _Label(row.number, finding, text), root, path.parent)
        if problem:
            problems.append(problem)
    if problems:
        raise manifest_error(f"{path}: {len(problems)} rows are wrong; correct them and try again", problems)
    return labels


def _keep(labels: _Labels, row: Row, label: _Label, root: Path, folder: Path) -> str | None:
    """Store one label; returns what is wrong with the row, if anything."""
    name, patient = row.cells.get("path", "").replace("\\", "/"), row.cells.get("patient_id", "")
    if name:
        file = next((place / name for place in (root, folder) if (place / name).is_file()), root / name)
        first = labels.files.setdefault(file.resolve(), label)
        subject = f"file '{name}'"
    elif patient:
        first = labels.patients.setdefault(patient, label)
        subject = f"patient '{patient}'"
    else:
        return f"row {row.number}: neither patient_id nor path; fill one in"
    if first.finding is not label.finding:
        return f"row {row.number}: {subject} is {label.finding}, {first.finding} in row {first.row}; keep one"
    return None


def _unmatched(labels: _Labels, records: list[ImageRecord], root: Path, table: Path) -> list[SkippedFile]:
    patients = {record.patient_id for record in records if record.patient_id is not None}
    files = {split_frame(root / record.path)[0].resolve() for record in records}
    near = near_ids((key for key in labels.patients if key not in patients), patients)
    missing = [
        (
            labels.patients[key].row,
            f"no image of patient '{key}'" + "".join(f"; '{other}' is there" for other in others),
        )
        for key, others in near.items()
    ]
    missing += [(label.row, f"no image at '{key}'") for key, label in labels.files.items() if key not in files]
    return [SkippedFile(f"{table.name} row {row}", reason) for row, reason in sorted(missing)]
