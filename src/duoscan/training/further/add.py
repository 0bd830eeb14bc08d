"""A finished network and what raters said of images → its bundle's further heads, each with how well it does."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import ManifestError, TrainingError
from duoscan.inference.graph_folding import folded
from duoscan.inference.heads import CategoryHead, ScoreHead
from duoscan.inference.predictor import predict_manifest
from duoscan.terms import Split
from duoscan.training.attention_graph import FeatureReader
from duoscan.training.further.figures import COVERAGE, category_figures, half_width, score_figures
from duoscan.training.further.fits import FOLDS, Categories, Score, fit, left_out
from duoscan.training.further.graph import with_heads
from duoscan.training.further.references import read_references
from duoscan.training.recipe import CategoryHeadSection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from duoscan.inference.bundle import Bundle
    from duoscan.inference.heads import Head
    from duoscan.manifest.records import Manifest
    from duoscan.training.further.fits import FloatArray, LinearHead
    from duoscan.training.further.references import Reference
    from duoscan.training.recipe import HeadSection, ScoreHeadSection
    from duoscan.training.watcher import TrainingWatcher

LEAST_PATIENTS = 4 * FOLDS
"""For a score: conformal intervals of 90 % need ten, and every fold some of each quarter of the scale."""
LEAST_OF_CATEGORY = 2 * FOLDS
"""Patients of each category."""


def further_heads(
    bundle: Bundle,
    manifest: Manifest,
    sections: Sequence[HeadSection],
    seed: int,
    watcher: TrainingWatcher,
) -> tuple[bytes, tuple[Head, ...]]:
    """Fit heads on the network's features, and add them to its graph.

    The network is as it is and learns nothing from them. Test images are never asked for. Figures are of heads that
    never saw the patient; the network may have, in its training part, so the same is stated of its validation part
    alone.

    Args:
        bundle: The network.
        manifest: Images with splits; those of the training and validation parts that the network answers are used.
        sections: What to fit.
        seed: Deals patients to folds.
        watcher: Progress callbacks.

    Returns:
        The graph, and what the bundle says of each head.

    Raises:
        ManifestError: A reference cannot be read, or there are too few patients.
        TrainingError: The graph does not show its pooled features, or differs after the heads were added.
    """
    if not sections:
        return bundle.graph, ()
    usable = manifest.replace([record for record in manifest if record.split in {Split.TRAIN, Split.VAL}])
    told = {section.name: read_references(section, usable) for section in sections}
    wanted = {one.record for references in told.values() for one in references}
    features, examples = _features(bundle, usable.replace([one for one in usable if one in wanted]), watcher)
    linear: dict[str, LinearHead] = {}
    heads: list[Head] = []
    watcher.on_stage("fitting further heads", len(sections))
    for section in sections:
        references = [one for one in told[section.name] if one.record.path in features]
        _check_enough(section, references)
        array = np.stack([features[one.record.path] for one in references])
        linear[section.name], head = _fitted(section, array, references, seed)
        heads.append(head)
        watcher.on_tick()
    return with_heads(bundle.graph, linear, examples), tuple(heads)


def _features(
    bundle: Bundle, manifest: Manifest, watcher: TrainingWatcher
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
    """Pooled features of each image that the network answers, by path, and some of its input."""
    watcher.on_stage("reading features for further heads", len(manifest))
    reader = FeatureReader(folded(bundle.graph, bundle.path))
    rows = predict_manifest(bundle, manifest, runtime=reader, on_image=watcher.on_tick)
    answered = [row.path for row in rows if row.probability is not None]
    if len(answered) != len(reader.features):
        raise TrainingError("the network gives no number for some of the images; the bundle was not written")
    return dict(zip(answered, reader.features, strict=True)), reader.examples


def _check_enough(section: HeadSection, references: Sequence[Reference]) -> None:
    if isinstance(section, CategoryHeadSection):
        counts = Counter(int(value) for _, value in {(one.record.unit, one.value) for one in references})
        few = [
            f"{category}: {counts[place]}"
            for place, category in enumerate(section.categories)
            if counts[place] < LEAST_OF_CATEGORY
        ]
        least = f"{LEAST_OF_CATEGORY} of each category"
    else:
        patients = len({one.record.unit for one in references})
        few = [f"patients with a score: {patients}"] if patients < LEAST_PATIENTS else []
        least = str(LEAST_PATIENTS)
    if few:
        raise ManifestError(
            f"heads.{section.name}: too few patients of the training and validation parts say something in column "
            f"'{section.column}'; {least} are needed, or leave the head out; found:",
            few,
        )


def _fitted(
    section: HeadSection, features: NDArray[np.float32], references: Sequence[Reference], seed: int
) -> tuple[LinearHead, Head]:
    if isinstance(section, CategoryHeadSection):
        return _fitted_categories(section, features, references, seed)
    return _fitted_score(section, features, references, seed)


def _fitted_categories(
    section: CategoryHeadSection, features: NDArray[np.float32], references: Sequence[Reference], seed: int
) -> tuple[LinearHead, CategoryHead]:
    reference, units = _arrays(references)
    problem = Categories(len(section.categories))
    outputs = left_out(problem, features, reference, units, seed)

    def figures(part: NDArray[np.bool_]) -> dict[str, Any]:
        own = [unit for unit, is_in in zip(units, part, strict=True) if is_in]
        return category_figures(outputs[part], reference[part], own, section.categories, seed)

    return fit(problem, features, reference, units, seed), CategoryHead(
        **_common(section, references, figures), categories=section.categories
    )


def _fitted_score(
    section: ScoreHeadSection, features: NDArray[np.float32], references: Sequence[Reference], seed: int
) -> tuple[LinearHead, ScoreHead]:
    reference, units = _arrays(references)
    outputs = left_out(Score(), features, reference, units, seed)
    scale = section.least, section.most

    def figures(part: NDArray[np.bool_]) -> dict[str, Any]:
        own = [unit for unit, is_in in zip(units, part, strict=True) if is_in]
        return score_figures(outputs[part], reference[part], own, scale, seed)

    errors = np.abs(outputs[:, 0].clip(*scale) - reference)
    return fit(Score(), features, reference, units, seed), ScoreHead(
        **_common(section, references, figures),
        least=section.least,
        most=section.most,
        half_width=half_width(errors, units),
        coverage=COVERAGE,
    )


def _arrays(references: Sequence[Reference]) -> tuple[FloatArray, list[str]]:
    return np.array([one.value for one in references], np.float64), [one.record.unit for one in references]


def _common(
    section: HeadSection, references: Sequence[Reference], figures: Callable[[NDArray[np.bool_]], Mapping[str, Any]]
) -> dict[str, Any]:
    """What every head states of itself."""
    in_validation = np.array([one.record.split is Split.VAL for one in references])
    parts = {"cross_validated": np.ones_like(in_validation), "validation_part": in_validation}
    return {
        "name": section.name,
        "title": section.title,
        "images": len(references),
        "patients": len({one.record.unit for one in references}),
        "sources": tuple(sorted({one.record.source for one in references})),
        "figures": {name: figures(part) for name, part in parts.items() if part.sum() >= LEAST_PATIENTS},
    }
