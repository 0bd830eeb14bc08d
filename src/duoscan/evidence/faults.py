"""What makes a number too good: patients on both sides, and rows that the model was made with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.evaluation.repeats import two_labels
from duoscan.manifest.crossing import crossing_problems
from duoscan.predictions import Prediction
from duoscan.terms import Split

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from duoscan.manifest.records import ImageRecord

    Row = ImageRecord | Prediction

MADE_WITH = frozenset({Split.TRAIN, Split.VAL})
"""Parts that a model is made with: weights are fitted on one, epoch and threshold chosen on the other."""


def faults_of(measured: Sequence[Row], own: Iterable[Row] | None, others: Iterable[Row] | None) -> tuple[str, ...]:
    """Every fault that is known, one sentence each.

    Args:
        measured: The rows that the number is of.
        own: All rows of the data that made the model and that the measured rows belong to; ``None`` where unknown.
        others: Rows of the data that made the model where the measured ones were brought from elsewhere.
    """
    answers = [row for row in measured if isinstance(row, Prediction)]
    twice = (two_labels(answers),) if two_labels(answers) else ()
    return (*twice, *_crossings(own or ()), *_seen(measured, others or ()), *_chosen_on(measured))


def trained_sources(made: Iterable[Row]) -> frozenset[str] | None:
    """Sources of the rows a model was made with; ``None`` where no row says that it was trained on."""
    rows = [row for row in made if row.split in MADE_WITH]
    if not any(row.split is Split.TRAIN for row in rows):
        return None
    return frozenset(row.source for row in rows if row.source)


def _crossings(rows: Iterable[Row]) -> list[str]:
    crossing = crossing_problems(rows)
    return [f"{len(crossing)} patients are in more than one part, e.g. {crossing[0]}."] if crossing else []


def _seen(measured: Iterable[Row], others: Iterable[Row]) -> list[str]:
    """Patients by the ids that rows name; ids of two places may be alike by chance."""
    used = {row.patient_id for row in others if row.split in MADE_WITH}
    seen = {row.patient_id for row in measured if row.patient_id is not None} & used
    return [f"{len(seen)} of the tested patient ids took part in training or validation."] if seen else []


def _chosen_on(measured: Sequence[Row]) -> list[str]:
    chosen_on = [row for row in measured if row.split in MADE_WITH]
    if not chosen_on:
        return []
    if all(row.split is Split.VAL for row in measured):
        return ["The measured rows are of the validation part, on which epoch and threshold are chosen."]
    return [f"{len(chosen_on)} of {len(measured)} measured rows are of a part that the model was made with."]
