"""What the node must know of an object before it keeps it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from duoscan.errors import UnreadableImageError
from duoscan.formats.dicom.header import dicom_errors, open_dicom, patient_id_of, text_of
from duoscan.terms import names_nobody
from duoscan.worklist.spool import file_key

if TYPE_CHECKING:
    from pathlib import Path

_UID = re.compile(r"\d+(\.\d+)*")
_UID_CHARACTERS = 64  # PS3.5 clause 9.1


@dataclass(frozen=True)
class Received:
    """One object, by its own data set.

    Attributes:
        study_uid: StudyInstanceUID.
        sop_instance_uid: SOPInstanceUID.
        sop_class_uid: SOPClassUID.
        patient_id: PatientID; empty where the file names nobody by it.
        is_ct: Whether Modality says CT.
    """

    study_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    patient_id: str
    is_ct: bool

    @property
    def study(self) -> str:
        """Name of the study on disk."""
        return file_key(self.study_uid)

    @property
    def patient(self) -> str:
        """Name of the patient on disk; a study without PatientID is a patient of its own."""
        return file_key(f"patient {self.patient_id}") if self.patient_id else self.study  # no UID has a letter

    @property
    def name(self) -> str:
        """Name of the object on disk."""
        return file_key(self.sop_instance_uid)


def read_received(path: Path) -> Received:
    """Read a DICOM file's header as the screening will, within the same bounds.

    Raises:
        UnreadableImageError: It is damaged or beyond the bounds, or lacks a UID.
    """
    with dicom_errors(path):
        dataset = open_dicom(path, header_only=True)
        study, instance, sop_class = (
            text_of(dataset, keyword) or "" for keyword in ("StudyInstanceUID", "SOPInstanceUID", "SOPClassUID")
        )
        if not all(len(uid) <= _UID_CHARACTERS and _UID.fullmatch(uid) for uid in (study, instance, sop_class)):
            raise UnreadableImageError(path, "the UID of study, object or class is missing or malformed")
        patient, modality = patient_id_of(dataset) or "", text_of(dataset, "Modality") or ""
        known = "" if names_nobody(patient) else patient
        return Received(study, instance, sop_class, known, modality.upper() == "CT")
