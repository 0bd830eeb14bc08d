"""Random changes of training images that keep the anatomy believable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from duoscan.training.degrade import degrade

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from duoscan.training.recipe import AugmentSection


def augment(grey: Tensor, section: AugmentSection, size: int, rng: np.random.Generator) -> Tensor:
    """One random view of each image.

    All chance comes from ``rng``, so a resumed run sees what an uninterrupted one would have seen.

    Args:
        grey: (N, 1, h, w) in [0, 1]; larger than ``size`` where crops shall stay sharp.
        section: How far each change may go.
        size: Side of the result in pixels.
        rng: Source of chance.

    Returns:
        (N, 1, size, size) in [0, 1].
    """
    count = grey.shape[0]
    theta = torch.from_numpy(_affine(count, section, rng)).to(grey)
    grid = F.affine_grid(theta, [count, grey.shape[1], size, size], align_corners=False)
    views = F.grid_sample(grey, grid, padding_mode="zeros", align_corners=False)
    views = degrade(_expose(views, section, rng), section, rng)
    return _erase(views, section, rng)


def _affine(count: int, section: AugmentSection, rng: np.random.Generator) -> NDArray[np.float32]:
    """Matrices (N, 2, 3): crop by area and aspect, shift within the image, turn, flip."""
    side = np.sqrt(rng.uniform(section.min_area, 1, count))
    stretch = np.exp(rng.uniform(-section.aspect_jitter, section.aspect_jitter, count) / 2)
    width, height = np.minimum(side * stretch, 1), np.minimum(side / stretch, 1)
    angle = np.deg2rad(rng.uniform(-section.rotate_deg, section.rotate_deg, count))
    shift_x = rng.uniform(-1, 1, count) * (1 - width)
    shift_y = rng.uniform(-1, 1, count) * (1 - height)
    flip_x = np.where(rng.random(count) < section.hflip, -1, 1)
    flip_y = np.where(rng.random(count) < section.vflip, -1, 1)
    rows = [
        [flip_x * width * np.cos(angle), -height * np.sin(angle), shift_x],
        [width * np.sin(angle), flip_y * height * np.cos(angle), shift_y],
    ]
    return np.asarray(rows, dtype=np.float32).transpose(2, 0, 1)


def _expose(views: Tensor, section: AugmentSection, rng: np.random.Generator) -> Tensor:
    """Gamma, contrast around mid-grey, brightness, noise."""

    def draw(low: float, high: float) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (views.shape[0], 1, 1, 1))).to(views)

    views = views.clamp(0, 1) ** torch.exp(draw(-section.gamma, section.gamma))
    views = (views - 0.5) * draw(1 - section.contrast, 1 + section.contrast) + 0.5
    views = views + draw(-section.brightness, section.brightness)
    if section.noise:
        grain = torch.from_numpy(rng.standard_normal(views.shape, dtype=np.float32)).to(views)
        views = views + draw(0, section.noise) * grain
    return views.clamp(0, 1)


def _erase(views: Tensor, section: AugmentSection, rng: np.random.Generator) -> Tensor:
    """A grey box over part of some images (random erasing, Zhong et al., AAAI 2020)."""
    size = views.shape[-1]
    for index in range(views.shape[0]):
        if rng.random() < section.erase:
            side = int(size * rng.uniform(0.15, 0.4))
            top, left = rng.integers(0, size - side, 2)
            views[index, :, top : top + side, left : left + side] = float(rng.random())
    return views


def augmented_views(
    grey: NDArray[np.float32], section: AugmentSection, size: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """:func:`augment` for callers without torch: (N, h, w) in [0, 1] to (N, size, size)."""
    views: NDArray[np.float32] = augment(torch.from_numpy(grey)[:, None], section, size, rng)[:, 0].numpy()
    return views
