"""Which DICOM images may be answered: one rule per reason to refuse, by the header alone."""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress
from typing import TYPE_CHECKING

from duoscan.errors import SetAsideImageError, UnreadableImageError, UnsupportedImageError
from duoscan.formats.dicom.colour import COLOUR, GREY
from duoscan.formats.dicom.header import dicom_errors, header_of, open_dicom, text_of
from duoscan.formats.limits import check_size
from duoscan.terms import Modality

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset

    from duoscan.formats.dicom.geometry import Plane
    from duoscan.formats.dicom.header import DicomHeader

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

# Modality codes that say nothing about what made the image: other, and the retired secondary capture.
_SILENT_CODES = frozenset({"OT", "SC"})

# PS3.16 Annex L lists CHEST, LUNG, CHESTABDPELVIS, …; sites add their own spellings and languages, and old code pages
# make another letter of an accented one, or none.
_CHEST = re.compile("CHEST|THORA|TORAC|T[A-Z]?RAX|LUNG|PULM|POUMON|POLMON|MEDIASTIN|WHOLEBODY")
_NOT_CHEST = re.compile("SPINE|VERTEB")
# What consoles and exports write where nobody stated a part.
_NO_PART = frozenset(
    {"UNKNOWN", "UNK", "UNDEFINED", "UNSPECIFIED", "NOTSPECIFIED", "NOTAPPLICABLE", "NONE", "NULL", "NA", "ANY",
     "DEFAULT", "UNBEKANNT", "INCONNU", "DESCONOCIDO", "DESCONHECIDO", "SCONOSCIUTO"}
)  # fmt: skip

# PS3.3 C.8.1.1 and C.8.11.5: lateral, oblique and decubitus positions.
_NOT_FRONTAL_POSITIONS = frozenset({"LL", "RL", "LLO", "RLO", "LLD", "RLD"})
_NOT_FRONTAL = re.compile("LAT|OBL|DECUB")

_UNFIT_IMAGE_TYPES = {
    "LOCALIZER": "a localiser (scout view), not a slice",  # PS3.3 C.8.2.1.1.1
    "SCREEN SAVE": "a saved screen or dose report, not an image of a patient",
}

# PS3.3 C.7.1.1: the species as text or code (SNOMED CT, and SNOMED RT in older files); absent means human.
_HUMAN_WORDS = ("HOMO SAPIENS", "HUMAN")
_HUMAN_CODES = frozenset({"337915000", "L-85B00", None})
_ANIMAL = re.compile(r"\b(CANINE|FELINE|EQUINE|BOVINE|PORCINE|OVINE|AVIAN|VETERINARY|DOG|HORSE)\b")
_BREED_ATTRIBUTES = ("PatientBreedDescription", "PatientBreedCodeSequence", "BreedRegistrationSequence")


def check_fitness(dataset: Dataset, header: DicomHeader, path: Path) -> None:
    """Refuse what is not one frontal chest radiograph or one axial chest slice of a person.

    Only what the file says is judged; a head CT without any body part passes here.

    Raises:
        SetAsideImageError: It is something else, and sound.
        UnsupportedImageError: It holds no pixels that can be read as grey.
        UnreadableImageError: The image is too large, or has no size.
    """
    if reason := why_set_aside(dataset, header):
        raise SetAsideImageError(path, f"{reason}")
    if reason := _no_pixels(dataset, header) or _colour(dataset):
        raise UnsupportedImageError(path, f"{reason}")
    if not header.rows or not header.columns:
        raise UnreadableImageError(path, "Rows or Columns is missing; export the image again")
    check_size(header.columns, header.rows, path)


def examine_dicom(path: Path) -> tuple[DicomHeader, str | None]:
    """Read the header of a DICOM file, and why the object is set aside; see :func:`why_set_aside`.

    Raises:
        UnreadableImageError: The file is missing, empty, not DICOM, or its attributes are damaged.
    """
    with dicom_errors(path):
        dataset = open_dicom(path, header_only=True)
        header = header_of(dataset)
        return header, why_set_aside(dataset, header)


def why_set_aside(dataset: Dataset, header: DicomHeader) -> str | None:
    """Why an object is not answered though nothing is wrong with it, by its header alone; ``None`` where it may be.

    The first reason found, and what to give instead.
    """
    reasons = (
        _other_modality(dataset, header),
        _other_body_part(header),
        _not_human(dataset),
        _unfit_image_type(dataset),
        _not_axial(header.view, header.modality),
        _not_frontal(header),
        _unprocessed(dataset),
    )
    return next(filter(None, reasons), None)


