"""Pixels → model input. The ONLY preprocessing: training, screening and every audit call it.

Grey is made first (:func:`prepare_image`) and normalised last (:func:`normalise`), because training keeps the grey
and augments it in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from duoscan.errors import SetAsideImageError, UnsupportedImageError
from duoscan.formats.limits import stretch
from duoscan.imaging.contract import LUNG_WINDOW_CENTRE_HU, LUNG_WINDOW_WIDTH_HU
from duoscan.imaging.lung_view import equalised, find_lungs
from duoscan.imaging.probes import PROBES
from duoscan.reasons import ReasonCode
from duoscan.terms import Modality

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from duoscan.formats.image import Pixels
    from duoscan.imaging.contract import PreprocessingContract
    from duoscan.imaging.lung_view import LungFinder
    from duoscan.imaging.lungs import Mask

# An outer row or column is border while fewer of its pixels than this are brighter than black; a few bright
# pixels are noise or a burnt-in letter.
_LIT_SHARE = 0.02

# A crop that keeps less than this of a side has found something else than a border.
_SMALLEST_SHARE = 0.5

# Below it an image is constant but for rounding.
_SMALLEST_STD = 1e-6


class Box(NamedTuple):
    """A rectangle in pixels; ``right`` and ``bottom`` lie just outside, so that ``right - left`` is the width."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.bottom - self.top


def preprocess(
    pixels: Pixels, contract: PreprocessingContract, finder: LungFinder | None = None
) -> NDArray[np.float32]:
    """Everything between a decoded image and the model.

    Args:
        pixels: The decoded image.
        contract: How to prepare it.
        finder: Says where lung is; for a contract that shows the lungs' view.

    Returns:
        float32, shape (C, H, W) of the contract.

    Raises:
        UnsupportedImageError: The image is of another modality than the contract, or the contract shows the lungs
            and there are none to be found.
    """
    return normalise(prepare_grey(pixels, contract, finder), contract)


class PreparedImage(NamedTuple):
    """An image before normalisation.

    Attributes:
        grey: In [0, 1], float32, shape (H, W) of the contract.
        seen: The part of the image that it shows, in pixels of the image.
    """

    grey: NDArray[np.float32]
    seen: Box


def prepare_grey(
    pixels: Pixels, contract: PreprocessingContract, finder: LungFinder | None = None
) -> NDArray[np.float32]:
    """The grey of :func:`prepare_image` alone."""
    return prepare_image(pixels, contract, finder).grey


def prepare_image(pixels: Pixels, contract: PreprocessingContract, finder: LungFinder | None = None) -> PreparedImage:
    """Everything before normalisation: window, crop, resize, clip, probe.

    Args:
        pixels: The decoded image.
        contract: How to prepare it.
        finder: Says where lung is; for a contract that shows the lungs' view.

    Raises:
        UnsupportedImageError: The image is of another modality than the contract, or the contract shows the lungs
            and there are none to be found.
    """
    grey = window(pixels, contract)
    source, shown = _view(grey, contract, finder)
    content = content_box(source, contract)
    if contract.lungs != "none":
        grey = PROBES[contract.probe](grey)  # what a probe leaves is of the picture, not of the lungs' own edge
    if shown is not None:
        # The ground is as bright as what is shown is on the mean: an edge between them would be a sign.
        grey = np.where(shown, grey, np.float32(grey[shown].mean(dtype=np.float64)))
    # Cut before resizing: given a box, Pillow still lets pixels beyond it into the outermost averages.
    cut = Image.fromarray(grey[source.top : source.bottom, source.left : source.right])
    # Mode F keeps float32 throughout; Pillow widens the bilinear kernel when it shrinks, which is anti-aliasing.
    resized = cut.resize((content.width, content.height), Image.Resampling.BILINEAR)
    canvas = np.zeros((contract.height, contract.width), dtype=np.float32)
    canvas[content.top : content.bottom, content.left : content.right] = np.asarray(resized)
    grey = np.clip(canvas, 0, 1)
    if contract.lungs == "none":
        return PreparedImage(PROBES[contract.probe](grey), source)
    if contract.tone == "equalised":
        grey = equalised(grey, _shown_there(shown, source, content, contract))
    return PreparedImage(grey, source)


def normalise(grey: NDArray[np.float32], contract: PreprocessingContract) -> NDArray[np.float32]:
    """Grey → model input, one channel per mean of the contract.

    ``per-image`` first brings the image to mean 0 and standard deviation 1 (padding included; a constant image
    becomes 0). The contract's mean and std are then applied in either case; 0 and 1 leave it at that.

    Args:
        grey: Grey in [0, 1], shape (H, W) of the contract.
        contract: The contract.

    Returns:
        float32, shape (C, H, W).

    Raises:
        ValueError: ``grey`` has another shape.
    """
    if grey.shape != (contract.height, contract.width):
        msg = f"grey has shape {grey.shape}, the contract asks for {(contract.height, contract.width)}"
        raise ValueError(msg)
    if contract.normalisation == "per-image":
        exact = grey.astype(np.float64)
        grey = ((exact - exact.mean()) / max(float(exact.std()), _SMALLEST_STD)).astype(np.float32)
    mean, std = (np.array(values, dtype=np.float32)[:, None, None] for values in (contract.mean, contract.std))
    return (grey[None] - mean) / std


