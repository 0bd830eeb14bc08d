"""The lungs' view, against OpenCV's hull and rank statistics, and on phantoms whose lungs are known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import rankdata

from duoscan.errors import UnsupportedImageError
from duoscan.formats.image import Pixels
from duoscan.imaging.contract import PreprocessingContract
from duoscan.imaging.lung_view import (
    FINDER_SIDE,
    LungFinder,
    convex_hull,
    equalised,
    find_lungs,
    lung_mask,
    lung_regions,
    seen_before,
)
from duoscan.imaging.preprocess import prepare_grey, prepare_image, source_box
from duoscan.reasons import ReasonCode

Grey = NDArray[np.float32]


def two_lungs(height: int = 300, width: int = 400) -> tuple[Grey, LungFinder]:
    """A bright picture with two dark ellipses, and a finder that says lung where it is dark."""
    grey = np.full((height, width), 0.9, np.float32)
    for centre in (0.32, 0.68):
        rows, columns = np.ogrid[:height, :width]
        inside = ((rows / height - 0.5) / 0.3) ** 2 + ((columns / width - centre) / 0.13) ** 2 < 1
        grey[inside] = np.random.default_rng(0).uniform(0.1, 0.4, int(inside.sum()))
    return grey, lambda small: (small < 0.5).astype(np.float32)


def shows(**chosen: object) -> PreprocessingContract:
    return PreprocessingContract.model_validate({"modality": "cxr", "version": 2, **chosen})


@given(st.integers(0, 2**31))
def test_the_hull_is_that_of_opencv(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((48, 64), bool)
    rows, columns = rng.integers(2, 46, 20), rng.integers(2, 62, 20)
    mask[rows, columns] = True
    ours = np.array(convex_hull(mask), np.int32)
    theirs = cv2.convexHull(np.argwhere(mask)[:, ::-1].astype(np.int32))
    assert cv2.contourArea(ours) == cv2.contourArea(theirs)
    assert all(cv2.pointPolygonTest(ours.astype(np.float32), (float(x), float(y)), False) >= 0 for x, y in theirs[:, 0])


def test_both_lungs_are_boxed_and_the_rest_is_plain() -> None:
    grey, finder = two_lungs()
    view = find_lungs(grey, finder, each=True)
    assert view is not None
    # Ellipses from 0.19 to 0.81 of the width and 0.2 to 0.8 of the height, widened by two of 128 places.
    assert (view.left, view.right) == (pytest.approx(76, abs=10), pytest.approx(324, abs=10))
    assert (view.top, view.bottom) == (pytest.approx(60, abs=10), pytest.approx(240, abs=10))
    prepared = prepare_image(Pixels(grey), shows(lungs="each"), finder)
    assert prepared.seen == view[1:]
    middle = prepared.grey[:, 108:116]  # between the lungs, which the picture shows bright
    assert middle.max() < 0.45
    together = prepare_grey(Pixels(grey), shows(lungs="hull"), finder)
    assert together[100:120, 108:116].min() > 0.8


def test_what_lies_beyond_the_lungs_changes_nothing() -> None:
    grey, finder = two_lungs()
    held = seen_before(grey, finder)
    framed = grey.copy()
    framed[:40], framed[-40:], framed[:, :60], framed[:, -60:] = 0.0, 1.0, 0.3, 0.7
    for tone in ("plain", "equalised"):
        contract = shows(lungs="hull", tone=tone)
        np.testing.assert_array_equal(
            prepare_grey(Pixels(framed), contract, held), prepare_grey(Pixels(grey), contract, held)
        )


@given(st.integers(0, 2**31), st.floats(0.3, 3.0))
def test_exposure_changes_little_once_greys_are_spread_evenly(seed: int, gamma: float) -> None:
    grey = np.random.default_rng(seed).random((40, 50), dtype=np.float32) * 0.8 + 0.1
    shown = np.zeros(grey.shape, bool)
    shown[5:35, 10:40] = True
    even = equalised(grey, shown)
    assert (even[~shown] == 0.5).all()
    ranks = (rankdata(grey[shown]) - 0.5) / shown.sum()
    np.testing.assert_allclose(even[shown], ranks, atol=0.01)
    np.testing.assert_allclose(equalised(grey**gamma, shown), even, atol=0.06)


def test_without_lungs_nothing_is_prepared() -> None:
    grey, _ = two_lungs()
    for nothing in (np.zeros, np.ones):
        with pytest.raises(UnsupportedImageError, match="no lungs are found in this chest X-ray") as raised:
            prepare_grey(Pixels(grey), shows(lungs="crop"), lambda small, fill=nothing: fill(small.shape, np.float32))
        assert raised.value.reason.code is ReasonCode.NO_LUNG


def test_a_contract_that_shows_lungs_asks_for_a_finder() -> None:
    grey, _ = two_lungs()
    with pytest.raises(ValueError, match="no lung finder is given"):
        source_box(Pixels(grey), shows(lungs="crop"))


def test_a_speck_is_no_second_lung() -> None:
    mask = np.zeros((60, 60), bool)
    mask[10:40, 5:25] = mask[10:12, 50:52] = True
    assert [int(region.sum()) for region in lung_regions(mask)] == [600]
    mask[10:30, 35:55] = True
    assert [int(region.sum()) for region in lung_regions(mask)] == [600, 400]
    assert lung_regions(np.zeros((5, 5), bool)) == []


def test_the_mask_has_the_size_of_the_picture() -> None:
    grey, finder = two_lungs(301, 187)
    mask = lung_mask(grey, finder)
    assert mask.shape == grey.shape
    assert mask.mean() == pytest.approx(float((grey < 0.5).mean()), abs=0.02)
    assert not lung_mask(grey, lambda small: np.zeros((FINDER_SIDE, FINDER_SIDE), np.float32)).any()


def test_version_1_is_what_it_was() -> None:
    plain = PreprocessingContract(modality="cxr")
    assert "lungs" not in plain.model_dump()
    assert "tone" not in plain.model_dump_json()
    # The digest that contracts had before there was a second version.
    assert plain.digest() == "a177a635882085f51d1e02852010ce83be25800c2ba043ae099d59f5866baf19"
    with pytest.raises(ValueError, match="version 2"):
        PreprocessingContract(modality="cxr", lungs="crop")
    with pytest.raises(ValueError, match="shows the whole image"):
        shows(tone="equalised")
    again = PreprocessingContract.model_validate(shows(lungs="each").model_dump())
    assert again == shows(lungs="each")
