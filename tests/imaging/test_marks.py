"""Marks lie in their corner and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from duoscan.imaging.marks import BOX_SHARE, LETTER_SHARE, Corner, black_out, paste_text


def quarter(grey: np.ndarray, corner: Corner) -> np.ndarray:
    rows, columns = (side // 2 for side in grey.shape)
    half = grey[:rows] if corner.is_upper else grey[rows:]
    return half[:, :columns] if corner.is_left else half[:, columns:]


@pytest.mark.parametrize("corner", list(Corner))
def test_a_letter_brightens_its_corner_alone(corner: Corner) -> None:
    grey = np.full((96, 128), 0.3, np.float32)
    marked = paste_text(grey, "L", corner, LETTER_SHARE)
    assert marked.dtype == np.float32
    assert quarter(marked, corner).max() > 0.8  # the stroke is a pixel wide, so its edges are grey
    assert all(np.all(quarter(marked, other) == 0.3) for other in Corner if other is not corner)
    assert np.all(grey == np.float32(0.3))


@pytest.mark.parametrize("corner", list(Corner))
def test_a_black_box_has_the_size_it_is_said_to_have(corner: Corner) -> None:
    covered = black_out(np.ones((64, 80), np.float32), corner)
    assert (covered == 0).sum() == round(64 * BOX_SHARE) ** 2
    assert (quarter(covered, corner) == 0).sum() == round(64 * BOX_SHARE) ** 2


def test_text_longer_than_the_image_is_cut() -> None:
    marked = paste_text(np.zeros((16, 16), np.float32), "PORTABLE SUPINE", Corner.LOWER_RIGHT, 0.5)
    assert marked.shape == (16, 16)
    assert marked.max() > 0.5
