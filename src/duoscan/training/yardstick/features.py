"""What the quick models of a yardstick learn from: frozen features of each image, whole and with parts taken away.

Features are kept in the cache in chunks, so that what was computed before a kill, or for another recipe of the same
input and backbone, is not computed again.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from duoscan.audit.confounding.characteristics import Role, characteristics_of, observe
from duoscan.errors import ImageError, ManifestError
from duoscan.files import read_bytes
from duoscan.formats.image import Pixels
from duoscan.formats.reader import read_image
from duoscan.imaging.lung_view import lung_mask, seen_before
from duoscan.imaging.lungs import central_box, read_lung_mask, without_lungs
from duoscan.imaging.preprocess import prepare_grey, window
from duoscan.inference.bundle import MAX_FINDER_BYTES
from duoscan.inference.lung_network import open_finder
from duoscan.inference.shipped import shipped_finder
from duoscan.reasons import ReasonCode
from duoscan.training.backbones import build_backbone
from duoscan.training.run import read_finder
from duoscan.training.shortcuts.features import grey_histogram, pooled, save_arrays

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from duoscan.imaging.contract import PreprocessingContract
    from duoscan.imaging.lung_view import LungFinder
    from duoscan.manifest.records import ImageRecord, Manifest
    from duoscan.training.backbones import Backbone
    from duoscan.training.recipe import Recipe
    from duoscan.training.watcher import TrainingWatcher

Found = TypeVar("Found")
FloatArray = NDArray[np.float32]
WHOLE, BORDERS, ERASED, HISTOGRAM = "whole", "borders", "lungs-erased", "histogram"
PASSES = (WHOLE, BORDERS, ERASED)
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
    *,
    probes: Sequence[str] = PASSES,
) -> Frozen:
    """Features of the recipe's backbone before any training, of every image.

    Where the recipe starts from no trained weights, a grey copy of 32 × 32 pixels stands for its features. Images in
    which its input finds no lungs have ``nan``.

    Args:
        manifest: Rows of one modality.
        recipe: Whose input and backbone.
        cache: Folder.
        on_image: Called after each image.
        probes: Of :data:`PASSES`; the histogram of the whole image comes with any.

    Raises:
        ManifestError: Images cannot be read; every one is named.
        RecipeError: The backbone cannot be had.
    """
    contract, name = recipe.contract(), recipe.model.backbone
    records = sorted(manifest, key=lambda one: one.path)
    graph = read_finder(recipe)
    finder = None if graph is None else _opened(graph, recipe)
    eraser = eraser_for(records, recipe)
    settings = [contract.digest(), name, str(recipe.model.pretrained), _digest(graph), eraser.digest, *probes, _VERSION]
    chunks = [records[start : start + _CHUNK] for start in range(0, len(records), _CHUNK)]
    backbone: Backbone | None = None
    parts: list[dict[str, FloatArray]] = []
    for chunk in chunks:
        rows = manifest.replace(chunk)
        key = "\n".join([rows.fingerprint(), *settings])
        path = cache / f"frozen-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
        if not path.exists():
            if backbone is None and recipe.model.pretrained:
                backbone = build_backbone(name, pretrained=True, size=contract.height)
            save_arrays(path, _computed(rows, contract, backbone, on_image, finder, eraser, probes))
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
        probes: Those that will be asked for; each costs a pass of the backbone over every image.
    """

    def __init__(
        self, manifest: Manifest, cache: Path, watcher: TrainingWatcher, probes: Sequence[str] = PASSES
    ) -> None:
        self.manifest, self._cache, self._watcher, self._probes = manifest, cache, watcher, probes
        self._held: tuple[tuple[str, str], Frozen] | None = None
        self._facts: Frozen | None = None

    def of(self, recipe: Recipe) -> Frozen:
        """Features of the recipe's frozen backbone; see :func:`frozen_features`."""
        key = recipe.input.model_dump_json(), recipe.model.backbone
        if self._held is None or self._held[0] != key:
            self._watcher.on_stage("frozen features", len(self.manifest))
            self._held = (
                key,
                frozen_features(self.manifest, recipe, self._cache, self._watcher.on_tick, probes=self._probes),
            )
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
        seen = each(manifest.replace(records), lambda one: observe(one, manifest.file(one)), on_image)
        chosen = [
            one for one in characteristics_of(seen)[0] if one.role is Role.FILE and one.title not in _NOT_OF_THE_FILE
        ]
        columns = [np.zeros((len(records), 1)), *(one.columns() for one in chosen)]
        save_arrays(path, {FACTS: np.concatenate(columns, axis=1).astype(np.float32)})
    with np.load(path) as held:
        return Frozen({one.path: place for place, one in enumerate(records)}, {FACTS: held[FACTS]})


