from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from duoscan.errors import UnsupportedImageError
from duoscan.formats.image import Pixels
from duoscan.imaging.contract import PreprocessingContract
from duoscan.imaging.preprocess import (
    Box,
    content_box,
    normalise,
    prepare_grey,
    preprocess,
    source_box,
    window,
)
from duoscan.imaging.probes import PROBES
from duoscan.terms import Modality


def contract(**fields: object) -> PreprocessingContract:
    return PreprocessingContract.model_validate({"modality": "cxr", "height": 16, "width": 16} | fields)


def grey(height: int, width: int, value: float = 0.0) -> NDArray[np.float32]:
    return np.full((height, width), value, dtype=np.float32)


def framed() -> NDArray[np.float32]:
    """100 high and 80 wide: 0.5 in rows 10–89 and columns 20–69, black around."""
    image = grey(100, 80)
    image[10:90, 20:70] = 0.5
    return image


def test_window_of_hu() -> None:
    # Centre -600 and width 1500: -1350 is black, -600 the middle, 150 white, and beyond is clipped.
    hu = np.array([[-2000, -1350, -600, 150, 3000]], dtype=np.float32)
    values = window(Pixels(hu, is_hu=True), contract(modality="ct"))
    np.testing.assert_allclose(values, [[0, 0, 0.5, 1, 1]], atol=1e-6)


def test_window_belongs_to_the_contract() -> None:
    hu = np.array([[-160, 40, 240]], dtype=np.float32)
    values = window(Pixels(hu, is_hu=True), contract(modality="ct", window_centre_hu=40, window_width_hu=400))
    np.testing.assert_allclose(values, [[0, 0.5, 1]], atol=1e-6)


@pytest.mark.parametrize(
    ("pixels", "modality"),
    [
        (Pixels(grey(40, 40), modality=Modality.CXR), "ct"),
        (Pixels(grey(40, 40), modality=Modality.CT), "cxr"),
        (Pixels(grey(40, 40), is_hu=True), "cxr"),
    ],
)
def test_another_modality_is_refused(pixels: Pixels, modality: str) -> None:
    with pytest.raises(UnsupportedImageError, match="the model expects a chest"):
        preprocess(pixels, contract(modality=modality))
    with pytest.raises(UnsupportedImageError):
        source_box(pixels, contract(modality=modality))


@pytest.mark.parametrize("modality", ["ct", "cxr"])
def test_an_unknown_modality_is_taken(modality: str) -> None:
    assert preprocess(Pixels(framed()), contract(modality=modality)).shape == (1, 16, 16)


def test_borders_are_cropped() -> None:
    pixels = Pixels(framed())
    assert source_box(pixels, contract()) == Box(20, 10, 70, 90)
    np.testing.assert_allclose(prepare_grey(pixels, contract()), 0.5)
    assert source_box(pixels, contract(crop_borders=False)) == Box(0, 0, 80, 100)


def test_a_few_bright_pixels_are_still_border() -> None:
    # In a row of 100 pixels, 1 is under 2 %, 2 are not.
    image = grey(100, 100, 0.5)
    image[:10] = 0
    image[4, 0] = 1
    assert source_box(Pixels(image), contract()).top == 10
    image[4, 1] = 1
    assert source_box(Pixels(image), contract()).top == 4


def test_black_lines_inside_are_kept() -> None:
    image = grey(100, 100, 0.5)
    image[50] = 0
    assert source_box(Pixels(image), contract()) == Box(0, 0, 100, 100)


def test_border_level() -> None:
    image = grey(100, 100, 0.5)
    image[:, :7] = 0.1
    assert source_box(Pixels(image), contract()).left == 0
    assert source_box(Pixels(image), contract(border_level=0.1)).left == 7


def test_never_less_than_half_a_side_is_kept() -> None:
    # Lit are rows 70–79; 50 rows about their middle (75) would be 50–99. Columns 0–9: 50 columns about 5 would
    # begin at -20, so they begin at 0.
    image = grey(100, 100)
    image[70:80, 0:10] = 1
    assert source_box(Pixels(image), contract()) == Box(0, 50, 50, 100)


def test_a_black_image_is_kept_whole() -> None:
    assert source_box(Pixels(grey(40, 60)), contract()) == Box(0, 0, 60, 40)


def test_shrinking_averages() -> None:
    # A checkerboard of single pixels is grey from afar; without anti-aliasing it would stay black and white.
    checkers = (np.indices((160, 160)).sum(axis=0) % 2).astype(np.float32)
    np.testing.assert_allclose(prepare_grey(Pixels(checkers), contract()), 0.5, atol=0.02)


def test_no_rounding_to_eight_bits() -> None:
    # 0.5 and 0.501 differ by less than one step of 8 bits.
    image = grey(64, 64, 0.5)
    image[:, 32:] = 0.501
    prepared = prepare_grey(Pixels(image), contract())
    assert prepared[8, 15] - prepared[8, 0] == pytest.approx(0.001, abs=1e-5)


def test_same_size_is_unchanged() -> None:
    image = np.random.default_rng(0).random((16, 16), dtype=np.float32)
    np.testing.assert_array_equal(prepare_grey(Pixels(image), contract(crop_borders=False)), image)


def test_stretch_fills_the_input() -> None:
    assert content_box(Box(0, 0, 80, 20), contract()) == Box(0, 0, 16, 16)


