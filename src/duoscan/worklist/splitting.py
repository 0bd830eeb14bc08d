"""Uploaded files → the images of each patient. Only headers are read here; pixels are for the screening."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from duoscan.errors import ImageError
from duoscan.formats.content import may_be_image
from duoscan.formats.dicom.directory import is_dicomdir
from duoscan.formats.dicom.header import is_dicom, read_dicom_header
from duoscan.formats.nifti import is_nifti, nifti_planes
from duoscan.formats.zips import is_zip, unpack
from duoscan.terms import Modality, names_nobody
from duoscan.worklist.store.cases import CaseImage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from duoscan.worklist.store.blobs import Blobs
    from duoscan.worklist.store.uploads import UploadedFile

_LONGEST_NAME = 400
_LONGEST_ID = 100
_TOLD_OF = 5


@dataclass
class Arrived:
    """What an upload holds.

    Attributes:
        patients: Images by PatientID, or by what stands for it.
        left_out: What is no image or was not opened, with the reason where there is one.
    """

    patients: dict[str, list[CaseImage]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def remark(self) -> str:
        """What a person should know."""
        more = len(self.left_out) - _TOLD_OF
        told = "; ".join(self.left_out[:_TOLD_OF]) + (f" and {more} more" if more > 0 else "")
        return f"left out: {told}" if told else ""


def split_upload(files: Sequence[UploadedFile], stated: str, blobs: Blobs, scratch: Path) -> Arrived:
    """Tell whose each image is, and give the members of zips a place of their own.

    A DICOM file says whose it is. Other pictures are those of the patient that the person stated, else of one patient
    for each folder, else of one for each picture: images are rather kept apart than given to somebody else.

    Args:
        files: As they were uploaded.
        stated: Whose the files are that name nobody; empty where nobody said.
        blobs: Where they lie, and where members of zips go.
        scratch: An empty folder for unpacking.
    """
    arrived = Arrived()
    for file in files:
        path = blobs.path(file.blob)
        if not is_zip(path):
            _add(arrived, _storable(file.name, _LONGEST_NAME), path, file.blob, stated)
            continue
        for name, member in _unpacked(arrived, file.name, path, scratch / str(file.number)):
            blob = blobs.keep_copy(member, name)
            member.unlink()
            _add(arrived, _storable(name, _LONGEST_NAME), blobs.path(blob), blob, stated)
    return arrived


def _unpacked(arrived: Arrived, name: str, archive: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    try:
        members = unpack(archive, folder)
    except ImageError as error:
        arrived.left_out.append(f"{name}: {error.text}")
        return
    for member in members:
        if member.path is None:
            arrived.left_out.append(f"{member.name}: {member.refusal}")
        else:
            yield f"{name}/{member.name}", member.path


def _add(arrived: Arrived, name: str, path: Path, blob: str, stated: str) -> None:
    if is_dicomdir(path) or not may_be_image(path):
        arrived.left_out.append(f"{name}: no image")
        return
    patient, image = _described(name, path, blob)
    arrived.patients.setdefault(patient or stated or _by_place(name), []).append(image)


def _described(name: str, path: Path, blob: str) -> tuple[str, CaseImage]:
    """Whose a file says it is, and what is known of it; what cannot be read is left to the screening to say."""
    try:
        if is_nifti(path):
            planes = nifti_planes(path)
            spacing = planes[0].spacing_mm if planes else None
            rows, columns = spacing or (None, None)
            return "", CaseImage(
                name, blob, Modality.CT, series=name, described=name, frames=len(planes),
                row_spacing_mm=rows, column_spacing_mm=columns,
            )  # fmt: skip
        if not is_dicom(path):
            return "", CaseImage(name, blob)
        header = read_dicom_header(path)
    except ImageError:
        return "", CaseImage(name, blob)
    patient = _storable(header.patient_id or "", _LONGEST_ID)
    plane = header.planes[0] if header.planes else None
    rows, columns = (plane.spacing_mm if plane else None) or (None, None)
    number = header.series_number
    image = CaseImage(
        name=name,
        blob=blob,
        modality=header.modality or "",
        study=_storable(header.study_id or "", _LONGEST_ID),
        series=_storable(header.series_id or "", _LONGEST_ID),
        described=_storable(header.series_description or ("" if number is None else str(number)), _LONGEST_ID),
        place_mm=plane.height_mm if plane else None,
        number=max(-(2**31), min(header.instance_number or 0, 2**31 - 1)),
        frames=header.frames,
        row_spacing_mm=rows,
        column_spacing_mm=columns,
    )
    return "" if names_nobody(patient) else patient, image


def _by_place(name: str) -> str:
    place = PurePosixPath(name)
    folder = str(place.parent)
    return (place.stem.removesuffix(".nii") if folder == "." else folder)[-_LONGEST_ID:]


def _storable(text: str, longest: int) -> str:
    """What every database takes: no NUL, no half of a character."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:longest]