def why_frame_set_aside(plane: Plane, modality: Modality | None) -> str | None:
    """The same for what may differ from frame to frame: a localiser, or a frame across another plane."""
    return _unfit_type(plane.image_type or "") or _not_axial(plane.name, modality)


def _other_modality(dataset: Dataset, header: DicomHeader) -> str | None:
    if header.modality is not None:
        return None
    is_silent = header.modality_code is None or header.modality_code.upper() in _SILENT_CODES
    if is_silent and dataset.SOPClassUID == _SECONDARY_CAPTURE:
        return None
    found = header.modality_code or header.sop_class
    return f"Modality is {found}; only chest radiographs (CR, DX, RG) and CT are answered"


def _no_pixels(dataset: Dataset, header: DicomHeader) -> str | None:
    if "PixelData" in dataset:
        return None
    return f"holds no PixelData ({header.sop_class}); give the image object, uncut"


def _other_body_part(header: DicomHeader) -> str | None:
    part = _plain_letters(header.body_part or "")
    if not part or part in _NO_PART or (_CHEST.search(part) and not _NOT_CHEST.search(part)):
        return None
    return f"BodyPartExamined is {header.body_part}; only chest images are answered"


def _plain_letters(text: str) -> str:
    """A to Z of a text, accents taken off. The value representation knows no accents, so they come in any encoding."""
    with suppress(UnicodeError):  # pydicom reads it as Latin-1, and many write UTF-8
        text = text.encode("latin-1").decode("utf-8")
    return re.sub("[^A-Z]", "", unicodedata.normalize("NFKD", text.upper()))


def _not_human(dataset: Dataset) -> str | None:
    species = (text_of(dataset, "PatientSpeciesDescription") or "").upper()
    codes = {text_of(item, "CodeValue") for item in dataset.get("PatientSpeciesCodeSequence") or ()}
    # A free text of the detector's examination menu, e.g. "CANINE LATERAL THORAX".
    menu = (text_of(dataset, "AcquisitionDeviceProcessingDescription") or "").upper()
    is_animal = (
        (species and not any(word in species for word in _HUMAN_WORDS))
        or bool(codes - _HUMAN_CODES)
        or (text_of(dataset, "ResponsiblePersonRole") or "").upper() == "OWNER"
        or any(dataset.get(keyword) for keyword in _BREED_ATTRIBUTES)
        or _ANIMAL.search(menu)
    )
    return (
        "a veterinary image (by its species, breed or owner); only images of people are answered" if is_animal else None
    )


def _unfit_image_type(dataset: Dataset) -> str | None:
    return _unfit_type(text_of(dataset, "ImageType") or "")


def _unfit_type(image_type: str) -> str | None:
    image_type = image_type.upper()
    for word, meaning in _UNFIT_IMAGE_TYPES.items():
        if word in image_type:
            return f"ImageType says {meaning}"
    return None


def _not_axial(plane: str | None, modality: Modality | None) -> str | None:
    if modality is not Modality.CT or plane in {None, "axial"}:
        return None
    return f"a {plane} slice by its ImageOrientationPatient; give the axial series"


def _not_frontal(header: DicomHeader) -> str | None:
    view = (header.view or "").upper()
    if header.modality is Modality.CT or (view not in _NOT_FRONTAL_POSITIONS and not _NOT_FRONTAL.search(view)):
        return None
    return f"the view is {header.view}; only frontal radiographs (PA, AP) are answered"


def _unprocessed(dataset: Dataset) -> str | None:
    # PS3.3 C.8.11.1: raw detector values, whose greys no reader ever sees.
    if (text_of(dataset, "PresentationIntentType") or "").upper() != "FOR PROCESSING":
        return None
    return "PresentationIntentType is FOR PROCESSING, raw detector values; give the image for presentation"


def _colour(dataset: Dataset) -> str | None:
    photometric = text_of(dataset, "PhotometricInterpretation") or "missing"
    if photometric in GREY | COLOUR:
        return None
    return f"PhotometricInterpretation is {photometric}, which is not read; export it as MONOCHROME2"
