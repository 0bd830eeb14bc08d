"""Any image file → pixels. A new format is one new module and one line in ``FORMATS``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from duoscan.formats.dicom.header import DICOM_SUFFIXES, is_dicom
from duoscan.formats.dicom.pixels import read_dicom
from duoscan.formats.frame_names import split_frame
from duoscan.formats.nifti import NIFTI_SUFFIXES, is_nifti, read_nifti
from duoscan.formats.raster import RASTER_SUFFIXES, read_raster

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from duoscan.formats.image import Pixels

__all__ = ["FORMATS", "IMAGE_SUFFIXES", "ImageFormat", "is_dicom", "read_image"]


@dataclass(frozen=True)
class ImageFormat:
    """One way to read files.

    Attributes:
        name: For messages.
        suffixes: Lower-case file suffixes with their dot; what a walk through a folder picks up.
        claims: Whether a file is of this format, by its first bytes or its suffix; never raises.
        read: File → pixels; raises only ``ImageError``.
    """

    name: str
    suffixes: frozenset[str]
    claims: Callable[[Path], bool]
    read: Callable[[Path], Pixels]


FORMATS = (
    ImageFormat("DICOM", DICOM_SUFFIXES, is_dicom, read_dicom),
    ImageFormat("NIfTI", NIFTI_SUFFIXES, is_nifti, read_nifti),
    # Last, since it takes whatever nobody else claims: pictures are recognised by content, under any name.
    ImageFormat("picture", RASTER_SUFFIXES, lambda _: True, read_raster),
)
"""Tried in this order."""

IMAGE_SUFFIXES = frozenset().union(*(image_format.suffixes for image_format in FORMATS))
"""Suffixes that are picked up from folders. DICOM archives also hold files without one; see :func:`is_dicom`."""


def read_image(path: Path) -> Pixels:
    """Read one image of any known format.

    Args:
        path: A file, or one image of a file that holds several (:mod:`duoscan.formats.frame_names`).

    Raises:
        UnreadableImageError: Missing, empty, damaged, too large, or of no known format.
        UnsupportedImageError: A real image that must not be answered; the text says why.
    """
    file, _ = split_frame(path)
    return next(image_format for image_format in FORMATS if image_format.claims(file)).read(path)
