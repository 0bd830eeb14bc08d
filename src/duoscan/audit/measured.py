"""Evaluation → the facts that the gate asks for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from duoscan.audit.gate import Measured
from duoscan.evaluation.evaluate import UNKNOWN
from duoscan.evaluation.sample import measurable
from duoscan.terms import POSITIVE, Split

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from duoscan.audit.ledger import Count
    from duoscan.evaluation.evaluate import Evaluation
    from duoscan.evaluation.intervals import Estimate
    from duoscan.manifest.records import ImageRecord, Manifest
    from duoscan.predictions import Prediction

NOT_CHOSEN_HERE = ("bundle", "default")
"""How origins of thresholds begin that were fixed before the test rows were seen."""


def measured_of(
    evaluation: Evaluation,
    predictions: Sequence[Prediction],
    *,
    name: str,
    trained_sources: Iterable[str] | None,
    model: str | None = None,
    data: str | None = None,
    count: Count | None = None,
    faults: Sequence[str] = (),
) -> Measured:
    """The facts of one evaluation.

    Args:
        evaluation: Of the predictions.
        predictions: Its rows.
        name: Of the model or table.
        trained_sources: Sources of the images the model was made with; ``None`` where unknown.
        model: SHA-256 of the graph, or of the table.
        data: Fingerprint of the rows.
        count: From the ledger of the test set.
        faults: Reasons known elsewhere why the number is too good.
    """
    rows = measurable(predictions)
    covid = {row.unit for row in rows if row.label is POSITIVE}
    splits = evaluation.counts.splits
    measured_sources = set(evaluation.counts.sources)
    is_fixed = evaluation.threshold_origin.startswith(NOT_CHOSEN_HERE)
    return Measured(
        name=name,
        images=evaluation.overall.images,
        covid_patients=len(covid),
        other_patients=len({row.unit for row in rows} - covid),
        auroc=_ends(evaluation.metrics["auroc"]),
        accuracy=_ends(evaluation.metrics["accuracy"]),
        majority=evaluation.baseline["accuracy"],
        split=next(iter(splits)) if len(splits) == 1 and UNKNOWN not in splits else None,
        threshold_is_from_test=False if is_fixed else None,
        external_sources=None
        if trained_sources is None
        else tuple(sorted(measured_sources - set(trained_sources) - {UNKNOWN})),
        test_uses=None if count is None else count.use,
        models_tried=None if count is None else count.models,
        model=model,
        data=data,
        faults=tuple(faults),
    )


def seen_patients(trained: Manifest, tested: Iterable[ImageRecord | Prediction]) -> list[str]:
    """Whether patients of tested rows took part in training; ids of two places may be alike by chance."""
    made_with = {Split.TRAIN, Split.VAL}
    used = {one.patient_id for one in trained if one.split in made_with} - {None}
    seen = {one.patient_id for one in tested} & used
    return [f"{len(seen)} of the tested patient ids took part in training or validation"] if seen else []


def _ends(estimate: Estimate) -> tuple[float | None, float | None, float | None]:
    return None if math.isnan(estimate.value) else estimate.value, estimate.low, estimate.high
