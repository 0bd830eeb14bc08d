"""Answers of images → one answer a patient, by the same rule as screening."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.evaluation.evaluate import Evaluation, evaluate
from duoscan.evaluation.sample import measurable
from duoscan.predictions import Prediction
from duoscan.terms import POSITIVE, Modality
from duoscan.triage.aggregate import study_probability

if TYPE_CHECKING:
    from collections.abc import Sequence

HOW = {
    Modality.CXR: "the X-ray with the highest P(covid) answers for its patient",
    Modality.CT: "the mean of the three highest P(covid) of the slices answers for their patient",
}


def per_patient(rows: Sequence[Prediction], modality: Modality) -> list[Prediction]:
    """One row a patient, in the order in which patients first occur; images without an answer are left out.

    A patient is a covid patient where any of the images is labelled so.
    """
    images: dict[str, list[Prediction]] = {}
    for row in measurable(rows):
        images.setdefault(row.unit, []).append(row)
    return [
        Prediction(
            path=patient,
            patient_id=patient,
            modality=modality,
            probability=study_probability(modality, [row.probability for row in own if row.probability is not None]),
            decision="",
            source=own[0].source,
            split=own[0].split,
            label=next((row.label for row in own if row.label == POSITIVE), own[0].label),
        )
        for patient, own in images.items()
    ]


def evaluate_patients(
    evaluation: Evaluation, rows: Sequence[Prediction], modality: Modality | None
) -> Evaluation | None:
    """The same evaluation with one answer a patient.

    ``None`` where every patient has one image, where no modality says how to join images, or where the rows bring
    their own decisions, since no threshold is known then.
    """
    one_each = evaluation.overall.patients == evaluation.overall.images
    if modality is None or evaluation.threshold is None or one_each:
        return None
    return again(evaluation, per_patient(rows, modality))


def again(evaluation: Evaluation, rows: Sequence[Prediction]) -> Evaluation:
    """Other rows under the same operating point, resamples and seed."""
    return evaluate(
        rows,
        threshold=evaluation.threshold,
        threshold_origin=evaluation.threshold_origin,
        resamples=evaluation.resamples,
        seed=evaluation.seed,
    )
