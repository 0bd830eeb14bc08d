"""What is told beside an answer, in codes: read back by other libraries, with units, and on no path of this machine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fhir.resources.R4B.observation import Observation
from highdicom.sr import MeasurementReport
from pydicom.sr.coding import Code

from duoscan.cases.case import Screening
from duoscan.cases.estimates import CategoryEstimate, Estimate, ScoreEstimate
from duoscan.cases.screening import Screener
from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.plan import FileFormat, PhantomOptions
from duoscan.reasons import Reason, ReasonCode
from duoscan.results.codes import NO_UNITS, PERCENT, PRIVATE_SCHEME
from duoscan.results.fhir import diagnostic_report
from duoscan.results.sources import StudyResult, study_results
from duoscan.results.structured_report import report_uid, structured_report
from duoscan.results.study_document import study_document
from duoscan.terms import Modality

ESTIMATES: tuple[Estimate, ...] = (
    CategoryEstimate("rsna", "RSNA category", {"Negative": 0.25, "Atypical": 0.125, "Typical": 0.625}, ""),
    ScoreEstimate("extent", "Geographic extent", 3.0, 0.0, 8.0, "", 1.5, 5.0, 0.9),
    ScoreEstimate("lung_involved", "Share of lung involved", 0.125, 0.0, 1.0, "by Hounsfield units on 9 slices"),
)


@pytest.fixture(scope="module")
def screening(brightness_bundles: dict[Modality, Path], tmp_path_factory: pytest.TempPathFactory) -> Screening:
    out = tmp_path_factory.mktemp("cohort") / "cohort"
    options = PhantomOptions(patients=1, seed=8, slices=4, ct_size=64, xray_size=96, formats=FileFormat.DICOM)
    write_cohort(options, out, workers=1)
    screener = Screener(brightness_bundles[Modality.CXR], brightness_bundles[Modality.CT], check_quality=False)
    return screener.screen([out / "dicom"])


def told(screening: Screening, estimates: tuple[Estimate, ...]) -> tuple[StudyResult, Screening]:
    case = screening.cases[0]
    studies = tuple(replace(study, estimates=estimates) for study in case.studies)
    changed = replace(screening, cases=(replace(case, studies=studies),))
    return study_results(changed, {})[0], changed


def test_the_structured_report_holds_them_coded(screening: Screening) -> None:
    study, changed = told(screening, ESTIMATES)
    made = structured_report(study, changed)
    group = MeasurementReport.from_sequence(made.ContentSequence and [made]).get_image_measurement_groups()[0]
    found = {str(one.name.value): (one.value, one.unit) for one in group.get_measurements()}
    assert found["estimate-rsna-typical"] == (0.625, NO_UNITS)
    assert found["estimate-extent"] == (3.0, NO_UNITS)
    assert (found["estimate-extent-low"][0], found["estimate-extent-high"][0]) == (1.5, 5.0)
    assert found["estimate-lung-involved"] == (12.5, PERCENT)
    said = {str(one.name.value): one.value for one in group.get_qualitative_evaluations()}
    assert said["estimate-rsna"] == Code("rsna-typical", PRIVATE_SCHEME, "Typical")


def test_what_was_not_measured_says_so_everywhere(screening: Screening) -> None:
    why = Reason(ReasonCode.NOT_MEASURED, "no slice shows lung", "/home/anna/ct")
    study, changed = told(screening, (ScoreEstimate("lung_involved", "Share of lung", None, 0.0, 1.0, reason=why),))
    group = MeasurementReport.from_sequence([structured_report(study, changed)]).get_image_measurement_groups()[0]
    said = {str(one.name.value): one.value.meaning for one in group.get_qualitative_evaluations()}
    assert said["estimate-lung-involved"] == "not measured"
    text = json.dumps([diagnostic_report(study, changed), study_document(study, changed, objects=(), failed=())])
    assert text.count("no slice shows lung") >= 2
    assert "/home/anna" not in text


def test_fhir_holds_them_as_components(screening: Screening) -> None:
    study, changed = told(screening, ESTIMATES)
    report = diagnostic_report(study, changed)
    for one in report["contained"]:
        if one["resourceType"] == "Observation":
            Observation.model_validate(one)
            components = {part["code"]["text"]: part for part in one["component"]}
            extent = components["Geographic extent, a research estimate"]["valueQuantity"]
            assert (extent["value"], extent["code"]) == (3.0, "1")
            assert components["Geographic extent: 90% interval"]["valueRange"]["high"] == {"value": 5.0}
            assert components["Share of lung involved, a research estimate"]["valueQuantity"]["value"] == 12.5
            assert components["RSNA category, a research estimate"]["valueCodeableConcept"] == {"text": "Typical"}


def test_another_estimate_is_another_report(screening: Screening) -> None:
    uids = {report_uid(*told(screening, estimates)) for estimates in ((), ESTIMATES[:1], ESTIMATES)}
    assert len(uids) == 3
