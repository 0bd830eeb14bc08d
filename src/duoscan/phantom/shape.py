"""The surfaces of the thorax as functions of position.

Every function takes x, y, z (mm) as float32 arrays that broadcast against each other, so the same surface can be asked
on a grid, where most work stays two-dimensional, and at single points.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from duoscan.phantom.anatomy import Anatomy
    from duoscan.phantom.arrays import Array

Knots = tuple[tuple[float, float], ...]

# Profiles over height: 0 is the lowest recess of the lungs, 1 the apex.
_CAGE_WIDTH: Knots = (
    (-0.3, 0.95),
    (-0.1, 0.99),
    (0.15, 1.0),
    (0.35, 0.99),
    (0.55, 0.95),
    (0.7, 0.885),
    (0.82, 0.785),
    (0.92, 0.66),
    (1.0, 0.54),
    (1.12, 0.38),
)
_CAGE_FRONT: Knots = (
    (-0.3, 0.95),
    (0.0, 1.0),
    (0.3, 1.0),
    (0.5, 0.93),
    (0.7, 0.77),
    (0.85, 0.54),
    (1.0, 0.30),
    (1.12, 0.2),
)
_CAGE_BACK: Knots = ((-0.3, 0.90), (0.0, 0.96), (0.3, 1.0), (0.6, 0.98), (0.8, 0.88), (0.95, 0.72), (1.12, 0.52))
_BODY_WIDTH: Knots = (
    (-0.3, 0.93),
    (0.0, 0.97),
    (0.3, 1.0),
    (0.5, 1.03),
    (0.65, 1.07),
    (0.78, 1.14),
    (0.88, 1.20),
    (0.95, 1.19),
    (1.02, 1.06),
    (1.08, 0.80),
    (1.15, 0.54),
    (1.25, 0.40),
    (1.4, 0.38),
)
_BODY_FRONT: Knots = (
    (-0.3, 1.0),
    (0.0, 1.0),
    (0.3, 1.0),
    (0.5, 0.97),
    (0.7, 0.86),
    (0.85, 0.68),
    (1.0, 0.48),
    (1.15, 0.36),
    (1.4, 0.42),
)
_BODY_BACK: Knots = (
    (-0.3, 0.90),
    (0.0, 0.95),
    (0.3, 1.0),
    (0.6, 1.0),
    (0.8, 0.95),
    (0.95, 0.83),
    (1.1, 0.72),
    (1.4, 0.62),
)
_BODY_EXPONENT = 2.35
_CURVE_SAMPLES = 512
_RIB_AND_INTERCOSTAL_MM = 10.0


def profile(t: Array, knots: Knots) -> Array:
    """Smooth curve through ``knots`` (cubic Hermite), held constant beyond the ends.

    Args:
        t: Where to evaluate, any shape.
        knots: (position, value) pairs in rising order of position.
    """
    return np.interp(t, *_curve(knots)).astype(np.float32)


@lru_cache(maxsize=64)
def _curve(knots: Knots) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The curve through ``knots``, sampled so densely that straight lines between the samples look smooth."""
    at, value = np.array(knots, np.float64).T
    slope = np.gradient(value, at)
    t = np.linspace(at[0], at[-1], _CURVE_SAMPLES)
    i = np.clip(np.searchsorted(at, t, side="right") - 1, 0, len(at) - 2)
    step = at[i + 1] - at[i]
    s = (t - at[i]) / step
    curve = (
        (1 + 2 * s) * (1 - s) ** 2 * value[i]
        + s * (1 - s) ** 2 * step * slope[i]
        + s**2 * (3 - 2 * s) * value[i + 1]
        + s**2 * (s - 1) * step * slope[i + 1]
    )
    return t, curve


@dataclass(frozen=True)
class TrunkLevel:
    """A closed surface as a level set: below 1 inside, above 1 outside.

    ``value`` has the broadcast shape of x, y and z; the gradients stay two-dimensional on a grid.
    """

    value: Array
    slope_x: Array
    slope_y: Array

    def depth(self, step_x_mm: float, step_y_mm: float) -> Array:
        """Signed depth below the surface in voxels, positive inside."""
        # The small number keeps the middle, where the surface is flat in both directions, from dividing by zero.
        width = (self.slope_x * np.float32(step_x_mm) + np.float32(1e-3)) + self.slope_y * np.float32(step_y_mm)
        return np.asarray((1 - self.value) / width, np.float32)


def _superellipse(x: Array, y: Array, half_width: Array, half_depth: Array, exponent: float) -> TrunkLevel:
    u = np.abs(x) / half_width
    v = np.abs(y) / half_depth
    return TrunkLevel(
        np.asarray(u**exponent + v**exponent, np.float32),
        np.asarray(exponent * u ** (exponent - 1) / half_width, np.float32),
        np.asarray(exponent * v ** (exponent - 1) / half_depth, np.float32),
    )


