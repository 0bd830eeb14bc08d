"""Screening answers as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from duoscan.files import write_text
from duoscan.policies.policy import DESCRIPTIONS
from duoscan.terms import Decision, Modality

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from duoscan.cases.answer import CaseAnswer, PhaseResult, SeriesAnswer, StudyAnswer
    from duoscan.cases.screening import Screener
    from duoscan.inference.bundle import Bundle
    from duoscan.predictions import Prediction

COLUMNS = (
    "patient_id", "answer", "need_ct", "xray_state", "xray_probability", "ct_state", "ct_probability",
    "images", "unreadable_images", "set_aside_images", "reason", "policy", "certificate",
)  # fmt: skip

STUDY_COLUMNS = (
    "patient_id", "modality", "study_id", "study_date", "state", "probability", "images", "answered_images",
    "set_aside_images", "unreadable_images", "carrying", "series_id", "series_set_aside", "reason",
)  # fmt: skip


def write_answers(
    answers: Sequence[CaseAnswer],
    screener: Screener,
    *,
    csv_path: Path | None,
    json_path: Path | None,
    studies_path: Path | None = None,
) -> None:
    """Write one CSV row per patient, one per study, and a JSON document with every image, where a path is given."""
    if csv_path:
        write_text(csv_path, answers_csv(answers))
    if studies_path:
        write_text(studies_path, studies_csv(answers))
    if json_path:
        write_text(json_path, json.dumps(answers_document(answers, screener), indent=1) + "\n")


def answers_csv(answers: Sequence[CaseAnswer]) -> str:
    """One row per patient, columns as in ``COLUMNS``; unknown values are empty."""
    rows = [
        [
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
        for case in answers
    ]
    return _csv(COLUMNS, rows)


def studies_csv(answers: Sequence[CaseAnswer]) -> str:
    """One row per study, columns as in ``STUDY_COLUMNS``.

    ``carrying`` holds the names of the images that made the probability, ``series_id`` that of the series they are
    from, and ``series_set_aside`` every other series with its reason, each separated by a bar.
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
            " | ".join(f"{_spoken(series)}: {series.reason}" for series in study.series if not series.is_used),
            study.reason,
        ]
        for case in answers
        for study in case.studies
    ]
    return _csv(STUDY_COLUMNS, rows)


def _spoken(series: SeriesAnswer) -> str:
    """How a person finds a series."""
    number = "" if series.number is None else f"{series.number} "
    return f"{number}{series.description or series.series_id or 'series'} (slices: {series.slices})"


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return buffer.getvalue()


def answers_document(answers: Sequence[CaseAnswer], screener: Screener) -> dict[str, Any]:
    """Everything, so that an answer can be traced to its images, model and threshold."""
    return {
        "notice": "Research software, not a medical device.",
        "rule": f"{DESCRIPTIONS[screener.policy.kind]}; a patient for whom the clinician asks for CT gets it",
        "policy": {"name": screener.policy.name, **screener.policy.model_dump(mode="json")},
        "models": {
            "xray": _model(screener.xray_bundle, screener.thresholds[Modality.CXR]),
            "ct": _model(screener.ct_bundle, screener.thresholds[Modality.CT]),
        },
        "patients": [
            {
                "patient_id": case.patient_id,
                "answer": case.answer,
                "reason": case.reason,
                "policy": case.policy,
                "certificate": case.certificate,
                "need_ct": case.need_ct,
                "xray": _phase(case.xray),
                "ct": _phase(case.ct),
                "others": [_image(row) for row in case.others],
            }
            for case in answers
        ],
    }


def _model(bundle: Bundle, threshold: float) -> dict[str, Any]:
    return {"name": bundle.info.name, "graph_sha256": bundle.digest, "threshold": threshold}


def _phase(phase: PhaseResult) -> dict[str, Any]:
    return {
        "state": phase.state,
        "probability": phase.probability,
        **({} if phase.calibrated is None else {"calibrated": phase.calibrated}),
        "studies": [_study(study) for study in phase.studies],
        "images": [_image(row) for row in phase.images],
    }


def _study(study: StudyAnswer) -> dict[str, Any]:
    """Images are named here, and told of in the phase's list."""
    decided = {row.path: row.decision for row in study.images}
    return {
        "study_id": study.study_id,
        "date": study.date,
        "state": study.state,
        "probability": study.probability,
        **({} if study.calibrated is None else {"calibrated": study.calibrated}),
        "reason": study.reason,
        "series": [asdict(series) for series in study.series],
        "carrying": list(study.carrying),
        "answered": [row.path for row in study.images if row.probability is not None],
        "images": dict(sorted(Counter(decided.values()).items())),
    }


def _image(row: Prediction) -> dict[str, Any]:
    return {key: value for key, value in asdict(row).items() if value not in (None, "", {})}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
