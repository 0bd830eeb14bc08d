"""Random changes of what a hospital, a printer or a web page leaves on an image, and not the disease."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

if TYPE_CHECKING:
    from duoscan.training.recipe import AugmentSection

_LEAST_SIDE = 96
_QUALITY = (30, 96)
_COARSE = 0.1  # of the frequencies, from 0, whose amplitudes are mixed


def degrade(views: Tensor, section: AugmentSection, rng: np.random.Generator) -> Tensor:
    """Smaller and back, JPEG, a random filter, another image's coarse amplitudes; each where the recipe asks for it.

    Args:
        views: (N, 1, size, size) in [0, 1].
        section: How often each happens.
        rng: Source of chance.

    Returns:
        (N, 1, size, size) in [0, 1].
    """
    if section.amplitude:
        views = _mix_amplitudes(views, section.amplitude, rng)
    if section.randconv:
        views = _filter(views, section.randconv, rng)
    changed = [_degraded(view, section, rng) for view in views] if section.shrink or section.jpeg else None
    return (views if changed is None else torch.stack(changed)).clamp(0, 1)


def _degraded(view: Tensor, section: AugmentSection, rng: np.random.Generator) -> Tensor:
    """One image (1, size, size) as it comes back from a smaller copy and from JPEG."""
    size = view.shape[-1]
    if rng.random() < section.shrink:
        side = int(rng.integers(min(_LEAST_SIDE, size), size + 1))
        small = F.interpolate(view[None], (side, side), mode="bilinear", antialias=True)
        view = F.interpolate(small, (size, size), mode="bilinear")[0]
    if rng.random() < section.jpeg:
        stream = io.BytesIO()
        grey = (view[0].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        Image.fromarray(grey).save(stream, format="JPEG", quality=int(rng.integers(*_QUALITY)))
        view = torch.from_numpy(np.asarray(Image.open(stream), np.float32) / 255)[None].to(view)
    return view


def _filter(views: Tensor, chance: float, rng: np.random.Generator) -> Tensor:
    """RandConv (Xu et al., ICLR 2021): a random 3 × 3 filter, mixed with the image, its mean and spread kept."""
    count = len(views)
    kernels = torch.from_numpy(rng.normal(0, 1 / 3, (count, 1, 3, 3))).to(views)
    filtered = F.conv2d(views.transpose(0, 1), kernels, padding=1, groups=count).transpose(0, 1)
    share = rng.random((count, 1, 1, 1)) * (rng.random((count, 1, 1, 1)) < chance)
    mixed = torch.lerp(views, filtered, torch.from_numpy(share).to(views))
    mean, spread = (mixed.mean((2, 3), keepdim=True), mixed.std((2, 3), keepdim=True).clamp_min(1e-3))
    return (mixed - mean) / spread * views.std((2, 3), keepdim=True) + views.mean((2, 3), keepdim=True)


def _mix_amplitudes(views: Tensor, chance: float, rng: np.random.Generator) -> Tensor:
    """Amplitude mixing (Xu et al., CVPR 2021): coarse amplitudes of another image, its own phases."""
    count, side = len(views), views.shape[-1]
    spectrum = torch.fft.rfft2(views)
    amplitude = spectrum.abs()
    partner = torch.from_numpy(rng.permutation(count)).to(views.device)
    share = rng.random((count, 1, 1, 1)) * (rng.random((count, 1, 1, 1)) < chance)
    reach = int(side * _COARSE)
    coarse = torch.zeros(amplitude.shape[-2:]).to(views)
    coarse[:reach, :reach] = coarse[-reach:, :reach] = 1
    mixed = torch.lerp(amplitude, amplitude[partner], torch.from_numpy(share).to(views) * coarse)
    back: Tensor = torch.fft.irfft2(torch.polar(mixed, spectrum.angle()), s=(side, side))
    return back
