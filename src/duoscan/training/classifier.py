"""Backbone and head as one network whose class-activation map costs nothing extra."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from duoscan.errors import RecipeError
from duoscan.run_files import CHECKPOINT
from duoscan.training.backbones import Backbone, build_backbone
from duoscan.training.heads import Head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.training.recipe import Recipe


class Classifier(nn.Module):
    """Feature map → global average → head."""

    def __init__(self, backbone: Backbone, head: Head, *, mirror: bool = False) -> None:
        super().__init__()
        self.backbone = backbone.module
        self.channels = backbone.channels
        self.mirror = mirror
        self.head = head

    def features(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, D, h, w); grey is repeated where the backbone wants colour."""
        if images.shape[1] == 1 and self.channels > 1:
            images = images.expand(-1, self.channels, -1, -1)
        maps: Tensor = self.backbone(images)
        if self.mirror and not self.training:
            # Averaged before the head, so that there is one map to show.
            maps = (maps + self.backbone(images.flip(-1)).flip(-1)) / 2
        return maps

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → logits (N, K)."""
        return self.judge(self.features(images))

    def judge(self, maps: Tensor) -> Tensor:
        """Feature map (N, D, h, w) → logits (N, K)."""
        pooled = maps.float().mean((2, 3))  # N D
        # The head stays in float32: in bfloat16 logits would tie, and ties change an AUROC.
        with torch.autocast(maps.device.type, enabled=False):
            logits: Tensor = self.head(pooled)
        return logits


class ExportGraph(nn.Module):
    """What a bundle carries: logits and class-activation maps from one forward pass.

    With a linear head this is the class-activation map of Zhou et al. (CVPR 2016), whose mean plus the bias is the
    logit. A head with hidden layers is linear around each image, and its local weights are written into the graph:
    that is Grad-CAM (Selvaraju et al., ICCV 2017) without the rectifier and without a backward pass.
    """

    def __init__(self, members: Sequence[Classifier]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) → logits (N, K), activation (N, K, h, w), each the mean over the members."""
        answers = [_answer(member, images) for member in self.members if isinstance(member, Classifier)]
        logits, activation = (torch.stack(parts).mean(0) for parts in zip(*answers, strict=True))
        return logits, activation


def _answer(classifier: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    maps = classifier.features(images)
    pooled = maps.mean((2, 3))
    activation = torch.einsum("ndhw,nkd->nkhw", maps, classifier.head.local_weights(pooled))
    return classifier.head(pooled), activation


def build_classifier(recipe: Recipe) -> tuple[Classifier, str]:
    """The network of a recipe, seeded, and the licence note of its backbone.

    Raises:
        RecipeError: The backbone cannot be built, or a module named in ``model.freeze`` is not there.
    """
    torch.manual_seed(recipe.seed)
    section = recipe.model
    backbone = build_backbone(section.backbone, pretrained=section.pretrained, size=recipe.input.size)
    if len(recipe.input.mean) not in {1, backbone.channels}:
        raise RecipeError(
            f"input.mean has {len(recipe.input.mean)} channels, backbone '{section.backbone}' takes "
            f"{backbone.channels}; give 1 or {backbone.channels}"
        )
    head = Head(backbone.features, section.hidden, len(recipe.classes), section.dropout)
    network = Classifier(backbone, head, mirror=section.mirror)
    if section.start:
        _start_from(network, Path(section.start) / CHECKPOINT)
    frozen_modules(network, section.freeze)
    return network, backbone.licence


def _start_from(network: Classifier, checkpoint: Path) -> None:
    """Load the best weights of another run; a head for other classes starts anew."""
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["best_state"]
        if state["head.last.weight"].shape != network.head.last.weight.shape:
            state |= {name: value for name, value in network.state_dict().items() if name.startswith("head.")}
        network.load_state_dict(state)
    except (OSError, KeyError, RuntimeError, UnpicklingError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise RecipeError(
            f"model.start: {checkpoint} cannot be taken up ({first_line}); name a run folder with the same backbone"
        ) from error


def frozen_modules(network: Classifier, names: Sequence[str]) -> list[nn.Module]:
    """The backbone modules a recipe freezes, with their weights set not to learn.

    Raises:
        RecipeError: A name is not there; the message lists the outer ones.
    """
    modules = dict(network.backbone.named_modules())
    found = []
    for name in names:
        match = next((key for key in (name, f"model.{name}") if key in modules), None)
        if match is None:
            outer = sorted({key.removeprefix("model.").split(".")[0] for key in modules if key} - {"model"})
            raise RecipeError(f"model.freeze: the backbone has no module '{name}'; it has {', '.join(outer)}")
        modules[match].requires_grad_(requires_grad=False)
        found.append(modules[match])
    return found
