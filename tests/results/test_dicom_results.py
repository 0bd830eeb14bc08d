"""What a PACS gets of a screening, made from synthetic DICOM studies."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from fhir.resources.R4B.device import Device
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from fhir.resources.R4B.imagingstudy import ImagingStudy
from fhir.resources.R4B.observation import Observation
from highdicom.sr import srread

from duoscan.cases.screening import Screener
from duoscan.inference.bundle import read_bundle
from duoscan.interfaces.cli import main
from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.plan import FileFormat, PhantomOptions
from duoscan.results.sources import study_results
from duoscan.terms import Modality
from node_parts import free_port
from stand_ins import write_png

CONTAINED = {"Device": Device, "ImagingStudy": ImagingStudy, "Observation": Observation}


@pytest.fixture(scope="module")
def dicom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patients, an X-ray and eight slices each, of which five show enough lung."""
    options = PhantomOptions(patients=3, seed=2, slices=8, ct_size=64, xray_size=96, formats=FileFormat.DICOM)
    out = tmp_path_factory.mktemp("cohort") / "cohort"
    write_cohort(options, out, workers=1)
    return out / "dicom"


@pytest.fixture(scope="module")
def results(dicom: Path, brightness_bundles: dict[Modality, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "out"
    assert run(dicom, brightness_bundles, out) == 0
    return out


def run(dicom: Path, bundles: dict[Modality, Path], out: Path, *options: str) -> int:
    models = ["--xray-bundle", str(bundles[Modality.CXR]), "--ct-bundle", str(bundles[Modality.CT])]
    if "--dicom-objects" not in options:
        options += ("--dicom-objects", "sr,heatmap,seg,pmap,gsps")
    with pytest.raises(SystemExit) as ended:
        main(["screen", str(dicom), "--need-ct-all", "--quiet", "--dicom-out", str(out), *models, *options])
    return int(ended.value.code or 0)


def test_every_study_has_a_report_that_names_its_images_and_model(
    results: Path, dicom: Path, brightness_bundles: dict[Modality, Path]
) -> None:
    sources = {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, sorted(dicom.rglob("*.dcm")))}
    studies = {str(one.StudyInstanceUID) for one in sources.values()}
    assert {path.name for path in results.iterdir()} == studies
    for uid in studies:
        report = srread(results / uid / "report.dcm")
        assert report.StudyInstanceUID == uid
        assert report.VerificationFlag == "UNVERIFIED"
        modality = next(one.Modality for one in sources.values() if uid == one.StudyInstanceUID)
        evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
        assert len(evidence) == (5 if modality == "CT" else 1)
        group, rule = report.content.get_image_measurement_groups()
        measured = {item.name.value: item.value for item in group.get_measurements()}
        assert measured["threshold"] == 0.5
        assert 0.0 <= measured["probability"] <= 1.0
        assert group.finding_type.value == "840539006"
        # The three slices that make a CT study's probability, or the one radiograph.
        images = [item for item in group[0].ContentSequence if item.ValueType == "IMAGE"]
        assert len(images) == (3 if modality == "CT" else 1)
        assert {str(one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for one in images} <= sources.keys()
        kind = Modality.CT if modality == "CT" else Modality.CXR
        assert read_bundle(brightness_bundles[kind]).digest in report.to_json()
        # The rule that joined the phases is an algorithm of its own, with the policy as its parameters (TID 4019).
        said = {item.name.meaning: item.value for item in rule[0].ContentSequence if item.ValueType == "TEXT"}
        assert said["Algorithm Name"] == "duoscan two-phase rule"
        assert "policy: confirm-positives, uncertified" in report.to_json()
        assert "certificate: none" in report.to_json()
        (answer,) = rule.get_qualitative_evaluations()
        assert answer.name.value == "case-answer"
        assert answer.value.meaning in {"positive", "negative"}
        ruled = [item for item in rule[0].ContentSequence if item.ValueType == "IMAGE"]
        assert [one.ReferencedSOPSequence for one in ruled] == [one.ReferencedSOPSequence for one in images]


def test_heatmaps_lie_over_their_sources(results: Path, dicom: Path) -> None:
    sources = {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, sorted(dicom.rglob("*.dcm")))}
    captures = [pydicom.dcmread(path) for path in sorted(results.rglob("heatmap-*.dcm"))]
    # One for each of three radiographs and the three highest slices of each of three CTs.
    assert len(captures) == 3 * (1 + 3)
    for capture in captures:
        source = sources[str(capture.SourceImageSequence[0].ReferencedSOPInstanceUID)]
        assert (capture.Rows, capture.Columns) == (source.Rows, source.Columns)
        assert capture.PatientID == source.PatientID
        assert capture.StudyInstanceUID == source.StudyInstanceUID
        spacing = source.get("PixelSpacing") or source.get("ImagerPixelSpacing")
        np.testing.assert_allclose([float(v) for v in capture.PixelSpacing], [float(v) for v in spacing], rtol=1e-5)
        assert capture.pixel_array.shape == (source.Rows, source.Columns, 3)
        assert re.search(r"P\(covid\) [01]\.\d{3} at threshold [01]\.\d{3}: ", capture.DerivationDescription)


def test_the_same_study_again_gives_the_same_uids(
    results: Path, dicom: Path, brightness_bundles: dict[Modality, Path], tmp_path: Path
) -> None:
    run(dicom, brightness_bundles, tmp_path / "again")
    first, again = (
        {path.relative_to(folder): pydicom.dcmread(path).SOPInstanceUID for path in folder.rglob("*.dcm")}
        for folder in (results, tmp_path / "again")
    )
    assert first == again


def test_the_fhir_resource_is_valid_and_says_the_same(results: Path) -> None:
    found = sorted(results.rglob("fhir.json"))
    assert len(found) == 6
    for path in found:
        text = path.read_text(encoding="utf-8")
        report = DiagnosticReport.model_validate_json(text)
        assert report.status == "preliminary"
        document = json.loads(text)
        told = json.loads((path.parent / "study.json").read_text(encoding="utf-8"))
        contained = {one["id"]: one for one in document["contained"]}
        for one in contained.values():
            assert CONTAINED[one["resourceType"]].model_validate(one)
        # A contained resource must be referred to, and what is referred to must be there (FHIR R4, dom-3, ref-1).
        named = set(re.findall(r'"reference": "#([^"]+)"', text))
        assert named == contained.keys()
        assert contained["study"]["identifier"][0]["value"] == f"urn:oid:{path.parent.name}"
        phase = told["phases"][0]
        observation = contained[f"phase-{phase['modality']}"]
        assert observation["valueQuantity"]["value"] == phase["probability"]
        assert observation["referenceRange"][0]["high"]["value"] == phase["threshold"]
        assert contained[f"model-{phase['modality']}"]["serialNumber"] == phase["model"]["graph_sha256"]
        report_uid = next(one["sop_instance_uid"] for one in told["objects"] if one["kind"] == "sr")
        assert document["identifier"][0]["value"] == f"urn:oid:{report_uid}"
        assert document["conclusion"].startswith(f"{told['answer']}: {told['reason']}")
        assert "not a medical device" in document["conclusion"]


def test_the_study_document_lists_what_was_written_and_names_no_path(results: Path, dicom: Path) -> None:
    for folder in results.iterdir():
        text = (folder / "study.json").read_text(encoding="utf-8")
        told = json.loads(text)
        assert {one["file"] for one in told["objects"]} == {path.name for path in folder.glob("*.dcm")}
        for one in told["objects"]:
            assert pydicom.dcmread(folder / one["file"]).SOPInstanceUID == one["sop_instance_uid"]
        assert told["objects_failed"] == []
        probabilities = [one["probability"] for one in told["phases"][0]["carried_by"]]
        assert told["phases"][0]["probability"] == pytest.approx(sum(probabilities) / len(probabilities))
        assert str(dicom) not in text


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian package dicom3tools) is not installed")
def test_the_objects_are_valid_against_the_standard(results: Path) -> None:
    for path in sorted(results.rglob("*.dcm")):
        checked = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        errors = [line for line in checked.stderr.splitlines() if line.startswith("Error")]
        assert not errors, (path.name, errors)


