"""Bits beside the value, padding nobody declared, and numbers that are no HU, in pydicom's own CT slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from duoscan.errors import UnsupportedImageError
from duoscan.formats.dicom.cells import negative_cells
from duoscan.formats.dicom.pixels import read_dicom

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom import Dataset


def source() -> tuple[Dataset, NDArray[np.int64]]:
    """The slice and its 128 × 128 values of 12 bits, 128 … 2191; HU are 1024 less."""
    dataset = dcmread(str(get_testdata_file("CT_small.dcm")))
    dataset.pop("PixelPaddingValue", None)
    return dataset, dataset.pixel_array.astype(np.int64)


def written(folder: Path, dataset: Dataset, cells: NDArray[np.generic], *, syntax: str = "", **attributes: int) -> Path:
    """The slice with other cells, of a type that says their width and sign."""
    width = cells.dtype.itemsize * 8
    dataset.BitsAllocated = dataset.BitsStored = width
    dataset.PixelRepresentation = int(cells.dtype.kind == "i")
    dataset.HighBit = width - 1
    dataset.PixelData = cells.tobytes()
    if syntax:  # whole cells go into the codestream, and then the attributes speak of fewer bits
        dataset.compress(syntax, generate_instance_uid=False)
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    path = folder / "x.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("syntax", ["", RLELossless])
@pytest.mark.parametrize("lowest", [1, 3, 4])
def test_a_high_bit_above_the_value_is_shifted(tmp_path: Path, syntax: str, lowest: int) -> None:
    dataset, values = source()
    leftovers = np.random.default_rng(0).integers(0, 1 << lowest, values.shape)
    cells = (values << lowest | leftovers).astype(np.uint16)
    path = written(tmp_path, dataset, cells, syntax=syntax, BitsStored=12, HighBit=11 + lowest)
    np.testing.assert_array_equal(read_dicom(path).values, values - 1024)


def test_a_shifted_signed_value_keeps_its_sign(tmp_path: Path) -> None:
    dataset, values = source()
    cells = ((values - 1024) << 4).astype(np.int16)
    path = written(tmp_path, dataset, cells, BitsStored=12, HighBit=15, RescaleIntercept=0)
    np.testing.assert_array_equal(read_dicom(path).values, values - 1024)


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"BitsStored": 12, "HighBit": 7}, "HighBit is 7, which does not fit BitsStored 12 of 16 bits"),
        ({"BitsStored": 12, "HighBit": 16}, "HighBit is 16, which does not fit"),
        ({"BitsStored": 12, "HighBit": 15, "syntax": JPEG2000Lossless}, "HighBit is 15, which compressed values"),
    ],
)
def test_a_high_bit_that_cannot_be_is_refused(tmp_path: Path, attributes: dict[str, object], said: str) -> None:
    dataset, values = source()
    with pytest.raises(UnsupportedImageError, match=said):
        read_dicom(written(tmp_path, dataset, values.astype(np.uint16), **attributes))


@pytest.mark.parametrize("syntax", ["", RLELossless, JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_overlays_in_the_bits_above_are_dropped(tmp_path: Path, syntax: str, kind: type[np.generic]) -> None:
    dataset, values = source()
    stored = values - 1024 if kind is np.int16 else values
    drawn = np.random.default_rng(0).integers(0, 16, values.shape) << 12
    cells = (stored & 0xFFF | drawn).astype(np.uint16).view(kind)
    intercept = 0 if kind is np.int16 else -1024
    path = written(tmp_path, dataset, cells, syntax=syntax, BitsStored=12, HighBit=11, RescaleIntercept=intercept)
    np.testing.assert_array_equal(read_dicom(path).values, values - 1024)


RING = (slice(0, 10), slice(None))
"""Where a scanner would pad: a tenth of the slice."""


@pytest.mark.parametrize(
    ("bits", "declared"),
    # Where one bit is above the value, it may as well be an overlay, so that padding must be declared.
    [(12, None), (16, None), (12, 63536), (15, 63536), (16, 63536), (12, -2000), (15, -2000), (16, -2000)],
)
def test_minus_2000_written_as_unsigned_is_air(tmp_path: Path, bits: int, declared: int | None) -> None:
    dataset, values = source()
    cells = values.astype(np.uint16)
    cells[RING] = 63536
    if declared is not None:
        dataset.add_new("PixelPaddingValue", "US" if declared > 0 else "SS", declared)
    path = written(tmp_path, dataset, cells, BitsStored=bits, HighBit=bits - 1)
    found = read_dicom(path).values
    assert (found[RING] == -1024).all()
    np.testing.assert_array_equal(found[10:], values[10:] - 1024)


def test_an_overlay_is_no_negative_number() -> None:
    cells = np.array([5, 0x8FF0, 0xF830], np.uint16)
    assert not negative_cells(cells, 12).any()
    np.testing.assert_array_equal(negative_cells(np.array([5, 0xF830], np.uint16), 12), [False, True])
    # Fifteen of sixteen bits: the one above may be an overlay.
    assert not negative_cells(np.array([5, 0xF830], np.uint16), 15).any()


def test_padding_of_16_bits_means_no_grey_of_8(tmp_path: Path) -> None:
    """A windowed copy often keeps the attribute; −2000 is 48 in its lowest 8 bits."""
    dataset, values = source()
    dataset.add_new("PixelPaddingValue", "SS", -2000)
    grey = windowed(values)
    assert (grey == 48).any()
    path = written(tmp_path, dataset, grey, RescaleIntercept=0)
    np.testing.assert_allclose(read_dicom(path).values, grey / 255, atol=1e-6)


def lost(values: NDArray[np.int64]) -> tuple[NDArray[np.generic], int]:
    return values.astype(np.uint16), 0


def lost_with_padding(values: NDArray[np.int64]) -> tuple[NDArray[np.generic], int]:
    cells = values.astype(np.int16)
    cells[RING] = -2000
    return cells, 0


def applied_twice(values: NDArray[np.int64]) -> tuple[NDArray[np.generic], int]:
    return (values - 1024).astype(np.int16), -1024


def windowed_deep(values: NDArray[np.int64]) -> tuple[NDArray[np.generic], int]:
    return windowed(values).astype(np.uint16), -1024


def normalised(values: NDArray[np.int64]) -> tuple[NDArray[np.generic], int]:
    return (values * 16).astype(np.uint16), -1024


def windowed(values: NDArray[np.int64]) -> NDArray[np.uint8]:
    return np.clip((values - 1024 + 160) / 400 * 255, 0, 255).round().astype(np.uint8)


@pytest.mark.parametrize("fault", [lost, lost_with_padding, applied_twice, windowed_deep, normalised])
def test_values_that_are_no_hounsfield_units_are_refused_by_their_rescale(tmp_path: Path, fault: object) -> None:
    dataset, values = source()
    cells, intercept = fault(values)
    path = written(tmp_path, dataset, cells, RescaleIntercept=intercept)
    with pytest.raises(UnsupportedImageError, match="no Hounsfield units of a body after its rescale") as caught:
        read_dicom(path)
    assert f"RescaleIntercept {intercept})" in caught.value.text


@pytest.mark.parametrize("intercept", [-100, -250, -1000, -1024, -8192])
def test_a_windowed_copy_with_an_intercept_left_is_refused(tmp_path: Path, intercept: int) -> None:
    dataset, values = source()
    with pytest.raises(UnsupportedImageError, match=f"RescaleIntercept {intercept}\\), which was lost, left over"):
        read_dicom(written(tmp_path, dataset, windowed(values), RescaleIntercept=intercept))


def test_a_windowed_copy_that_claims_no_unit_is_grey(tmp_path: Path) -> None:
    dataset, values = source()
    pixels = read_dicom(written(tmp_path, dataset, windowed(values), RescaleIntercept=0))
    assert not pixels.is_hu
    np.testing.assert_allclose(pixels.values, windowed(values) / 255, atol=1e-6)


@pytest.mark.parametrize("padding", [-2000, -8192, -10000, -32768])
def test_real_values_with_undeclared_padding_are_hu(tmp_path: Path, padding: int) -> None:
    dataset, values = source()
    cells = (values - 1024).astype(np.int16)
    cells[RING] = padding
    found = read_dicom(written(tmp_path, dataset, cells, RescaleIntercept=0))
    assert found.is_hu
    assert (found.values[RING] == -1024).all()
    np.testing.assert_array_equal(found.values[10:], values[10:] - 1024)
