"""Screening answers as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from duoscan.files import write_text
from duoscan.terms import Modality
from duoscan.triage.policy import DESCRIPTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from duoscan.inference.bundle import Bundle
    from duoscan.predictions import Prediction
    from duoscan.triage.screening import CaseAnswer, PhaseResult, Screener

COLUMNS = (
    "patient_id", "answer", "need_ct", "xray_state", "xray_probability", "ct_state", "ct_probability",
    "images", "unreadable_images", "reason", "policy", "certificate",
)  # fmt: skip


def write_answers(
    answers: Sequence[CaseAnswer], screener: Screener, *, csv_path: Path | None, json_path: Path | None
) -> None:
    """Write one CSV row per patient, and a JSON document with every image, each where a path is given."""
    if csv_path:
        write_text(csv_path, answers_csv(answers))
    if json_path:
        write_text(json_path, json.dumps(answers_document(answers, screener), indent=1) + "\n")


def answers_csv(answers: Sequence[CaseAnswer]) -> str:
    """One row per patient, columns as in ``COLUMNS``; unknown values are empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for case in answers:
        writer.writerow(
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
                case.reason,
                case.policy,
                case.certificate,
            ]
        )
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
        "images": [_image(row) for row in phase.images],
    }


def _image(row: Prediction) -> dict[str, Any]:
    return {key: value for key, value in asdict(row).items() if value not in (None, "", {})}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
