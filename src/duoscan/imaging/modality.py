"""X-ray or CT? A guess for pictures, which do not say what made them.

A slice shows a body outline with sharp, strong edges round air; a radiograph is a smooth shadow with fine ribs. So
the features are how strong edges are at three scales and where they run in which direction, both relative to the
contrast of the image. They do not change when it is brighter, negative or of another contrast. A logistic
regression of them is fitted by ``benchmarks/fit_modality.py``, which also prints how it does on sources it has not
seen.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from duoscan.imaging.contract import PreprocessingContract
from duoscan.imaging.preprocess import prepare_grey
from duoscan.terms import Modality

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from duoscan.formats.image import Pixels

ABSTAIN_BELOW = 0.8
"""Least probability of the likelier modality; below it there is no answer."""

WEIGHTS_FILE = "modality_weights.json"

_SIDE = 128

# Every field that shapes the features is written out: the weights hold for exactly these.
_CONTRACT = PreprocessingContract(
    modality=Modality.CXR,
    height=_SIDE,
    width=_SIDE,
    aspect="stretch",
    crop_borders=True,
    border_level=0.04,
)

_SCALES = (128, 64, 32)
_QUANTILES = np.linspace(0, 1, 13)
_FAINTEST_EDGE = 1e-3

# Histograms of edge direction in a grid of cells, after Dalal and Triggs, "Histograms of oriented gradients for
# human detection" (2005), with direction taken modulo 180°.
_ORIENTED_SCALE = 64
_CELLS = 4
_DIRECTIONS = 6


def guess_modality(pixels: Pixels) -> tuple[Modality | None, float]:
    """What made the image.

    It tells chest radiographs from chest CT slices; on anything else its answer means nothing.

    Args:
        pixels: A decoded image. What its file says is believed.

    Returns:
        The modality, or ``None`` when neither reaches ``ABSTAIN_BELOW``, and the probability in [0.5, 1] of the
        likelier one; 1 where the file says it.
    """
    if pixels.modality is not None:
        return pixels.modality, 1.0
    if pixels.is_hu:
        return Modality.CT, 1.0
    weights, bias = _weights()
    log_odds = float(features(pixels) @ weights) + bias
    # The logistic function in a form that cannot overflow.
    probability = (1 + float(np.tanh(abs(log_odds) / 2))) / 2
    likelier = Modality.CT if log_odds > 0 else Modality.CXR
    return (likelier if probability >= ABSTAIN_BELOW else None), probability


def features(pixels: Pixels) -> NDArray[np.float64]:
    """What the guess is made from.

    Args:
        pixels: Grey in [0, 1] without a modality.

    Returns:
        Shape (135,): 13 quantiles of log edge strength at each of 3 scales, then the share of edges in each of
        4 × 4 cells and 6 directions, as its square root.
    """
    return edge_features(standard_grey(pixels))


def standard_grey(pixels: Pixels) -> NDArray[np.float64]:
    """What the features are made from: grey in [0, 1] without black borders, shape (128, 128)."""
    return prepare_grey(pixels, _CONTRACT).astype(np.float64)


def edge_features(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """:func:`features` of an image that :func:`standard_grey` made."""
    strengths = [np.quantile(np.hypot(*_slopes(grey, side)), _QUANTILES) for side in _SCALES]
    down, across = _slopes(grey, _ORIENTED_SCALE)
    strength, direction = np.hypot(down, across), np.arctan2(down, across) % np.pi / np.pi  # in half turns, [0, 1]
    bins = np.minimum((direction * _DIRECTIONS).astype(np.int64), _DIRECTIONS - 1)
    cell = _ORIENTED_SCALE // _CELLS
    by_direction = np.stack([strength * (bins == index) for index in range(_DIRECTIONS)])
    shares = by_direction.reshape(_DIRECTIONS, _CELLS, cell, _CELLS, cell).sum(axis=(2, 4))
    shares /= max(shares.sum(), _FAINTEST_EDGE)
    return np.concatenate([np.log(np.concatenate(strengths) + _FAINTEST_EDGE), np.sqrt(shares).ravel()])


def _slopes(grey: NDArray[np.float64], side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Change per pixel downwards and to the right, in standard deviations, each of shape (side, side)."""
    block = _SIDE // side
    small = grey.reshape(side, block, side, block).mean(axis=(1, 3))
    down, across = np.gradient(small / max(float(small.std()), _FAINTEST_EDGE))
    return down, across


@cache
def _weights() -> tuple[NDArray[np.float64], float]:
    stored = json.loads(files("duoscan.imaging").joinpath(WEIGHTS_FILE).read_text(encoding="utf-8"))
    return np.array(stored["weights"], dtype=np.float64), float(stored["bias"])
