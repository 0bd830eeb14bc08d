"""CT slices by two measures that mean the same in every hospital: how sure a lesion is, and how widely density spreads.

Networks that were fine-tuned on slices of one collection tell nothing about those of another; these two measures do.
The first is the mean of the surest places of a small network that marks infection, distilled from masks of a teacher;
the second the spread of greys within the lungs, in units of their own range, so that no window and no exposure enters.
The head that weighs them is linear, so that the map of an answer shows where each measure comes from.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from duoscan.training.small_unet import SmallUnet

if TYPE_CHECKING:
    from collections.abc import Mapping

FEATURES = 2
SIDE = 128
"""Pixels a side of the view that the lesion network was trained on."""

_SUREST = 40  # places of SIDE × SIDE, a quarter of a hundredth
_LOW, _HIGH = 0.05, 0.98  # of the greys within the lungs: their range, without air and vessels
_GROUND = 4e-3  # as near to the ground that the lungs lie on is ground
_FAR = 10.0  # above every grey
_PEAK = (-0.455, 0.41)
_SPREAD = (0.333, 0.047)
"""Mean and spread of each measure over training slices, so that the head sees numbers of order 1."""


class LesionMaps(nn.Module):
    """The lungs' view → two maps whose means are the two measures."""

    def __init__(self, network: SmallUnet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1, SIDE, SIDE) in [-1, 1], plain tone, → (N, 2, SIDE / 4, SIDE / 4)."""
        grey = images * 0.5 + 0.5
        inside = ((grey - _ground(grey)).abs() > _GROUND).to(grey)
        lesion = self.network(grey).sigmoid() * inside
        surest = lesion.flatten(1).topk(_SUREST).values.mean(1)
        peak = ((surest + 1e-3).log() - _PEAK[0]) / _PEAK[1]
        away, spread = _spread(grey, inside)
        spread = (spread - _SPREAD[0]) / _SPREAD[1]
        return torch.cat([_spread_out(lesion.square(), peak), _spread_out(away, spread)], dim=1)


def _ground(grey: Tensor) -> Tensor:
    """How bright the plain ground is, (N, 1, 1, 1): of the corners the one nearest the mean."""
    corners = grey[:, 0, :: grey.shape[2] - 1, :: grey.shape[3] - 1].flatten(1)
    nearest = (corners - grey.mean((1, 2, 3))[:, None]).abs().argmin(1, keepdim=True)
    return corners.gather(1, nearest)[:, :, None, None]


def _spread(grey: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distance from the mean at each place (N, 1, H, W), and its root mean (N,), in units of the own range."""
    count = inside.flatten(1).sum(1, keepdim=True).clamp_min(1)
    ranked = torch.where(inside > 0, grey, _FAR).flatten(1).sort(1).values
    low, high = (ranked.gather(1, (count * share).long())[:, :, None, None] for share in (_LOW, _HIGH))
    even = ((grey - low) / (high - low + 1e-3)).clamp(0, 1)
    count = count[:, :, None, None]
    mean = (even * inside).sum((2, 3), keepdim=True) / count
    away = (even - mean).square() * inside
    return away, (away.sum((2, 3), keepdim=True) / count).sqrt()[:, 0, 0, 0]


def _spread_out(evidence: Tensor, measure: Tensor) -> Tensor:
    """A measure (N,) laid out over where its evidence (N, 1, H, W) lies: a map of that mean, a quarter of the size."""
    coarse = nn.functional.avg_pool2d(evidence, 4)
    return coarse / coarse.mean((2, 3), keepdim=True).clamp_min(1e-6) * measure[:, None, None, None]


def lesion_weights() -> Path:
    """Where the package keeps the weights of the lesion network."""
    return Path(str(resources.files("duoscan") / "models" / "lesions-ct.safetensors"))


def load_lesion_network(state: Mapping[str, Tensor] | None = None) -> SmallUnet:
    """The lesion network with these weights, or the shipped ones.

    Raises:
        OSError: The shipped weights are missing.
    """
    from safetensors.torch import load_file

    network = SmallUnet()
    found = load_file(lesion_weights()) if state is None else state
    network.load_state_dict(found)  # half precision is widened as it is copied
    network.requires_grad_(requires_grad=False)
    network.eval()
    return network
