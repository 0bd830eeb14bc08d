"""Images that hold too little to answer: too small, without contrast, saturated, or noise.

These checks see gross faults only; :mod:`duoscan.imaging.quality.content` tells a chest from anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from duoscan.formats.image import Pixels

LEAST_SIDE = 64
"""Pixels. A shorter side cannot show findings."""

LEAST_SPREAD = 0.05
"""Least distance between the 5th and 95th percentile, of the range in use by the file."""

MOST_SATURATED = 0.85
"""Largest share of pixels within 2 % of one end of the range."""

MOST_ROUGH = 0.5
"""Largest roughness; independent noise has 1, a smooth image near 0."""

_SIDE = 128
_HU_RANGE = (-1000.0, 400.0)
_NEAR_END = 0.02


@dataclass(frozen=True)
class PixelMeasures:
    """What the checks read.

    Attributes:
        shorter_side: Pixels.
        spread: Distance between the 5th and 95th percentile, in [0, 1].
        dark: Share of pixels within 2 % of black.
        bright: Share of pixels within 2 % of white.
        roughness: Variance of differences of neighbours over twice the variance, at 128 × 128 pixels.
    """

    shorter_side: int
    spread: float
    dark: float
    bright: float
    roughness: float


def measure_pixels(pixels: Pixels) -> PixelMeasures:
    """Measure a decoded image, grey in [0, 1] or Hounsfield units."""
    values = pixels.values.astype(np.float32)
    if pixels.is_hu:
        low, high = _HU_RANGE
        values = np.clip((values - low) / (high - low), 0, 1)
    # Nearest, since averaging would hide noise.
    small = np.asarray(Image.fromarray(values).resize((_SIDE, _SIDE), Image.Resampling.NEAREST))
    low, high = np.quantile(small, (0.05, 0.95))
    return PixelMeasures(
        shorter_side=min(values.shape),
        spread=float(high - low),
        dark=float((small <= _NEAR_END).mean()),
        bright=float((small >= 1 - _NEAR_END).mean()),
        roughness=_roughness(small),
    )


def why_unfit(pixels: Pixels) -> str | None:
    """Why the image should not be answered, or ``None`` where these checks find nothing."""
    found = measure_pixels(pixels)
    if found.shorter_side < LEAST_SIDE:
        return f"too small: shorter side {found.shorter_side} px, at least {LEAST_SIDE} px are needed"
    if found.dark > MOST_SATURATED:
        return f"underexposed: {found.dark:.0%} of the image is black; export it again with a wider window"
    if found.bright > MOST_SATURATED:
        return f"overexposed: {found.bright:.0%} of the image is white; export it again with a wider window"
    if found.spread < LEAST_SPREAD:
        return f"no contrast: the image uses {found.spread:.1%} of its grey range; export it again"
    if found.roughness > MOST_ROUGH:
        return f"noise: neighbouring pixels differ as unrelated ones do (roughness {found.roughness:.2f})"
    return None


def _roughness(values: NDArray[np.float32]) -> float:
    variance = float(values.var())
    if variance == 0:
        return 0.0
    steps = (float(np.diff(values, axis=axis).var()) for axis in (0, 1))
    return sum(steps) / 2 / (2 * variance)
