"""Cross-validation by patient: every image is answered once, by a model that never saw its patient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.inference.predictor import predict_manifest
from duoscan.manifest.splits import grouped_folds
from duoscan.predictions import write_predictions
from duoscan.run_files import BUNDLE_NAME, TEST_PREDICTIONS
from duoscan.terms import Split
from duoscan.training.run import train

if TYPE_CHECKING:
    from pathlib import Path

    from duoscan.manifest.records import Manifest
    from duoscan.training.recipe import Recipe
    from duoscan.training.watcher import TrainingWatcher


def cross_validate(
    manifest: Manifest, recipe: Recipe, run: Path, folds: int, watcher: TrainingWatcher | None = None
) -> Path:
    """Train once per fold and answer each fold's test part.

    Within a fold the test part is neither trained on nor chosen on: early stopping and the threshold use the fold's
    own validation part.

    Args:
        manifest: Records; their splits are replaced.
        recipe: What to train.
        run: Folder; one run folder per fold is made in it. Finished folds are not trained again.
        folds: Number of folds.
        watcher: Progress callbacks.

    Returns:
        The table of pooled test predictions.
    """
    usable = manifest.where(modality=recipe.modality, sources=recipe.data.sources or None)
    usable = usable.replace([record for record in usable if recipe.trains_as(record) is not None])
    rows = []
    for number, fold in enumerate(grouped_folds(usable, folds, recipe.seed), start=1):
        folder = run / f"fold-{number}"
        if not (folder / BUNDLE_NAME).exists():
            train(fold, recipe, folder, watcher)
        rows += predict_manifest(folder / BUNDLE_NAME, fold.where(split=Split.TEST))
    path = run / TEST_PREDICTIONS
    write_predictions(rows, path)
    return path
