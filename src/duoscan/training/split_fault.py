"""The commonest fault of the field, measured: the same recipe on a split by patient and on one by image.

With images of one patient on both sides, a model is rewarded for knowing the patient again. The difference of the two
test figures is what such a split adds to a published number.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from duoscan.evaluation.evaluate import Evaluation, evaluate
from duoscan.evaluation.intervals import Estimate, unpaired_difference
from duoscan.inference.predictor import predict_manifest
from duoscan.manifest.crossing import check_no_patient_crosses
from duoscan.manifest.splits import random_by_image_split
from duoscan.predictions import write_predictions
from duoscan.run_files import BUNDLE_NAME
from duoscan.terms import Split
from duoscan.training.run import train

if TYPE_CHECKING:
    from pathlib import Path

    from duoscan.manifest.records import Manifest
    from duoscan.training.recipe import Recipe
    from duoscan.training.watcher import TrainingWatcher

METRICS = ("auroc", "accuracy", "sensitivity", "specificity")


@dataclass(frozen=True)
class SplitFault:
    """Both protocols on their own test parts, and what the faulty one adds.

    Attributes:
        by_patient: The corrected protocol.
        by_image: The faulty one.
        added: By image minus by patient, for each of ``METRICS``.
        shared_units: Patients (or blocks) on both sides of the faulty split.
    """

    by_patient: Evaluation
    by_image: Evaluation
    added: dict[str, Estimate]
    shared_units: int

    def to_json(self) -> dict[str, Any]:
        """As in files."""
        return {
            "by_patient": self.by_patient.to_json(),
            "by_image": self.by_image.to_json(),
            "added": {name: estimate.to_json() for name, estimate in self.added.items()},
            "shared_units": self.shared_units,
        }


def show_split_fault(
    manifest: Manifest, recipe: Recipe, folder: Path, watcher: TrainingWatcher | None = None
) -> SplitFault:
    """Train and test under both protocols; a part that is finished already is not trained again.

    The faulty split has as many training, validation and test images as the honest one. The two test parts are
    different images, so the difference is between independent samples.

    Args:
        manifest: Records with a split by patient.
        recipe: What to train, twice.
        folder: Holds the runs ``by-patient`` and ``by-image`` and their test predictions.
        watcher: Progress callbacks.

    Raises:
        ManifestError: A patient crosses the given split, so there is no honest side.
    """
    check_no_patient_crosses(manifest)
    usable = manifest.where(modality=recipe.modality, sources=recipe.data.sources or None)
    usable = usable.replace([record for record in usable if recipe.trains_as(record) and record.split])
    sizes = Counter(record.split for record in usable)
    fractions = {split: sizes[split] / len(usable) for split in Split}
    faulty = random_by_image_split(usable, fractions, recipe.seed)
    honest = _measure(usable, recipe, folder / "by-patient", watcher, allow_crossing=False)
    flattered = _measure(faulty, recipe, folder / "by-image", watcher, allow_crossing=True)
    added = {name: unpaired_difference(flattered.metrics[name], honest.metrics[name]) for name in METRICS}
    return SplitFault(honest, flattered, added, _shared_units(faulty))


def _measure(
    manifest: Manifest, recipe: Recipe, run: Path, watcher: TrainingWatcher | None, *, allow_crossing: bool
) -> Evaluation:
    if not (run / BUNDLE_NAME).exists():
        train(manifest, recipe, run, watcher, allow_crossing=allow_crossing)
    rows = predict_manifest(run / BUNDLE_NAME, manifest.where(split=Split.TEST))
    write_predictions(rows, run.with_name(f"predictions-{run.name}.csv"))
    return evaluate(rows)


def _shared_units(manifest: Manifest) -> int:
    trained = {record.unit for record in manifest.where(split=Split.TRAIN)}
    return len(trained & {record.unit for record in manifest.where(split=Split.TEST)})
