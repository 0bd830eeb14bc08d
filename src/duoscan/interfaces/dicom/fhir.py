"""A study's answer as a FHIR R4 ``DiagnosticReport`` (HL7 FHIR 4.0.1), its observations contained."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from duoscan import __version__
from duoscan.interfaces.dicom.codes import COVID_19, PROCEDURES
from duoscan.terms import NOTICE

if TYPE_CHECKING:
    from duoscan.interfaces.dicom.sources import StudyPhase, StudyResult
    from duoscan.triage.screening import Screener

_SNOMED = "http://snomed.info/sct"


def diagnostic_report(study: StudyResult, screener: Screener, *, issued: datetime | None = None) -> dict[str, Any]:
    """The report as JSON; ``preliminary``, because nobody has read it.

    Args:
        study: What was answered.
        screener: Which models and thresholds answered it.
        issued: When; now if left out.
    """
    observations = [_observation(study, phase, screener) for phase in study.phases]
    return {
        "resourceType": "DiagnosticReport",
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{study.study_uid}"}],
        "status": "preliminary",
        "category": [_concept("http://terminology.hl7.org/CodeSystem/v2-0074", "RAD", "Radiology")],
        "code": _concept("http://loinc.org", "18748-4", "Diagnostic imaging study"),
        "subject": _subject(study),
        "issued": (issued or datetime.now(UTC)).isoformat(timespec="seconds"),
        "imagingStudy": [{"identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{study.study_uid}"}}],
        "result": [{"reference": f"#{one['id']}"} for one in observations],
        "conclusion": f"{study.case.answer}: {study.case.reason}. {NOTICE}",
        "contained": [_device(), *observations],
    }


def _observation(study: StudyResult, phase: StudyPhase, screener: Screener) -> dict[str, Any]:
    bundle = screener.bundle(phase.modality)
    probability = {"value": phase.result.probability, "system": "http://unitsofmeasure.org", "code": "1"}
    value = {} if phase.result.probability is None else {"valueQuantity": probability}
    return {
        "resourceType": "Observation",
        "id": f"phase-{phase.modality}",
        "status": "preliminary",
        "code": {"text": "Probability of COVID-19 stated by the model"},
        "focus": [{"display": COVID_19.meaning}],
        "subject": _subject(study),
        "device": {"reference": "#duoscan"},
        "method": _concept(_SNOMED, PROCEDURES[phase.modality].value, PROCEDURES[phase.modality].meaning),
        "interpretation": [{"text": str(phase.result.state)}],
        "note": [{"text": f"model {bundle.info.name}, graph SHA-256 {bundle.digest}"}],
        "referenceRange": [
            {"high": {"value": screener.thresholds[phase.modality]}, "text": "positive at or above the high end"}
        ],
        **value,
    }


def _device() -> dict[str, Any]:
    return {
        "resourceType": "Device",
        "id": "duoscan",
        "deviceName": [{"name": "duoscan", "type": "user-friendly-name"}],
        "version": [{"value": __version__}],
    }


def _subject(study: StudyResult) -> dict[str, Any]:
    header = study.headers[0]
    return {"identifier": {"value": str(header.get("PatientID") or study.case.patient_id)}}


def _concept(system: str, code: str, display: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code, "display": display}]}
