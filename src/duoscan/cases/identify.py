"""What one file is before its pixels are answered: whose, of which modality, and where its images lie."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from duoscan.cases.series import SeriesImage
from duoscan.errors import ImageError, UnreadableImageError
from duoscan.formats.dicom.fitness import examine_dicom, why_frame_set_aside
from duoscan.formats.dicom.geometry import MAX_FRAMES, Plane
from duoscan.formats.frame_names import frame_path, split_frame
from duoscan.formats.nifti import is_nifti, nifti_planes
from duoscan.formats.reader import is_dicom, read_image
from duoscan.imaging.modality import guess_modality
from duoscan.imaging.quality.check import why_refused
from duoscan.inference.predictor import ImageFile
from duoscan.names import modality_named
from duoscan.predictions import Prediction
from duoscan.reasons import Reason, ReasonCode
from duoscan.terms import Decision, Modality, names_nobody

if TYPE_CHECKING:
    from duoscan.cases.find import FoundImage
    from duoscan.formats.dicom.header import DicomHeader

_UNSURE = Reason(
    ReasonCode.MODALITY_UNKNOWN,
    "cannot tell whether this is a chest X-ray or a CT slice; say so with --modality or a patients table",
)


class ToldBy(StrEnum):
    """What says whose an image is."""

    PERSON = "table or pattern"
    FILE = "PatientID"
    FOLDER = "folder"
    NAME = "name of the file"


@dataclass(frozen=True)
class Identified:
    """One image.

    Attributes:
        file: With its patient and study; refused where nothing can be told.
        modality: Which phase it belongs to; ``None`` for neither.
        slice: What a CT series is assembled from; ``None`` for anything that is no slice of a DICOM file.
        study_date: StudyDate as the file has it.
        volume: Name of a file that is a study by itself; ``None`` for others.
        told_by: What says whose it is.
        given: Name of its file: the path as the person gave it.
        nobody: PatientID as the file has it, where that is a word for "there is none".
    """

    file: ImageFile
    modality: Modality | None
    slice: SeriesImage | None = None
    study_date: str | None = None
    volume: str | None = None
    told_by: ToldBy = ToldBy.NAME
    given: str = ""
    nobody: str | None = None


def identify(found: FoundImage, modality: Modality | None, *, check_quality: bool = True) -> list[Identified]:
    """Tell patient and modality of the images of one file; what cannot be told is refused with its reason.

    Args:
        found: The file and what table, pattern or folder say of it.
        modality: What raster files are taken for; told from their content where ``None``.
        check_quality: Refuse what shows no chest before its modality is guessed.

    Returns:
        One entry, or one for each frame of a multi-frame file.
    """
    patient, told_by = _by_place(found)
    file = ImageFile(found.path, Prediction(found.name, patient, None, None, Decision.UNREADABLE))
    nobody = None
    try:
        if found.refusal:
            return [Identified(file.refused(found.refusal), None, told_by=told_by, given=found.name)]
        told = _modality_told(found)
        if is_dicom(found.path):
            header, why_not = examine_dicom(found.path)
            stated = header.patient_id
            nobody = stated if stated and names_nobody(stated) else None
            if told_by is not ToldBy.PERSON and stated and not nobody:
                patient, told_by = stated, ToldBy.FILE
            named = replace(file, row=replace(file.row, patient_id=patient, study_id=header.study_id))
            known = header.modality or told or modality
            images = _images_of(named, header, why_not, known, check_quality=check_quality)
        elif is_nifti(found.path):
            images = _slices_of(file, nifti_planes(found.path))
        else:
            images = [_with_modality(file, told or modality, check_quality=check_quality)]
    except ImageError as error:
        images = [Identified(file.failed(error), None)]
    return [replace(image, told_by=told_by, given=found.name, nobody=nobody) for image in images]


def _by_place(found: FoundImage) -> tuple[str, ToldBy]:
    """Whose a file is before it is opened."""
    if found.patient_id:
        return found.patient_id, ToldBy.PERSON
    if found.folder:
        return found.folder, ToldBy.FOLDER
    return Path(found.name).stem.removesuffix(".nii"), ToldBy.NAME


def _modality_told(found: FoundImage) -> Modality | None:
    """The modality that a person states.

    Raises:
        ImageError: In a word that is not known.
    """
    if not found.modality:
        return None
    if (told := modality_named(found.modality)) is None:
        why = f"modality '{found.modality}' in the patients table is unknown; use cxr or ct"
        raise UnreadableImageError(found.path, why, ReasonCode.MODALITY_UNKNOWN)
    return told


def _images_of(
    file: ImageFile, header: DicomHeader, why_not: str | None, modality: Modality | None, *, check_quality: bool
) -> list[Identified]:
    """The images of a DICOM file, or the frame that its path names, as those of a manifest do.

    What is set aside keeps its modality, so that it is listed with its study.
    """
    _, named = split_frame(file.path)
    if why := _why_no_frame(header, named):
        known = replace(file, row=replace(file.row, modality=modality))
        return [Identified(known.refused(Reason(ReasonCode.UNREADABLE, why)), modality)]
    identified = []
    for number in range(1, header.frames + 1) if named is None else [named]:
        image, plane = file, header.planes[number - 1]
        if header.frames > 1 and named is None:
            image = ImageFile(frame_path(file.path, number), replace(file.row, path=f"{file.row.path}#{number}"))
        if why_not is None and modality is None:
            one = _with_modality(image, None, check_quality=check_quality)
            # The pixels of thousands of frames are too many to keep.
            identified.append(one if header.frames == 1 else replace(one, file=replace(one.file, pixels=None)))
            continue
        image = replace(image, row=replace(image.row, modality=modality))
        aside = why_not or why_frame_set_aside(plane, modality)
        if aside is not None:
            image = image.refused(Reason(ReasonCode.OTHER_KIND, aside), Decision.SET_ASIDE)
        slice_ = _slice(image, header, number, plane, aside) if modality is Modality.CT else None
        identified.append(Identified(image, modality, slice_, header.study_date))
    return identified


def _why_no_frame(header: DicomHeader, named: int | None) -> str | None:
    if header.frames > MAX_FRAMES:
        return f"claims {header.frames} frames; at most {MAX_FRAMES} are read"
    if named is not None and named > header.frames:
        return f"holds {header.frames} frames, no frame {named}"
    return None


def _slices_of(volume: ImageFile, planes: tuple[Plane, ...]) -> list[Identified]:
    """The slices of a NIfTI volume, which is a study by itself."""
    name = volume.row.path
    identified = []
    for number, plane in enumerate(planes, start=1):
        row = replace(volume.row, path=f"{name}#{number}", modality=Modality.CT)
        slice_ = SeriesImage(row.path, plane, series_id=name, number=number)
        identified.append(Identified(ImageFile(frame_path(volume.path, number), row), Modality.CT, slice_, volume=name))
    return identified


def _slice(image: ImageFile, header: DicomHeader, number: int, plane: Plane, why_not: str | None) -> SeriesImage:
    return SeriesImage(
        name=image.row.path,
        plane=plane,
        series_id=header.series_id,
        frame_of_reference=header.frame_of_reference,
        size=(header.rows or 0, header.columns or 0),
        number=number if header.frames > 1 else header.instance_number or 0,
        series_number=header.series_number,
        description=header.series_description,
        set_aside=why_not,
        date=header.study_date,
    )


def _with_modality(file: ImageFile, modality: Modality | None, *, check_quality: bool) -> Identified:
    """A modality that is known, or the guess from the content, which is kept for the model."""
    if modality is None:
        try:
            pixels = read_image(file.path)
        except ImageError as error:
            return Identified(file.failed(error), None)
        if check_quality and (why := why_refused(pixels)):
            return Identified(file.refused(Reason(ReasonCode.UNFIT, why)), None)
        modality = guess_modality(pixels)[0]
        if modality is None:
            return Identified(file.refused(_UNSURE), None)
        file = replace(file, pixels=pixels)
    return Identified(replace(file, row=replace(file.row, modality=modality)), modality)
