from __future__ import annotations

import csv
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from duoscan.formats.dicom.pixels import read_dicom
from duoscan.formats.image import Pixels
from duoscan.formats.raster import read_raster
from duoscan.imaging.modality import ABSTAIN_BELOW, features, guess_modality
from duoscan.terms import Modality

if TYPE_CHECKING:
    from pathlib import Path


def slice_like() -> NDArray[np.float32]:
    """A bright ellipse of body with two dark lungs on black, with sharp edges and fine vessels."""
    down, across = np.mgrid[-1:1:256j, -1:1:256j]
    body = (across / 0.9) ** 2 + (down / 0.65) ** 2 < 1
    lungs = ((abs(across) - 0.4) / 0.27) ** 2 + (down / 0.42) ** 2 < 1
    vessels = np.random.default_rng(0).random((256, 256)) > 0.95
    return np.where(lungs, np.where(vessels, 0.8, 0.1), np.where(body, 0.7, 0.0)).astype(np.float32)


def radiograph_like() -> NDArray[np.float32]:
    """Two soft dark lungs beside a bright spine: a shadow without any sharp edge."""
    down, across = np.mgrid[-1:1:256j, -1:1:256j]
    lungs = np.exp(-(((abs(across) - 0.42) / 0.25) ** 2) - ((down + 0.1) / 0.6) ** 4)
    ribs = 0.03 * np.sin(22 * down + 6 * across**2)
    return np.clip(0.8 - 0.55 * lungs + ribs - 0.1 * across**2, 0, 1).astype(np.float32)


@pytest.mark.parametrize(("values", "modality"), [(slice_like(), Modality.CT), (radiograph_like(), Modality.CXR)])
def test_drawings_are_told_apart(values: NDArray[np.float32], modality: Modality) -> None:
    guessed, probability = guess_modality(Pixels(values))
    assert guessed is modality
    assert ABSTAIN_BELOW <= probability <= 1


def test_what_the_file_says_is_believed() -> None:
    pixels = Pixels(slice_like(), modality=Modality.CXR)
    assert guess_modality(pixels) == (Modality.CXR, 1)
    assert guess_modality(replace(pixels, modality=None, is_hu=True)) == (Modality.CT, 1)


def test_negative_and_contrast_do_not_matter() -> None:
    values = radiograph_like()
    expected = features(Pixels(values))
    np.testing.assert_allclose(features(Pixels(1 - values)), expected, atol=1e-4)
    np.testing.assert_allclose(features(Pixels(0.3 + values / 2)), expected, atol=1e-4)


def test_between_the_two_there_is_no_answer() -> None:
    # Fading one drawing into the other passes every probability in between, so some step must abstain.
    steps = [
        guess_modality(Pixels(((1 - share) * radiograph_like() + share * slice_like()).astype(np.float32)))
        for share in np.linspace(0, 1, 41)
    ]
    assert None in {guessed for guessed, _ in steps}
    assert all((guessed is None) == (probability < ABSTAIN_BELOW) for guessed, probability in steps)


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=80),
        elements=st.floats(0, 1, width=32),
    )
)
def test_any_image_gives_a_probability(values: NDArray[np.float32]) -> None:
    described = features(Pixels(values))
    assert described.shape == (135,)
    assert np.isfinite(described).all()
    _, probability = guess_modality(Pixels(values))
    assert 0.5 <= probability <= 1


@pytest.mark.data
@pytest.mark.parametrize("modality", list(Modality))
def test_real_pictures(data_dir: Path, modality: Modality) -> None:
    with (data_dir / f"{modality}.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))[::25]
    guesses = [guess_modality(read_raster(data_dir / row["path"]))[0] for row in rows]
    other = {Modality.CT: Modality.CXR, Modality.CXR: Modality.CT}[modality]
    assert other not in guesses
    assert guesses.count(modality) >= 0.97 * len(guesses)


@pytest.mark.data
def test_real_dicom_shown_as_pictures(data_dir: Path) -> None:
    # Windows of lung, soft tissue, and everything; the file's own word is taken away.
    names = sorted((data_dir / "dicom" / "ct_ny_sbu").glob("*_axial_*.dcm"))
    assert len(names) == 7
    for name in names:
        hu = read_dicom(name).values
        for centre, width in ((-600, 1500), (40, 400), (0, 2000)):
            grey = np.clip((hu - centre) / width + 0.5, 0, 1).astype(np.float32)
            assert guess_modality(Pixels(grey))[0] is Modality.CT
    for name in sorted((data_dir / "dicom" / "cxr").glob("*.dcm")):
        pixels = read_dicom(name)
        assert guess_modality(Pixels(pixels.values))[0] is Modality.CXR
