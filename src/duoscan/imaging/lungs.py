"""Where the lungs lie in an image, and the image without them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from duoscan.formats.raster import open_picture

if TYPE_CHECKING:
    from pathlib import Path

Mask = NDArray[np.bool_]

FRAME_SHARE = 0.1
"""Of each side; no lung is expected in so thin a frame."""

Boxes = Sequence[tuple[float, float, float, float]]


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


def boxed(boxes: Boxes, shape: tuple[int, int]) -> Mask:
    """All that lies in any of the boxes.

    Args:
        boxes: Left, top, width and height of each, in pixels of the image; what reaches beyond it is cut off.
        shape: Height and width of the image, in pixels.
    """
    inside = np.zeros(shape, dtype=np.bool_)
    for left, top, width, height in boxes:
        rows, columns = ((max(0, round(start)), round(start + side)) for start, side in ((top, height), (left, width)))
        inside[slice(*rows), slice(*columns)] = True
    return inside


def central_box(shape: tuple[int, int], frame: float = FRAME_SHARE) -> Mask:
    """All of an image but a frame: where no mask is known, the lungs lie in it.

    Args:
        shape: Height and width, in pixels.
        frame: Thickness of the frame as a share of the side it lies along, in [0, 0.5].
    """
    height, width = shape
    box = np.zeros(shape, dtype=np.bool_)
    rows, columns = round(height * frame), round(width * frame)
    box[rows : height - rows, columns : width - columns] = True
    return box


def without_lungs(grey: NDArray[np.float32], lung: Mask) -> NDArray[np.float32]:
    """The lungs flattened to the mean of all else, so nothing that only they show is told.

    Args:
        grey: Grey in [0, 1], shape (H, W).
        lung: shape (H, W).
    """
    return np.where(lung, _mean(grey[~lung]), grey)


def lungs_only(grey: NDArray[np.float32], lung: Mask) -> NDArray[np.float32]:
    """All but the lungs flattened to the mean of the lungs, so nothing that only the rest shows is told.

    Args:
        grey: Grey in [0, 1], shape (H, W).
        lung: shape (H, W).
    """
    return np.where(lung, grey, _mean(grey[lung]))


def _mean(values: NDArray[np.float32]) -> np.float32:
    return np.float32(values.mean(dtype=np.float64)) if values.size else np.float32(0)
