"""A finished network → how the images of a study are joined, at which threshold, and how sure the study is.

Everything here is chosen on validation; attention is trained on the training part. Test rows are never asked for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from duoscan.evaluation.aggregation import (
    AUTO,
    AggregationChoice,
    choose_aggregation,
    joined_as,
    too_little,
)
from duoscan.evaluation.sample import measurable, sample_of
from duoscan.evaluation.thresholds import left_out_rates, sensitivity_threshold, youden_threshold
from duoscan.files import write_text
from duoscan.inference.aggregate import per_patient
from duoscan.inference.aggregation import AggregationKind
from duoscan.inference.graph_folding import folded
from duoscan.inference.predictor import predict_manifest
from duoscan.predictions import Prediction, write_predictions
from duoscan.terms import POSITIVE
from duoscan.training.attention import bags_of, train_attention
from duoscan.training.attention_graph import FeatureReader, gives_attention, with_attention

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from duoscan.evaluation.aggregation import Known
    from duoscan.evaluation.thresholds import Choose
    from duoscan.inference.bundle import Bundle, BundleInfo
    from duoscan.manifest.records import Manifest
    from duoscan.training.recipe import Recipe
    from duoscan.training.watcher import TrainingWatcher

PREDICTIONS_NAME = "predictions-val.csv"
CHOICE_NAME = "aggregation.json"
RATES = "operating_points"


@dataclass(frozen=True)
class PooledStudies:
    """A graph and how its answers become those of studies.

    Attributes:
        graph: The one that was given, with the output ``attention`` where attention was chosen.
        rows: What it says of the validation images, each row stating how it is joined.
        choice: Between what.
    """

    graph: bytes
    rows: list[Prediction]
    choice: AggregationChoice

    def info(self, before: BundleInfo, recipe: Recipe) -> dict[str, Any]:
        """The fields of a bundle that follow from it."""
        chosen, tried = self.choice.aggregation, self.choice.candidates
        points, rates = operating_points(self.rows, recipe)
        metrics = before.provenance.metrics | ({"aggregation": self.choice.to_json()} if tried else {})
        metrics |= {RATES: rates}
        return {
            "operating_points": points,
            "default_point": recipe.operating.default,
            "study_point": f"study-{recipe.operating.default}",
            "aggregation": chosen.name if chosen else None,
            "study_calibration": self.choice.calibrator.calibration,
            "provenance": before.provenance.model_copy(update={"metrics": metrics}),
        }

    def write(self, folder: Path) -> None:
        """``predictions-val.csv`` and ``aggregation.json``."""
        write_predictions(self.rows, folder / PREDICTIONS_NAME)
        text = json.dumps(self.choice.to_json(), indent=1, ensure_ascii=False)
        write_text(folder / CHOICE_NAME, text + "\n")


def pool_studies(
    bundle: Bundle, training: Manifest, validation: Manifest, recipe: Recipe, watcher: TrainingWatcher
) -> PooledStudies:
    """Train attention where there is enough to train it and to judge it on, and choose how images are joined.

    Args:
        bundle: The network. Attention that its graph gives already is taken as it is.
        training: Images it was trained on; answered once more, for their features.
        validation: Images of other patients.
        recipe: What is wanted, and the seed.
        watcher: Progress callbacks.

    Raises:
        InputError: What the recipe wants cannot be had.
        TrainingError: The graph does not show its pooled features, or differs after attention was added.
    """
    wanted, tried = recipe.study.aggregation, bundle
    is_enough = not (too_little(_known(training)) or too_little(_known(validation)))
    is_tried = wanted == AggregationKind.ATTENTION or (wanted == AUTO and is_enough)
    if is_tried and not gives_attention(folded(bundle.graph, bundle.path)):
        tried = replace(bundle, graph=_attentive(bundle, training, validation, recipe.seed, watcher))
    rows = _answers(tried, validation, watcher)
    choice = choose_aggregation(rows, recipe.modality, wanted=wanted, seed=recipe.seed)
    is_trained = choice.aggregation is not None and choice.aggregation.kind is AggregationKind.ATTENTION
    if tried is not bundle and not is_trained:
        tried, rows = bundle, _answers(bundle, validation, watcher)
    return PooledStudies(tried.graph, joined_as(rows, choice.aggregation), choice)


def operating_points(
    rows: Sequence[Prediction], recipe: Recipe
) -> tuple[dict[str, float], dict[str, dict[str, list[float]]]]:
    """Thresholds for images, and for studies joined as their rows state; each chosen on these, the validation rows.

    Returns:
        Thresholds by name, and what :func:`left_out_rates` says of each that was chosen.
    """
    points, rates = {}, {}
    chosen: dict[str, Choose] = {
        "youden": lambda reference, probability, _: youden_threshold(reference, probability),
        "sensitivity": lambda reference, probability, units: sensitivity_threshold(
            reference, probability, recipe.operating.sensitivity, units
        ),
    }
    for prefix, part in (("", rows), ("study-", per_patient(rows, recipe.modality))):
        sample = sample_of(part, threshold=None)
        points[f"{prefix}argmax"] = 1 / 2
        for name, choose in chosen.items():
            points[f"{prefix}{name}"] = choose(sample.reference, sample.probability, sample.units)
            rates[f"{prefix}{name}"] = left_out_rates(choose, sample.reference, sample.probability, sample.units)
    return points, rates


def _known(manifest: Manifest) -> list[Known]:
    return [(record.unit, record.study_id, record.label is POSITIVE) for record in manifest]


def _answers(
    bundle: Bundle, manifest: Manifest, watcher: TrainingWatcher, runtime: FeatureReader | None = None
) -> list[Prediction]:
    watcher.on_stage("answering images", len(manifest))
    return predict_manifest(bundle, manifest, runtime=runtime, on_image=watcher.on_tick)


def _attentive(bundle: Bundle, training: Manifest, validation: Manifest, seed: int, watcher: TrainingWatcher) -> bytes:
    """The bundle's graph with attention trained on its features."""
    graph = folded(bundle.graph, bundle.path)
    readers = FeatureReader(graph), FeatureReader(graph)
    learned, judged = (
        bags_of(measurable(_answers(bundle, part, watcher, reader)), reader.features)
        for part, reader in zip((training, validation), readers, strict=True)
    )
    return with_attention(bundle.graph, train_attention(learned, judged, seed), readers[1].examples)
