"""What a shortcut audit leaves of an image: parts that should carry no sign of disease.

A model that still tells the classes apart on these has learned the source of the images, not the disease
(Maguolo and Nanni, "A critic evaluation of methods for COVID-19 automatic detection from X-ray images", 2021).
All functions take and give grey in [0, 1], float32, shape (H, W), and leave their argument as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from duoscan.imaging.lungs import FRAME_SHARE, central_box

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Probe = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def untouched(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """The image as it is: what the probes are compared with."""
    return grey


def borders_only(grey: NDArray[np.float32], fraction: float = FRAME_SHARE) -> NDArray[np.float32]:
    """Keep an outer frame and black out the rest: labels, collimation and cropping stay, lungs go.

    Args:
        grey: Grey, shape (H, W).
        fraction: Thickness of the frame as a share of the side it lies along, in [0, 0.5].
    """
    return np.where(central_box(grey.shape, fraction), np.float32(0), grey)


def centre_only(grey: NDArray[np.float32], fraction: float = FRAME_SHARE) -> NDArray[np.float32]:
    """Black out the outer frame: what :func:`borders_only` keeps goes, the rest stays.

    Args:
        grey: Grey, shape (H, W).
        fraction: As in :func:`borders_only`.
    """
    return np.where(central_box(grey.shape, fraction), grey, np.float32(0))


def thumbnail(grey: NDArray[np.float32], size: int = 8) -> NDArray[np.float32]:
    """Reduce to ``size`` × ``size`` and enlarge again: exposure and framing stay, every finding is blurred away.

    Args:
        grey: Grey, shape (H, W).
        size: Pixels a side of the thumbnail.
    """
    height, width = grey.shape
    small = Image.fromarray(grey).resize((size, size), Image.Resampling.BOX)
    return np.array(small.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)


PROBES: dict[str, Probe] = {
    "none": untouched,
    "borders": borders_only,
    "centre": centre_only,
    "thumbnail": thumbnail,
}
"""By the name a preprocessing contract gives."""
