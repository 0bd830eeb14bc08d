"""What the quick models of a yardstick learn from: frozen features of each image, whole and with parts taken away.

Features are kept in the cache in chunks, so that what was computed before a kill, or for another recipe of the same
input and backbone, is not computed again.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from duoscan.audit.confounding.characteristics import Role, characteristics_of, observe
from duoscan.errors import ImageError, ManifestError
from duoscan.formats.image import Pixels
from duoscan.formats.reader import read_image
from duoscan.imaging.lungs import central_box, read_lung_mask, without_lungs
from duoscan.imaging.preprocess import prepare_grey, window
from duoscan.imaging.probes import borders_only
from duoscan.training.backbones import build_backbone
from duoscan.training.shortcuts.features import grey_histogram, pooled, save_arrays

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from duoscan.imaging.contract import PreprocessingContract
    from duoscan.manifest.records import ImageRecord, Manifest
    from duoscan.training.backbones import Backbone
    from duoscan.training.recipe import Recipe
    from duoscan.training.watcher import TrainingWatcher

Found = TypeVar("Found")
FloatArray = NDArray[np.float32]
WHOLE, BORDERS, ERASED, HISTOGRAM = "whole", "borders", "lungs-erased", "histogram"
FACTS = "facts"
_NOT_OF_THE_FILE = {"source", "view", "age", "sex"}  # of the patient, or the answer itself
_CHUNK = 128
_VERSION = "1"  # of what is computed here; goes into the names in the cache
_SIDE = 32  # pixels of the copy that stands for features where a backbone has no trained weights


@dataclass(frozen=True)
class Frozen:
    """Features of images by path.

    Attributes:
        place: Path → row.
        by_probe: Probe → (N, D).
    """

    place: dict[str, int]
    by_probe: dict[str, FloatArray]

    def of(self, records: Sequence[ImageRecord], probe: str) -> FloatArray:
        """Features of these records, in order, shape (len, D)."""
        return self.by_probe[probe][[self.place[one.path] for one in records]]


def frozen_features(
    manifest: Manifest,
    recipe: Recipe,
    cache: Path,
    on_image: Callable[[], None] = lambda: None,
) -> Frozen:
    """Features of the recipe's backbone before any training, of every image.

    A ``plain:`` backbone has no trained weights; a grey copy of 32 × 32 pixels stands for its features.

    Args:
        manifest: Rows of one modality.
        recipe: Whose input and backbone.
        cache: Folder.
        on_image: Called after each image.

    Raises:
        ManifestError: Images cannot be read; every one is named.
        RecipeError: The backbone cannot be had.
    """
    contract, name = recipe.contract(), recipe.model.backbone
    records = sorted(manifest, key=lambda one: one.path)
    has_masks = has_every_mask(records)
    chunks = [records[start : start + _CHUNK] for start in range(0, len(records), _CHUNK)]
    backbone: Backbone | None = None
    parts: list[dict[str, FloatArray]] = []
    for chunk in chunks:
        rows = manifest.replace(chunk)
        key = "\n".join([rows.fingerprint(), contract.digest(), name, str(has_masks), _VERSION])
        path = cache / f"frozen-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
        if not path.exists():
            if backbone is None and not name.startswith("plain:"):
                backbone = build_backbone(name, pretrained=True, size=contract.height)
            save_arrays(path, _computed(rows, contract, backbone, on_image, has_masks=has_masks))
        with np.load(path) as held:
            parts.append({probe: held[probe] for probe in held.files})
    by_probe = {probe: np.concatenate([one[probe] for one in parts]) for probe in parts[0]}
    return Frozen({one.path: place for place, one in enumerate(records)}, by_probe)


class FeatureStore:
    """Features of the rows of a yardstick; those asked for last stay in memory.

    Args:
        manifest: Rows of one modality.
        cache: Folder.
        watcher: Progress callbacks.
    """

    def __init__(self, manifest: Manifest, cache: Path, watcher: TrainingWatcher) -> None:
        self.manifest, self._cache, self._watcher = manifest, cache, watcher
        self._held: tuple[tuple[str, str], Frozen] | None = None
        self._facts: Frozen | None = None

    def of(self, recipe: Recipe) -> Frozen:
        """Features of the recipe's frozen backbone; see :func:`frozen_features`."""
        key = recipe.contract().digest(), recipe.model.backbone
        if self._held is None or self._held[0] != key:
            self._watcher.on_stage("frozen features", len(self.manifest))
            self._held = key, frozen_features(self.manifest, recipe, self._cache, self._watcher.on_tick)
        return self._held[1]

    def facts(self) -> Frozen:
        """Facts of each file, see :func:`file_facts`, under the probe ``facts``."""
        if self._facts is None:
            self._watcher.on_stage("facts of files", len(self.manifest))
            self._facts = file_facts(self.manifest, self._cache, self._watcher.on_tick)
        return self._facts


