"""A study's answer as a DICOM structured report: template TID 1500, Measurement Report (PS3.16 Annex A)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.policies.policy import DESCRIPTIONS
from duoscan.results.codes import (
    CALIBRATED,
    CASE_ANSWER,
    COVID_19,
    LUNG,
    NO_UNITS,
    PHASE_DECISION,
    PROBABILITY,
    PROCEDURES,
    THRESHOLD,
    of_decision,
    private,
)
from duoscan.results.estimates import evaluations, measurements
from duoscan.results.maker import (
    MANUFACTURER,
    MODEL_NAME,
    model_digests,
    model_version,
    private_scheme,
    result_uid,
)
from duoscan.terms import NOTICE, Modality
from duoscan.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

    from highdicom.sr import (
        AlgorithmIdentification,
        ComprehensiveSR,
        MeasurementsAndQualitativeEvaluations,
        ObservationContext,
        SourceImageForMeasurementGroup,
    )

    from duoscan.cases.case import Screening
    from duoscan.results.sources import Instance, StudyPhase, StudyResult

SERIES_NUMBER = 9901


def structured_report(study: StudyResult, screening: Screening) -> ComprehensiveSR:
    """The report of one study: one measurement group for each phase, and one for the rule that joined them.

    A phase's group (TID 1501) holds probability (calibrated too where the model is), threshold and decision, what is
    told beside the answer, the model as algorithm (TID 4019) and the images that carried the answer. The rule's group
    holds the patient's answer, and the policy with its certificate as algorithm. The observer is a device (TID 1004).
    All answered images are evidence.

    Args:
        study: What was answered.
        screening: Whose models, thresholds and policy answered it.

    Returns:
        A data set that is complete, not final and not verified: nobody has read it.
    """
    from highdicom.sr import ComprehensiveSR, MeasurementReport

    report = MeasurementReport(
        observation_context=_observer(),
        procedure_reported=[PROCEDURES[phase.modality] for phase in study.phases],
        imaging_measurements=[
            *(_phase_group(study, phase, screening) for phase in study.phases),
            _rule(study, screening),
        ],
    )
    made = ComprehensiveSR(
        evidence=study.headers,
        content=report[0],
        series_instance_uid=result_uid(study.study_uid, "series", *model_digests(screening)),
        series_number=SERIES_NUMBER,
        sop_instance_uid=report_uid(study, screening),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
    )
    made.ManufacturerModelName = MODEL_NAME
    made.SeriesDescription = "duoscan two-phase answer"
    made.SoftwareVersions = __version__
    made.CodingSchemeIdentificationSequence = [private_scheme()]
    return made


def report_uid(study: StudyResult, screening: Screening) -> str:
    """SOPInstanceUID of a study's report: of what was asked and answered, not of where the files lay.

    Models, policy, both thresholds, the answer, what is told beside it and the images of the study decide it; so the
    same report has one UID however often it is made and sent, and no two different reports share one.
    """
    return result_uid(
        study.study_uid,
        "report",
        *(screening.model(modality).identity for modality in Modality),
        screening.policy.name,
        *(repr(screening.threshold(modality)) for modality in Modality),
        str(study.case.answer),
        *(estimate.spoken for phase in study.phases for estimate in phase.result.estimates),
        *sorted(str(header.SOPInstanceUID) for header in study.headers),
    )


def _observer() -> ObservationContext:
    from highdicom.sr import DeviceObserverIdentifyingAttributes, ObservationContext, ObserverContext
    from pydicom.sr.codedict import codes

    device = DeviceObserverIdentifyingAttributes(
        uid=result_uid("device", __version__),
        name=f"duoscan {__version__}",
        manufacturer_name=MANUFACTURER,
        model_name=MODEL_NAME,
    )
    return ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device))


def _phase_group(study: StudyResult, phase: StudyPhase, screening: Screening) -> MeasurementsAndQualitativeEvaluations:
    from highdicom.sr import (
        AlgorithmIdentification,
        FindingSite,
        Measurement,
        MeasurementsAndQualitativeEvaluations,
        QualitativeEvaluation,
        TrackingIdentifier,
    )

    model, threshold = screening.model(phase.modality), screening.threshold(phase.modality)
    stated = ((PROBABILITY, phase.result.probability), (CALIBRATED, phase.result.calibrated), (THRESHOLD, threshold))
    measured = [Measurement(name, round(value, 6), NO_UNITS) for name, value in stated if value is not None]
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            result_uid(study.study_uid, phase.modality, model.study_digest), f"duoscan {phase.modality.spoken}"
        ),
        finding_type=COVID_19,
        algorithm_id=AlgorithmIdentification(
            name=model.name,
            version=model_version(model),
            parameters=(f"graph SHA-256 {model.graph_sha256}", NOTICE),
        ),
        finding_sites=[FindingSite(LUNG)],
        measurements=[*measured, *measurements(phase.result.estimates)],
        qualitative_evaluations=[
            QualitativeEvaluation(PHASE_DECISION, of_decision(phase.result.state)),
            *evaluations(phase.result.estimates),
        ],
        source_images=_sources(phase.carrying),
    )


def _rule(study: StudyResult, screening: Screening) -> MeasurementsAndQualitativeEvaluations:
    """The two-phase rule as an algorithm of its own: its policy, what is promised of it, and what it answered."""
    from highdicom.sr import (
        FindingSite,
        MeasurementsAndQualitativeEvaluations,
        QualitativeEvaluation,
        TrackingIdentifier,
    )

    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            result_uid(study.study_uid, "rule", *model_digests(screening)), "duoscan two-phase rule"
        ),
        finding_type=COVID_19,
        algorithm_id=_policy(study, screening),
        finding_sites=[FindingSite(LUNG)],
        qualitative_evaluations=[QualitativeEvaluation(CASE_ANSWER, private(str(study.case.answer)))],
        source_images=_sources(one for phase in study.phases for one in phase.carrying),
    )


def _policy(study: StudyResult, screening: Screening) -> AlgorithmIdentification:
    from highdicom.sr import AlgorithmIdentification

    return AlgorithmIdentification(
        name="duoscan two-phase rule",
        version=__version__,
        parameters=(
            f"policy: {study.case.policy}",
            f"moves: {DESCRIPTIONS[screening.policy.kind]}",
            f"certificate: {study.case.certificate or 'none'}",
            f"why: {study.reason}",
            NOTICE,
        ),
    )


def _sources(images: Iterable[Instance]) -> list[SourceImageForMeasurementGroup]:
    from highdicom.sr import SourceImageForMeasurementGroup

    return [
        SourceImageForMeasurementGroup(
            one.header.SOPClassUID,
            one.header.SOPInstanceUID,
            referenced_frame_numbers=None if one.frame is None else [one.frame],
        )
        for one in images
    ]