def window(pixels: Pixels, contract: PreprocessingContract) -> NDArray[np.float32]:
    """The image at its own size as the model is shown it: HU through the contract's window, grey as it is.

    Returns:
        Grey in [0, 1], float32, shape (H, W) of the image.

    Raises:
        UnsupportedImageError: The image is of another modality than the contract.
    """
    found = Modality.CT if pixels.is_hu else pixels.modality
    if found not in {None, contract.modality}:
        raise UnsupportedImageError(
            None, f"the image is a {found.spoken}, the model expects a {contract.modality.spoken}; use the other model"
        )
    if not pixels.is_hu:
        return np.clip(pixels.values, 0, 1)
    half = contract.window_width_hu / 2
    return stretch(pixels.values, contract.window_centre_hu - half, contract.window_centre_hu + half)


def lung_grey(pixels: Pixels) -> NDArray[np.float32]:
    """The image as grey in [0, 1], whatever made it: HU in the lung window, grey as it is; shape (H, W)."""
    if not pixels.is_hu:
        return pixels.values
    low = LUNG_WINDOW_CENTRE_HU - LUNG_WINDOW_WIDTH_HU / 2
    return stretch(pixels.values, low, low + LUNG_WINDOW_WIDTH_HU)


def source_box(pixels: Pixels, contract: PreprocessingContract) -> Box:
    """The part of the image that the model sees, in pixels of the image, where the contract alone says which it is.

    Raises:
        UnsupportedImageError: The image is of another modality than the contract.
        ValueError: The contract shows the lungs' view: :class:`PreparedImage` says what was seen.
    """
    return _view(window(pixels, contract), contract, None)[0]


def content_box(source: Box, contract: PreprocessingContract) -> Box:
    """Where ``source`` lies in the model input, in pixels of the model; all of it unless the aspect is kept."""
    if contract.aspect == "stretch":
        return Box(0, 0, contract.width, contract.height)
    scale = min(contract.width / source.width, contract.height / source.height)
    width = max(1, round(source.width * scale))
    height = max(1, round(source.height * scale))
    left, top = (contract.width - width) // 2, (contract.height - height) // 2
    return Box(left, top, left + width, top + height)


def _view(
    grey: NDArray[np.float32], contract: PreprocessingContract, finder: LungFinder | None
) -> tuple[Box, Mask | None]:
    """The part of the image that the model sees, and what of it is shown, shape (H, W); all of it where ``None``."""
    if contract.lungs == "none":
        return _lit_box(grey, contract), None
    if finder is None:
        msg = "the contract shows the lungs' view, and no lung finder is given"
        raise ValueError(msg)
    found = find_lungs(grey, finder, each=contract.lungs == "each")
    if found is None:
        # A slice above or below the lungs is sound and part of every scan; a radiograph without any shows no chest.
        kind = SetAsideImageError if contract.modality is Modality.CT else UnsupportedImageError
        raise kind(
            None,
            f"no lungs are found in this {contract.modality.spoken}; give a whole image of the chest",
            ReasonCode.NO_LUNG,
        )
    box = Box(found.left, found.top, found.right, found.bottom)
    return box, None if contract.lungs == "crop" else found.shown


def _shown_there(shown: Mask | None, source: Box, content: Box, contract: PreprocessingContract) -> Mask:
    """What is shown of the image, in pixels of the model input."""
    there = np.zeros((contract.height, contract.width), np.bool_)
    inside = slice(content.top, content.bottom), slice(content.left, content.right)
    if shown is None:
        there[inside] = True
    else:
        cut = Image.fromarray(shown[source.top : source.bottom, source.left : source.right])
        there[inside] = np.asarray(cut.resize((content.width, content.height), Image.Resampling.NEAREST))
    return there


def _lit_box(grey: NDArray[np.float32], contract: PreprocessingContract) -> Box:
    """The image without its black borders."""
    height, width = grey.shape
    if not contract.crop_borders:
        return Box(0, 0, width, height)
    lit = grey > contract.border_level
    top, bottom = _lit_span(lit.mean(axis=1))
    left, right = _lit_span(lit.mean(axis=0))
    return Box(left, top, right, bottom)


def _lit_span(shares: NDArray[np.float64]) -> tuple[int, int]:
    """First and one past the last lit line, widened about its centre to the least share of the side."""
    side = len(shares)
    lit = np.flatnonzero(shares >= _LIT_SHARE)
    if lit.size == 0:
        return 0, side
    first, last = int(lit[0]), int(lit[-1]) + 1
    least = int(np.ceil(side * _SMALLEST_SHARE))
    if last - first < least:
        first = min(max((first + last - least) // 2, 0), side - least)
        last = first + least
    return first, last
