"""The sizes and contrasts an image must have, whatever file it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import UnreadableImageError, UnsupportedImageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

MAX_FILE_BYTES = 512 * 2**20
"""Largest file that is opened; a multi-frame CT of 1,000 slices has as much."""

MAX_PIXELS = 25_000_000
"""Largest image that is decoded; the largest detectors have about 18 million pixels."""

MAX_DECODED_BYTES = 512 * 2**20
"""Most that the pixel data of one file may become, all frames together."""

MIN_SIDE = 32
"""Shortest side in pixels; below it there is no anatomy to answer on, only an icon."""

_ROWS = 64

TOO_LARGE = f"too large; the limit is {MAX_PIXELS // 10**6} million pixels, export a smaller copy"


def check_file(path: Path) -> None:
    """Refuse a file without a byte, as pipes and devices are too, and one that is too large.

    Raises:
        UnreadableImageError: The file is one of these.
        OSError: It is missing or may not be looked at.
    """
    size = path.stat().st_size
    if size == 0:
        raise UnreadableImageError(path, "the file is empty; copy or export it again")
    if size > MAX_FILE_BYTES:
        raise UnreadableImageError(path, f"{size:,} bytes; files above {MAX_FILE_BYTES:,} are not opened")


def check_size(width: int, height: int, path: Path) -> None:
    """Refuse an image by its size; meant to be called before anything is decoded.

    Raises:
        UnreadableImageError: More than ``MAX_PIXELS``.
        UnsupportedImageError: A side shorter than ``MIN_SIDE``.
    """
    check_pixels(width, height, path)
    if min(width, height) < MIN_SIDE:
        raise UnsupportedImageError(
            path, f"{width} × {height} pixels is too small; give the full image, {MIN_SIDE} a side at least"
        )


def check_pixels(width: int, height: int, path: Path) -> None:
    """Refuse an image that is too large.

    Raises:
        UnreadableImageError: More than ``MAX_PIXELS``.
    """
    if width * height > MAX_PIXELS:
        raise UnreadableImageError(path, f"{width} × {height} pixels is {TOO_LARGE}")


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
        raise UnreadableImageError(path, "some pixel values are not finite; export the image again")
    if values.min() == values.max():
        raise UnsupportedImageError(path, "blank image, every pixel has the same value; give another one")


def stretch(values: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    """Map ``low`` to 0 and ``high`` to 1 and clip what lies beyond.

    Without a range (``low`` not below ``high``) everything becomes 0; values that are not finite remain so.

    Args:
        values: Any values, shape (H, W).
        low: The value that becomes black.
        high: The value that becomes white.
    """
    # Halved first, so that the span of extreme floats cannot overflow.
    span = high / 2 - low / 2
    grey = np.empty(values.shape, dtype=np.float32)
    # A few rows at a time: in double precision the whole of a large image would take several times its size.
    for start in range(0, len(values), _ROWS):
        rows = values[start : start + _ROWS]
        if not np.issubdtype(rows.dtype, np.floating):
            rows = rows.astype(np.float64)
        scaled = (rows / 2 - low / 2) / span if span > 0 else np.where(np.isfinite(rows), 0.0, rows)
        grey[start : start + _ROWS] = np.clip(scaled, 0, 1)
    return grey
