"""The slow way: the whole recipe trained again on each probe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from duoscan.inference.predictor import predict_manifest
from duoscan.run_files import BUNDLE_NAME
from duoscan.terms import Split
from duoscan.training.run import train
from duoscan.training.shortcuts.audit import CONTROL, Scores
from duoscan.training.shortcuts.features import BORDERS, THUMBNAIL, WHOLE
from duoscan.training.shortcuts.learned import dealt_anew, reference_of

if TYPE_CHECKING:
    from pathlib import Path

    from duoscan.manifest.records import Manifest
    from duoscan.training.recipe import Recipe
    from duoscan.training.watcher import TrainingWatcher

_PROBES = {WHOLE: "none", BORDERS: "borders", THUMBNAIL: "thumbnail"}


def full_scores(
    manifest: Manifest, recipe: Recipe, folder: Path, *, seed: int = 0, watcher: TrainingWatcher | None = None
) -> Scores:
    """Train the recipe once for each probe and once on random labels; a finished run is not trained again.

    Args:
        manifest: With all three splits.
        recipe: Trained as it is but for ``input.probe``.
        folder: One run a probe below it.
        seed: Of the labels dealt out.
        watcher: Progress.

    Raises:
        ManifestError: See :func:`duoscan.training.run.train`.
    """
    tested = manifest.where(split=Split.TEST, modality=recipe.modality)
    scores = {}
    for name, probe in _PROBES.items():
        section = recipe.input.model_copy(update={"probe": probe})
        changed = recipe.model_copy(update={"input": section})
        scores[name] = _answers(manifest, changed, folder / name, tested, watcher)
    shuffled = manifest.replace(dealt_anew(manifest.records, seed))
    control = _answers(shuffled, recipe, folder / CONTROL, tested, watcher)
    labels = reference_of(shuffled.where(split=Split.TEST, modality=recipe.modality).records)
    return Scores(tested.records, scores, control, labels, "the recipe trained again for each, measured on test")


def _answers(
    manifest: Manifest, recipe: Recipe, run: Path, tested: Manifest, watcher: TrainingWatcher | None
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if not (run / BUNDLE_NAME).exists():
        train(manifest, recipe, run, watcher)
    rows = predict_manifest(run / BUNDLE_NAME, tested)
    return np.array([0.5 if row.probability is None else row.probability for row in rows])