@pytest.mark.skipif(shutil.which("dsr2html") is None, reason="dcmtk is not installed")
def test_dcmtk_reads_the_objects(results: Path) -> None:
    for path in sorted(results.rglob("*.dcm")):
        tools = [["dcmdump", "+L", str(path)]]
        if path.name == "report.dcm":
            tools += [["dsrdump", str(path)], ["dsr2html", str(path)]]
        for tool in tools:
            ran = subprocess.run(tool, capture_output=True, text=True, check=False, errors="replace")
            assert ran.returncode == 0, (tool, ran.stderr)
            complaints = [line for line in ran.stderr.splitlines() if line[:2] in {"E:", "W:"}]
            # dcmtk's checker of value representations knows no UTF-8, and says so.
            assert not [line for line in complaints if "does not support this Specific Character Set" not in line]


@pytest.mark.skipif(shutil.which("dcmpschk") is None, reason="dcmtk is not installed")
def test_dcmtk_finds_no_fault_in_the_presentation_states(results: Path) -> None:
    states = sorted(results.rglob("presentation-*.dcm"))
    assert len(states) == 3
    for path in states:
        ran = subprocess.run(["dcmpschk", str(path)], capture_output=True, text=True, check=False)
        assert ran.stderr.splitlines()[-1] == "W: Test passed."


