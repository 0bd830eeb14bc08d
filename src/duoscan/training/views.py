"""Augmented views of each image, taken through the layers that do not learn once and kept on the disk.

Where the first layers of a backbone are frozen, most of the work of an epoch gives what it gave before. So a recipe may
ask for a number of views of each image (``optimise.views``): each is augmented and run through those layers once, and
epochs draw among them. Runs that prepare, augment and freeze alike share what is kept, whatever rows they train on.
"""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from duoscan.errors import RecipeError
from duoscan.files import make_folder
from duoscan.inference.graph_names import INPUT_NAME
from duoscan.training.augment import augment
from duoscan.training.backbones import HubBackbone
from duoscan.training.export import to_onnx

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from duoscan.training.classifier import Classifier
    from duoscan.training.data import TrainingSet
    from duoscan.training.recipe import Recipe

CACHE_VARIABLE = "DUOSCAN_CACHE"
_VERSION = "1"  # of what is computed here; goes into the name of the cache
_MAPS = "maps"


def split_backbone(network: Classifier, frozen: Sequence[nn.Module]) -> tuple[nn.Sequential, nn.Sequential]:
    """The leading layers that do not learn, and the rest.

    Raises:
        RecipeError: The backbone is no chain of layers, or its first one learns.
    """
    stages = _stages(network.backbone)
    held = set(map(id, frozen))
    count = next((place for place, stage in enumerate(stages) if id(stage) not in held), len(stages))
    if not 0 < count < len(stages):
        raise RecipeError(
            "optimise.views keeps what the first layers give, so these must be frozen: name them in model.freeze, from "
            "the first on, or set optimise.views = 0"
        )
    return nn.Sequential(*stages[:count]), nn.Sequential(*stages[count:])


def _stages(backbone: nn.Module) -> list[nn.Module]:
    if isinstance(backbone, nn.Sequential):
        return list(backbone)
    if isinstance(backbone, HubBackbone) and backbone.model.config.model_type == "mobilenet_v2":
        return [backbone.model.conv_stem, *backbone.model.layer, backbone.model.conv_1x1]
    raise RecipeError("optimise.views works for MobileNetV2 and plain backbones; set optimise.views = 0")


class Views:
    """What the frozen layers give for each image of a set, as it is and in so many augmented views.

    Args:
        recipe: How images are augmented.
        layers: The frozen layers.
        normalise: Grey (N, 1, H, W) → model input.
        images: The set; at the crop margin where it is augmented.
        count: Augmented views of each image; 0 keeps the image as it is.
        on_image: Called after each image.
    """

    def __init__(
        self,
        recipe: Recipe,
        layers: FrozenLayers,
        normalise: Callable[[Tensor], Tensor],
        images: TrainingSet,
        count: int,
        on_image: Callable[[], None] = lambda: None,
    ) -> None:
        self._recipe, self._count, self._normalise = recipe, count, normalise
        steps = {"input": recipe.input.model_dump(mode="json"), "views": count, "layers": layers.digest}
        stated = [_VERSION, steps, recipe.augment.model_dump(mode="json") if count else None]
        key = hashlib.sha256(json.dumps(stated).encode()).hexdigest()[:16]
        folder = cache_folder() / "views" / key
        make_folder(folder)
        # The prepared pixels name an image: whatever file they come from, its views are the same.
        digests = [hashlib.sha256(grey.tobytes()).hexdigest() for grey in images.grey]
        self._paths = [folder / f"{digest}.npy" for digest in digests]
        missing = [place for place, path in enumerate(self._paths) if not path.exists()]
        if missing:
            self._make(images, missing, layers, on_image)

    def _make(
        self, images: TrainingSet, places: Sequence[int], layers: FrozenLayers, on_image: Callable[[], None]
    ) -> None:
        def make(place: int) -> None:
            path = self._paths[place]
            grey = torch.from_numpy(images.grey[place].astype(np.float32))[None, None]
            if self._count:
                rng = np.random.default_rng(int(path.stem[:16], 16))  # of the image alone, so that runs may share
                copies = grey.expand(self._count, -1, -1, -1)
                grey = augment(copies, self._recipe.augment, self._recipe.input.size, rng)
            maps = layers(self._normalise(grey))
            # Renamed when it is whole, but not waited for on the disk: it can be made again.
            unfinished = path.with_suffix(f".{os.getpid()}.part")
            with unfinished.open("wb") as stream:
                np.save(stream, maps.astype(np.float16), allow_pickle=False)
            unfinished.replace(path)
            on_image()

        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            list(pool.map(make, places))

    def draw(self, places: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        """One view of each of these images, drawn anew: maps (N, D, h, w)."""
        chosen = rng.integers(max(1, self._count), size=len(places))
        held = (np.load(self._paths[place], mmap_mode="r") for place in places)
        return torch.from_numpy(np.stack([one[view] for one, view in zip(held, chosen, strict=True)])).float()


class FrozenLayers:
    """Frozen layers in ONNX Runtime, which runs them several times as fast as eager torch; a thread for each caller.

    Args:
        layers: Images (N, C, H, W) → maps (N, D, h, w).
        channels: C.
        size: H and W.
    """

    def __init__(self, layers: nn.Sequential, channels: int, size: int) -> None:
        import onnxruntime

        layers.eval()
        weights = hashlib.sha256()
        for name, value in layers.state_dict().items():
            weights.update(name.encode())
            weights.update(value.detach().cpu().numpy().tobytes())
        self.digest = weights.hexdigest()
        example = torch.rand(2, channels, size, size)
        graph = to_onnx(layers, example, INPUT_NAME, (_MAPS,), optimize=True).SerializeToString()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._channels = channels

    def __call__(self, images: Tensor) -> NDArray[np.float32]:
        """Images (N, 1 or C, H, W) → maps (N, D, h, w)."""
        given = images.expand(-1, self._channels, -1, -1).contiguous().numpy()
        # One by one: the maps of a batch would not stay in the processor's cache, and take half as long again.
        return np.concatenate([self._session.run([_MAPS], {INPUT_NAME: one[None]})[0] for one in given])


def cache_folder() -> Path:
    """Where what can be made again is kept: ``DUOSCAN_CACHE``, else ``~/.cache/duoscan``."""
    stated = os.environ.get(CACHE_VARIABLE)
    return Path(stated) if stated else Path.home() / ".cache" / "duoscan"
