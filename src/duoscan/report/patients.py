"""Answers of images → one answer a patient, by the same rule as screening."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.evaluation.evaluate import Evaluation, evaluate
from duoscan.evidence.verdicts import joined
from duoscan.inference.aggregate import aggregation_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.evidence.subject import Subject
    from duoscan.predictions import Prediction
    from duoscan.terms import Modality


def how(rows: Sequence[Prediction], modality: Modality) -> str:
    """How the images of a patient are joined, as a clause; the models of a cross-validation may each have their way."""
    stated = {row.aggregation: row for row in rows if row.probability is not None}
    ways = [aggregation_of(modality, [row]).spoken for _, row in sorted(stated.items())]
    several = ", as the model of each fold chose" if len(ways) > 1 else ""
    return f"{' or '.join(ways) or 'nothing'} answers for the patient{several}"


def evaluate_patients(subject: Subject, evaluation: Evaluation) -> Evaluation | None:
    """The same evaluation with one answer a patient, at the operating point for studies where one is known.

    ``None`` where every patient has one image, where no modality says how to join images, or where the rows bring
    their own decisions, since no threshold is known then.
    """
    one_each = evaluation.overall.patients == evaluation.overall.images
    if subject.modality is None or evaluation.threshold is None or one_each:
        return None
    return again(evaluation, joined(subject).predictions, subject.study_threshold)


def again(evaluation: Evaluation, rows: Sequence[Prediction], threshold: float | None = None) -> Evaluation:
    """Other rows under the same resamples and seed, and the same operating point where no other is given."""
    return evaluate(
        rows,
        threshold=evaluation.threshold if threshold is None else threshold,
        threshold_origin=evaluation.threshold_origin,
        resamples=evaluation.resamples,
        seed=evaluation.seed,
    )
