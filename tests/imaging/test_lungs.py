"""Where the lungs lie, and images without them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from duoscan.errors import UnreadableImageError
from duoscan.imaging.lungs import boxed, central_box, lungs_only, read_lung_mask, without_lungs


def test_a_mask_is_stretched_to_its_image(tmp_path: Path) -> None:
    small = np.zeros((4, 4), np.uint8)
    small[1:3, 0:2] = 255
    Image.fromarray(small).save(tmp_path / "m.png")
    lung = read_lung_mask(tmp_path / "m.png", (8, 12))
    assert lung.shape == (8, 12)
    assert lung[2:6, 0:6].all()
    assert lung.sum() == 24
    with pytest.raises(UnreadableImageError, match="cannot be read"):
        read_lung_mask(tmp_path / "none.png", (8, 12))


def test_boxes_are_cut_at_the_edges() -> None:
    inside = boxed([(-2.0, 1.0, 4.0, 2.0), (5.0, 0.0, 10.0, 1.0)], (4, 6))
    assert inside.sum() == 2 * 2 + 1
    assert inside[1:3, 0:2].all()
    assert inside[0, 5]


def test_the_central_box_leaves_a_tenth_of_each_side() -> None:
    assert central_box((20, 40)).sum() == 16 * 32
    assert central_box((20, 40), 0.25).sum() == 10 * 20


def test_what_is_flattened_tells_nothing_of_what_was_there() -> None:
    """Other lungs, same image without them; another rest, same lungs alone."""
    rng = np.random.default_rng(0)
    lung = central_box((10, 10))
    one, other = (rng.random((10, 10), dtype=np.float32) for _ in range(2))
    mixed = np.where(lung, one, other)
    np.testing.assert_array_equal(without_lungs(mixed, lung), without_lungs(other, lung))
    np.testing.assert_array_equal(lungs_only(mixed, lung), lungs_only(one, lung))
    assert without_lungs(one, lung)[5, 5] == pytest.approx(one[~lung].mean())


def test_all_lung_and_no_lung() -> None:
    grey = np.full((3, 3), 0.5, np.float32)
    everywhere, nowhere = np.ones((3, 3), bool), np.zeros((3, 3), bool)
    assert not without_lungs(grey, everywhere).any()
    np.testing.assert_array_equal(without_lungs(grey, nowhere), grey)
    assert not lungs_only(grey, nowhere).any()
