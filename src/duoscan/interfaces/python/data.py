"""Images and manifests: import, check, invented patients."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from duoscan.inference.pipeline import worker_threads
from duoscan.interfaces.python.tables import as_file
from duoscan.manifest.blocks import blocks_where_usual
from duoscan.manifest.patient_rules import PatientRules, pattern_of, read_patient_table
from duoscan.manifest.readers import Wishes, read_anything
from duoscan.manifest.readers.patients import with_patients
from duoscan.manifest.readers.readable import only_readable
from duoscan.manifest.table import read_manifest
from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.plan import PhantomOptions
from duoscan.terms import Finding, Modality

if TYPE_CHECKING:
    from collections.abc import Mapping

    from duoscan.interfaces.python.tables import AnyTable
    from duoscan.manifest.readers import Imported
    from duoscan.manifest.records import Manifest


def import_images(
    path: str | Path,
    *,
    modality: str | None = None,
    source: str | None = None,
    labels: str | Path | None = None,
    label_map: Mapping[str, str] | None = None,
    patients: str | Path | None = None,
    patient_pattern: str | None = None,
    by_folder: bool = False,
) -> Imported:
    """Images, a folder for each class, DICOM files or a table → a manifest, and what did not come into it.

    Args:
        path: Folder or table.
        modality: ``cxr`` or ``ct``, where the images do not say it themselves.
        source: Name of the data set or hospital; the folder's where ``None``.
        labels: Table with path or patient_id, and label.
        label_map: Their label, or a folder's name → ours.
        patients: Table that says whose each image is.
        patient_pattern: Regular expression whose one group, found in a path, is the patient.
        by_folder: Take what lies in one folder for one patient.

    Returns:
        ``manifest``, and ``skipped``, ``absent``, ``doubts`` and ``remarks``, which a person should read.

    Raises:
        ManifestError: Nothing there can be read as images with labels.
        InputError: The pattern or the table of patients is wrong.
    """
    kinds = {name: Finding(label) for name, label in (label_map or {}).items()}
    wishes = Wishes(
        modality=Modality(modality) if modality else None,
        source=source,
        labels=Path(labels) if labels else None,
        label_map=kinds,
    )
    with worker_threads() as pool:
        imported = only_readable(read_anything(Path(path), wishes), pool)
    rules = PatientRules(
        read_patient_table(Path(patients)) if patients else {},
        pattern_of(patient_pattern, "patient_pattern") if patient_pattern else None,
        by_folder=by_folder,
        label_map=kinds,
    )
    imported = with_patients(imported, rules)
    return replace(imported, manifest=blocks_where_usual(imported.manifest))


def manifest_of(table: AnyTable | Manifest, root: str | Path = ".", *, check_files: bool = True) -> Manifest:
    """A data frame or a file as a checked manifest.

    Args:
        table: With the columns path and modality at least; a manifest is handed back as it is.
        root: Folder that the paths of a table from memory are relative to.
        check_files: Whether every image must be there.

    Raises:
        ManifestError: Names every wrong row.
    """
    if hasattr(table, "records"):
        return table  # type: ignore[return-value]  # a manifest
    with as_file(table) as path:
        folder = None if isinstance(table, (str, Path)) else root
        return read_manifest(path, root=folder, check_files=check_files, check_patients=False)


def make_phantoms(
    out: str | Path, *, patients: int = 60, seed: int = 0, slices: int = 4, ct_size: int = 96, xray_size: int = 160
) -> Manifest:
    """Invented patients, each with an X-ray and a CT, split by patient. No image is of a person.

    Args:
        out: Folder to write to; empty or new.
        patients: How many.
        seed: Everything follows from it.
        slices: Of each CT.
        ct_size: Pixels of a slice's side.
        xray_size: Pixels of an X-ray's side.

    Raises:
        InputError: The folder is not empty, or the numbers are too small.
    """
    options = PhantomOptions(patients=patients, seed=seed, slices=slices, ct_size=ct_size, xray_size=xray_size)
    return write_cohort(options, Path(out))