@pytest.mark.parametrize(
    ("source", "content"),
    [
        # 80 × 40 into 16 × 16: scale 0.2, so 16 × 8, with 4 black rows above and below.
        (Box(0, 0, 80, 40), Box(0, 4, 16, 12)),
        (Box(10, 10, 50, 90), Box(4, 0, 12, 16)),
        # So thin that it would vanish: one pixel remains, at (16 - 1) // 2 = 7.
        (Box(0, 0, 1000, 2), Box(0, 7, 16, 8)),
    ],
)
def test_pad_keeps_the_aspect(source: Box, content: Box) -> None:
    assert content_box(source, contract(aspect="pad")) == content


def test_padding_is_black() -> None:
    prepared = prepare_grey(Pixels(grey(40, 80, 0.5)), contract(aspect="pad"))
    np.testing.assert_allclose(prepared[4:12], 0.5)
    assert prepared[:4].max() == prepared[12:].max() == 0


def test_height_is_rows() -> None:
    assert prepare_grey(Pixels(framed()), contract(height=16, width=32)).shape == (16, 32)


def test_fixed_normalisation_by_channel() -> None:
    asked = contract(mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    # (0.75 - 0.5) / 0.5 = 0.5; (0.75 - 0.25) / 0.25 = 2; 0.75 / 2 = 0.375
    normalised = normalise(grey(16, 16, 0.75), asked)
    assert normalised.shape == (3, 16, 16)
    np.testing.assert_allclose(normalised[:, 3, 3], [0.5, 2, 0.375])


def test_per_image_normalisation() -> None:
    # Half 0.2 and half 0.6: mean 0.4, standard deviation 0.2, so -1 and 1.
    image = grey(16, 16, 0.2)
    image[8:] = 0.6
    plain = contract(normalisation="per-image", mean=(0.0,), std=(1.0,))
    normalised = normalise(image, plain)
    np.testing.assert_allclose(normalised[0, [0, 15], 0], [-1, 1], atol=1e-6)
    # The contract's mean and std come after it: (1 - 0.5) / 0.5 = 1 and (-1 - 0.5) / 0.5 = -3.
    both = normalise(image, contract(normalisation="per-image"))
    np.testing.assert_allclose(both[0, [0, 15], 0], [-3, 1], atol=1e-5)


def test_per_image_normalisation_of_a_constant_image_is_zero() -> None:
    plain = contract(normalisation="per-image", mean=(0.0,), std=(1.0,))
    assert not normalise(grey(16, 16, 0.3), plain).any()


def test_normalise_refuses_another_shape() -> None:
    with pytest.raises(ValueError, match=r"grey has shape \(8, 16\)"):
        normalise(grey(8, 16), contract())


@pytest.mark.parametrize("probe", sorted(PROBES))
def test_the_probe_of_the_contract_is_applied(probe: str) -> None:
    pixels = Pixels(np.random.default_rng(0).random((40, 40), dtype=np.float32))
    np.testing.assert_array_equal(
        prepare_grey(pixels, contract(probe=probe)), PROBES[probe](prepare_grey(pixels, contract()))
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[Pixels, PreprocessingContract]:
    is_hu = draw(st.booleans())
    low, high = (-32768, 32767) if is_hu else (0, 1)
    elements = st.floats(low, high, width=32)
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=90))
    values = draw(hnp.arrays(np.float32, shape, elements=elements, fill=elements))
    channels = draw(st.sampled_from([1, 3]))
    asked = contract(
        modality="ct" if is_hu else "cxr",
        height=draw(st.integers(8, 40)),
        width=draw(st.integers(8, 40)),
        aspect=draw(st.sampled_from(["stretch", "pad"])),
        crop_borders=draw(st.booleans()),
        normalisation=draw(st.sampled_from(["fixed", "per-image"])),
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        probe=draw(st.sampled_from(sorted(PROBES))),
    )
    return Pixels(values, is_hu=is_hu), asked


@settings(max_examples=3 * settings.default.max_examples // 2)
@given(cases())
def test_laws(case: tuple[Pixels, PreprocessingContract]) -> None:
    pixels, asked = case
    before = pixels.values.copy()
    prepared = prepare_grey(pixels, asked)
    assert prepared.shape == (asked.height, asked.width)
    assert prepared.dtype == np.float32
    assert prepared.flags.writeable
    assert 0 <= prepared.min() <= prepared.max() <= 1

    ready = preprocess(pixels, asked)
    assert ready.shape == (asked.channels, asked.height, asked.width)
    assert ready.dtype == np.float32
    assert np.isfinite(ready).all()
    if asked.normalisation == "fixed":
        # (0 - 0.5) / 0.25 = -2 and (1 - 0.5) / 0.25 = 2
        assert -2 <= ready.min() <= ready.max() <= 2
    np.testing.assert_array_equal(ready, normalise(prepared, asked))
    np.testing.assert_array_equal(pixels.values, before)

    height, width = before.shape
    source = source_box(pixels, asked)
    assert 0 <= source.left < source.right <= width
    assert 0 <= source.top < source.bottom <= height
    assert 2 * source.width >= width
    assert 2 * source.height >= height
    content = content_box(source, asked)
    assert 0 <= content.left < content.right <= asked.width
    assert 0 <= content.top < content.bottom <= asked.height
