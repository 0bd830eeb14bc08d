"""Lines of type in pixels are found, plain gradients and lone letters are not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from duoscan.imaging.quality.burnt_in import text_regions

TOP, LEFT, SIZE = 40, 30, 20


def ramp_with(text: str) -> np.ndarray:
    """A ramp of greys from 0 to 100 with white text on it, 256 × 256 pixels."""
    picture = Image.fromarray(np.tile(np.linspace(0, 100, 256).astype(np.uint8), (256, 1)))
    ImageDraw.Draw(picture).text((LEFT, TOP), text, fill=255, font=ImageFont.load_default(SIZE))
    return np.asarray(picture)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("dark", [False, True])
def test_finds_a_name_where_it_is(dtype: type[np.generic], *, dark: bool) -> None:
    pixels = ramp_with("DOE JANE 1951")
    boxes = text_regions((255 - pixels if dark else pixels).astype(dtype))
    assert boxes
    # Type of 20 px lies within 30 px below its anchor and starts within a character's width of it.
    assert min(box.top for box in boxes) >= TOP
    assert max(box.bottom for box in boxes) <= TOP + 30
    assert abs(min(box.left for box in boxes) - LEFT) <= SIZE


@pytest.mark.parametrize("text", ["", "L"])
def test_gradients_and_lone_letters_are_no_lines(text: str) -> None:
    assert text_regions(ramp_with(text)) == ()


def test_blank_and_tiny_images_hold_no_text() -> None:
    assert text_regions(np.zeros((64, 64), np.uint8)) == ()
    assert text_regions(ramp_with("DOE JANE")[:20]) == ()
    assert text_regions(np.full((64, 64), np.nan, np.float32)) == ()


def test_finds_outlined_type_on_bright_tissue() -> None:
    """As acquisition software writes it: white with a black edge, so that it can be read on any ground."""
    picture = Image.fromarray(np.tile(np.linspace(200, 230, 256).astype(np.uint8), (256, 1)))
    font = ImageFont.load_default(SIZE)
    ImageDraw.Draw(picture).text((LEFT, TOP), "PORTABLE", fill=255, font=font, stroke_width=1, stroke_fill=0)
    boxes = text_regions(np.asarray(picture))
    assert boxes
    assert all(TOP <= box.top < box.bottom <= TOP + 30 for box in boxes)