def _groove(level: TrunkLevel, x: Array, y: Array, size: float) -> TrunkLevel:
    """Press a surface in along the spine, where the chest is shallower than beside it."""
    along = np.float32(size) * np.exp(-(x * x))
    behind = np.clip(y, 0, 1.2) ** 2
    return TrunkLevel(level.value + along * behind, level.slope_x, level.slope_y)


def cage_centre(anatomy: Anatomy, z: Array) -> Array:
    """Where the middle of the cage lies in y; the curve of the spine carries it."""
    t = z / np.float32(anatomy.lung_height_mm)
    return profile(t, ((-0.3, -4.0), (0.1, 0.0), (0.55, 5.0), (0.85, 1.0), (1.1, -8.0)))


def spine_x(anatomy: Anatomy, z: Array) -> Array:
    """Sideways position of the spine."""
    t = np.clip(z / np.float32(anatomy.lung_height_mm), -0.3, 1.3)
    return np.asarray(anatomy.spine_curve_mm * np.sin(np.pi * t), np.float32)


def cage_axes(anatomy: Anatomy, z: Array) -> tuple[Array, Array, Array]:
    """Half width, front half depth and back half depth of the cage."""
    t = z / np.float32(anatomy.lung_height_mm)
    return (
        anatomy.cage_half_width_mm * profile(t, _CAGE_WIDTH),
        anatomy.cage_front_mm * profile(t, _CAGE_FRONT),
        anatomy.cage_back_mm * profile(t, _CAGE_BACK),
    )


def cage_level(anatomy: Anatomy, x: Array, y: Array, z: Array) -> TrunkLevel:
    """Inner surface of the rib cage, which is where the pleura lies."""
    width, front, back = cage_axes(anatomy, z)
    dy = y - cage_centre(anatomy, z)
    level = _superellipse(x, dy, width, np.where(dy < 0, front, back), anatomy.cage_exponent)
    return _groove(level, x / 40.0, dy / back, 0.42)


def body_level(anatomy: Anatomy, x: Array, y: Array, z: Array, *, inset: float = 0.0) -> TrunkLevel:
    """Outer surface of the trunk.

    Args:
        anatomy: Whose trunk.
        x: Position.
        y: Position.
        z: Position.
        inset: 0 is the skin, 1 the lower side of the subcutaneous fat.
    """
    t = z / np.float32(anatomy.lung_height_mm)
    wall = _RIB_AND_INTERCOSTAL_MM + anatomy.muscle_mm
    shoulder = 1 + (anatomy.shoulder_scale - 1) * np.clip((t - 0.4) / 0.4, 0, 1)
    width = (anatomy.cage_half_width_mm + wall) * shoulder * profile(t, _BODY_WIDTH)
    front = (anatomy.cage_front_mm + wall) * profile(t, _BODY_FRONT)
    back = (anatomy.cage_back_mm + wall + 16.0) * profile(t, _BODY_BACK)
    # Over shoulders and neck the fat is thin, so that the outline is theirs and not that of the belly.
    fat = (1 - inset) * profile(t, ((-0.3, 1.15), (0.3, 1.0), (0.75, 0.7), (1.0, 0.35), (1.4, 0.3)))
    dy = y - cage_centre(anatomy, z)
    behind = back + anatomy.fat_back_mm * fat
    depth = np.where(dy < 0, front + anatomy.fat_front_mm * fat, behind).astype(np.float32)
    level = _superellipse(x, dy, width + anatomy.fat_side_mm * fat, depth, _BODY_EXPONENT)
    return _groove(level, x / 24.0, dy / depth, 0.10)


def body_depth(anatomy: Anatomy) -> tuple[float, float]:
    """How far the trunk, breasts included, can reach in front of the origin and behind it."""
    wall = _RIB_AND_INTERCOSTAL_MM + anatomy.muscle_mm
    front = anatomy.cage_front_mm + wall + 1.2 * anatomy.fat_front_mm + anatomy.breast_mm + 5.0
    return front, anatomy.cage_back_mm + wall + 1.2 * anatomy.fat_back_mm + 25.0


