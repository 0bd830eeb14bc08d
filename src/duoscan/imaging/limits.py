"""The sizes and contrasts an image must have, whatever file it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from duoscan.errors import UnreadableImageError, UnsupportedImageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

MAX_PIXELS = 64_000_000
"""Largest image that is decoded; the largest detectors have about 18 million pixels."""

MAX_DECODED_BYTES = 512 * 2**20
"""Most that the pixel data of one file may become, all frames together."""

MIN_SIDE = 32
"""Shortest side in pixels; below it there is no anatomy to answer on, only an icon."""

TOO_LARGE = f"too large; the limit is {MAX_PIXELS // 10**6} million pixels, export a smaller copy"


def check_not_empty(path: Path) -> None:
    """Refuse a file without a byte.

    Raises:
        UnreadableImageError: The file is empty.
        OSError: It is missing or may not be looked at.
    """
    if path.stat().st_size == 0:
        raise UnreadableImageError(f"{path}: the file is empty; copy or export it again")


def check_size(width: int, height: int, path: Path) -> None:
    """Refuse an image by its size; meant to be called before anything is decoded.

    Raises:
        UnreadableImageError: More than ``MAX_PIXELS``.
        UnsupportedImageError: A side shorter than ``MIN_SIDE``.
    """
    if width * height > MAX_PIXELS:
        raise UnreadableImageError(f"{path}: {width} × {height} pixels is {TOO_LARGE}")
    if min(width, height) < MIN_SIDE:
        raise UnsupportedImageError(
            f"{path}: {width} × {height} pixels is too small; give the full image, {MIN_SIDE} a side at least"
        )


def check_contrast(values: NDArray[np.float32], path: Path) -> None:
    """Refuse an image without any content.

    Args:
        values: Grey or HU, shape (H, W).
        path: The file, for the message.

    Raises:
        UnreadableImageError: Some values are not finite.
        UnsupportedImageError: All values are the same.
    """
    if not np.isfinite(values).all():
        raise UnreadableImageError(f"{path}: some pixel values are not finite; export the image again")
    if values.min() == values.max():
        raise UnsupportedImageError(f"{path}: blank image, every pixel has the same value; give another one")


def stretch(values: NDArray[np.float32] | NDArray[np.float64], low: float, high: float) -> NDArray[np.float32]:
    """Map ``low`` to 0 and ``high`` to 1 and clip what lies beyond.

    Without a range (``low`` not below ``high``) everything becomes 0; values that are not finite remain so.

    Args:
        values: Any values, shape (H, W).
        low: The value that becomes black.
        high: The value that becomes white.
    """
    # Halved first, so that the span of extreme floats cannot overflow.
    span = high / 2 - low / 2
    scaled = (values / 2 - low / 2) / span if span > 0 else np.where(np.isfinite(values), 0.0, values)
    return np.clip(scaled, 0, 1).astype(np.float32)
