"""Text burnt into pixels: banners with names, captions of ultrasound style, dates in a corner.

A detector of lines of type, not a reader: it looks for rows of small, sharp, flat shapes of like height, as characters
are. It needs no model. What it misses and what it takes for text is measured by ``benchmarks/burnt_in_text.py`` and
stands in docs/privacy.md; it misses some, so finding nothing proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAST_SIDE_PX = 32
_LEAST_HEIGHT_PX = 5
_MOST_HEIGHT_SHARE = 1 / 8
_LEAST_CONTRAST = 0.25
_INK_LEVEL = 0.95
_FLATNESS = 0.08
_LEAST_SHARPNESS = 0.5
_LEAST_GLYPHS = 3
_HEIGHT_RATIO = 1.7
_MOST_GAP = 1.5  # of the height, between neighbours; a space is about 0.3


@dataclass(frozen=True)
class TextBox:
    """A part of an image, in pixels; ``bottom`` and ``right`` lie just outside."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left


def text_regions(pixels: NDArray[np.generic]) -> tuple[TextBox, ...]:
    """Lines of at least three characters burnt into an image, light on dark or dark on light.

    Args:
        pixels: One frame of any numeric type, shape (H, W).

    Returns:
        One box for each line found, from top to bottom; none where nothing looks like text.
    """
    grey = _stretched(pixels)
    if grey is None or min(grey.shape) < _LEAST_SIDE_PX:
        return ()
    lines: list[TextBox] = []
    for image in (grey, 1 - grey):
        for glyphs in _glyphs(image):
            lines += [box for box in _lines(glyphs) if not any(_overlap(box, other) for other in lines)]
    return tuple(sorted(lines, key=lambda box: (box.top, box.left)))


def _stretched(pixels: NDArray[np.generic]) -> NDArray[np.float32] | None:
    """Grey in [0, 1], or ``None`` where the image is blank."""
    values = np.asarray(pixels, dtype=np.float32)
    finite = values[np.isfinite(values)]
    if not finite.size or finite.min() == finite.max():
        return None
    values = np.nan_to_num(values, nan=float(finite.min()), posinf=float(finite.max()), neginf=float(finite.min()))
    low, high = np.float32(finite.min()), np.float32(finite.max())
    grey: NDArray[np.float32] = (values - low) / (high - low)
    return grey


def _glyphs(grey: NDArray[np.float32]) -> tuple[list[TextBox], list[TextBox]]:
    """Light shapes that look printed: those lighter than their surroundings, and those near the lightest of all."""
    import cv2

    size = max(9, round(min(grey.shape) * _MOST_HEIGHT_SHARE / 2) | 1)
    # The white top-hat keeps what is lighter than its surroundings and narrower than the window: strokes.
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (size, size))
    hat = cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, kernel)
    # Type with an outline stands out little from bright tissue, but is a shape of its own above a high level.
    return _printed(grey, hat > _LEAST_CONTRAST), _printed(grey, grey > _INK_LEVEL)


def _printed(grey: NDArray[np.float32], mask: NDArray[np.bool_]) -> list[TextBox]:
    """The shapes of a mask that have size, flatness and sharpness of printed characters."""
    import cv2

    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    highest = grey.shape[0] * _MOST_HEIGHT_SHARE
    found = []
    for number, (left, top, width, height, area) in enumerate(stats[1:].tolist(), start=1):
        shaped = _LEAST_HEIGHT_PX <= height <= highest and 1 <= width <= 2.5 * height
        if shaped and area / (width * height) >= 0.12 and area >= 4:
            box = TextBox(top, left, top + height, left + width)
            if _is_printed(grey, labels, number, box):
                found.append(box)
    return found


def _is_printed(grey: NDArray[np.float32], labels: NDArray[np.int32], number: int, box: TextBox) -> bool:
    """Whether a shape's inside is flat and its edge falls off within a pixel or two, unlike bone or vessel."""
    around = np.s_[max(0, box.top - 2) : box.bottom + 2, max(0, box.left - 2) : box.right + 2]
    shape = labels[around] == number
    values = grey[around]
    core = values[shape]
    high = float(np.percentile(core, 90))
    near = ~shape & (labels[around] == 0)
    if not near.any():
        return False
    drop = high - float(np.median(values[near]))
    if drop < _LEAST_CONTRAST:
        return False
    steps = np.abs(np.diff(values, axis=1))
    # A row across a stroke must hold one step of most of the stroke's contrast.
    sharp = np.median(steps.max(axis=1, initial=0)) / drop
    flat = float(np.mean(core > high - max(_FLATNESS, 0.45 * drop)))
    return bool(sharp >= _LEAST_SHARPNESS and flat >= 0.5)


def _lines(glyphs: list[TextBox]) -> list[TextBox]:
    """Rows of neighbouring shapes of like height."""
    rest = sorted(glyphs, key=lambda box: box.left)
    lines = []
    while rest:
        line = [rest.pop(0)]
        for box in list(rest):
            if _continues(line, box):
                line.append(box)
                rest.remove(box)
        if len(line) >= _LEAST_GLYPHS:
            lines.append(_around(line))
    return lines


def _continues(line: list[TextBox], box: TextBox) -> bool:
    last = line[-1]
    tall, small = max(last.height, box.height), min(last.height, box.height)
    shared = min(last.bottom, box.bottom) - max(last.top, box.top)
    gap = box.left - last.right
    return tall <= _HEIGHT_RATIO * small and shared >= 0.6 * small and -1 <= gap <= _MOST_GAP * tall


def _around(boxes: list[TextBox]) -> TextBox:
    return TextBox(
        min(box.top for box in boxes),
        min(box.left for box in boxes),
        max(box.bottom for box in boxes),
        max(box.right for box in boxes),
    )


def _overlap(one: TextBox, other: TextBox) -> bool:
    return min(one.bottom, other.bottom) > max(one.top, other.top) and min(one.right, other.right) > max(
        one.left, other.left
    )
