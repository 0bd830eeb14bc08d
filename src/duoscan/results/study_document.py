"""A study's answer as one JSON document, for programs that speak neither DICOM nor FHIR."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from duoscan.policies.policy import DESCRIPTIONS
from duoscan.results.estimates import document
from duoscan.terms import NOTICE
from duoscan.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.cases.case import Screening, SeriesAnswer
    from duoscan.predictions import Prediction
    from duoscan.results.sources import Instance, StudyPhase, StudyResult


def study_document(
    study: StudyResult, screening: Screening, *, objects: Sequence[dict[str, str]], failed: Sequence[dict[str, str]]
) -> dict[str, Any]:
    """Everything that is known of one study's answer.

    Args:
        study: What was answered.
        screening: Whose models, thresholds and policy answered it.
        objects: DICOM objects that were written: ``kind``, ``file``, ``sop_class_uid``, ``sop_instance_uid``.
        failed: DICOM objects that could not be written: ``kind``, ``why``.

    Returns:
        Images are named by SOPInstanceUID; no path of this machine is in it, and of the patient PatientID alone.
    """
    case = study.case
    return {
        "notice": NOTICE,
        "duoscan_version": __version__,
        "study_instance_uid": study.study_uid,
        "patient_id": study.patient_id,
        "answer": str(case.answer),
        "reason": study.reason,
        "need_ct": case.need_ct,
        "policy": {
            "name": case.policy,
            "moves": DESCRIPTIONS[screening.policy.kind],
            "certificate": case.certificate or None,
            **screening.policy.model_dump(
                mode="json", include={"kind", "xray_threshold", "xray_rule_in", "ct_threshold"}
            ),
        },
        "phases": [_phase(phase, screening) for phase in study.phases],
        "set_aside": [{"modality": row.modality, "decision": row.decision, **_why(row)} for row in study.set_aside],
        "objects": list(objects),
        "objects_failed": list(failed),
    }


def _phase(phase: StudyPhase, screening: Screening) -> dict[str, Any]:
    model, carrying = screening.model(phase.modality), phase.carrying
    return {
        "modality": str(phase.modality),
        "state": str(phase.result.state),
        "probability": phase.result.probability,
        **({} if phase.result.calibrated is None else {"calibrated": phase.result.calibrated}),
        "threshold": screening.threshold(phase.modality),
        "model": {"name": model.name, "graph_sha256": model.graph_sha256},
        "images_answered": len(phase.instances),
        "carried_by": [_image(instance) for instance in carrying],
        "series": [_series(series) for series in phase.result.series],
        "estimates": [document(estimate) for estimate in phase.result.estimates],
    }


def _series(series: SeriesAnswer) -> dict[str, Any]:
    return {**asdict(series), "reason": series.reason.text if series.reason else ""}


def _image(instance: Instance) -> dict[str, Any]:
    return {
        "series_instance_uid": str(instance.header.SeriesInstanceUID),
        "sop_instance_uid": str(instance.header.SOPInstanceUID),
        "sop_class_uid": str(instance.header.SOPClassUID),
        "frame": instance.frame,
        "probability": instance.row.probability,
        "decision": instance.row.decision,
    }


def _why(row: Prediction) -> dict[str, str]:
    return {"code": row.reason.code, "why": row.reason.text} if row.reason else {}