def file_facts(manifest: Manifest, cache: Path, on_image: Callable[[], None] = lambda: None) -> Frozen:
    """What a file tells without its picture: size, aspect, format, compression; numbers and words as columns.

    Raises:
        ManifestError: Images cannot be read; every one is named.
    """
    records = sorted(manifest, key=lambda one: one.path)
    key = hashlib.sha256(f"{manifest.fingerprint()}\n{_VERSION}".encode()).hexdigest()[:16]
    path = cache / f"facts-{key}.npz"
    if not path.exists():
        seen = _each(manifest.replace(records), lambda one: observe(one, manifest.file(one)), on_image)
        chosen = [
            one for one in characteristics_of(seen)[0] if one.role is Role.FILE and one.title not in _NOT_OF_THE_FILE
        ]
        columns = [np.zeros((len(records), 1)), *(one.columns() for one in chosen)]
        save_arrays(path, {FACTS: np.concatenate(columns, axis=1).astype(np.float32)})
    with np.load(path) as held:
        return Frozen({one.path: place for place, one in enumerate(records)}, {FACTS: held[FACTS]})


def has_every_mask(records: Sequence[ImageRecord]) -> bool:
    """Whether lungs can be erased by mask: where one image lacks it, that would tell its class."""
    return all(one.lung_mask for one in records)


def erased(
    manifest: Manifest, record: ImageRecord, pixels: Pixels, contract: PreprocessingContract, *, by_mask: bool
) -> Pixels:
    """An image as the window shows it, its lungs flattened to the mean of the rest.

    Args:
        manifest: Where its mask lies.
        record: The image.
        pixels: Decoded.
        contract: Whose window.
        by_mask: Take the mask that the record names; else all but the outer tenth of each side stands for the lungs.
    """
    grey = window(pixels, contract)
    if by_mask and record.lung_mask:
        lung = read_lung_mask(manifest.root / record.lung_mask, grey.shape)
    else:
        lung = central_box(grey.shape)
    return Pixels(without_lungs(grey, lung))


def _computed(
    manifest: Manifest,
    contract: PreprocessingContract,
    backbone: Backbone | None,
    on_image: Callable[[], None],
    *,
    has_masks: bool,
) -> dict[str, FloatArray]:
    def probed(record: ImageRecord) -> dict[str, FloatArray]:
        pixels = read_image(manifest.file(record))
        grey = prepare_grey(pixels, contract)
        hidden = prepare_grey(erased(manifest, record, pixels, contract, by_mask=has_masks), contract)
        return {WHOLE: grey, BORDERS: borders_only(grey), ERASED: hidden}

    made = _each(manifest, probed, on_image)
    found = {}
    for probe in made[0]:
        greys = [one[probe] for one in made]
        found[probe] = _small(greys) if backbone is None else pooled(greys, contract, backbone)
    found[HISTOGRAM] = np.stack([grey_histogram(one[WHOLE]) for one in made])
    return found


def _small(greys: Sequence[FloatArray]) -> FloatArray:
    small = [Image.fromarray(grey).resize((_SIDE, _SIDE), Image.Resampling.BOX) for grey in greys]
    return np.stack([np.asarray(one, np.float32).ravel() for one in small])


def _each(manifest: Manifest, work: Callable[[ImageRecord], Found], on_image: Callable[[], None]) -> list[Found]:
    problems: list[str] = []

    def one(record: ImageRecord) -> Found | None:
        try:
            return work(record)
        except (ImageError, OSError) as error:
            problems.append(f"{record.path}: {error}")
            return None
        finally:
            on_image()

    with ThreadPoolExecutor(2) as pool:
        found = [value for value in pool.map(one, manifest) if value is not None]
    if problems:
        raise ManifestError(f"{len(problems)} images cannot be read; mend or remove these rows:", sorted(problems))
    return found
