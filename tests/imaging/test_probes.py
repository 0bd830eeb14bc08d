from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from duoscan.imaging.contract import PreprocessingContract
from duoscan.imaging.probes import PROBES, borders_only, centre_only, thumbnail

IMAGES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=8, max_side=40),
    elements=st.floats(0, 1, width=32),
)


def test_names_are_those_of_the_contract() -> None:
    assert set(PROBES) == set(get_args(PreprocessingContract.model_fields["probe"].annotation))


def test_borders_keep_a_frame_of_each_side() -> None:
    # 10 % of 20 rows are 2, of 40 columns 4.
    kept = borders_only(np.ones((20, 40), dtype=np.float32))
    assert kept[:2].all()
    assert kept[-2:].all()
    assert kept[:, :4].all()
    assert kept[:, -4:].all()
    assert not kept[2:-2, 4:-4].any()


@given(IMAGES, st.floats(0, 0.5))
def test_borders_and_centre_make_up_the_image(image: np.ndarray, fraction: float) -> None:
    np.testing.assert_array_equal(borders_only(image, fraction) + centre_only(image, fraction), image)


def test_fraction_bounds() -> None:
    image = np.ones((20, 20), dtype=np.float32)
    assert not borders_only(image, 0).any()
    assert borders_only(image, 0.5).all()


def test_thumbnail_keeps_the_light_and_loses_the_detail() -> None:
    # Left half black, right half white, with one white dot in the black: 8 × 8 blocks of 64 pixels.
    image = np.zeros((64, 64), dtype=np.float32)
    image[:, 32:] = 1
    image[32, 4] = 1
    blurred = thumbnail(image)
    # The dot is spread over its block: 1/64 at most.
    assert blurred[32, 4] <= 1 / 64
    assert blurred[:, :4].max() <= 1 / 64
    assert blurred[:, -4:].min() == pytest.approx(1)


def test_thumbnail_size() -> None:
    # One pixel: the mean of the image.
    image = np.random.default_rng(0).random((32, 32), dtype=np.float32)
    np.testing.assert_allclose(thumbnail(image, 1), image.mean(), atol=1e-5)


@given(IMAGES, st.sampled_from(sorted(PROBES)))
def test_laws(image: np.ndarray, name: str) -> None:
    before = image.copy()
    probed = PROBES[name](image)
    assert probed.shape == image.shape
    assert probed.dtype == np.float32
    assert 0 <= probed.min() <= probed.max() <= 1 + 1e-6
    np.testing.assert_array_equal(image, before)
