"""Rows of images → one answer a study, as the rows themselves say they are to be joined."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.errors import PredictionsError
from duoscan.inference.aggregation import DEFAULTS, Aggregation
from duoscan.predictions import Prediction
from duoscan.terms import POSITIVE, Modality

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def aggregation_of(modality: Modality, rows: Iterable[Prediction]) -> Aggregation:
    """How these images are joined: as their rows state, else by the modality's default.

    Without a statement an X-ray study takes the maximum, a CT study the mean of the three largest.

    Raises:
        PredictionsError: The rows state several ways, or one that does not exist.
    """
    names = {row.aggregation for row in rows if row.probability is not None}
    if names <= {""}:
        return DEFAULTS[modality]
    if len(names) > 1:
        stated = ", ".join(sorted(name or "none" for name in names))
        msg = f"rows of one study state several aggregations ({stated}); predict them with one model"
        raise PredictionsError(msg)
    try:
        return Aggregation.named(names.pop())
    except ValueError as error:
        raise PredictionsError(str(error)) from error


def study_probability(modality: Modality, rows: Sequence[Prediction]) -> float:
    """P(covid) of a study from its images' rows.

    Args:
        modality: Decides where the rows do not state how they are joined.
        rows: At least one with an answer; those without do not count.

    Raises:
        PredictionsError: No row has an answer, or :func:`aggregation_of` refuses, or ``attention`` lacks its scores.
    """
    answered = _answered(rows)
    try:
        return aggregation_of(modality, answered).apply(*_numbers(answered))
    except ValueError as error:
        raise PredictionsError(f"{rows[0].path if rows else 'no row'}: {error}") from error


def patient_probability(modality: Modality, rows: Sequence[Prediction]) -> float:
    """P(covid) of a patient: that of the most suspicious study; arguments as in :func:`study_probability`.

    Images that name no study are one.
    """
    studies: dict[str | None, list[Prediction]] = {}
    for row in _answered(rows):
        studies.setdefault(row.study_id, []).append(row)
    return max(study_probability(modality, own) for own in studies.values() or [[]])


def carrying(modality: Modality, rows: Sequence[Prediction]) -> list[Prediction]:
    """The images that carry a study's answer, the one that adds most first; arguments as there."""
    answered = _answered(rows)
    if not answered:
        return []
    return [answered[place] for place in aggregation_of(modality, answered).carrying(*_numbers(answered))]


def per_patient(rows: Iterable[Prediction], modality: Modality) -> list[Prediction]:
    """One row a patient, in the order in which patients first occur; images without label or answer are left out.

    A patient is a covid patient where any of the images is labelled so.
    """
    images: dict[str, list[Prediction]] = {}
    for row in rows:
        if row.label is not None and row.probability is not None:
            images.setdefault(row.unit, []).append(row)
    return [
        Prediction(
            path=patient,
            patient_id=patient,
            modality=modality,
            probability=patient_probability(modality, own),
            decision=None,
            source=own[0].source,
            split=own[0].split,
            label=next((row.label for row in own if row.label == POSITIVE), own[0].label),
            groups={name: _alike(row.groups.get(name, "") for row in own) for name in own[0].groups},
        )
        for patient, own in images.items()
    ]


def _alike(cells: Iterable[str]) -> str:
    """What every image of a patient says; nothing where they differ."""
    distinct = set(cells)
    return distinct.pop() if len(distinct) == 1 else ""


def _answered(rows: Sequence[Prediction]) -> list[Prediction]:
    return [row for row in rows if row.probability is not None]


def _numbers(rows: Sequence[Prediction]) -> tuple[list[float], list[float] | None]:
    """Probabilities, and attention scores where every row has one."""
    scores = [row.attention for row in rows if row.attention is not None]
    return [row.probability for row in rows if row.probability is not None], (
        scores if len(scores) == len(rows) else None
    )
