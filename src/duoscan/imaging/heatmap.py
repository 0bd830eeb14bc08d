"""Where the model looked, drawn over the source image at its own resolution."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from duoscan.imaging.preprocess import content_box, source_box, window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from duoscan.formats.image import Pixels
    from duoscan.imaging.contract import PreprocessingContract
    from duoscan.imaging.preprocess import Box

# Black → violet → red → orange → pale yellow with evenly rising lightness, after the "inferno" map of
# van der Walt and Smith (2015): stronger is always lighter, in grey print too. RGB in 0–255 at equal steps.
_ANCHORS = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))

# The anatomy stays visible under the strongest activation.
_STRONGEST_ALPHA = 0.6


class SeenMap(NamedTuple):
    """An activation map and what it lies on.

    Attributes:
        values: Map over the model input, shape (h, w); it covers all of the input.
        seen: The part of the image that the model saw, in pixels of the image; as the contract says where ``None``.
    """

    values: NDArray[np.float32]
    seen: Box | None = None


def colours(strength: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map strength to colour.

    Args:
        strength: Values in [0, 1], shape (H, W).

    Returns:
        RGB in [0, 255], shape (H, W, 3).
    """
    steps = np.linspace(0, 1, len(_ANCHORS))
    channels = [np.interp(strength, steps, channel) for channel in np.array(_ANCHORS, dtype=np.float64).T]
    return np.stack(channels, axis=-1).astype(np.float32)


def overlay(pixels: Pixels, activation: SeenMap, contract: PreprocessingContract) -> Image.Image:
    """Draw an activation map over the image it belongs to.

    What was cropped before the model saw the image stays grey. Strength is relative to the map's own maximum, so
    two overlays cannot be compared by colour; negative values count as none.

    Args:
        pixels: The decoded image the activation was made from.
        activation: In any unit.
        contract: The contract the image was prepared with.

    Returns:
        RGB picture of the size of the image, HU shown through the contract's window.

    Raises:
        UnsupportedImageError: The image is of another modality than the contract.
    """
    grey = window(pixels, contract)
    strength = on_image(activation._replace(values=relative(activation.values)), pixels, contract)
    alpha = (_STRONGEST_ALPHA * strength)[..., None]
    mixed = (1 - alpha) * (grey * 255)[..., None] + alpha * colours(strength)
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


def on_image(activation: SeenMap, pixels: Pixels, contract: PreprocessingContract) -> NDArray[np.float32]:
    """Bring an activation map into the frame of the image it belongs to.

    Args:
        activation: In any unit.
        pixels: The decoded image the activation was made from.
        contract: The contract the image was prepared with.

    Returns:
        shape (H, W) of the image; 0 where it was cropped before the model saw it.

    Raises:
        UnsupportedImageError: The image is of another modality than the contract.
    """
    source = activation.seen or source_box(pixels, contract)
    content = content_box(source, contract)
    rows, columns = activation.values.shape
    across, down = columns / contract.width, rows / contract.height
    part = (content.left * across, content.top * down, content.right * across, content.bottom * down)
    spread = np.zeros(pixels.values.shape, dtype=np.float32)
    spread[source.top : source.bottom, source.left : source.right] = np.asarray(
        Image.fromarray(activation.values).resize((source.width, source.height), Image.Resampling.BILINEAR, box=part)
    )
    return spread


def relative(activation: NDArray[np.float32]) -> NDArray[np.float32]:
    """Strength in [0, 1]; a map without anything positive becomes 0."""
    positive = np.maximum(np.nan_to_num(activation.astype(np.float32)), 0)
    peak = positive.max()
    return positive / peak if peak > 0 else positive
