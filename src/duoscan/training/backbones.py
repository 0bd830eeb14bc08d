"""Backbones behind one function: images (N, C, H, W) → feature map (N, D, h, w).

A new family is one more entry in ``_FAMILIES``.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from duoscan.errors import MissingExtraError, RecipeError
from duoscan.training.hub import check_hub, is_cached
from duoscan.training.lesions import LesionMaps, load_lesion_network

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Backbone:
    """A feature extractor.

    Attributes:
        module: Maps (N, channels, H, W) to a feature map (N, D, h, w).
        features: D.
        channels: Input channels the module was made for.
        licence: Licence note of its weights, where known.
    """

    module: nn.Module
    features: int
    channels: int
    licence: str


def build_backbone(spec: str, *, pretrained: bool, size: int) -> Backbone:
    """Build a backbone from its name.

    Args:
        spec: ``monai:DenseNet121``, ``timm:resnet18``, ``plain:small``, ``lesions:``, or else a folder or a
            Hugging Face hub id with the commit to take, ``owner/name@`` and 40 digits.
        pretrained: Load trained weights; ``False`` starts from scratch.
        size: Side of the input in pixels; used to find D.

    Raises:
        RecipeError: The name is unknown, its weights cannot be had, or it gives no feature map.
        MissingExtraError: timm is named but not installed.
    """
    family, _, name = spec.partition(":")
    if family not in _FAMILIES:
        family, name = "hf", spec
    module, channels, licence = _FAMILIES[family](name, pretrained)
    module.eval()
    with torch.no_grad():
        maps = module(torch.zeros(1, channels, size, size))
    if maps.ndim != 4:
        raise RecipeError(f"model.backbone '{spec}' gives {tuple(maps.shape)}, not a feature map (N, D, h, w)")
    return Backbone(module, maps.shape[1], channels, licence)


class HubBackbone(nn.Module):
    """A ``transformers`` vision model, convolutional or with patch tokens."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) → (N, D, h, w)."""
        hidden: Tensor = self.model(images).last_hidden_state
        if hidden.ndim == 4:
            return hidden
        patch = int(self.model.config.patch_size)
        height, width = images.shape[-2] // patch, images.shape[-1] // patch
        tokens = hidden[:, hidden.shape[1] - height * width :]  # class and register tokens come first
        return tokens.transpose(1, 2).reshape(images.shape[0], -1, height, width)


def _from_hub(name: str, pretrained: bool) -> tuple[nn.Module, int, str]:
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()  # the training shows its own
    place, commit = _pinned(name)
    try:
        if place != name and not is_cached(place, commit, weights=pretrained):
            check_hub(name)
        config = AutoConfig.from_pretrained(place, revision=commit)
        # No pooling layer: it would be trained weights that nothing uses.
        extra: dict[str, Any] = {"add_pooling_layer": False} if config.model_type in {"vit", "dinov2"} else {}
        if pretrained:
            # Other formats of weights are pickles, which may run code as they are read.
            model = AutoModel.from_pretrained(place, revision=commit, use_safetensors=True)
        else:
            model = AutoModel.from_config(config, **extra)
    except (OSError, ValueError, KeyError) as error:
        where = "the folder" if Path(place).exists() else "the hub id, or your connection"
        first_line = str(error).strip().splitlines()[0]
        raise RecipeError(f"model.backbone '{name}' cannot be loaded ({first_line}); check {where}") from error
    licence = f"backbone {Path(place).name}: see its model card" if pretrained else ""
    return HubBackbone(model), int(getattr(config, "num_channels", 3)), licence


def _pinned(name: str) -> tuple[str, str]:
    """A folder, or a hub id, and the commit to take of it.

    Raises:
        RecipeError: A hub id without a commit; what its branches and tags stand for can change between two runs.
    """
    if Path(name).is_dir():
        return name, "main"  # a folder has one state, and transformers asks for no other
    found = re.fullmatch(r"(.+)@([0-9a-f]{40})", name)
    if found is None:
        raise RecipeError(
            f"model.backbone '{name}' is no folder, and as a hub id names no commit; write owner/name@ and the 40 "
            "digits that the hub shows under Files and versions, or name a folder of weights"
        )
    return found[1], found[2]


def _from_monai(name: str, pretrained: bool) -> tuple[nn.Module, int, str]:
    from monai.networks import nets

    factory = getattr(nets, name, None)
    if factory is None or not hasattr(factory, "forward"):
        raise RecipeError(f"model.backbone 'monai:{name}': MONAI has no such network; e.g. monai:DenseNet121")
    try:
        arguments: dict[str, Any] = {"spatial_dims": 2, "in_channels": 3 if pretrained else 1}
        output = "num_classes" if "ResNet" in name or "SE" in name else "out_channels"
        network = factory(**arguments, **{output: 2}, **({"pretrained": True} if pretrained else {}))
    except (TypeError, ValueError, OSError, NotImplementedError) as error:
        raise RecipeError(
            f"model.backbone 'monai:{name}' cannot be built ({error}); try model.pretrained=false"
        ) from error
    features = getattr(network, "features", None)
    if not isinstance(features, nn.Module):
        raise RecipeError(f"model.backbone 'monai:{name}' has no feature map; DenseNet… and SEResNet… have one")
    return features, arguments["in_channels"], "MONAI pre-trained weights: see MONAI" if pretrained else ""


class TimmBackbone(nn.Module):
    """A timm model without its head."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) → (N, D, h, w)."""
        maps: Tensor = self.model.forward_features(images)
        return maps


def _from_timm(name: str, pretrained: bool) -> tuple[nn.Module, int, str]:
    if importlib.util.find_spec("timm") is None:
        raise MissingExtraError("timm", f"model.backbone 'timm:{name}'")
    import timm

    try:
        model = timm.create_model(name, pretrained=pretrained, num_classes=0)
    except (RuntimeError, OSError) as error:
        raise RecipeError(f"model.backbone 'timm:{name}' cannot be built ({error})") from error
    return TimmBackbone(model), 3, f"timm {name}: see its model card" if pretrained else ""


def _plain(name: str, pretrained: bool) -> tuple[nn.Module, int, str]:
    """Conv–BN–ReLU–pool blocks, from scratch."""
    widths = {"tiny": (8, 16), "small": (16, 32, 64, 128), "medium": (32, 64, 128, 256, 256)}.get(name)
    if widths is None:
        raise RecipeError(f"model.backbone 'plain:{name}' is unknown; use plain:tiny, plain:small or plain:medium")
    if pretrained:
        raise RecipeError(f"model.backbone 'plain:{name}' has no trained weights; set model.pretrained=false")
    blocks: list[nn.Module] = []
    before = 1
    for width in widths:
        convolution = nn.Conv2d(before, width, 3, padding=1, bias=False)
        blocks.append(nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)))
        before = width
    return nn.Sequential(*blocks), 1, ""


def _lesions(name: str, pretrained: bool) -> tuple[nn.Module, int, str]:
    """Two measures of a CT slice, by a small network that marks lesions."""
    if name or not pretrained:
        raise RecipeError("model.backbone 'lesions:' has no variants and no untrained form; write it as it is")
    return LesionMaps(load_lesion_network()), 1, ""


_FAMILIES: dict[str, Callable[[str, bool], tuple[nn.Module, int, str]]] = {
    "hf": _from_hub,
    "monai": _from_monai,
    "timm": _from_timm,
    "plain": _plain,
    "lesions": _lesions,
}
