"""Images as a pretrained backbone sees them, whole and with parts taken away."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from duoscan.errors import ImageError, ManifestError
from duoscan.files import write_bytes
from duoscan.formats.image import Pixels
from duoscan.formats.reader import read_image
from duoscan.imaging.lungs import lungs_only, read_lung_mask, without_lungs
from duoscan.imaging.preprocess import normalise, prepare_grey, window
from duoscan.imaging.probes import borders_only, thumbnail
from duoscan.training.backbones import build_backbone

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from duoscan.imaging.contract import PreprocessingContract
    from duoscan.manifest.records import ImageRecord, Manifest
    from duoscan.training.backbones import Backbone

FloatArray = NDArray[np.float32]

WHOLE, BORDERS, THUMBNAIL, HISTOGRAM = "whole", "borders", "thumbnail", "histogram"
LUNGS_ERASED, LUNGS_ONLY = "lungs-erased", "lungs-only"
MASKED = (LUNGS_ERASED, LUNGS_ONLY)
_BINS = 32
_BATCH = 32
_SAMPLE_VERSION = "2"  # of what is computed here; goes into the name of the cache


@dataclass(frozen=True)
class ProbeFeatures:
    """Features of N images by probe.

    Attributes:
        records: N records.
        by_probe: Probe → (N, D); D differs between probes.
    """

    records: tuple[ImageRecord, ...]
    by_probe: dict[str, FloatArray]


def probe_features(
    manifest: Manifest,
    contract: PreprocessingContract,
    backbone: str,
    cache: Path,
    on_image: Callable[[], None] = lambda: None,
) -> ProbeFeatures:
    """Features of every image, whole and probed; read from ``cache`` where they were computed before.

    The probes with lungs are there only where every record names a lung mask.

    Args:
        manifest: Records of one modality.
        contract: How images are prepared; its own probe must be ``none``.
        backbone: Name as in recipes, with trained weights.
        cache: Folder for computed features.
        on_image: Called after each image.

    Raises:
        ManifestError: Images cannot be read; every one is named.
        RecipeError: The backbone cannot be had.
    """
    key = "\n".join([manifest.fingerprint(), contract.digest(), backbone, _SAMPLE_VERSION])
    path = cache / f"features-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    if path.exists():
        with np.load(path) as held:
            return ProbeFeatures(manifest.records, {name: held[name] for name in held.files})
    built = build_backbone(backbone, pretrained=True, size=contract.height)
    has_masks = all(record.lung_mask for record in manifest)
    gathered: dict[str, list[FloatArray]] = {}
    problems: list[str] = []

    def probed(record: ImageRecord) -> dict[str, FloatArray] | str:
        try:
            return _probed(manifest, record, contract, has_masks=has_masks)
        except (ImageError, OSError) as error:
            return f"{record.path}: {error}"
        finally:
            on_image()

    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(manifest), _BATCH):
            made = list(pool.map(probed, manifest.records[start : start + _BATCH]))
            problems += [one for one in made if isinstance(one, str)]
            if not problems:
                batch = [one for one in made if isinstance(one, dict)]
                for name, features in _features(batch, contract, built).items():
                    gathered.setdefault(name, []).append(features)
    if problems:
        raise ManifestError(f"{len(problems)} images cannot be read; mend or remove these rows:", problems)
    by_probe = {name: np.concatenate(parts) for name, parts in gathered.items()}
    save_arrays(path, by_probe)
    return ProbeFeatures(manifest.records, by_probe)


def _probed(
    manifest: Manifest, record: ImageRecord, contract: PreprocessingContract, *, has_masks: bool
) -> dict[str, FloatArray]:
    """Prepared grey by probe, each (H, W)."""
    pixels = read_image(manifest.file(record))
    grey = prepare_grey(pixels, contract)
    made = {WHOLE: grey, BORDERS: borders_only(grey), THUMBNAIL: thumbnail(grey)}
    if has_masks and record.lung_mask:
        shown = window(pixels, contract)
        lung = read_lung_mask(manifest.root / record.lung_mask, shown.shape)
        made[LUNGS_ERASED] = prepare_grey(Pixels(without_lungs(shown, lung)), contract)
        made[LUNGS_ONLY] = prepare_grey(Pixels(lungs_only(shown, lung)), contract)
    return made


def _features(
    batch: Sequence[dict[str, FloatArray]], contract: PreprocessingContract, backbone: Backbone
) -> dict[str, FloatArray]:
    """Pooled features by probe, and the grey histogram, which knows no place."""
    found = {name: pooled([one[name] for one in batch], contract, backbone) for name in batch[0]}
    found[HISTOGRAM] = np.stack([grey_histogram(one[WHOLE]) for one in batch])
    return found


def grey_histogram(grey: FloatArray) -> FloatArray:
    """Share of the pixels in each of 32 steps of grey; it knows no place."""
    shares: FloatArray = (np.histogram(grey, bins=_BINS, range=(0, 1))[0] / grey.size).astype(np.float32)
    return shares


def pooled(greys: Sequence[FloatArray], contract: PreprocessingContract, backbone: Backbone) -> FloatArray:
    """Features (N, D) of N prepared images (H, W): the mean of the backbone's feature map over its places."""
    images = np.stack([normalise(grey, contract) for grey in greys])
    if images.shape[1] == 1 and backbone.channels == 3:
        images = np.repeat(images, 3, axis=1)
    with torch.inference_mode():
        maps = backbone.module(torch.from_numpy(images).contiguous(memory_format=torch.channels_last))
    means: FloatArray = maps.mean(dim=(2, 3)).float().numpy()
    return means


def save_arrays(path: Path, by_probe: dict[str, FloatArray]) -> None:
    """Write arrays by name as ``.npz``, whole or not at all."""
    import io

    stream = io.BytesIO()
    np.savez(stream, **by_probe)  # type: ignore[arg-type]
    write_bytes(path, stream.getvalue())
