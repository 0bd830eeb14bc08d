"""A screening as tables: one row a patient, one row a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.rows import csv_text
from duoscan.terms import Decision

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duoscan.cases.case import CaseAnswer, SeriesAnswer
    from duoscan.reasons import Reason

COLUMNS = (
    "patient_id", "answer", "need_ct", "xray_state", "xray_probability", "ct_state", "ct_probability",
    "images", "unreadable_images", "set_aside_images", "reason", "policy", "certificate",
)  # fmt: skip

STUDY_COLUMNS = (
    "patient_id", "modality", "study_id", "study_date", "state", "probability", "images", "answered_images",
    "set_aside_images", "unreadable_images", "carrying", "series_id", "series_set_aside", "reason", "estimates",
)  # fmt: skip


def answers_csv(answers: Iterable[CaseAnswer]) -> str:
    """One row per patient, columns as in ``COLUMNS``; unknown values are empty."""
    return csv_text(COLUMNS, map(answer_cells, answers))


def answer_cells(case: CaseAnswer) -> list[str | int]:
    """One patient's row under ``COLUMNS``."""
    return [
        case.patient_id,
        case.answer,
        "yes" if case.need_ct else "no",
        case.xray.state,
        _number(case.xray.probability),
        case.ct.state,
        _number(case.ct.probability),
        len(case.images),
        len(case.unreadable),
        len(case.set_aside),
        case.reason,
        case.policy,
        case.certificate,
    ]


def studies_csv(answers: Iterable[CaseAnswer]) -> str:
    """One row per study, columns as in ``STUDY_COLUMNS``.

    ``carrying`` holds the names of the images that made the probability, ``series_id`` that of the series they are
    from, ``series_set_aside`` every other series with its reason, ``estimates`` what is told beside the answer, each
    separated by a bar.
    """
    rows = [
        [
            case.patient_id,
            study.modality,
            study.study_id or "",
            study.date or "",
            study.state,
            _number(study.probability),
            len(study.images),
            sum(row.probability is not None for row in study.images),
            sum(row.decision == Decision.SET_ASIDE for row in study.images),
            sum(row.decision == Decision.UNREADABLE for row in study.images),
            " | ".join(study.carrying),
            " | ".join(series.series_id or "" for series in study.series if series.is_used),
            " | ".join(f"{_spoken(series)}: {_words(series.reason)}" for series in study.series if not series.is_used),
            _words(study.reason),
            " | ".join(estimate.spoken for estimate in study.estimates),
        ]
        for case in answers
        for study in case.studies
    ]
    return csv_text(STUDY_COLUMNS, rows)


def _spoken(series: SeriesAnswer) -> str:
    """How a person finds a series."""
    number = "" if series.number is None else f"{series.number} "
    return f"{number}{series.description or series.series_id or 'series'} (slices: {series.slices})"


def _words(reason: Reason | None) -> str:
    return reason.spoken if reason else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
