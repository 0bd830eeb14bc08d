"""DICOM image files → files without identity, under a secret key; see docs/privacy.md for the clauses."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import ImageError, UnsupportedImageError
from duoscan.files import safe_name, write_bytes
from duoscan.formats.dicom.header import dicom_errors, open_dicom, patient_id_of
from duoscan.formats.reader import is_dicom
from duoscan.imaging.quality.burnt_in import text_regions
from duoscan.privacy.confidentiality import Options, Profile
from duoscan.privacy.pixel_bytes import clean_pixels, write_pixels
from duoscan.privacy.pseudonyms import Pseudonyms

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom import Dataset

_ZERO_PREAMBLE = b"\0" * 128


@dataclass(frozen=True)
class Deidentified:
    """What became of one file.

    Attributes:
        source: The file.
        written: What was written, or ``None`` where it was refused.
        reason: Why it was refused; names neither file nor patient.
        warning: What the person must look at; empty where nothing.
        patient_id: PatientID as the source has it.
        pseudonym: What replaced it.
    """

    source: Path
    written: Path | None = None
    reason: str = ""
    warning: str = ""
    patient_id: str = ""
    pseudonym: str = ""


class Deidentifier:
    """De-identifies files into one folder.

    Args:
        key: At least 32 secret bytes.
        out: Folder; files go to ``out/<patient>/<study>/<image>.dcm``, all three pseudonyms.
        options: Option profiles.
        refuse_text: Whether an image with text in its pixels is refused, or written with a warning.

    Raises:
        MissingExtraError: The extra [dicom] is not installed.
    """

    def __init__(self, key: bytes, out: Path, *, options: Options, refuse_text: bool = True) -> None:
        self._pseudonyms = Pseudonyms(key)
        self._profile = Profile(self._pseudonyms, options)
        self._out = out
        self._refuse_text = refuse_text

    def deidentify(self, path: Path) -> Deidentified:
        """De-identify one file; a file that cannot be is refused and nothing is written."""
        try:
            return self._deidentify(path)
        except ImageError as error:
            return Deidentified(path, reason=error.text)

    def _deidentify(self, path: Path) -> Deidentified:
        if not is_dicom(path):
            raise UnsupportedImageError(
                path, "not DICOM: whose picture it is cannot be told; convert it to DICOM first"
            )
        with dicom_errors(path):
            dataset = open_dicom(path)
            _check_class(dataset, path)
            patient_id = _identity(dataset, path)
            stored = clean_pixels(dataset, path)
            warning = self._look_for_text(dataset, stored, path)
            self._profile.apply(dataset, patient_id)
            write_pixels(dataset, stored)
            content = _encoded(dataset)
            pseudonym = str(dataset.PatientID)
            folder = self._out / safe_name(pseudonym) / safe_name(str(dataset.StudyInstanceUID))
            target = folder / f"{safe_name(str(dataset.SOPInstanceUID))}.dcm"
        write_bytes(target, content)
        return Deidentified(path, target, warning=warning, patient_id=patient_id, pseudonym=pseudonym)

    def _look_for_text(self, dataset: Dataset, stored: NDArray[Any], path: Path) -> str:
        """Set BurnedInAnnotation where text was stated or found; the warning.

        NO is written only where the source says so: a detector that finds nothing proves nothing.

        Raises:
            UnsupportedImageError: There is text, and such images are refused.
        """
        stated = str(dataset.get("BurnedInAnnotation", "")).strip().upper()
        found = 0 if stated == "YES" else _count_text(stored)
        if stated == "YES":
            warning = "the file states burnt-in annotation (BurnedInAnnotation is YES)"
        elif found:
            warning = f"{found} lines in its pixels look like text"
        else:
            if stated != "NO":
                dataset.pop("BurnedInAnnotation", None)
            return ""
        if self._refuse_text:
            raise UnsupportedImageError(path, f"{warning}; look at it, black the text out, or use --burnt-in warn")
        dataset.BurnedInAnnotation = "YES"
        return warning


def _check_class(dataset: Dataset, path: Path) -> None:
    if "ImageStorage" not in dataset.SOPClassUID.keyword:
        name = dataset.SOPClassUID.name if dataset.SOPClassUID.keyword else "unknown"
        raise UnsupportedImageError(
            path, f"no image of the standard ({name}): its free text cannot be cleaned; leave it out"
        )
    if "PixelData" not in dataset:
        raise UnsupportedImageError(path, "no pixel data; export the image again")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        value = dataset.get(keyword)
        if not value or not isinstance(value, str):
            said = "is missing" if not value else "is not one UID"
            raise UnsupportedImageError(path, f"{keyword} {said}, so it cannot be linked; export it again")


def _identity(dataset: Dataset, path: Path) -> str:
    """What tells patients apart: PatientID; the name, then the study, where it is missing."""
    if stated := patient_id_of(dataset):
        return stated
    for keyword in ("PatientName", "StudyInstanceUID"):
        if value := str(dataset.get(keyword) or "").strip(" \0"):
            return value
    raise UnsupportedImageError(path, "names neither patient nor study; export it again")


def _count_text(stored: NDArray[Any]) -> int:
    """Lines of text in frames of shape (N, H, W, C)."""
    return sum(len(text_regions(frame.max(axis=-1).astype(np.float32))) for frame in stored)


def _encoded(dataset: Dataset) -> bytes:
    """The file's bytes with a new preamble and new file meta information (PS3.10 7.1)."""
    from pydicom.dataset import FileMetaDataset

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta = meta
    dataset.preamble = _ZERO_PREAMBLE
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
