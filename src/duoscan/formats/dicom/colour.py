"""Colour objects that show grey: captures of a film or a slice, stored as palette, RGB or luminance and chroma."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import UnsupportedImageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom import Dataset

GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})

COLOUR = frozenset({"PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})
"""Photometric interpretations (PS3.3 C.7.6.3.1.2) that are read where all they show is grey."""

MOST_CHROMA = 0.08
"""Largest difference of two channels of a grey pixel, as a share of the range; lossy compression leaves some."""

MOST_COLOURED = 0.005
"""Largest share of coloured pixels: a mark or a small logo, no colour map."""


def grey_of_colour(stored: NDArray[Any], dataset: Dataset, path: Path) -> NDArray[np.float64]:
    """Grey of a colour image.

    Args:
        stored: Palette indices, shape (H, W), or red, green and blue, shape (H, W, 3).
        dataset: Where they are from.
        path: The file, for messages.

    Returns:
        shape (H, W), bright = dense, unscaled.

    Raises:
        UnsupportedImageError: It is coloured indeed: a screenshot, a fused image or a parameter map.
    """
    from pydicom.pixels.processing import apply_color_lut

    photometric = str(dataset.PhotometricInterpretation)
    colours = np.asarray(apply_color_lut(stored, dataset) if photometric == "PALETTE COLOR" else stored)
    if colours.ndim != 3 or colours.shape[2] < 3:
        raise UnsupportedImageError(path, f"PhotometricInterpretation is {photometric}, but it has no three channels")
    channels = colours[..., :3].astype(np.float64)
    spread = channels.max(axis=2) - channels.min(axis=2)
    span = max(float(channels.max() - channels.min()), 1.0)
    coloured = float((spread > MOST_CHROMA * span).mean())
    if coloured > MOST_COLOURED:
        raise UnsupportedImageError(
            path,
            f"a colour image ({coloured:.0%} of its pixels are not grey); "
            "only grey images are answered, give the original",
        )
    return np.asarray(np.median(channels, axis=2))
