"""Heatmaps of some screened patients, right answers and wrong ones, from stored answers and their activation maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from duoscan.errors import ImageError
from duoscan.files import file_sha256
from duoscan.formats.frame_names import split_frame
from duoscan.formats.reader import read_image
from duoscan.imaging.heatmap import overlay, peak_strength
from duoscan.imaging.heatmap_legend import evidence_in_words, with_legend
from duoscan.report.data_uri import picture_uri
from duoscan.report.flow import Mark
from duoscan.report.pictures import Picture
from duoscan.terms import Modality

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from duoscan.cases.case import Screening, StudyAnswer
    from duoscan.cases.stored import Maps
    from duoscan.evidence.subject import Subject
    from duoscan.predictions import Prediction
    from duoscan.report.flow import Answered, ScreeningFlow

_OF_EACH = 2
"""Patients of each mark and answer."""

SIDE_PX = 360


@dataclass(frozen=True)
class Heatmaps:
    """What the page shows.

    Attributes:
        pictures: Those of one patient stand beside each other.
        missing: How many of them could not be drawn, because file or map is gone.
    """

    pictures: tuple[Picture, ...]
    missing: int


def draw_heatmaps(flow: ScreeningFlow, maps: Maps, subjects: Sequence[Subject]) -> Heatmaps | None:
    """The image that carries each phase's answer, of some patients of each mark and answer.

    Args:
        flow: Answers with their references.
        maps: Activation maps by the name of their image.
        subjects: Whose images may be shown.
    """
    files: dict[tuple[Modality | None, str | None], list[Path]] = {}
    for subject in subjects:
        for record in subject.records or ():
            if subject.records is not None:
                files.setdefault((record.modality, record.patient_id or record.group), []).append(
                    subject.records.file(record)
                )
    drawn = [
        _drawn(flow.screening, patient, study, maps, files.get((study.modality, patient.case.patient_id), ()))
        for patient in _some(flow.patients)
        for study in patient.case.studies
        if study.carrying and study.probability is not None and subjects
    ]
    return Heatmaps(tuple(one for one in drawn if one), drawn.count(None)) if drawn else None


def _some(patients: Sequence[Answered]) -> Iterator[Answered]:
    counts: dict[tuple[Mark, str], int] = {}
    for one in patients:
        kind = (one.mark, one.case.answer)
        counts[kind] = counts.get(kind, 0) + 1
        if counts[kind] <= _OF_EACH:
            yield one


def _file_of(row: Prediction, files: Sequence[Path]) -> Path | None:
    """The patient's file that was answered: names are relative to one folder or another, so content tells."""
    named = (file for file in files if file.name == PurePosixPath(row.path).name)
    held = ((file, split_frame(file)[0]) for file in named)
    return next((file for file, whole in held if whole.is_file() and file_sha256(whole) == row.sha256), None)


def _drawn(
    screening: Screening, patient: Answered, study: StudyAnswer, maps: Maps, files: Sequence[Path]
) -> Picture | None:
    name = study.carrying[0]
    row = next(image for image in study.images if image.path == name)
    file = _file_of(row, files)
    if file is None or name not in maps or row.probability is None:
        return None
    threshold, contract = screening.threshold(study.modality), screening.model(study.modality).contract
    try:
        picture = overlay(read_image(file), maps[name], contract, peak_strength(row.probability, threshold))
    except ImageError:
        return None
    picture.thumbnail((SIDE_PX, SIDE_PX))
    phase = "X-ray" if study.modality is Modality.CXR else "CT"
    said = f"patient answered {patient.case.answer}, reference {patient.label or 'not known'}"
    return Picture(
        uri=picture_uri(with_legend(picture, row.probability, threshold), "JPEG"),
        alt=f"{phase} heatmap of patient {patient.case.patient_id}: {evidence_in_words(row.probability, threshold)}",
        lines=(f"{patient.case.patient_id}, {phase}: {said}",),
        is_right={Mark.RIGHT: True, Mark.MISSED: False, Mark.FALSE: False}.get(patient.mark),
    )
