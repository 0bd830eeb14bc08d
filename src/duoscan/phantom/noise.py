"""Smooth random fields that can be asked anywhere, so that CT and X-ray see the same texture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from duoscan.phantom.arrays import Array, Triple


def _lerp(values: Array, axis: int, position: Array) -> Array:
    """Linear interpolation of ``values`` along ``axis`` at lattice positions."""
    inside = np.clip(position, 0, values.shape[axis] - 1.001)
    low = inside.astype(np.intp)
    shape = [1] * values.ndim
    shape[axis] = -1
    part = (inside - low).astype(np.float32).reshape(shape)
    below = np.take(values, low, axis)
    return np.asarray(below + part * (np.take(values, low + 1, axis) - below), np.float32)


@dataclass(frozen=True)
class NoiseField:
    """Random values on a lattice, with mean 0 and standard deviation 1.

    Attributes:
        values: Lattice, order (z, y, x).
        origin_mm: Position of the first lattice point, (z, y, x).
        pitch_mm: Lattice step, (z, y, x).
    """

    values: Array
    origin_mm: Triple
    pitch_mm: Triple

    def on(self, z: Array, y: Array, x: Array) -> Array:
        """Values on the grid spanned by three axes of any shape; result (D, H, W)."""
        field = self.values
        for axis, positions in enumerate((z, y, x)):
            origin, pitch = np.float32(self.origin_mm[axis]), np.float32(self.pitch_mm[axis])
            field = _lerp(field, axis, (positions.ravel() - origin) / pitch)
        return field


def smooth_noise(rng: np.random.Generator, low_mm: Triple, high_mm: Triple, scale_mm: float | Triple) -> NoiseField:
    """Noise whose details are about ``scale_mm`` wide, on the box from ``low_mm`` to ``high_mm``, all (z, y, x).

    The lattice is finer than the details, so that linear interpolation leaves no visible lattice.
    """
    scale_z, scale_y, scale_x = (scale_mm,) * 3 if isinstance(scale_mm, float) else scale_mm
    pitch = (scale_z / 2, scale_y / 2, scale_x / 2)
    shape = [int(np.ceil((b - a) / step)) + 6 for a, b, step in zip(low_mm, high_mm, pitch, strict=True)]
    values = rng.standard_normal(shape, dtype=np.float32)
    for axis in range(3):
        for _ in range(2):
            view = np.moveaxis(values, axis, 0)
            view = view[:-2] + 2 * view[1:-1] + view[2:]
            values = np.moveaxis(view, 0, axis)
    values = (values - values.mean()) / values.std()
    return NoiseField(np.ascontiguousarray(values), low_mm, pitch)
