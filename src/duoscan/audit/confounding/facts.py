"""What the file itself says about an image, read without decoding a pixel."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from duoscan.formats.dicom.header import dicom_errors, header_of, is_dicom, open_dicom, text_of
from duoscan.formats.raster import open_picture

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from duoscan.manifest.records import ImageRecord

# Depth of one channel by Pillow's mode; the modes not named hold 8 bits.
_BITS_OF_MODE = {"1": 1, "I;16": 16, "I;16B": 16, "I;16L": 16, "I": 32, "F": 32}

# ITU-T T.81 annex K, table K.1: luminance, the base that the common encoders scale by their quality.
_LUMINANCE = (
    *(16, 11, 10, 16, 24, 40, 51, 61),
    *(12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77),
    *(24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101),
    *(72, 92, 95, 98, 112, 100, 103, 99),
)
_QUALITIES = np.arange(1, 101)

# PS3.5 6.2, value representation AS: three digits and the unit.
_AGE = re.compile(r"(\d{3})([DWMY])")
_PER_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}


@dataclass(frozen=True)
class FileFacts:
    """Facts of one file; ``None`` where it does not say.

    Attributes:
        width: Columns.
        height: Rows.
        file_format: ``JPEG``, ``PNG``, ``DICOM``, ….
        bit_depth: Bits of one channel; of DICOM BitsStored.
        colour_mode: Pillow's mode, e.g. ``L`` or ``RGB``; of DICOM the PhotometricInterpretation.
        size_bytes: Of the file.
        jpeg_quality: Nearest quality, 1 to 100, on the Independent JPEG Group's scale.
        published_suffix: Suffix of the name it was published under.
        view: As in the manifest, else as in the DICOM header, in capitals.
        manufacturer: DICOM Manufacturer (0008,0070).
        transfer_syntax: DICOM, by name.
        age_years: DICOM PatientAge (0010,1010).
        sex: DICOM PatientSex (0010,0040).
    """

    width: int
    height: int
    file_format: str
    bit_depth: int
    colour_mode: str
    size_bytes: int
    jpeg_quality: int | None = None
    published_suffix: str | None = None
    view: str | None = None
    manufacturer: str | None = None
    transfer_syntax: str | None = None
    age_years: float | None = None
    sex: str | None = None


def read_facts(record: ImageRecord, path: Path) -> FileFacts:
    """Read the facts of one image.

    Args:
        record: Its row of the manifest.
        path: Its file.

    Raises:
        UnreadableImageError: The header cannot be read.
    """
    return _dicom_facts(record, path) if is_dicom(path) else _raster_facts(record, path)


def _raster_facts(record: ImageRecord, path: Path) -> FileFacts:
    with open_picture(path) as image:
        tables: dict[int, list[int]] = getattr(image, "quantization", None) or {}
        return FileFacts(
            width=image.width,
            height=image.height,
            file_format=image.format or "unknown",
            bit_depth=_BITS_OF_MODE.get(image.mode, 8),
            colour_mode=image.mode,
            size_bytes=path.stat().st_size,
            jpeg_quality=jpeg_quality(tables[0]) if 0 in tables else None,
            published_suffix=_published_suffix(record),
            view=_view(record.view),
        )


def _dicom_facts(record: ImageRecord, path: Path) -> FileFacts:
    with dicom_errors(path):
        dataset = open_dicom(path, header_only=True)
        header = header_of(dataset)
        return FileFacts(
            width=header.columns or 0,
            height=header.rows or 0,
            file_format="DICOM",
            bit_depth=int(dataset.get("BitsStored") or 0),
            colour_mode=text_of(dataset, "PhotometricInterpretation") or "missing",
            size_bytes=path.stat().st_size,
            published_suffix=_published_suffix(record),
            view=_view(record.view or header.view),
            manufacturer=text_of(dataset, "Manufacturer"),
            transfer_syntax=header.transfer_syntax,
            age_years=age_years(text_of(dataset, "PatientAge")),
            sex=text_of(dataset, "PatientSex"),
        )


def jpeg_quality(table: list[int] | tuple[int, ...]) -> int:
    """The quality, 1 to 100, whose luminance table is nearest to the one in the file.

    Encoders of the Independent JPEG Group's family scale one base table (T.81 annex K) by the quality, so for
    them it is exact; for others it is the nearest in strength.

    Args:
        table: 64 quantisation steps of the luminance, in any order.
    """
    found = np.sort(np.asarray(table, dtype=np.int64))
    distances = np.abs(_scaled_tables() - found).sum(axis=1)
    return int(_QUALITIES[np.argmin(distances)])


def _scaled_tables() -> NDArray[np.int64]:
    """The sorted luminance table of each quality, shape (100, 64)."""
    scale = np.where(_QUALITIES < 50, 5000 // _QUALITIES, 200 - 2 * _QUALITIES)
    tables = (np.asarray(_LUMINANCE)[None, :] * scale[:, None] + 50) // 100
    return np.sort(np.clip(tables, 1, 255), axis=1)


def age_years(text: str | None) -> float | None:
    """DICOM's age string in years, e.g. ``018M`` → 1.5; ``None`` where it is none.

    Example:
        >>> age_years("018M")
        1.5
    """
    match = _AGE.fullmatch(text or "")
    return int(match[1]) / _PER_YEAR[match[2]] if match else None


def _published_suffix(record: ImageRecord) -> str | None:
    suffix = PurePosixPath(record.original_name or record.path).suffix.lower()
    return {".jpeg": ".jpg"}.get(suffix, suffix) or None


def _view(view: str | None) -> str | None:
    return view.upper() if view else None
