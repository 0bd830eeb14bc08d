"""A study's answer as a DICOM structured report: template TID 1500, Measurement Report (PS3.16 Annex A)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from duoscan import __version__
from duoscan.interfaces.dicom.codes import (
    CASE_ANSWER,
    COVID_19,
    LUNG,
    NO_UNITS,
    PHASE_DECISION,
    PRIVATE_SCHEME,
    PROBABILITY,
    PROCEDURES,
    THRESHOLD,
    of_decision,
    private,
)
from duoscan.terms import NOTICE, Modality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from highdicom.sr import ComprehensiveSR, MeasurementsAndQualitativeEvaluations, ObservationContext

    from duoscan.inference.bundle import Bundle
    from duoscan.interfaces.dicom.sources import StudyPhase, StudyResult
    from duoscan.triage.screening import Screener

SERIES_NUMBER = 9901
MANUFACTURER = "duoscan"


def result_uid(*parts: str) -> str:
    """A UID that is the same for the same input, so that answering a study again replaces and does not add."""
    return generate_uid(entropy_srcs=["duoscan", *parts])


def structured_report(study: StudyResult, screener: Screener) -> ComprehensiveSR:
    """The report of one study: one measurement group for each phase, with model, threshold and source images.

    Args:
        study: What was answered.
        screener: Which models and thresholds answered it.

    Returns:
        A data set that is complete, not final and not verified: nobody has read it.
    """
    from highdicom.sr import ComprehensiveSR, MeasurementReport

    groups = [_group(study, phase, screener) for phase in study.phases]
    report = MeasurementReport(
        observation_context=_observer(),
        procedure_reported=[PROCEDURES[phase.modality] for phase in study.phases],
        imaging_measurements=groups,
    )
    made = ComprehensiveSR(
        evidence=study.headers,
        content=report[0],
        series_instance_uid=result_uid(study.study_uid, "series", *_models(screener)),
        series_number=SERIES_NUMBER,
        sop_instance_uid=report_uid(study, screener),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
    )
    made.SeriesDescription = "duoscan two-phase answer"
    made.SoftwareVersions = __version__
    made.CodingSchemeIdentificationSequence = [_private_scheme()]
    return made


def report_uid(study: StudyResult, screener: Screener) -> str:
    """SOPInstanceUID of a study's report: of what was asked and answered, not of where the files lay.

    Models, policy, both thresholds, the answer and the images of the study decide it; so the same report has one
    UID however often it is made and sent, and no two different reports share one.
    """
    return result_uid(
        study.study_uid,
        "report",
        *_models(screener),
        screener.policy.name,
        *(repr(screener.thresholds[modality]) for modality in Modality),
        str(study.case.answer),
        *sorted(str(header.SOPInstanceUID) for header in study.headers),
    )


def _models(screener: Screener) -> list[str]:
    return [screener.bundle(modality).study_digest for modality in Modality]


def _private_scheme() -> Dataset:
    """Who is responsible for the private codes (PS3.3 C.12.1)."""
    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeName = "Codes of duoscan"
    item.CodingSchemeResponsibleOrganization = MANUFACTURER
    return item


def _observer() -> ObservationContext:
    from highdicom.sr import DeviceObserverIdentifyingAttributes, ObservationContext, ObserverContext
    from pydicom.sr.codedict import codes

    device = DeviceObserverIdentifyingAttributes(
        uid=result_uid("device", __version__), name=f"duoscan {__version__}", manufacturer_name=MANUFACTURER
    )
    return ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device))


def _group(study: StudyResult, phase: StudyPhase, screener: Screener) -> MeasurementsAndQualitativeEvaluations:
    from highdicom.sr import (
        FindingSite,
        Measurement,
        MeasurementsAndQualitativeEvaluations,
        QualitativeEvaluation,
        SourceImageForMeasurementGroup,
        TrackingIdentifier,
    )

    bundle, threshold = screener.bundle(phase.modality), screener.thresholds[phase.modality]
    measured = [Measurement(THRESHOLD, threshold, NO_UNITS)]
    if phase.result.probability is not None:
        measured.insert(0, Measurement(PROBABILITY, round(phase.result.probability, 6), NO_UNITS))
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            result_uid(study.study_uid, phase.modality, bundle.study_digest), f"duoscan {phase.modality.spoken}"
        ),
        finding_type=COVID_19,
        algorithm_id=_algorithm(study, bundle),
        finding_sites=[FindingSite(LUNG)],
        measurements=measured,
        qualitative_evaluations=[
            QualitativeEvaluation(PHASE_DECISION, of_decision(phase.result.state)),
            QualitativeEvaluation(CASE_ANSWER, private(str(study.case.answer))),
        ],
        source_images=[
            SourceImageForMeasurementGroup(one.header.SOPClassUID, one.header.SOPInstanceUID) for one in phase.carrying
        ],
    )


def _algorithm(study: StudyResult, bundle: Bundle) -> object:
    from highdicom.sr import AlgorithmIdentification

    return AlgorithmIdentification(
        name=bundle.info.name,
        version=bundle.info.provenance.duoscan_version,
        parameters=_parameters(study, bundle),
    )


def _parameters(study: StudyResult, bundle: Bundle) -> Sequence[str]:
    return (f"graph SHA-256 {bundle.digest}", f"why: {study.case.reason}", NOTICE)