def diaphragm_height(anatomy: Anatomy, x: Array, y: Array) -> Array:
    """Height of the diaphragm: a dome on each side, low at the side and lowest behind."""
    right = x < 0
    half = anatomy.cage_half_width_mm
    peak = np.where(right, anatomy.dome_right_mm, anatomy.dome_left_mm)
    dx = np.abs(x) - 0.5 * half
    dy = y + 6.0
    u = dx / np.where(dx > 0, 0.5 * half, 0.95 * half)
    v = dy / np.where(dy > 0, anatomy.cage_back_mm + 6.0, 1.25 * anatomy.cage_front_mm)
    rho = np.sqrt(np.minimum(u * u + v * v, 1.0)) + 1e-6
    behind = np.clip((v / rho - 0.45) / 0.55, 0, 1) ** 2 * np.clip(1.6 * v, 0, 1)
    foot = (peak - 46.0) * (1 - 0.8 * behind)
    return np.asarray(foot + (peak - foot) * np.maximum(1 - rho**1.9, 0) ** 0.68, np.float32)


def apex_height(anatomy: Anatomy, x: Array, y: Array) -> Array:
    """Height of the dome of pleura that closes each lung at the top."""
    half = anatomy.cage_half_width_mm
    u = (np.abs(x) - 0.42 * half) / (0.50 * half)
    v = (y - 14.0) / np.where(y < 14.0, 1.45 * anatomy.cage_front_mm, 0.80 * anatomy.cage_back_mm)
    return np.asarray(anatomy.lung_height_mm * (1 - 0.24 * (u * u + v * v) ** 0.9), np.float32)


def mediastinum_half_width(anatomy: Anatomy, y: Array, z: Array, *, left: bool) -> Array:
    """How far the tissue between the lungs reaches from the midline, heart and great vessels apart."""
    t = z / np.float32(anatomy.lung_height_mm)
    v = y / np.float32(anatomy.cage_back_mm)
    front = profile(t, ((0.0, 9.0), (0.35, 7.0), (0.55, 6.0), (0.72, 8.0), (0.85, 22.0), (1.0, 28.0)))
    if left:
        middle = profile(t, ((0.0, 14.0), (0.3, 13.0), (0.55, 22.0), (0.75, 22.0), (0.9, 24.0), (1.05, 26.0)))
    else:
        middle = profile(
            t, ((0.0, 12.0), (0.3, 10.0), (0.5, 15.0), (0.62, 24.0), (0.8, 26.0), (0.9, 25.0), (1.05, 26.0))
        )
    behind = profile(t, ((0.0, 17.0), (0.5, 13.0), (0.8, 15.0), (1.0, 18.0)))
    into = np.clip((v + 0.85) / 0.6, 0, 1)
    out = np.clip((v - 0.1) / 0.5, 0, 1)
    into, out = into * into * (3 - 2 * into), out * out * (3 - 2 * out)
    uneven = 2.0 * np.sin(y / 15 + z / 19 + (2.0 if left else 0.0))
    return np.asarray(front + (middle - front) * into + (behind - middle) * out + uneven, np.float32)


def lung_depth(anatomy: Anatomy, x: Array, y: Array, z: Array) -> Array:
    """Signed depth inside the nearest lung in mm at single points, heart and vessels not taken out.

    Exact only near the surface; meant for placing things, not for drawing.
    """
    cage = cage_level(anatomy, x, y, z).depth(1.0, 1.0)
    width = np.where(
        x > 0,
        mediastinum_half_width(anatomy, y, z, left=True),
        mediastinum_half_width(anatomy, y, z, left=False),
    )
    depth = np.minimum(cage, np.abs(x) - width)
    depth = np.minimum(depth, z - diaphragm_height(anatomy, x, y))
    return np.asarray(np.minimum(depth, apex_height(anatomy, x, y) - z), np.float32)


def back_of_cage(anatomy: Anatomy, z: Array) -> Array:
    """Inner back wall of the cage on the midline, in front of which the spine stands."""
    _, _, back = cage_axes(anatomy, z)
    return cage_centre(anatomy, z) + back


def oblique_fissure(anatomy: Anatomy, x: Array, y: Array, z: Array) -> Array:
    """Height above the oblique fissure in mm, slightly curved; the lower lobe lies below 0."""
    rise = 0.50 * anatomy.lung_height_mm / (anatomy.cage_front_mm + anatomy.cage_back_mm)
    bend = 10.0 * np.sin((np.abs(x) - 0.5 * anatomy.cage_half_width_mm) / 28.0)
    return np.asarray(z - 0.48 * anatomy.lung_height_mm - rise * y + bend, np.float32)


def horizontal_fissure(anatomy: Anatomy, x: Array, y: Array, z: Array) -> Array:
    """Height above the horizontal fissure of the right lung in mm; the middle lobe lies below 0."""
    bend = 7.0 * np.cos((x + 0.5 * anatomy.cage_half_width_mm) / 30.0) + 0.12 * (y + 40.0)
    return np.asarray(z - 0.545 * anatomy.lung_height_mm - bend, np.float32)
