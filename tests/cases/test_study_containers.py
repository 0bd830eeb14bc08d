"""Studies in other shapes than one slice a file: multi-frame, NIfTI, zip, DICOMDIR, all answered as the slices are."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from duoscan.cases.find import collect, from_manifest
from duoscan.cases.screening import CaseAnswer, Screener
from duoscan.inference import predictor
from duoscan.manifest.patient_rules import PatientRules
from duoscan.manifest.readers.dicom_folder import from_dicom_folder
from duoscan.policies.rule import Answer
from duoscan.terms import Decision, Modality
from stand_ins import ct_slice_hu, write_ct_slice, write_enhanced_ct, write_png

HEIGHTS = [0.0, 3.0, 6.0, 9.0]
LUNGS = [None, -900.0, -500.0, -700.0]  # the lowest slice shows no lung


@pytest.fixture
def screener(brightness_bundles: dict[Modality, Path], monkeypatch: pytest.MonkeyPatch) -> Screener:
    monkeypatch.setattr(predictor, "why_refused", lambda *_: None)  # drawn slices are no chests to the content check
    return Screener(brightness_bundles[Modality.CXR], brightness_bundles[Modality.CT])


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for z, lung in zip(HEIGHTS, LUNGS, strict=True):
        write_ct_slice(tmp_path / "study" / f"{z}.dcm", ct_slice_hu(lung), z)
    return tmp_path / "study"


def only(answers: list[CaseAnswer]) -> CaseAnswer:
    (case,) = answers
    return case


def told(case: CaseAnswer) -> list[tuple[str, float | None]]:
    """Decision and probability from the lowest slice up, by the order of the names."""
    return [(row.decision, row.probability) for row in sorted(case.ct.images, key=lambda row: row.path)]


def test_an_enhanced_ct_is_answered_as_its_slices_are(screener: Screener, study: Path, tmp_path: Path) -> None:
    plain = only(screener.screen([study]))
    file = write_enhanced_ct(study, tmp_path / "one" / "volume.dcm")
    case = only(screener.screen([file]))
    # Frame 1 is the highest slice.
    assert [row.path for row in case.ct.images] == [f"{file}#{number}" for number in (1, 2, 3, 4)]
    assert told(case) == told(plain)[::-1]
    assert case.ct.probability == plain.ct.probability
    assert case.ct.studies[0].series[0].step_mm == 3.0
    assert case.patient_id == plain.patient_id == "P1"


def test_frames_that_a_manifest_names_are_answered_each_once(screener: Screener, study: Path, tmp_path: Path) -> None:
    file = write_enhanced_ct(study, tmp_path / "one" / "volume.dcm")
    manifest = from_dicom_folder(file.parent).manifest
    case = only(screener.screen_found(from_manifest(manifest)))
    assert [row.path for row in case.ct.images] == [f"volume.dcm#{number}" for number in (1, 2, 3, 4)]
    assert told(case) == told(only(screener.screen([file])))
    part = manifest.replace([manifest.records[1], manifest.records[2].model_copy(update={"path": "volume.dcm#9"})])
    case = only(screener.screen_found(from_manifest(part)))
    assert {row.path: row.reason.text if row.reason else "" for row in case.ct.images} == {
        "volume.dcm#2": "",
        "volume.dcm#9": "holds 4 frames, no frame 9",
    }


def test_a_nifti_volume_is_answered_as_its_slices_are(screener: Screener, study: Path, tmp_path: Path) -> None:
    nib = pytest.importorskip("nibabel")
    volume = np.stack([ct_slice_hu(lung) for lung in LUNGS]).astype(np.int16)
    affine = np.diag([4.0, 4.0, 3.0, 1.0])
    nib.save(nib.Nifti1Image(np.transpose(volume, (2, 1, 0))[::-1, ::-1], affine), tmp_path / "anna.nii.gz")
    case = only(screener.screen([tmp_path / "anna.nii.gz"]))
    assert case.patient_id == "anna"
    assert told(case) == told(only(screener.screen([study])))
    assert str(case.ct.images[0].reason and case.ct.images[0].reason.text) == "no lung in this slice"


def test_two_volumes_of_one_patient_are_two_studies(screener: Screener, tmp_path: Path) -> None:
    nib = pytest.importorskip("nibabel")
    for name in ("a", "b"):
        volume = np.stack([ct_slice_hu(-800.0)] * 2).astype(np.int16)
        (tmp_path / "anna").mkdir(exist_ok=True)
        nib.save(
            nib.Nifti1Image(np.transpose(volume, (2, 1, 0)), np.diag([4.0, 4, 3, 1])), tmp_path / f"anna/{name}.nii"
        )
    case = only(screener.screen([tmp_path], rules=PatientRules(by_folder=True)))
    assert case.patient_id == "anna"
    assert len(case.ct.studies) == 2


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def test_a_zip_is_answered_and_nothing_of_it_stays(
    screener: Screener, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    archive = zipped(study, tmp_path / "study.zip")
    case = only(screener.screen([archive]))
    assert told(case) == told(only(screener.screen([study])))
    assert {row.path for row in case.ct.images} == {f"{archive}/{z}.dcm" for z in HEIGHTS}
    assert list(scratch.iterdir()) == []


def test_what_is_wrong_with_a_zip_is_a_row_that_names_it(screener: Screener, study: Path, tmp_path: Path) -> None:
    archive = zipped(study, tmp_path / "study.zip")
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("../out.dcm", b"x")
        opened.writestr("notes.dcm", b"no image")
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04")
    answers = screener.screen([archive, tmp_path / "broken.zip"])
    reasons = {row.path: row.reason.text if row.reason else "" for case in answers for row in case.unreadable}
    assert reasons[f"{archive}/../out.dcm"].startswith("its name leads out of the zip")
    assert reasons[f"{archive}/notes.dcm"].startswith("not a DICOM image")
    assert "damaged zip" in reasons[str(tmp_path / "broken.zip")]
    # No reason names the folder where it was unpacked.
    assert not any(tempfile.gettempdir() + "/tmp" in reason for reason in reasons.values())
    assert {case.answer for case in answers if case.ct.studies} == {Answer.NEGATIVE}


def test_folders_in_a_zip_tell_patients_apart(screener: Screener, tmp_path: Path) -> None:
    for name in ("anna/xray/1.png", "bert/xray/1.png"):
        write_png(tmp_path / "in" / name, 0.8)
    archive = zipped(tmp_path / "in", tmp_path / "all.zip")
    by_folder = PatientRules(by_folder=True)
    told = {case.patient_id for case in screener.screen([archive], rules=by_folder, modality=Modality.CXR)}
    assert told == {"anna", "bert"}
    # Nobody asked for folders: each picture is a patient, called so that the two of one name stay two.
    told = {case.patient_id for case in screener.screen([archive], modality=Modality.CXR)}
    assert told == {"anna/xray/1", "bert/xray/1"}
    (tmp_path / "flat").mkdir()
    shutil.copy(tmp_path / "in/anna/xray/1.png", tmp_path / "flat/1.png")
    flat = zipped(tmp_path / "flat", tmp_path / "carla.zip")
    assert only(screener.screen([flat], rules=by_folder, modality=Modality.CXR)).patient_id == "carla"
    assert only(screener.screen([flat], modality=Modality.CXR)).patient_id == "1"
    rules = PatientRules({f"{flat}/1.png": ("p3", "cxr")})
    assert only(screener.screen([flat], rules=rules)).patient_id == "p3"


def write_dicomdir(study: Path, *more: str) -> Path:
    records = []
    for name in (*(file.name for file in sorted(study.iterdir())), *more):
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = name
        records.append(record)
    made = Dataset()
    made.file_meta = dcmread(next(study.iterdir())).file_meta
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.1.3.10", "1.2.3"
    made.DirectoryRecordSequence = Sequence(records)
    made.save_as(study / "DICOMDIR", enforce_file_format=True)
    return study / "DICOMDIR"


@pytest.fixture
def medium(study: Path) -> Path:
    """The study under names that a medium may have (PS3.10 8.2)."""
    for number, file in enumerate(sorted(study.iterdir())):
        file.rename(study / f"IM{number}")
    return study


def test_a_dicomdir_stands_for_its_files(screener: Screener, medium: Path) -> None:
    plain = only(screener.screen([medium]))
    dicomdir = write_dicomdir(medium)
    write_png(medium / "unlisted.png", 0.5)
    case = only(screener.screen([dicomdir]))
    assert told(case) == told(plain)
    assert case.unreadable == ()


def test_a_file_that_a_dicomdir_misses_is_a_row(screener: Screener, medium: Path) -> None:
    write_dicomdir(medium, "GONE")
    for given in (medium / "DICOMDIR", medium):
        answers = screener.screen([given])
        (missing,) = [row for case in answers for row in case.unreadable]
        assert missing.path == str(medium / "GONE")
        assert "lists this file, but it is not there" in str(missing.reason)


def test_zips_stay_closed_where_nobody_unpacks(study: Path, tmp_path: Path) -> None:
    archive = zipped(study, tmp_path / "study.zip")
    assert [image.path for image in collect([archive])] == [archive]


def test_frames_beyond_the_limit_are_a_row(screener: Screener, study: Path) -> None:
    path = sorted(study.iterdir())[1]
    data = dcmread(path)
    data.NumberOfFrames = 2_000_000_000
    data.save_as(path)
    case = only(screener.screen([study]))
    (row,) = case.unreadable
    assert "claims 2000000000 frames" in str(row.reason)
    assert sum(image.decision == Decision.UNREADABLE for image in case.ct.images) == 1
