"""A small network that says where lung is, trained on lung masks; its graph goes into every bundle that shows lungs.

It looks at a quarter of a megapixel less than a classifier does and costs a tenth of one, for it runs before each
answer. Masks that teachers made may be soft: the share of white is the probability.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from duoscan.imaging.lung_view import FINDER_SIDE
from duoscan.inference.graph_names import INPUT_NAME, LUNGS_NAME
from duoscan.training.augment import augment
from duoscan.training.export import packed, round_weights, to_onnx
from duoscan.training.recipe import AugmentSection
from duoscan.training.small_unet import SmallUnet

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_AUGMENT = AugmentSection(
    rotate_deg=12, min_area=0.5, aspect_jitter=0.4, gamma=0.5, contrast=0.4, brightness=0.2, noise=0.05, erase=0.3
)
_DEGRADE = AugmentSection(shrink=0.3, jpeg=0.3)


class _Probability(nn.Module):
    def __init__(self, network: SmallUnet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        probability: Tensor = self.network(images).sigmoid()
        return probability


class LungExamples(NamedTuple):
    """Pictures and where lung is in them.

    Attributes:
        grey: float32 (N, FINDER_SIDE, FINDER_SIDE) in [0, 1].
        lung: Probability of lung, float32, of the same shape.
        weight: (N,), how often each is drawn beside the others.
    """

    grey: NDArray[np.float32]
    lung: NDArray[np.float32]
    weight: NDArray[np.float64]


def reduced(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """A picture (H, W), or a mask, as a lung finder is given it."""
    small = Image.fromarray(grey).resize((FINDER_SIDE, FINDER_SIDE), Image.Resampling.BILINEAR)
    return np.asarray(small)


def train_finder(
    examples: LungExamples,
    *,
    epochs: int = 12,
    batch_size: int = 32,
    learning_rate: float = 3e-3,
    hflip: float = 0.5,
    seed: int = 0,
    on_epoch: Callable[[int, float], None] = lambda _epoch, _loss: None,
) -> SmallUnet:
    """Train by cross-entropy and soft Dice, with the picture and its mask moved alike.

    Args:
        examples: What to learn from.
        epochs: As many draws as there are examples, so often.
        batch_size: Pictures a step.
        learning_rate: The highest; it rises and falls once (Smith and Topin, 2018).
        hflip: Probability of a mirror image.
        seed: Of all chance.
        on_epoch: Called with the number and the mean loss of each epoch.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = SmallUnet()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-2)
    steps = max(1, len(examples.grey) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=epochs * steps + 1)
    shares = examples.weight / examples.weight.sum()
    moves = _AUGMENT.model_copy(update={"hflip": hflip})
    for epoch in range(epochs):
        losses = []
        for _ in range(steps):
            chosen = rng.choice(len(shares), batch_size, p=shares)
            pictures = torch.from_numpy(np.stack([examples.grey[chosen], examples.lung[chosen]], axis=1))
            grey, lung = moved(pictures, moves, rng)
            loss = _loss(network(grey.contiguous(memory_format=torch.channels_last)), lung)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
        on_epoch(epoch, float(np.mean(losses)))
    network.eval()
    return network


def moved(pictures: Tensor, section: AugmentSection, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Pictures and masks (N, 2, side, side) moved alike; light and grain of the pictures alone change."""
    still = section.model_copy(update={"brightness": 0.0, "contrast": 0.0, "gamma": 0.0, "noise": 0.0, "erase": 0.0})
    both = augment(pictures, still, pictures.shape[-1], rng)
    light = _DEGRADE.model_copy(
        update=section.model_dump() | {"rotate_deg": 0.0, "min_area": 1.0, "aspect_jitter": 0.0, "hflip": 0.0}
    )
    return augment(both[:, :1], light, pictures.shape[-1], rng), both[:, 1:]


def _loss(logits: Tensor, lung: Tensor) -> Tensor:
    probability = logits.sigmoid()
    overlap = (probability * lung).sum((1, 2, 3))
    dice = (2 * overlap + 1) / (probability.sum((1, 2, 3)) + lung.sum((1, 2, 3)) + 1)
    return F.binary_cross_entropy_with_logits(logits, lung) + (1 - dice).mean()


def finder_graph(network: SmallUnet) -> bytes:
    """The trained network as a graph whose weights are rounded to half precision."""
    module = _Probability(network).eval().to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    round_weights(module)
    example = torch.rand(2, 1, FINDER_SIDE, FINDER_SIDE)
    return packed(to_onnx(module, example, INPUT_NAME, (LUNGS_NAME,)))


def dice(found: NDArray[np.bool_], lung: NDArray[np.bool_]) -> float:
    """Overlap of two masks of one shape (Dice, 1945); 1 where both are empty."""
    total = int(found.sum() + lung.sum())
    return 2 * int((found & lung).sum()) / total if total else 1.0
