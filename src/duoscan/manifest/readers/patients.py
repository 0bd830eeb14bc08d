"""A manifest under a person's rules for whose images are whose, as ``screen`` obeys them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from duoscan.errors import ImageError, InputError
from duoscan.formats.dicom.header import is_dicom, read_dicom_header
from duoscan.formats.frame_names import split_frame
from duoscan.manifest.patient_rules import NO_RULES, folder_patient, joined_by_folder
from duoscan.manifest.readers.found import SkippedFile
from duoscan.names import modality_named

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from duoscan.manifest.patient_rules import PatientRules, StatedPatient
    from duoscan.manifest.readers.found import Imported
    from duoscan.manifest.records import ImageRecord
    from duoscan.terms import Finding


def with_patients(imported: Imported, rules: PatientRules) -> Imported:
    """Give each image its patient by table or pattern, else keep the one that it has, else by folder if asked for.

    An image that nothing names is its DICOM file's PatientID, also where a table of paths and labels lists it.

    Rows of the patients table without an image are absent; what a folder joined is told.

    Raises:
        InputError: The pattern never matches, or the table states a modality that is not known.
    """
    manifest = imported.manifest.replace(
        [_named_by_file(one, imported.manifest.file(one)) for one in imported.manifest]
    )
    if rules == NO_RULES:
        return replace(imported, manifest=manifest)
    files = [split_frame(manifest.file(record))[0] for record in manifest]
    stated, unmatched = rules.state([(file, str(file)) for file in files], [manifest.root])
    known = [_under(record, said) for record, said in zip(manifest, stated, strict=True)]
    by_folder = [
        said.folder
        for record, said in zip(manifest, stated, strict=True)
        if said.folder and not said.patient_id and not record.patient_id
    ]
    return replace(
        imported,
        manifest=manifest.replace(known),
        absent=(*imported.absent, *(SkippedFile("--patients", line) for line in unmatched)),
        remarks=(*imported.remarks, *joined_by_folder(by_folder)),
    )


def folders_not_joined(imported: Imported, label_map: Mapping[str, Finding] | None = None) -> tuple[str, ...]:
    """Tell that images lie in folders that may be patients', where nothing says whose they are.

    Args:
        imported: What a reader gave.
        label_map: Names of class folders beside those that are known.
    """
    manifest = imported.manifest
    nameless = [record for record in manifest if record.patient_id is None and record.group is None]
    places = [folder_patient(manifest.file(record), [manifest.root], label_map) for record in nameless]
    folders = [place for place in places if place is not None]
    if not 1 < len(set(folders)) < len(folders):
        return ()
    return (
        f"{len(folders)} images in {len(set(folders))} folders name no patient; if each folder is of one patient, "
        "--patient-by folder joins its images",
    )


def _named_by_file(record: ImageRecord, file: Path) -> ImageRecord:
    if record.patient_id is not None or not is_dicom(file):
        return record
    try:
        header = read_dicom_header(split_frame(file)[0])
    except ImageError:  # told where the image is opened
        return record
    study = record.study_id or header.study_id
    return record.model_copy(update={"patient_id": header.patient_id, "study_id": study})


def _under(record: ImageRecord, said: StatedPatient) -> ImageRecord:
    modality = modality_named(said.modality) if said.modality else record.modality
    if modality is None:
        raise InputError(f"{record.path}: modality '{said.modality}' in the patients table is unknown; use cxr or ct")
    patient = said.patient_id or record.patient_id or said.folder
    return record.model_copy(update={"patient_id": patient, "modality": modality})
