"""Records → arrays: prepared once by the one preprocessing, then sampled by class and source."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from duoscan.errors import ImageError, ManifestError
from duoscan.formats.reader import read_image
from duoscan.imaging.preprocess import prepare_grey
from duoscan.manifest.splits import MORE_UNITS, empty_parts
from duoscan.reasons import ReasonCode
from duoscan.terms import Finding, Split

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from duoscan.imaging.contract import PreprocessingContract
    from duoscan.imaging.lung_view import LungFinder
    from duoscan.manifest.records import ImageRecord, Manifest
    from duoscan.training.recipe import Recipe

# Training crops are taken from a larger copy, so that a crop is not an enlargement.
CROP_MARGIN = 1.15


@dataclass(frozen=True)
class TrainingSet:
    """Prepared images of one split.

    Attributes:
        grey: float16 (N, H, W) in [0, 1]; float16 halves the memory and errs by less than an 8-bit step.
        targets: int64 (N,), index into the recipe's classes.
        records: The N records, in the same order.
        compared: (N, K), the classes that each image is told apart from, its own included.
        without_lungs: Images left out, since the contract shows lungs and none were found.
    """

    grey: NDArray[np.float16]
    targets: NDArray[np.int64]
    records: tuple[ImageRecord, ...]
    compared: NDArray[np.bool_]
    without_lungs: tuple[ImageRecord, ...] = ()

    def __len__(self) -> int:
        return len(self.records)


def usable_records(manifest: Manifest, recipe: Recipe, split: Split) -> list[tuple[ImageRecord, Finding]]:
    """Records of one split that take part, each with the class it trains as.

    Raises:
        ManifestError: None is left, or a class has none; the message says what there is instead.
    """
    sources = recipe.data.sources
    if split is not Split.TRAIN and recipe.data.validation_sources:
        sources = recipe.data.validation_sources
    part = manifest.where(split=split, modality=recipe.modality, sources=sources or None)
    pairs = [(record, target) for record in part if (target := recipe.trains_as(record)) is not None]
    if recipe.data.contrasts == "within-site":
        several = {site for site, found in classes_by_site(pairs).items() if len(found) > 1}
        pairs = [(record, target) for record, target in pairs if site_of(record) in several]
    found = Counter(target for _, target in pairs)
    if missing := [name for name in recipe.classes if not found[name]]:
        present = Counter((record.split or "no split", record.modality, record.label) for record in manifest)
        listing = [f"{'/'.join(str(part) for part in key)}: {count}" for key, count in present.items()]
        dealt = manifest.where(modality=recipe.modality)
        few = empty_parts(dealt, [split]) if any(record.split for record in dealt) else []
        remedy = f"too few were dealt out: {MORE_UNITS}; split again" if few else "make splits with 'duoscan split'"
        raise ManifestError(
            f"the {split} split has no {recipe.modality} image of class {', '.join(missing)} for recipe "
            f"'{recipe.name}'; {remedy}, or change classes, data.sources; found:",
            [*few, *listing],
        )
    return pairs


def site_of(record: ImageRecord) -> tuple[str, str | None]:
    """Where an image was taken: within a site the classes differ by disease, between sites by all else."""
    return record.source, record.site


def classes_by_site(pairs: Sequence[tuple[ImageRecord, Finding]]) -> dict[tuple[str, str | None], set[Finding]]:
    """The classes that each site has."""
    found: dict[tuple[str, str | None], set[Finding]] = {}
    for record, target in pairs:
        found.setdefault(site_of(record), set()).add(target)
    return found


def load_set(
    manifest: Manifest,
    recipe: Recipe,
    split: Split,
    contract: PreprocessingContract,
    finder: LungFinder | None = None,
    on_image: Callable[[], None] = lambda: None,
) -> TrainingSet:
    """Read and prepare all images of one split.

    Args:
        manifest: Records with splits.
        recipe: Which of them take part.
        split: The part.
        contract: How to prepare them.
        finder: Says where lung is, where the contract shows the lungs' view.
        on_image: Called after each image.

    Raises:
        ManifestError: Images that cannot be read; every one is named, since a silent skip would change the data.
    """
    pairs = usable_records(manifest, recipe, split)

    def prepare(record: ImageRecord) -> NDArray[np.float16] | str | None:
        try:
            return prepare_grey(read_image(manifest.file(record)), contract, finder).astype(np.float16)
        except ImageError as error:
            return None if error.reason.code is ReasonCode.NO_LUNG else f"{record.path}: {error}"
        finally:
            on_image()

    with ThreadPoolExecutor(2) as pool:
        prepared = list(pool.map(prepare, (record for record, _ in pairs)))
    if problems := [text for text in prepared if isinstance(text, str)]:
        raise ManifestError(
            f"{len(problems)} of {len(pairs)} {split} images cannot be read; mend or remove these rows:",
            problems,
        )
    shown = [grey for grey in prepared if isinstance(grey, np.ndarray)]
    kept = [pair for pair, grey in zip(pairs, prepared, strict=True) if grey is not None]
    without = [record for (record, _), grey in zip(pairs, prepared, strict=True) if grey is None]
    targets = np.array([recipe.classes.index(target) for _, target in kept], dtype=np.int64)
    compared = compared_classes(kept, recipe)
    return TrainingSet(np.stack(shown), targets, tuple(record for record, _ in kept), compared, tuple(without))


def compared_classes(pairs: Sequence[tuple[ImageRecord, Finding]], recipe: Recipe) -> NDArray[np.bool_]:
    """The classes (N, K) that each of N images is told apart from, its own included."""
    if recipe.data.contrasts == "all":
        return np.ones((len(pairs), len(recipe.classes)), dtype=np.bool_)
    by_site = classes_by_site(pairs)
    return np.array([[name in by_site[site_of(record)] for name in recipe.classes] for record, _ in pairs])


def sampling_weights(training: TrainingSet, balance: str) -> NDArray[np.float64]:
    """Chance of each image to be drawn, summing to 1.

    ``class``: every class is as likely as any other. ``class-source``: within a class, every source is as likely
    too, so that a large source does not become the class. ``contrast``: within a site, every class is as likely, and
    sources weigh by the root of their size.
    """
    if balance == "none":
        return np.full(len(training), 1 / len(training))
    if balance == "contrast":
        return _contrast_weights(training)
    sources = [record.source if balance == "class-source" else "" for record in training.records]
    keys = list(zip(training.targets.tolist(), sources, strict=True))
    per_key = Counter(keys)
    keys_per_class = Counter(target for target, _ in per_key)
    classes = len(keys_per_class)
    return np.array([1 / (classes * keys_per_class[key[0]] * per_key[key]) for key in keys])


def _contrast_weights(training: TrainingSet) -> NDArray[np.float64]:
    """A source by the root of its size, a site by its size within it, the classes of a site alike."""
    sites = [site_of(record) for record in training.records]
    per_source = Counter(source for source, _ in sites)
    per_site = Counter(sites)
    per_cell = Counter(zip(sites, training.targets.tolist(), strict=True))
    cells_of = Counter(site for site, _ in per_cell)
    weights = np.array(
        [
            per_site[site] / (np.sqrt(per_source[site[0]]) * cells_of[site] * per_cell[site, target])
            for site, target in zip(sites, training.targets.tolist(), strict=True)
        ]
    )
    return np.asarray(weights / weights.sum())


def epoch_order(weights: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Which images an epoch shows: low-variance (systematic) draws by weight, in random order.

    Systematic resampling shows each image its expected number of times, rounded up or down; with equal weights
    that is every image once.
    """
    count = len(weights)
    shuffled = rng.permutation(count)
    edges = np.cumsum(weights[shuffled])
    points = (np.arange(count) + rng.random()) / count * edges[-1]
    drawn = shuffled[np.searchsorted(edges, points, side="right").clip(max=count - 1)]
    return np.asarray(rng.permutation(drawn), dtype=np.int64)


def count_by(records: Sequence[ImageRecord]) -> dict[str, dict[str, int]]:
    """Images and patients of each source and label; the data summary of a bundle."""
    images = Counter(f"{record.source}/{record.label}" for record in records)
    units = Counter(f"{source}/{label}" for source, label, _ in {(r.source, r.label, r.unit) for r in records})
    return {key: {"images": images[key], "patients_or_blocks": units[key]} for key in sorted(images)}