@dataclass(frozen=True)
class Eraser:
    """Takes the lungs out of a picture: by its mask, by a lung finder, else by the central box.

    Attributes:
        contract: How the picture will be prepared.
        by_mask: Whether every picture names a mask; where one lacks it, which ones do would tell the class.
        finder: Where lung is; ``None`` where none is at hand.
        digest: Of the finder.
    """

    contract: PreprocessingContract
    by_mask: bool
    finder: LungFinder | None
    digest: str

    @property
    def how(self) -> str:
        """In words."""
        if self.by_mask:
            return "by the masks that the manifest names"
        return "where a lung finder sees them" if self.finder else "all but the outer tenth of each side"

    def __call__(self, manifest: Manifest, record: ImageRecord, pixels: Pixels) -> tuple[Pixels, LungFinder | None]:
        """The picture as the window shows it, its lungs flattened to the mean of the rest.

        Returns:
            The picture, and a finder that sees the lungs where they lay before.

        Raises:
            ImageError: The mask cannot be read.
        """
        grey = window(pixels, self.contract)
        looked = None if self.finder is None else seen_before(grey, self.finder)
        if self.by_mask and record.lung_mask:
            lung = read_lung_mask(manifest.root / record.lung_mask, grey.shape)
        else:
            lung = central_box(grey.shape) if looked is None else lung_mask(grey, looked)
        return Pixels(without_lungs(grey, lung)), looked


def eraser_for(records: Sequence[ImageRecord], recipe: Recipe) -> Eraser:
    """How lungs are taken out of these pictures; the shipped finder looks where the recipe's model has none of its own.

    Raises:
        RecipeError: The finder cannot be read.
    """
    by_mask = all(one.lung_mask for one in records)
    graph, shipped = read_finder(recipe), shipped_finder(recipe.modality)
    if graph is None and not by_mask and shipped.is_file():
        graph = read_bytes(shipped, limit=MAX_FINDER_BYTES)
    finder = None if graph is None else _opened(graph, recipe)
    return Eraser(recipe.contract(), by_mask, finder, f"{by_mask} {_digest(graph)}")


def _opened(graph: bytes, recipe: Recipe) -> LungFinder:
    return open_finder(graph, Path(recipe.input.finder) if recipe.input.finder else shipped_finder(recipe.modality))


def _digest(graph: bytes | None) -> str:
    return "" if graph is None else hashlib.sha256(graph).hexdigest()


def _computed(
    manifest: Manifest,
    contract: PreprocessingContract,
    backbone: Backbone | None,
    on_image: Callable[[], None],
    finder: LungFinder | None,
    eraser: Eraser,
    probes: Sequence[str],
) -> dict[str, FloatArray]:
    bordered = contract.model_copy(update={"probe": "borders"})
    nothing = np.full((contract.height, contract.width), np.nan, np.float32)

    def probed(record: ImageRecord) -> dict[str, FloatArray]:
        pixels = read_image(manifest.file(record))
        try:
            made = {WHOLE: prepare_grey(pixels, contract, finder)}
            if BORDERS in probes:
                made[BORDERS] = prepare_grey(pixels, bordered, finder)
            if ERASED in probes:
                changed, looked = eraser(manifest, record, pixels)
                made[ERASED] = prepare_grey(changed, contract, looked)
        except ImageError as error:
            if error.reason.code is not ReasonCode.NO_LUNG:
                raise
            return dict.fromkeys((WHOLE, *probes), nothing)
        return made

    made = each(manifest, probed, on_image)
    found = {}
    for probe in made[0]:
        greys = [one[probe] for one in made]
        found[probe] = _small(greys) if backbone is None else pooled(greys, contract, backbone)
    found[HISTOGRAM] = np.stack([grey_histogram(one[WHOLE]) for one in made])
    found[HISTOGRAM][np.isnan(found[WHOLE]).any(axis=1)] = np.nan
    return found


def _small(greys: Sequence[FloatArray]) -> FloatArray:
    small = [Image.fromarray(grey).resize((_SIDE, _SIDE), Image.Resampling.BOX) for grey in greys]
    return np.stack([np.asarray(one, np.float32).ravel() for one in small])


def each(manifest: Manifest, work: Callable[[ImageRecord], Found], on_image: Callable[[], None]) -> list[Found]:
    """What ``work`` makes of every image, in order.

    Raises:
        ManifestError: Images cannot be read; every one is named.
    """
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
