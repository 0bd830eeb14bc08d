"""A small grey copy of any image, read cheaply: enough for statistics and for comparing, never for an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from duoscan.imaging.contract import LUNG_WINDOW_CENTRE_HU, LUNG_WINDOW_WIDTH_HU
from duoscan.imaging.limits import MAX_PIXELS
from duoscan.imaging.reader import read_image
from duoscan.quiet import quiet

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_JPEG_START = b"\xff\xd8"


def small_grey(path: Path, size: int = 64) -> NDArray[np.float32]:
    """The whole image as grey in [0, 1], shape (size, size), each pixel the mean of the area it stands for.

    A JPEG is decoded at the smallest of its own scales (1/2, 1/4, 1/8) that still has ``size`` pixels, which
    takes a fraction of the time. Hounsfield units are shown in the lung window. The sides are scaled apart from
    each other, so the shape of the image is not kept.

    Raises:
        ImageError: The image cannot be read or must not be answered; the text says why.
    """
    quick = _scaled_jpeg(path, size)
    if quick is not None:
        return quick
    pixels = read_image(path)
    values = pixels.values
    if pixels.is_hu:
        low = LUNG_WINDOW_CENTRE_HU - LUNG_WINDOW_WIDTH_HU / 2
        values = np.clip((values - low) / LUNG_WINDOW_WIDTH_HU, 0, 1).astype(np.float32)
    return np.asarray(Image.fromarray(values).resize((size, size), Image.Resampling.BOX), dtype=np.float32)


def _scaled_jpeg(path: Path, size: int) -> NDArray[np.float32] | None:
    """The same for a sound JPEG; ``None`` leaves the file, and the words for what is wrong, to the reader."""
    try:
        with path.open("rb") as stream:
            if stream.read(2) != _JPEG_START:
                return None
        with quiet, Image.open(path, formats=("JPEG",)) as image:
            if image.width * image.height > MAX_PIXELS or min(image.size) < size:
                return None
            image.draft("L", (size, size))
            small = image.convert("L").resize((size, size), Image.Resampling.BOX)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return np.asarray(small, dtype=np.float32) / np.float32(255)