def test_raster_files_have_no_dicom_results(brightness_bundles: dict[Modality, Path], tmp_path: Path) -> None:
    screener = Screener(brightness_bundles[Modality.CXR], brightness_bundles[Modality.CT], check_quality=False)
    answers = screener.screen([write_png(tmp_path / "p1" / "x.png", 0.8)], modality=Modality.CXR)
    assert answers.cases[0].xray.probability is not None
    assert study_results(answers, {}) == []


def test_a_manifest_and_dicom_results_do_not_go_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "m.csv"
    table.write_text("path,modality\n", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["screen", "--manifest", str(table), "--dicom-out", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert "--dicom-out goes with files and folders" in capsys.readouterr().err


def test_answers_are_written_and_shown_before_sending_fails(
    dicom: Path, brightness_bundles: dict[Modality, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, table = tmp_path / "out", tmp_path / "answers.csv"
    models = [
        "--xray-bundle",
        str(brightness_bundles[Modality.CXR]),
        "--ct-bundle",
        str(brightness_bundles[Modality.CT]),
    ]
    nobody = f"NOBODY@127.0.0.1:{free_port()}"
    with pytest.raises(SystemExit) as ended:
        main(["screen", str(dicom), *models, "--csv", str(table), "--dicom-out", str(out), "--send", nobody])
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert "3 patients: " in shown.out
    assert f"duoscan: {nobody}: no association" in shown.err
    assert table.exists()
    assert list(out.rglob("*.dcm"))


def test_a_result_that_could_not_be_written_makes_the_exit_code_say_so(
    dicom: Path, brightness_bundles: dict[Modality, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in dicom.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        if dataset.Modality == "CT":
            dataset.ImagePositionPatient = ["0", "0"]  # a position has three values
        target = tmp_path / "in" / path.relative_to(dicom)
        target.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(target)
    assert run(tmp_path / "in", brightness_bundles, tmp_path / "reports", "--dicom-objects", "sr") == 0
    assert run(tmp_path / "in", brightness_bundles, tmp_path / "out", "--dicom-objects", "sr,seg") == 1
    assert "no seg written, its headers do not allow one" in capsys.readouterr().err


def uids(folder: Path) -> set[str]:
    return {str(pydicom.dcmread(path).SOPInstanceUID) for path in folder.rglob("report.dcm")}


def test_where_the_files_lie_does_not_change_the_report_but_another_threshold_does(
    results: Path, dicom: Path, brightness_bundles: dict[Modality, Path], tmp_path: Path
) -> None:
    shutil.copytree(dicom, tmp_path / "elsewhere")
    only = ("--dicom-objects", "sr")
    assert run(tmp_path / "elsewhere", brightness_bundles, tmp_path / "same", *only) == 0
    assert uids(tmp_path / "same") == uids(results)
    assert len(uids(results)) == 6
    for option, value in (("--xray-threshold", "0.501"), ("--ct-threshold", "0.501")):
        out = tmp_path / option.strip("-")
        assert run(dicom, brightness_bundles, out, option, value, *only) == 0
        assert uids(out).isdisjoint(uids(results))
