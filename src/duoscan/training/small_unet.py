"""A network that marks something in a picture, small enough to run before each answer."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTHS = (16, 32, 64, 64)


class SmallUnet(nn.Module):
    """A U-Net (Ronneberger et al., MICCAI 2015) whose skips are added, at half the size of its input."""

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.stem = _block(1, widths[0], stride=2)
        self.down = nn.ModuleList(_block(one, two, stride=2) for one, two in pairwise(widths))
        self.up = nn.ModuleList(_block(two, one) for one, two in pairwise(widths))
        self.last = nn.Conv2d(widths[0], 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Grey (N, 1, H, W) in [0, 1] → logits (N, 1, H, W)."""
        kept = [self.stem(images)]
        for block in self.down:
            kept.append(block(kept[-1]))
        maps = kept.pop()
        for block, skip in zip(reversed(self.up), reversed(kept), strict=True):
            maps = F.interpolate(block(maps), scale_factor=2.0, mode="bilinear") + skip
        logits: Tensor = F.interpolate(self.last(maps), scale_factor=2.0, mode="bilinear")
        return logits


def _block(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
        nn.Conv2d(after, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )
