from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import pytest

from duoscan.formats.image import Pixels
from duoscan.formats.raster import read_raster
from duoscan.imaging.quality.pixel_checks import measure_pixels, why_unfit

if TYPE_CHECKING:
    from pathlib import Path

RAMP = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (256, 1))


def test_a_smooth_image_of_full_contrast_is_fit() -> None:
    assert why_unfit(Pixels(RAMP)) is None


def test_hounsfield_units_are_judged_by_a_chest_window() -> None:
    # From air at -1000 HU to bone at 400 HU: the whole window.
    assert why_unfit(Pixels(RAMP * 1400 - 1000, is_hu=True)) is None
    assert str(why_unfit(Pixels(RAMP * 0 - 1000, is_hu=True))).startswith("underexposed")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (RAMP[:63], "too small: shorter side 63 px"),
        (RAMP * 0.01, "underexposed: 100%"),
        (RAMP * 0.01 + 0.99, "overexposed: 100%"),
        (RAMP * 0.02 + 0.5, "no contrast"),
        (np.random.default_rng(0).random((256, 256), dtype=np.float32), "noise"),
    ],
)
def test_a_gross_fault_is_named(values: np.ndarray, reason: str) -> None:
    assert str(why_unfit(Pixels(values))).startswith(reason)


def test_independent_noise_has_roughness_one() -> None:
    # The difference of two independent values has twice their variance.
    noise = np.random.default_rng(1).random((128, 128), dtype=np.float32)
    assert measure_pixels(Pixels(noise)).roughness == pytest.approx(1, abs=0.05)


@pytest.mark.data
@pytest.mark.parametrize("modality", ["cxr", "ct"])
def test_real_images_are_hardly_ever_unfit(data_dir: Path, modality: str) -> None:
    with (data_dir / f"{modality}.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))[::40]
    unfit = sum(why_unfit(read_raster(data_dir / row["path"])) is not None for row in rows)
    assert unfit / len(rows) < 0.02
