"""Where the lungs lie in an image, and the image without them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from duoscan.imaging.raster import open_picture

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

FRAME_SHARE = 0.1
"""Of each side; no lung is expected in so thin a frame."""


def read_lung_mask(path: Path, shape: tuple[int, int]) -> Mask:
    """A lung mask in the frame of its image; bright is lung.

    Args:
        path: A picture of any size; it is stretched to that of the image.
        shape: Height and width of the image, in pixels.

    Returns:
        shape (H, W); empty where the image shows no lung.

    Raises:
        UnreadableImageError: The file is missing, too large or no picture.
    """
    height, width = shape
    with open_picture(path) as image:
        grey = image.convert("L").resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(grey) > 127


def central_box(shape: tuple[int, int]) -> Mask:
    """All of an image but the outer tenth of each side: where no mask is known, the lungs lie in it.

    Args:
        shape: Height and width, in pixels.
    """
    height, width = shape
    box = np.zeros(shape, dtype=np.bool_)
    rows, columns = round(height * FRAME_SHARE), round(width * FRAME_SHARE)
    box[rows : height - rows, columns : width - columns] = True
    return box


def without_lungs(grey: NDArray[np.float32], lung: Mask) -> NDArray[np.float32]:
    """The lungs flattened to the mean of all else.

    Args:
        grey: Grey in [0, 1], shape (H, W).
        lung: shape (H, W).
    """
    return np.where(lung, _outside_mean(grey, lung), grey)


def lungs_only(grey: NDArray[np.float32], lung: Mask) -> NDArray[np.float32]:
    """All but the lungs flattened to its mean, so that exposure and framing stay.

    Args:
        grey: Grey in [0, 1], shape (H, W).
        lung: shape (H, W).
    """
    return np.where(lung, grey, _outside_mean(grey, lung))


def _outside_mean(grey: NDArray[np.float32], lung: Mask) -> np.float32:
    return np.float32(0) if lung.all() else np.float32(grey[~lung].mean(dtype=np.float64))
