"""Which DICOM instances an answer was made from, study by study."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duoscan.files import file_sha256
from duoscan.formats.dicom.frames import single_frame
from duoscan.formats.dicom.header import open_dicom
from duoscan.formats.frame_names import frame_path, split_frame
from duoscan.formats.reader import is_dicom
from duoscan.imaging.heatmap import SeenMap
from duoscan.terms import ANSWERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydicom import Dataset

    from duoscan.cases.case import CaseAnswer, Screening, StudyAnswer
    from duoscan.imaging.contract import PreprocessingContract
    from duoscan.inference.predictor import ImageFile
    from duoscan.predictions import Prediction
    from duoscan.terms import Modality

    Places = Mapping[str, Path]

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
        header: Its data set without the pixels; of a frame, with what holds for it at the top.
        path: Where it lies, with the number of the frame where the file has several.
    """

    row: Prediction
    header: Dataset
    path: Path

    @property
    def frame(self) -> int | None:
        """ReferencedFrameNumber of one frame of several."""
        return split_frame(self.path)[1]


@dataclass(frozen=True)
class StudyPhase:
    """One phase of a case as far as it lies in one DICOM study.

    Attributes:
        modality: Which phase.
        result: Of this study.
        instances: The answered images, as they were read.
    """

    modality: Modality
    result: StudyAnswer
    instances: tuple[Instance, ...]

    @property
    def carrying(self) -> tuple[Instance, ...]:
        """The images whose probabilities make the study's, the highest first."""
        by_name = {one.row.path: one for one in self.instances}
        return tuple(by_name[name] for name in self.result.carrying if name in by_name)


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
        """Of all answered instances, each once, however many of its frames were answered."""
        headers = [instance.header for phase in self.phases for instance in phase.instances]
        return list({str(header.SOPInstanceUID): header for header in headers}.values())

    @property
    def patient_id(self) -> str:
        """PatientID as the files have it; where they have none, as the patients were told apart."""
        return str(self.headers[0].get("PatientID") or self.case.patient_id)

    @property
    def reason(self) -> str:
        """How the answer came about, without the paths of files: those say nothing elsewhere, or too much."""
        return self.case.reason_elsewhere

    @property
    def set_aside(self) -> tuple[Prediction, ...]:
        """The images of this study that were not answered, each with its reason."""
        return tuple(row for row in self.case.images if row.study_id == self.study_uid and row.decision not in ANSWERS)


class ActivationKeeper:
    """Keeps the small activation map of each answered image, so that pictures are drawn only where they are needed."""

    def __init__(self) -> None:
        self.maps: dict[str, SeenMap] = {}

    def add(self, file: ImageFile, _contract: PreprocessingContract) -> None:
        """Keep the map of an answered image; a refused one has none."""
        if file.answer is not None:
            self.maps[file.row.path] = SeenMap(np.array(file.answer.activation, np.float32), file.seen)


def study_results(
    screening: Screening, places: Places, on_problem: Callable[[str], None] = lambda _message: None
) -> list[StudyResult]:
    """The DICOM studies in which at least one image was answered; raster files have no place in a PACS.

    Args:
        screening: As stored.
        places: Name of a file in answers → where it lies; a name that is not there is a path itself.
        on_problem: Called with a line for each study that cannot have results; it names no patient.
    """
    found = []
    for case in screening.cases:
        parts: dict[str, list[StudyPhase]] = {}
        for study in case.studies:
            instances, lacking = _instances(study, places)
            if lacking:
                on_problem(f"a {study.modality.spoken} study has no results: its files name no {lacking}")
            if instances:
                uid = str(instances[0].header.StudyInstanceUID)
                parts.setdefault(uid, []).append(StudyPhase(study.modality, study, instances))
        found += [StudyResult(uid, case, tuple(phases)) for uid, phases in parts.items()]
    return found


def place_of(name: str, places: Places) -> Path:
    """Where an image lies, with the number of its frame where it has one."""
    if name in places:
        return places[name]
    file, _, number = name.rpartition("#")
    return frame_path(places[file], int(number)) if file in places and number.isdecimal() else Path(name)


def changed_images(screening: Screening) -> list[str]:
    """Names of answered images whose file is gone or no longer the one that was looked at, by its hash."""
    known: dict[Path, str] = {}
    changed = []
    for row in (row for case in screening for row in case.images if row.decision in ANSWERS):
        file = split_frame(Path(row.path))[0]
        if file not in known:
            known[file] = file_sha256(file) if file.is_file() else ""
        if known[file] != row.sha256:
            changed.append(row.path)
    return changed


def _instances(study: StudyAnswer, places: Places) -> tuple[tuple[Instance, ...], str]:
    """The answered DICOM images that can be referred to; where there are only others, what these lack."""
    answered = [(row, place_of(row.path, places)) for row in study.images if row.decision in ANSWERS]
    found = [Instance(row, _header(path), path) for row, path in answered if is_dicom(split_frame(path)[0])]
    linked = tuple(one for one in found if all(one.header.get(keyword) for keyword in _LINKS))
    lacking = [keyword for keyword in _LINKS if not linked and any(not one.header.get(keyword) for one in found)]
    return linked, " and ".join(lacking)


def _header(path: Path) -> Dataset:
    file, number = split_frame(path)
    return _completed(single_frame(open_dicom(file, header_only=True), number, path))


def _completed(header: Dataset) -> Dataset:
    """Add what the standard wants there, if empty, and old exports leave out (type 2: PS3.5 clause 7.4.3)."""
    for keyword in _MAY_BE_EMPTY:
        if keyword not in header:
            setattr(header, keyword, "")
    if not header.get("Modality"):
        header.Modality = "OT"
    from duoscan.results.maker import settle_character_set  # its codes take a tenth of a second to load

    settle_character_set(header)
    for keyword, form in _FORMS.items():
        text = str(header.get(keyword, "")).replace(":", "").replace("-", "").strip()  # as versions before 3 wrote them
        if keyword in header:
            setattr(header, keyword, text if form.fullmatch(text) else "")
    return header
