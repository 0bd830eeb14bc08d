from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from duoscan.errors import UnsupportedImageError
from duoscan.formats.image import Pixels
from duoscan.imaging.contract import PreprocessingContract
from duoscan.imaging.heatmap import SeenMap, colours, overlay
from duoscan.terms import Modality


def contract(**fields: object) -> PreprocessingContract:
    return PreprocessingContract.model_validate({"modality": "cxr", "height": 16, "width": 16} | fields)


def image(height: int, width: int, value: float) -> NDArray[np.float32]:
    return np.full((height, width), value, dtype=np.float32)


def test_colours_grow_lighter() -> None:
    ramp = colours(np.linspace(0, 1, 101, dtype=np.float32)[None])
    assert ramp.shape == (1, 101, 3)
    np.testing.assert_array_equal(ramp[0, 0], [0, 0, 4])
    np.testing.assert_array_equal(ramp[0, 100], [252, 255, 164])
    # Relative luminance of Rec. 709.
    assert (np.diff(ramp[0] @ [0.2126, 0.7152, 0.0722]) > 0).all()


def test_without_activation_the_image_is_grey() -> None:
    picture = overlay(Pixels(image(50, 70, 0.2)), SeenMap(image(4, 4, -1)), contract())
    assert (picture.mode, picture.size) == ("RGB", (70, 50))
    np.testing.assert_array_equal(np.asarray(picture), np.full((50, 70, 3), 51))


def test_full_activation_is_drawn_by_strength() -> None:
    # 0.4 · 51 + 0.6 · (252, 255, 164) = (171.6, 173.4, 118.8)
    picture = overlay(Pixels(image(50, 70, 0.2)), SeenMap(image(4, 4, 9)), contract())
    np.testing.assert_array_equal(np.asarray(picture)[25, 35], [172, 173, 119])


def test_activation_lands_in_the_cropped_box() -> None:
    # Rows 10–89 and columns 20–69 are what the model saw; the activation is in its upper left quarter.
    grey = image(100, 80, 0)
    grey[10:90, 20:70] = 0.5
    activation = image(2, 2, 0)
    activation[0, 0] = 1
    drawn = np.asarray(overlay(Pixels(grey), SeenMap(activation), contract())).astype(int)
    colour = np.ptp(drawn, axis=2)
    assert colour[15, 25] > 50
    # The centre of the lower right quarter: rows 50–89 and columns 45–69.
    assert colour[75, 60] == 0
    # Cropped off.
    assert colour[:10].max() == colour[90:].max() == 0
    assert colour[:, :20].max() == colour[:, 70:].max() == 0


def test_activation_in_the_padding_is_left_out() -> None:
    # 80 × 40 fills rows 4–11 of 16: rows 4–7 are the upper half of the image, 8–11 the lower.
    activation = image(16, 16, 5)
    activation[4:8] = 1
    activation[8:12] = 0
    drawn = np.asarray(overlay(Pixels(image(40, 80, 0)), SeenMap(activation), contract(aspect="pad"))).astype(int)
    # Image row 10 is activation row 6, strength 1/5, drawn as 0.6 / 5 of its colour over black; row 30 is row 10.
    expected = 0.12 * colours(np.array([[0.2]], dtype=np.float32))[0, 0]
    np.testing.assert_allclose(drawn[10, 40], expected, atol=0.5)
    assert drawn[30].max() == 0


def test_hu_is_shown_through_the_window() -> None:
    # -600 HU is the middle of the lung window: 0.5 · 255 = 127.5, rounded to even 128.
    pixels = Pixels(image(40, 40, -600), is_hu=True, modality=Modality.CT)
    picture = overlay(pixels, SeenMap(image(4, 4, 0)), contract(modality="ct"))
    assert np.asarray(picture)[0, 0].tolist() == [128, 128, 128]


def test_values_that_are_not_finite_do_not_spoil_the_rest() -> None:
    activation = image(4, 4, 1)
    activation[0, 0] = np.nan
    drawn = np.asarray(overlay(Pixels(image(40, 40, 0.2)), SeenMap(activation), contract()))
    np.testing.assert_array_equal(drawn[35, 35], [172, 173, 119])


def test_another_modality_is_refused() -> None:
    with pytest.raises(UnsupportedImageError):
        overlay(Pixels(image(40, 40, 0.2), modality=Modality.CT), SeenMap(image(4, 4, 1)), contract())
