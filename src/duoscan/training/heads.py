"""What stands between the pooled features and the logits, and how each feature reaches a logit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.training.recipe import HiddenLayer


class Hidden(nn.Module):
    """[batch norm] → dense → ReLU → [batch norm] → dropout."""

    def __init__(self, features: int, layer: HiddenLayer) -> None:
        super().__init__()
        self.before = nn.BatchNorm1d(features) if layer.norm == "before" else None
        self.dense = nn.Linear(features, layer.units)
        self.after = nn.BatchNorm1d(layer.units) if layer.norm == "after" else None
        self.dropout = nn.Dropout(layer.dropout)
        self.l1, self.l2 = layer.l1, layer.l2
        nn.init.kaiming_uniform_(self.dense.weight, nonlinearity="relu")  # "He uniform"
        nn.init.zeros_(self.dense.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(N, D) → (N, units)."""
        if self.before is not None:
            features = self.before(features)
        features = self.dense(features).relu()
        if self.after is not None:
            features = self.after(features)
        kept: Tensor = self.dropout(features)
        return kept

    def backtrack(self, weights: Tensor, features: Tensor) -> Tensor:
        """Slopes with respect to this layer's output → slopes with respect to its input, in evaluation mode.

        Args:
            weights: (N, K, units), slope of each logit.
            features: (N, D), the input that went in; it decides which units are on.
        """
        if self.after is not None:
            weights = weights * _slope(self.after)
        entering = features if self.before is None else self.before(features)
        on = (self.dense(entering) > 0).to(weights)
        weights = (weights * on[:, None, :]) @ self.dense.weight
        return weights if self.before is None else weights * _slope(self.before)

    def penalty(self) -> Tensor:
        """L1 and L2 penalty on the dense weights."""
        weight = self.dense.weight
        return self.l1 * weight.abs().sum() + self.l2 * weight.square().sum()


class Head(nn.Module):
    """Hidden layers, if any, and the last dense layer.

    The head is piecewise linear, so around each image it *is* linear: :meth:`local_weights` gives that linear
    map. Without hidden layers it is the last layer's weight matrix, the same for every image.
    """

    def __init__(self, features: int, hidden: Sequence[HiddenLayer], classes: int, dropout: float) -> None:
        super().__init__()
        widths = [features, *(layer.units for layer in hidden)]
        self.hidden = nn.ModuleList(Hidden(width, layer) for width, layer in zip(widths, hidden, strict=False))
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(widths[-1], classes)
        nn.init.normal_(self.last.weight, std=0.01)
        nn.init.zeros_(self.last.bias)

    def forward(self, pooled: Tensor) -> Tensor:
        """(N, D) → logits (N, K)."""
        for layer in self.hidden:
            pooled = layer(pooled)
        logits: Tensor = self.last(self.dropout(pooled))
        return logits

    def local_weights(self, pooled: Tensor) -> Tensor:
        """(N, D) → (N, K, D): how each logit moves with each pooled feature, for each image."""
        entering = [pooled]
        for layer in self.hidden:
            entering.append(layer(entering[-1]))
        weights = self.last.weight.expand(pooled.shape[0], -1, -1)
        for layer, features in zip(list(self.hidden)[::-1], entering[-2::-1], strict=True):
            if isinstance(layer, Hidden):
                weights = layer.backtrack(weights, features)
        return weights

    def penalty(self) -> Tensor:
        """Sum of the hidden layers' penalties; 0 where there are none."""
        terms = [layer.penalty() for layer in self.hidden if isinstance(layer, Hidden)]
        return torch.stack(terms).sum() if terms else self.last.weight.new_zeros(())


def _slope(norm: nn.BatchNorm1d) -> Tensor:
    """Batch norm in evaluation mode multiplies each feature by this."""
    if norm.running_var is None or norm.weight is None:
        raise TypeError(norm)
    return norm.weight / (norm.running_var + norm.eps).sqrt()
