"""The CT: what a scanner makes of the volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from duoscan.imaging.contract import LUNG_WINDOW_CENTRE_HU, LUNG_WINDOW_WIDTH_HU

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from duoscan.phantom.arrays import Array
    from duoscan.phantom.volume import Volume


# What 12 stored bits hold at the usual intercept of -1024.
LOWEST_HU = -1024
HIGHEST_HU = 3071
_TABLE_HALF_WIDTH_MM = 205.0


@dataclass(frozen=True)
class Scanner:
    """How a hospital's CT looks; the synthetic sources differ in this.

    Attributes:
        noise_hu: Standard deviation of the noise in a trunk of mean thickness.
        sharpness: Reconstruction kernel, 0 smooth (blotchy noise) to 1 sharp (fine noise).
        table_curve_mm: How far the table's edges stand above its middle.
        table_gap_mm: Mattress between table and back.
        circle: Whether everything outside the circular field of view is blank.
    """

    noise_hu: float
    sharpness: float
    table_curve_mm: float
    table_gap_mm: float
    circle: bool


def scan(volume: Volume, scanner: Scanner, rng: np.random.Generator) -> NDArray[np.int16]:
    """Add table, kernel and noise to a volume.

    Args:
        volume: On a CT grid.
        scanner: The scanner.
        rng: Source of the noise.

    Returns:
        Hounsfield units from -1024 to 3071, (D, H, W).
    """
    image = volume.intensity_hu + _table(volume, scanner)
    noise = _noise(image.shape, scanner.sharpness, rng)
    image += noise * _noise_level(volume, scanner.noise_hu)
    if scanner.circle:
        y, x = volume.grid.y_mm, volume.grid.x_mm
        radius = 0.5 * float(x[-1] - x[0]) * 1.04
        image[:, (y - y.mean())[:, None] ** 2 + (x * x)[None, :] > radius**2] = LOWEST_HU
    return np.asarray(np.clip(np.rint(image), LOWEST_HU, HIGHEST_HU), np.int16)


def _noise(shape: tuple[int, ...], sharpness: float, rng: np.random.Generator) -> Array:
    """Noise of standard deviation near 1, a mixture of fine grain and of grain smoothed over 2 x 2 pixels."""
    _, rows, columns = shape
    noise = np.empty(shape, np.float32)
    for number in range(len(noise)):  # one slice at a time stays in the processor's cache
        grain = rng.standard_normal((rows + 1, columns + 1), dtype=np.float32)
        smooth = grain[:-1] + grain[1:]
        # The sum of four has twice the standard deviation of one.
        noise[number] = (smooth[:, :-1] + smooth[:, 1:]) * np.float32(0.5 * (1 - sharpness))
        noise[number] += np.float32(sharpness) * grain[:-1, :-1]
    return noise


def _noise_level(volume: Volume, noise_hu: float) -> Array:
    """Noise of each slice, (D, 1, 1): it grows with the tissue the beam must cross, most at the shoulders."""
    tissue = (volume.intensity_hu > -500).mean((1, 2), dtype=np.float32)
    level = noise_hu * np.exp(1.1 * (tissue - 0.42))
    return np.asarray(level, np.float32)[:, None, None]


def _table(volume: Volume, scanner: Scanner) -> Array:
    """What the table adds to air: a curved plate behind the back, the same in every slice, (H, W)."""
    x, y = volume.grid.x_mm, volume.grid.y_mm
    middle = np.abs(x) < 60.0
    rows = np.flatnonzero((volume.intensity_hu[:, :, middle] > -500).any((0, 2)))
    back = float(y[rows[-1]]) if rows.size else 0.0
    plate = back + scanner.table_gap_mm + 3.0 - scanner.table_curve_mm * (x / _TABLE_HALF_WIDTH_MM) ** 2
    below = y[:, None] - plate[None, :]
    step = volume.spacing_mm[1]
    shell = np.clip((2.0 - np.abs(below)) / step + 0.5, 0, 1) + np.clip((2.0 - np.abs(below - 24)) / step + 0.5, 0, 1)
    foam = np.clip(np.minimum(below, 24 - below) / step + 0.5, 0, 1)
    wide = np.abs(x) < _TABLE_HALF_WIDTH_MM
    # Beside the trunk the plate could meet an arm or a breast, so it only ever adds to air.
    free = (volume.intensity_hu < -900).all(0)
    return np.asarray((880 * np.minimum(shell, 1) + 60 * foam) * wide * free, np.float32)


def lung_window(hu: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Grey of the lung window, centre -600 and width 1500 HU, as public slice collections show it."""
    low = LUNG_WINDOW_CENTRE_HU - LUNG_WINDOW_WIDTH_HU / 2
    grey = (hu.astype(np.float32) - np.float32(low)) * np.float32(255 / LUNG_WINDOW_WIDTH_HU)
    return np.asarray(np.clip(np.rint(grey), 0, 255), np.uint8)
