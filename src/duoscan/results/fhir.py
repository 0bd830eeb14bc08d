"""A study's answer as a FHIR R4 ``DiagnosticReport`` (HL7 FHIR 4.0.1) with all it refers to contained in it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from duoscan.policies.rule import PhaseState
from duoscan.results.codes import COVID_19, NEGATIVE, POSITIVE, PROCEDURES, of_decision
from duoscan.results.estimates import components
from duoscan.results.maker import MANUFACTURER
from duoscan.results.structured_report import report_uid
from duoscan.terms import NOTICE
from duoscan.version import __version__

if TYPE_CHECKING:
    from pydicom import Dataset

    from duoscan.cases.case import Screening
    from duoscan.results.sources import StudyPhase, StudyResult

_SNOMED = "http://snomed.info/sct"
_UIDS = "urn:dicom:uid"
_DICOM_CODES = "http://dicom.nema.org/resources/ontology/DCM"
_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})")
# http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation
_INTERPRETATIONS = {PhaseState.POSITIVE: ("POS", "Positive"), PhaseState.NEGATIVE: ("NEG", "Negative")}


def diagnostic_report(study: StudyResult, screening: Screening, *, issued: datetime | None = None) -> dict[str, Any]:
    """The report as JSON; ``preliminary``, because nobody has read it.

    Contained are an ``Observation`` and a ``Device`` for each phase, and the ``ImagingStudy`` they rest on. The
    patient is referred to by PatientID alone.

    Args:
        study: What was answered.
        screening: Whose models, thresholds and policy answered it.
        issued: When; now if left out.
    """
    observations = [_observation(study, phase, screening) for phase in study.phases]
    report = {
        "resourceType": "DiagnosticReport",
        "identifier": [_uid(report_uid(study, screening))],
        "status": "preliminary",
        "category": [_concept("http://terminology.hl7.org/CodeSystem/v2-0074", "RAD", "Radiology")],
        "code": _concept("http://loinc.org", "18748-4", "Diagnostic imaging study"),
        "subject": _subject(study),
        "effectiveDateTime": _date(study.headers[0]),
        "issued": (issued or datetime.now(UTC)).isoformat(timespec="seconds"),
        "imagingStudy": [{"reference": "#study", "type": "ImagingStudy"}],
        "result": [{"reference": f"#{one['id']}"} for one in observations],
        "conclusion": f"{study.case.answer}: {study.reason}. {_promise(study)}. {NOTICE}",
        "conclusionCode": [_answer(study)],
        "contained": [
            _imaging_study(study),
            *(_device(phase, screening) for phase in study.phases),
            *observations,
        ],
    }
    filled: dict[str, Any] = _without_empty(report)
    return filled


def _observation(study: StudyResult, phase: StudyPhase, screening: Screening) -> dict[str, Any]:
    probability, state = phase.result.probability, phase.result.state
    if probability is None:
        unknown = _concept("http://terminology.hl7.org/CodeSystem/data-absent-reason", "unknown", "Unknown")
        value: dict[str, Any] = {"dataAbsentReason": unknown}
    else:
        value = {"valueQuantity": {"value": probability, "system": "http://unitsofmeasure.org", "code": "1"}}
    interpretation: dict[str, Any] = {"text": str(state)}
    if state in _INTERPRETATIONS:
        system = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
        interpretation |= _concept(system, *_INTERPRETATIONS[state])
    carried = ", ".join(str(one.header.SOPInstanceUID) for one in phase.carrying)
    return {
        "resourceType": "Observation",
        "id": f"phase-{phase.modality}",
        "status": "preliminary",
        "category": [_concept("http://terminology.hl7.org/CodeSystem/observation-category", "imaging", "Imaging")],
        "code": {"text": "Probability of COVID-19 stated by the model"},
        "focus": [{"display": COVID_19.meaning}],
        "subject": _subject(study),
        "effectiveDateTime": _date(study.headers[0]),
        "device": {"reference": f"#model-{phase.modality}"},
        "derivedFrom": [{"reference": "#study"}],
        "method": _concept(_SNOMED, PROCEDURES[phase.modality].value, PROCEDURES[phase.modality].meaning),
        "interpretation": [interpretation],
        "note": [{"text": f"carried by the images {carried}"}],
        "referenceRange": [
            {"high": {"value": screening.threshold(phase.modality)}, "text": "positive at or above the high end"}
        ],
        "component": components(phase.result.estimates),
        **value,
    }


def _device(phase: StudyPhase, screening: Screening) -> dict[str, Any]:
    """The model of a phase, with the software that ran it."""
    model = screening.model(phase.modality)
    return {
        "resourceType": "Device",
        "id": f"model-{phase.modality}",
        "manufacturer": MANUFACTURER,
        "serialNumber": model.graph_sha256,
        "deviceName": [
            {"name": "duoscan", "type": "user-friendly-name"},
            {"name": model.name, "type": "model-name"},
        ],
        "version": [
            {"type": {"text": "duoscan"}, "value": __version__},
            {"type": {"text": "SHA-256 of the model's graph"}, "value": model.graph_sha256},
        ],
        "note": [{"text": NOTICE}],
    }


def _imaging_study(study: StudyResult) -> dict[str, Any]:
    """The study as far as it was answered."""
    series: dict[str, list[Dataset]] = {}
    for header in study.headers:
        series.setdefault(str(header.SeriesInstanceUID), []).append(header)
    return {
        "resourceType": "ImagingStudy",
        "id": "study",
        "identifier": [_uid(study.study_uid)],
        "status": "available",
        "subject": _subject(study),
        "started": _date(study.headers[0]),
        "series": [
            {
                "uid": uid,
                "modality": {"system": _DICOM_CODES, "code": str(headers[0].Modality)},
                "instance": [
                    {
                        "uid": str(header.SOPInstanceUID),
                        "sopClass": {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{header.SOPClassUID}"},
                    }
                    for header in headers
                ],
            }
            for uid, headers in series.items()
        ],
    }


def _answer(study: StudyResult) -> dict[str, Any]:
    code = of_decision(study.case.answer)
    coded = _concept(_SNOMED, code.value, code.meaning) if code in {POSITIVE, NEGATIVE} else {}
    return coded | {"text": f"{COVID_19.meaning}: {study.case.answer}"}


def _promise(study: StudyResult) -> str:
    return f"Policy {study.case.policy}; certificate: {study.case.certificate or 'none'}"


def _subject(study: StudyResult) -> dict[str, Any]:
    return {"type": "Patient", "identifier": {"value": study.patient_id}}


def _uid(value: str) -> dict[str, str]:
    return {"system": _UIDS, "value": f"urn:oid:{value}"}


def _date(header: Dataset) -> str | None:
    """StudyDate as FHIR writes it."""
    match = _DATE.fullmatch(str(header.get("StudyDate") or ""))
    return "-".join(match.groups()) if match else None


def _concept(system: str, code: str, display: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code, "display": display}]}


def _without_empty(resource: Any) -> Any:
    """FHIR knows no null; what is not known is not there."""
    if isinstance(resource, dict):
        return {key: _without_empty(value) for key, value in resource.items() if value is not None}
    if isinstance(resource, list):
        return [_without_empty(one) for one in resource]
    return resource
