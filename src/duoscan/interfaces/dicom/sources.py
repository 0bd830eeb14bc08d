"""Which DICOM instances an answer was made from, study by study."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duoscan.imaging.reader import is_dicom
from duoscan.manifest.dicom_header import open_dicom
from duoscan.terms import Decision, Modality
from duoscan.triage.aggregate import carrying

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from pydicom import Dataset

    from duoscan.imaging.contract import PreprocessingContract
    from duoscan.inference.predictor import ImageFile
    from duoscan.predictions import Prediction
    from duoscan.triage.screening import CaseAnswer, PhaseResult

_LINKS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")  # without them there is nothing to refer to
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex",
    "StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
_DATE, _TIME = re.compile(r"\d{8}"), re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?")
# What would be copied into a result must have the form of its value representation (PS3.5 clause 6.2).
_FORMS = {
    "StudyDate": _DATE,
    "StudyTime": _TIME,
    "PatientBirthDate": _DATE,
    "PatientAge": re.compile(r"\d{3}[DWMY]"),
    "PatientSex": re.compile(r"[MFO]"),  # PS3.3 C.7.1.1
}


@dataclass(frozen=True)
class Instance:
    """One answered DICOM image.

    Attributes:
        row: Its answer.
        header: Its data set without the pixels.
    """

    row: Prediction
    header: Dataset


@dataclass(frozen=True)
class StudyPhase:
    """One phase of a case as far as it lies in one DICOM study.

    Attributes:
        modality: Which phase.
        result: Of the whole phase.
        instances: The answered images, as they were read.
    """

    modality: Modality
    result: PhaseResult
    instances: tuple[Instance, ...]

    @property
    def carrying(self) -> tuple[Instance, ...]:
        """The images that make the study's probability what it is, the one that adds most first."""
        by_path = {one.row.path: one for one in self.instances}
        return tuple(by_path[row.path] for row in carrying(self.modality, [one.row for one in self.instances]))


@dataclass(frozen=True)
class StudyResult:
    """What there is to say about one DICOM study.

    Attributes:
        study_uid: StudyInstanceUID.
        case: The answer of the patient.
        phases: At least one.
    """

    study_uid: str
    case: CaseAnswer
    phases: tuple[StudyPhase, ...]

    @property
    def headers(self) -> list[Dataset]:
        """Of all answered instances."""
        return [instance.header for phase in self.phases for instance in phase.instances]

    @property
    def patient_id(self) -> str:
        """PatientID as the files have it; where they have none, as the patients were told apart."""
        return str(self.headers[0].get("PatientID") or self.case.patient_id)

    @property
    def reason(self) -> str:
        """How the answer came about, without the paths of files: those say nothing elsewhere, or too much."""
        return without_paths(self.case.reason, self.case.images)

    @property
    def set_aside(self) -> tuple[Prediction, ...]:
        """The images of this study that were not answered, each with its reason."""
        return tuple(row for row in self.case.images if row.study_id == self.study_uid and not _is_answered(row))


def without_paths(text: str, rows: Iterable[Prediction]) -> str:
    """A reason as it may leave this machine."""
    for row in rows:
        text = text.replace(f"{row.path}: ", "").replace(row.path, "the file")
    return text


class ActivationKeeper:
    """Keeps the small activation map of each answered image, so that pictures are drawn only where they are needed."""

    def __init__(self) -> None:
        self.maps: dict[str, tuple[NDArray[np.float32], PreprocessingContract]] = {}

    def add(self, file: ImageFile, contract: PreprocessingContract) -> None:
        """Keep the map of an answered image; a refused one has none."""
        if file.answer is not None:
            self.maps[file.row.path] = (np.array(file.answer.activation, np.float32), contract)


def study_results(answers: Iterable[CaseAnswer]) -> list[StudyResult]:
    """The DICOM studies in which at least one image was answered; raster files have no place in a PACS."""
    found = []
    for case in answers:
        phases = [(Modality.CXR, case.xray, _instances(case.xray)), (Modality.CT, case.ct, _instances(case.ct))]
        uids = dict.fromkeys(_study_uid(one) for _, _, instances in phases for one in instances)
        for uid in uids:
            parts = []
            for modality, result, instances in phases:
                own = tuple(one for one in instances if _study_uid(one) == uid)
                if own:
                    parts.append(StudyPhase(modality, result, own))
            found.append(StudyResult(uid, case, tuple(parts)))
    return found


def _instances(phase: PhaseResult) -> list[Instance]:
    paths = [(row, Path(row.path)) for row in phase.images if _is_answered(row)]
    found = [Instance(row, _completed(open_dicom(path, header_only=True))) for row, path in paths if is_dicom(path)]
    return [one for one in found if all(one.header.get(keyword) for keyword in _LINKS)]


def _is_answered(row: Prediction) -> bool:
    return row.decision in {Decision.POSITIVE, Decision.NEGATIVE}


def _completed(header: Dataset) -> Dataset:
    """Add what the standard wants there, if empty, and old exports leave out (type 2: PS3.5 clause 7.4.3)."""
    for keyword in _MAY_BE_EMPTY:
        if keyword not in header:
            setattr(header, keyword, "")
    if not header.get("Modality"):
        header.Modality = "OT"
    for keyword, form in _FORMS.items():
        text = str(header.get(keyword, "")).replace(":", "").replace("-", "").strip()  # as versions before 3 wrote them
        if keyword in header:
            setattr(header, keyword, text if form.fullmatch(text) else "")
    return header


def _study_uid(instance: Instance) -> str:
    return str(instance.header.StudyInstanceUID)
