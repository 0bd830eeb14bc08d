"""Which images of a study to heed: a small scorer trained on frozen features and the labels of whole studies.

The network that answers images stays as it is. On its pooled features a gated-attention scorer (Ilse et al., ICML 2018)
learns one number an image; the softmax of these over a study weighs the images' logits (additive multiple-instance
pooling; Javed et al., NeurIPS 2022). So each image's share of the study's answer can be read off, and the predictions
table with one more column is all that joining needs.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from duoscan.inference.calibrator import logit
from duoscan.terms import POSITIVE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from duoscan.predictions import Prediction

HIDDEN = 32
STEPS, PATIENCE = 300, 40
LEARNING_RATE, WEIGHT_DECAY, DROPOUT = 2e-3, 1e-2, 0.25
_FLATTEST = 1e-3  # a feature that varies this much less than the liveliest says nothing


@dataclass(frozen=True)
class Bags:
    """Images of S studies, N in all, the largest study of M.

    Attributes:
        features: Pooled features, shape (N, D).
        evidence: Logit of P(covid), shape (N,).
        places: Each study's images by their place among the N, filled up with 0, shape (S, M).
        filled: Which of these are images, shape (S, M).
        sick: Whether any image of the study is labelled covid, 0.0 or 1.0, shape (S,).
    """

    features: Tensor
    evidence: Tensor
    places: Tensor
    filled: Tensor
    sick: Tensor


def bags_of(rows: Sequence[Prediction], features: NDArray[np.float32]) -> Bags:
    """Studies of answered, labelled images.

    Args:
        rows: The images, each with label and answer.
        features: Their pooled features, shape (N, D).
    """
    studies: dict[tuple[str, str | None], list[int]] = {}
    for place, row in enumerate(rows):
        studies.setdefault((row.unit, row.study_id), []).append(place)
    most = max(map(len, studies.values()))
    places = torch.tensor([own + [0] * (most - len(own)) for own in studies.values()])
    filled = torch.tensor([[True] * len(own) + [False] * (most - len(own)) for own in studies.values()])
    sick = torch.tensor([float(any(rows[place].label is POSITIVE for place in own)) for own in studies.values()])
    evidence = logit(np.array([row.probability for row in rows], dtype=np.float64))
    return Bags(torch.from_numpy(features), torch.from_numpy(evidence).float(), places, filled, sick)


class GatedAttention(nn.Module):
    """Features → one score an image: w · (tanh(V h) ⊙ sigmoid(U h))."""

    def __init__(self, features: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.value = nn.Linear(features, hidden)
        self.gate = nn.Linear(features, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)  # a constant would leave the softmax as it is
        nn.init.zeros_(self.score.weight)  # so that training starts from the plain mean of the logits

    def forward(self, features: Tensor) -> Tensor:
        """(N, D) → (N,)."""
        scores: Tensor = self.score(self.value(features).tanh() * self.gate(features).sigmoid())
        return scores[:, 0]

    def folded(self, mean: Tensor, scale: Tensor) -> GatedAttention:
        """The same scorer for h that takes (h − mean) · scale into its weights."""
        folded = copy.deepcopy(self)
        with torch.no_grad():
            for layer in (folded.value, folded.gate):
                layer.weight.mul_(scale)
                layer.bias.sub_(layer.weight @ mean)
        return folded


def study_logits(scores: Tensor, bags: Bags) -> Tensor:
    """Scores (N,) → the studies' logits (S,)."""
    weights = scores[bags.places].masked_fill(~bags.filled, -math.inf).softmax(1)
    return (weights * bags.evidence[bags.places]).sum(1)


def train_attention(training: Bags, validation: Bags, seed: int) -> GatedAttention:
    """Train a scorer on the training studies and keep the step that did best on the validation studies.

    A line on the study's logit is trained along and then left out: it keeps the scorer from making good what the
    calibration after joining makes good anyhow.

    Args:
        training: Studies of both classes.
        validation: Studies of both classes and other patients.
        seed: Of weights and dropout.
    """
    torch.manual_seed(seed)
    mean, deviation = training.features.mean(0), training.features.std(0)
    alive = deviation > _FLATTEST * deviation.max()
    scale = torch.where(alive, 1.0 / deviation.clamp_min(1e-12), 0.0)
    inside, outside = ((part.features - mean) * scale for part in (training, validation))
    scorer, line = GatedAttention(len(mean)), nn.Parameter(torch.zeros(2))
    optimiser = torch.optim.AdamW(
        [{"params": scorer.parameters(), "weight_decay": WEIGHT_DECAY}, {"params": [line], "weight_decay": 0.0}],
        lr=LEARNING_RATE,
    )

    def loss(features: Tensor, bags: Bags) -> Tensor:
        moved = line[0].exp() * study_logits(scorer(features), bags) + line[1]
        return F.binary_cross_entropy_with_logits(moved, bags.sick)

    best, best_loss, stale = copy.deepcopy(scorer), math.inf, 0
    for _ in range(STEPS):
        with torch.no_grad():
            now = float(loss(outside, validation))
        stale = stale + 1
        if now < best_loss:
            best, best_loss, stale = copy.deepcopy(scorer), now, 0
        if stale > PATIENCE:
            break
        optimiser.zero_grad(set_to_none=True)
        loss(F.dropout(inside, DROPOUT), training).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return best.folded(mean, scale).eval()
