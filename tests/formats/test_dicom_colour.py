"""Colour objects are read where they show grey, and refused where they show colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydicom.pixels.processing import convert_color_space

from duoscan.errors import UnsupportedImageError
from duoscan.formats.dicom.pixels import read_dicom
from duoscan.terms import Modality

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Write = Callable[..., Path]

CAPTURE = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}
SIDE = 40
GREY = np.tile(np.linspace(20, 220, SIDE).astype(np.uint8), (SIDE, 1))


def rgb(write_dicom: Write, colours: NDArray[np.uint8], **attributes: object) -> Path:
    """Written by pixel: red, green and blue of each."""
    shape = {"Rows": SIDE, "Columns": SIDE, "SamplesPerPixel": 3, "PlanarConfiguration": 0}
    values = {**CAPTURE, **shape, "PhotometricInterpretation": "RGB", **attributes}
    return write_dicom(colours.reshape(SIDE, -1), **values)


def grey_as_colours() -> NDArray[np.uint8]:
    return np.repeat(GREY[..., None], 3, axis=2)


EXPECTED = (GREY.astype(np.float32) - 20) / 200


def test_grey_in_rgb(write_dicom: Write) -> None:
    pixels = read_dicom(rgb(write_dicom, grey_as_colours()))
    np.testing.assert_allclose(pixels.values, EXPECTED, atol=1e-6)
    assert not pixels.is_hu


def test_grey_in_luminance_and_chroma(write_dicom: Write) -> None:
    stored = convert_color_space(grey_as_colours(), "RGB", "YBR_FULL")
    pixels = read_dicom(rgb(write_dicom, stored, PhotometricInterpretation="YBR_FULL"))
    np.testing.assert_allclose(pixels.values, EXPECTED, atol=0.01)


def test_a_small_coloured_mark_is_borne(write_dicom: Write) -> None:
    colours = grey_as_colours()
    colours[0, :5] = (255, 0, 0)  # 5 of 1600 pixels
    assert read_dicom(rgb(write_dicom, colours)).values.shape == (SIDE, SIDE)


@pytest.mark.parametrize("modality", ["CR", "CT", None])
def test_a_coloured_image_is_refused(write_dicom: Write, modality: str | None) -> None:
    colours = grey_as_colours()
    colours[:20, :, 0] = 250
    with pytest.raises(UnsupportedImageError, match="a colour image"):
        read_dicom(rgb(write_dicom, colours, Modality=modality))


def test_a_ct_capture_in_colour_is_grey_not_hu(write_dicom: Write) -> None:
    pixels = read_dicom(rgb(write_dicom, grey_as_colours(), Modality="CT", RescaleIntercept=-1024, RescaleSlope=1))
    assert (pixels.is_hu, pixels.modality) == (False, Modality.CT)
    np.testing.assert_allclose(pixels.values, EXPECTED, atol=1e-6)


def palette(red: NDArray[np.uint16], green: NDArray[np.uint16], blue: NDArray[np.uint16]) -> dict[str, object]:
    found: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR", **CAPTURE}
    for name, entries in (("Red", red), ("Green", green), ("Blue", blue)):
        found[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        found[f"{name}PaletteColorLookupTableData"] = entries.astype("<u2").tobytes()
    return found


def test_a_grey_palette(write_dicom: Write) -> None:
    falling = (255 - np.arange(256)) * 257
    pixels = read_dicom(write_dicom(GREY, **palette(falling, falling, falling)))
    # The palette turns the ramp round, as a film stored as negative would have it.
    np.testing.assert_allclose(pixels.values, 1 - EXPECTED, atol=1e-6)


def test_a_coloured_palette_is_refused(write_dicom: Write) -> None:
    rising = np.arange(256) * 257
    with pytest.raises(UnsupportedImageError, match="a colour image"):
        read_dicom(write_dicom(GREY, **palette(rising, 65535 - rising, rising)))


def test_a_palette_without_tables_is_damaged(write_dicom: Write) -> None:
    with pytest.raises(Exception, match="damaged DICOM file"):
        read_dicom(write_dicom(GREY, PhotometricInterpretation="PALETTE COLOR"))
