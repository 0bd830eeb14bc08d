"""Marks as hospitals leave them in the corners of an image: a lead letter, a text label, a black box.

None of them is a sign of disease, so none may move an answer (DeGrave, Janizek and Lee, Nature Machine Intelligence
2021, found models that read such letters). All functions take grey in [0, 1], float32, shape (H, W), and leave it as
it is.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Grey = NDArray[np.float32]

# Shares of the shorter side. A lead letter is some 2 to 3 cm high on a film of 35 cm; text that an archive burns in
# is smaller; boxes of pixel de-identification cover a line or two of it.
LETTER_SHARE = 1 / 12
TEXT_SHARE = 1 / 20
BOX_SHARE = 1 / 8
_INSET_SHARE = 0.03
_LEAST_HEIGHT_PX = 5  # a letter of fewer pixels is a smudge


class Corner(StrEnum):
    """Of an image as it is shown."""

    UPPER_LEFT = "upper left"
    UPPER_RIGHT = "upper right"
    LOWER_LEFT = "lower left"
    LOWER_RIGHT = "lower right"

    @property
    def is_upper(self) -> bool:
        """Whether it is one of the two at the top."""
        return self in {Corner.UPPER_LEFT, Corner.UPPER_RIGHT}

    @property
    def is_left(self) -> bool:
        """Whether it is one of the two at the left edge of the picture."""
        return self in {Corner.UPPER_LEFT, Corner.LOWER_LEFT}


def paste_text(grey: Grey, text: str, corner: Corner, share: float) -> Grey:
    """Burn white text into a corner.

    Args:
        grey: Grey, shape (H, W).
        text: A letter or a few words, on one line.
        corner: Where; the text lies a little off the edges.
        share: Height of the type as a share of the shorter side.
    """
    shorter = min(grey.shape)
    cover = _drawn(text, max(_LEAST_HEIGHT_PX, round(shorter * share)))[: grey.shape[0], : grey.shape[1]]
    rows, columns = _place(grey, corner, cover.shape, inset=round(shorter * _INSET_SHARE))
    marked = grey.copy()
    marked[rows, columns] += cover * (1 - marked[rows, columns])
    return marked


def black_out(grey: Grey, corner: Corner, share: float = BOX_SHARE) -> Grey:
    """Cover a corner with a black square, as removing burnt-in text does.

    Args:
        grey: Grey, shape (H, W).
        corner: Where.
        share: Side of the square as a share of the shorter side.
    """
    side = round(min(grey.shape) * share)
    rows, columns = _place(grey, corner, (side, side), inset=0)
    covered = grey.copy()
    covered[rows, columns] = 0
    return covered


def _place(grey: Grey, corner: Corner, size: tuple[int, int], inset: int) -> tuple[slice, slice]:
    spans = []
    for side, length, is_first in zip(grey.shape, size, (corner.is_upper, corner.is_left), strict=True):
        start = min(inset, side - length) if is_first else max(0, side - length - inset)
        spans.append(slice(start, start + length))
    return spans[0], spans[1]


@cache
def _drawn(text: str, height_px: int) -> Grey:
    """How much of each pixel the text covers, in [0, 1], cut to the text."""
    font = ImageFont.load_default(height_px)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text))
    image = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(image).text((-left, -top), text, fill=255, font=font)
    return np.asarray(image, dtype=np.float32) / np.float32(255)
