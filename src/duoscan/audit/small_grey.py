"""A small grey copy of any image, read cheaply: enough for statistics and for comparing, never for an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from duoscan.formats.raster import read_raster
from duoscan.formats.reader import is_dicom, read_image
from duoscan.imaging.preprocess import lung_grey

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def shrunk_grey(path: Path, at_least_px: int) -> NDArray[np.float32]:
    """The whole image as grey in [0, 1], Hounsfield units in the lung window.

    A JPEG is decoded at the smallest of its own scales (1/2, 1/4, 1/8) of which both sides still have
    ``at_least_px`` pixels, which takes a fraction of the time; any other image comes at its own size.

    Raises:
        ImageError: The image cannot be read or must not be answered; the text says why.
    """
    return lung_grey(read_image(path) if is_dicom(path) else read_raster(path, at_least_px=at_least_px))


def small_grey(path: Path, size: int = 64) -> NDArray[np.float32]:
    """The same in shape (size, size), each pixel the mean of the area it stands for.

    The sides are scaled apart from each other, so the shape of the image is not kept.

    Raises:
        ImageError: As :func:`shrunk_grey`.
    """
    small = Image.fromarray(shrunk_grey(path, size)).resize((size, size), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32)
