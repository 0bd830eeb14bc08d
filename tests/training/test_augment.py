from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from duoscan.training.augment import augment
from duoscan.training.recipe import AugmentSection

STILL = {"rotate_deg": 0, "min_area": 1, "aspect_jitter": 0, "brightness": 0, "contrast": 0, "gamma": 0}


def images(count: int = 4, size: int = 40) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).random((count, 1, size, size), dtype=np.float32))


def test_nothing_asked_nothing_changed() -> None:
    grey = images(size=32)
    views = augment(grey, AugmentSection(**STILL), 32, np.random.default_rng(0))
    torch.testing.assert_close(views, grey, atol=1e-5, rtol=0)


def test_hflip_mirrors_left_and_right_only() -> None:
    grey = images(size=32)
    views = augment(grey, AugmentSection(**STILL, hflip=1), 32, np.random.default_rng(0))
    torch.testing.assert_close(views, grey.flip(-1), atol=1e-5, rtol=0)


def test_vflip_turns_upside_down() -> None:
    grey = images(size=32)
    views = augment(grey, AugmentSection(**STILL, vflip=1), 32, np.random.default_rng(0))
    torch.testing.assert_close(views, grey.flip(-2), atol=1e-5, rtol=0)


def test_a_quarter_of_the_area_is_half_of_each_side() -> None:
    # A white square in the middle, half as wide as the image, fills it when a crop keeps exactly the middle. The
    # crop's place is random, so only its scale is checked: a step edge is seen twice as steep.
    grey = torch.linspace(0, 1, 64).expand(1, 1, 64, 64)
    views = augment(grey, AugmentSection(**(STILL | {"min_area": 0.25})), 64, np.random.default_rng(3))
    slope = (views[0, 0, 32, 40] - views[0, 0, 32, 24]).item()
    whole = (grey[0, 0, 32, 40] - grey[0, 0, 32, 24]).item()
    assert 0.5 * whole - 1e-3 <= slope <= whole + 1e-3


@given(seed=st.integers(0, 2**31), count=st.integers(1, 5))
def test_range_shape_and_repeatability(seed: int, count: int) -> None:
    section = AugmentSection(noise=0.1, erase=0.5, hflip=0.5)
    one, two = (augment(images(count), section, 32, np.random.default_rng(seed)) for _ in range(2))
    assert one.shape == (count, 1, 32, 32)
    assert float(one.min()) >= 0
    assert float(one.max()) <= 1
    assert torch.equal(one, two)


@pytest.mark.parametrize("erase", [0.0, 1.0])
def test_erase_leaves_a_box(erase: float) -> None:
    grey = images(1, 64)
    views = augment(grey, AugmentSection(**STILL, erase=erase), 64, np.random.default_rng(1))
    same = torch.isclose(views, grey, atol=1e-4).float().mean().item()
    # A box has 15 to 40 % of each side, so 2 to 16 % of the area.
    assert (same == 1.0) if erase == 0 else (0.83 < same < 0.985)
