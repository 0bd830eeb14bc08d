"""What a DICOM file says about its image, without decoding it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from duoscan.errors import ImageError, UnreadableImageError
from duoscan.formats.dicom.geometry import MAX_FRAMES, Plane, frame_count, planes_of
from duoscan.formats.dicom.guards import read_guarded
from duoscan.formats.dicom.numbers import mend_numbers
from duoscan.formats.frame_names import split_frame
from duoscan.quiet import quiet
from duoscan.terms import Modality

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydicom import Dataset

DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})

# PS3.3 C.7.3.1.1.1: RG is a film digitised from radiography, CR and DX are computed and digital radiography.
_MODALITY_OF_CODE = {"CR": Modality.CXR, "DX": Modality.CXR, "RG": Modality.CXR, "CT": Modality.CT}

# PS3.4 B.5: storage SOP classes that name their modality.
_MODALITY_OF_SOP_CLASS = {
    "1.2.840.10008.5.1.4.1.1.1": Modality.CXR,
    "1.2.840.10008.5.1.4.1.1.1.1": Modality.CXR,
    "1.2.840.10008.5.1.4.1.1.1.1.1": Modality.CXR,
    "1.2.840.10008.5.1.4.1.1.2": Modality.CT,
    "1.2.840.10008.5.1.4.1.1.2.1": Modality.CT,
    "1.2.840.10008.5.1.4.1.1.2.2": Modality.CT,
}

# (implicit VR, little endian) → transfer syntax, for files that carry no file meta information (PS3.10 7.1).
_SYNTAX_OF_ENCODING = {
    (True, True): "1.2.840.10008.1.2",
    (False, True): "1.2.840.10008.1.2.1",
    (False, False): "1.2.840.10008.1.2.2",
}

_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


@dataclass(frozen=True)
class DicomHeader:
    """The attributes of one DICOM file that a manifest needs; ``None`` where the file does not say.

    Attributes:
        patient_id: PatientID (0010,0020), as :func:`patient_id_of` reads it.
        study_id: StudyInstanceUID (0020,000D).
        series_id: SeriesInstanceUID (0020,000E).
        modality: Chest X-ray or CT; ``None`` when the file does not say or says another modality.
        modality_code: Modality (0008,0060) as written, e.g. ``MR``; tells the two cases above apart.
        view: Of a radiograph ViewPosition (0018,5101), else the meaning of the ViewCodeSequence (0054,0220);
            of a slice ``axial``, ``coronal``, ``sagittal`` or ``oblique``, from ImageOrientationPatient
            (0020,0037).
        instance_number: InstanceNumber (0020,0013), the order of slices where positions are missing.
        body_part: BodyPartExamined (0018,0015) as written.
        rows: Height in pixels.
        columns: Width in pixels.
        sop_class: What kind of object it is, e.g. ``CT Image Storage``.
        transfer_syntax: Name of the encoding, e.g. ``JPEG Baseline (Process 1)``.
        frames: NumberOfFrames (0028,0008), 1 where it is absent.
        planes: Where each frame lies; empty where there are more than are read.
        frame_of_reference: FrameOfReferenceUID (0020,0052), the space that positions are in.
        study_date: StudyDate (0008,0020) as written.
        series_number: SeriesNumber (0020,0011).
        series_description: SeriesDescription (0008,103E).
    """

    patient_id: str | None
    study_id: str | None
    series_id: str | None
    modality: Modality | None
    modality_code: str | None
    view: str | None
    instance_number: int | None
    body_part: str | None
    rows: int | None
    columns: int | None
    sop_class: str
    transfer_syntax: str
    frames: int = 1
    planes: tuple[Plane, ...] = ()
    frame_of_reference: str | None = None
    study_date: str | None = None
    series_number: int | None = None
    series_description: str | None = None


def is_dicom(path: Path) -> bool:
    """Whether a file claims to be DICOM: ``DICM`` at byte 128 (PS3.10 7.1), or its suffix says so.

    A file that cannot be opened is judged by its suffix; opening it then gives the clear error.

    Args:
        path: The file, or one frame of it (:mod:`duoscan.formats.frame_names`).
    """
    path, _ = split_frame(path)
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    if not path.is_file():  # opening a pipe would wait for ever
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_dicom_header(path: Path) -> DicomHeader:
    """Read the attributes of a DICOM file; pixel data is never loaded.

    Args:
        path: File, with or without a suffix.

    Raises:
        UnreadableImageError: The file is missing, empty, not DICOM, or its attributes are damaged.
    """
    with dicom_errors(path):
        return header_of(open_dicom(path, header_only=True))


@contextmanager
def dicom_errors(path: Path) -> Iterator[None]:
    """Turn whatever pydicom raises inside the block into an ``ImageError``, and keep it quiet.

    Its warnings and log lines quote attribute values, which may name a patient, so they are dropped and the
    error names only the kind of fault. Attributes are parsed when they are used, so every use belongs inside.

    Raises:
        UnreadableImageError: Anything but an ``ImageError`` was raised in the block.
    """
    try:
        with quiet:
            yield
    except ImageError:
        raise
    except OSError as error:
        if isinstance(error.__context__, ImageError):  # raised in the stream, and replaced by pydicom
            raise error.__context__ from None
        raise UnreadableImageError(path, f"cannot be read ({error.strerror or 'damaged DICOM file'})") from error
    except RecursionError as error:
        raise UnreadableImageError(path, "sequences are nested too deeply; no image needs that") from error
    except Exception as error:
        raise UnreadableImageError(path, f"damaged DICOM file ({type(error).__name__}); export it again") from error


def open_dicom(path: Path, *, header_only: bool = False) -> Dataset:
    """Parse a DICOM file, of one frame the whole file; call it inside ``dicom_errors``.

    Files without the PS3.10 preamble are accepted when they name their SOP class; their transfer syntax is
    then that of the encoding found. A class that only the file meta information names, as that of a DICOMDIR, counts.
    Numbers that are none are mended or taken away (:mod:`duoscan.formats.dicom.numbers`).

    Raises:
        UnreadableImageError: Empty, not DICOM, too costly to parse (:mod:`duoscan.formats.dicom.guards`), or without
            a rescale that can be understood.
    """
    # Imported here so that reading rasters and ``--help`` never pay for it.
    from pydicom.uid import UID

    path, _ = split_frame(path)
    if path.stat().st_size == 0:
        raise UnreadableImageError(path, "the file is empty; copy or export it again")
    dataset = read_guarded(path, stop_before_pixels=header_only)
    if not dataset.get("SOPClassUID") and dataset.file_meta.get("MediaStorageSOPClassUID"):
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID
    if not dataset.get("SOPClassUID"):
        raise UnreadableImageError(path, "not a DICOM image (it names no SOP class); check what the file is")
    if not dataset.file_meta.get("TransferSyntaxUID"):
        dataset.file_meta.TransferSyntaxUID = UID(_SYNTAX_OF_ENCODING[dataset.original_encoding])  # type: ignore[index]
    mend_numbers(dataset, path)
    return dataset


def header_of(dataset: Dataset) -> DicomHeader:
    """The header of an open data set; call it inside ``dicom_errors``."""
    code = text_of(dataset, "Modality")
    frames = frame_count(dataset)
    planes = planes_of(dataset) if frames <= MAX_FRAMES else ()
    return DicomHeader(
        patient_id=patient_id_of(dataset),
        study_id=text_of(dataset, "StudyInstanceUID"),
        series_id=text_of(dataset, "SeriesInstanceUID"),
        modality=_modality_of(dataset, code),
        modality_code=code,
        view=_common_plane(planes) or text_of(dataset, "ViewPosition") or _coded_view(dataset),
        instance_number=_remark_number(dataset, "InstanceNumber"),
        body_part=text_of(dataset, "BodyPartExamined"),
        rows=_whole_number(dataset, "Rows"),
        columns=_whole_number(dataset, "Columns"),
        sop_class=_one_line(dataset.SOPClassUID.name),
        transfer_syntax=_one_line(dataset.file_meta.TransferSyntaxUID.name),
        frames=frames,
        planes=planes,
        frame_of_reference=text_of(dataset, "FrameOfReferenceUID"),
        study_date=text_of(dataset, "StudyDate"),
        series_number=_remark_number(dataset, "SeriesNumber"),
        series_description=text_of(dataset, "SeriesDescription"),
    )


def text_of(dataset: Dataset, keyword: str) -> str | None:
    """The value of a text attribute in one line without padding, or ``None`` when it is absent or empty.

    Several values are joined with a backslash, as they stand in the file.
    """
    value = dataset.get(keyword)
    if value is None:
        return None
    parts = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)
    return _one_line("\\".join(str(part).strip(" \0") for part in parts)) or None


def patient_id_of(dataset: Dataset) -> str | None:
    r"""PatientID (0010,0020); bytes that its character set does not know as ``\xNN``, so that two ids stay two."""
    raw = dataset.get_item("PatientID")
    text = text_of(dataset, "PatientID")
    if text is None or raw is None or "\N{REPLACEMENT CHARACTER}" not in text or not isinstance(raw.value, bytes):
        return text
    return _one_line(raw.value.decode("ascii", "backslashreplace").strip(" \0"))


def _one_line(text: str) -> str:
    return _CONTROL.sub(" ", text).strip()


def _whole_number(dataset: Dataset, keyword: str) -> int | None:
    value = dataset.get(keyword)
    return None if value is None or value == "" else int(value)


def _remark_number(dataset: Dataset, keyword: str) -> int | None:
    """A number that only tells images or series apart, so that none is refused where it is not one."""
    try:
        return _whole_number(dataset, keyword)
    except (ValueError, TypeError, ArithmeticError):
        return None


def _modality_of(dataset: Dataset, code: str | None) -> Modality | None:
    """The Modality attribute decides; the SOP class only where it is missing."""
    if code is not None:
        return _MODALITY_OF_CODE.get(code.upper())
    return _MODALITY_OF_SOP_CLASS.get(str(dataset.SOPClassUID))


def _common_plane(planes: tuple[Plane, ...]) -> str | None:
    names = {plane.name for plane in planes}
    return names.pop() if len(names) == 1 else None


def _coded_view(dataset: Dataset) -> str | None:
    """Digital radiography may give the view only as a code (PS3.3 C.8.11.5)."""
    items = dataset.get("ViewCodeSequence")
    return text_of(items[0], "CodeMeaning") if items else None
