"""Smooth random fields that can be asked anywhere, so that CT and X-ray see the same texture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from duoscan.phantom.arrays import Array, Triple

_CELLS = 48


@dataclass(frozen=True)
class NoiseField:
    """Random values on a lattice that repeats in all directions, with mean 0 and standard deviation 1.

    Attributes:
        values: Lattice, order (z, y, x).
        pitch_mm: Lattice step, (z, y, x).
    """

    values: Array
    pitch_mm: Triple

    def on(self, z: Array, y: Array, x: Array) -> Array:
        """Values on the grid spanned by three axes of any shape; result (D, H, W)."""
        field = self.values
        for axis, positions in enumerate((z, y, x)):
            field = _lerp(field, axis, positions.ravel() / np.float32(self.pitch_mm[axis]))
        return field


def _lerp(values: Array, axis: int, position: Array) -> Array:
    """Linear interpolation of ``values`` along ``axis`` at lattice positions, which wrap around."""
    low = np.floor(position)
    shape = [1] * values.ndim
    shape[axis] = -1
    part = (position - low).reshape(shape)
    cells = values.shape[axis]
    first = low.astype(np.intp) % cells
    below = np.take(values, first, axis)
    change = np.take(values, (first + 1) % cells, axis)
    change -= below
    change *= part
    change += below
    return np.asarray(change, np.float32)


def smooth_noise(rng: np.random.Generator, scale_mm: float | Triple) -> NoiseField:
    """Noise whose details are about ``scale_mm`` wide; it repeats after 24 times that.

    The lattice is finer than the details, so that linear interpolation leaves no visible lattice.

    Args:
        rng: Source of the values.
        scale_mm: One width for all axes, or one each, (z, y, x).
    """
    scale_z, scale_y, scale_x = (scale_mm,) * 3 if isinstance(scale_mm, float) else scale_mm
    values = rng.standard_normal((_CELLS, _CELLS, _CELLS), dtype=np.float32)
    for axis in range(3):
        for _ in range(2):
            values = np.roll(values, 1, axis) + 2 * values + np.roll(values, -1, axis)
    values = (values - values.mean()) / values.std()
    return NoiseField(np.asarray(values, np.float32), (scale_z / 2, scale_y / 2, scale_x / 2))
