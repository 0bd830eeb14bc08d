"""Whose an image is: studies join what names nobody, two ids stay two, and contradictions are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydicom import dcmread

from duoscan.manifest.patient_rules import PatientRules
from duoscan.manifest.readers.anything import read_anything
from duoscan.manifest.readers.found import Wishes
from duoscan.predictions import Prediction
from duoscan.privacy.confidentiality import Options
from duoscan.privacy.deidentify import Deidentifier
from duoscan.quiet import quiet
from duoscan.reasons import ReasonCode
from duoscan.terms import Modality
from duoscan.worklist.received import read_received
from stand_ins import ct_slice_hu, write_ct_slice, write_png

if TYPE_CHECKING:
    from pathlib import Path

    from duoscan.cases.screening import CaseAnswer, Screener


def write_study(folder: Path, study: str, patient: str | None, slices: int = 3, **more: object) -> None:
    for number in range(slices):
        fields = {"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.1", "PatientID": patient, **more}
        write_ct_slice(folder / f"{study}-{number}.dcm", ct_slice_hu(), 3.0 * number, **fields)


def notes(case: CaseAnswer) -> list[str]:
    return [reason.text for reason in case.reasons if reason.code is ReasonCode.IDENTITY]


NOBODY = [None, "", "   ", "nan", "NaN", "None", "null", "N/A", "unknown", "ANONYMOUS", "Anonymized", "--", "<NA>"]


@pytest.mark.parametrize("nobody", NOBODY)
def test_studies_group_what_names_nobody(screener: Screener, tmp_path: Path, nobody: str | None) -> None:
    write_study(tmp_path, "1.2.7", nobody)
    write_study(tmp_path, "1.2.8", nobody)
    cases = list(screener.screen([tmp_path]))
    assert sorted(case.patient_id for case in cases) == ["1.2.7", "1.2.8"]
    assert [len(case.images) for case in cases] == [3, 3]
    # An id that was not taken as it stands is told.
    is_told = bool((nobody or "").strip())
    assert [len(notes(case)) for case in cases] == [int(is_told)] * 2
    imported = read_anything(tmp_path, Wishes(modality=Modality.CT))
    assert {(record.patient_id, record.unit) for record in imported.manifest} == {(None, "1.2.7"), (None, "1.2.8")}
    assert len(imported.doubts) == int(is_told)


@pytest.mark.parametrize("patient", ["0", "Nan Li", "P-NA", "ANON-007", "Nil Armstrong", "12"])
def test_an_id_that_may_be_somebodys_is_kept(screener: Screener, tmp_path: Path, patient: str) -> None:
    write_study(tmp_path, "1.2.7", patient)
    write_study(tmp_path, "1.2.8", patient)
    (case,) = screener.screen([tmp_path])
    assert (case.patient_id, len(case.ct.studies), notes(case)) == (patient, 2, [])


def test_a_folder_is_a_patient_where_that_is_asked_for(screener: Screener, tmp_path: Path) -> None:
    write_ct_slice(tmp_path / "a12.dcm", ct_slice_hu(), 0.0, PatientID=None)
    write_study(tmp_path / "anna", "1.2.8", None)
    write_study(tmp_path / "anna", "1.2.9", None)
    write_ct_slice(tmp_path / "anna" / "b.dcm", ct_slice_hu(), 0.0, PatientID="P1", StudyInstanceUID="1.2.3")
    alone = screener.screen([tmp_path])
    assert {case.patient_id: len(case.images) for case in alone} == {"a12": 1, "1.2.8": 3, "1.2.9": 3, "P1": 1}
    assert alone.remarks == ()
    joined = screener.screen([tmp_path], rules=PatientRules(by_folder=True))
    assert {case.patient_id: len(case.images) for case in joined} == {"a12": 1, "anna": 6, "P1": 1}
    assert joined.remarks == ("6 pictures joined as patient anna by folder",)
    assert {case.patient_id: notes(case) for case in joined}["anna"] == ["6 pictures joined by folder"]


def test_pictures_that_name_nobody_are_a_patient_each(screener: Screener, tmp_path: Path) -> None:
    names = ["train/a.png", "covid/a.png", "monday/b.png", "monday/b.jpg", "Viral Pneumonia/P1.png", "a.b/c.png"]
    for name in names:
        write_png(tmp_path / name, 0.5)
    rules = PatientRules({"c.png": ("P1", "cxr")})
    cases = screener.screen([tmp_path], rules=rules, modality=Modality.CXR)
    b = str(tmp_path / "monday" / "b")
    told = {"train/a", "covid/a", f"{b}.png", f"{b}.jpg", "Viral Pneumonia/P1", "P1"}
    assert {case.patient_id for case in cases} == told
    text = "5 pictures name no patient, so each is a patient of its own"
    assert cases.remarks == (f"{text}; --patients, --patient-pattern or --patient-by folder join them",)
    # A folder called like a class is nobody's, also where folders are patients.
    joined = screener.screen([tmp_path], rules=PatientRules(by_folder=True), modality=Modality.CXR)
    told = {"train/a", "covid/a", "monday", "P1", "a.b"}
    assert {case.patient_id: len(case.images) for case in joined} == dict.fromkeys(told, 1) | {"monday": 2}


def test_a_file_without_id_is_of_the_patient_of_its_study(screener: Screener, tmp_path: Path) -> None:
    write_study(tmp_path, "1.2.7", "P5")
    write_ct_slice(tmp_path / "lost.dcm", ct_slice_hu(), 9.0, PatientID=None, StudyInstanceUID="1.2.7")
    (case,) = screener.screen([tmp_path])
    assert (case.patient_id, len(case.images)) == ("P5", 4)


def in_bytes(path: Path, patient: bytes, character_set: str | None) -> None:
    """Write PatientID as bytes of no character set that the file states."""
    with quiet:
        data = dcmread(path)
        data.PatientID = "X" * len(patient)
        if character_set is not None:
            data.SpecificCharacterSet = character_set
        data.save_as(path)
    path.write_bytes(path.read_bytes().replace(b"X" * len(patient), patient))


@pytest.mark.parametrize("character_set", [None, "ISO_IR 192", "ISO_IR 100", "ISO 2022 IR 87", "ISO_IR 999", "GB18030"])
@pytest.mark.parametrize(
    "ids", [(b"M\xfcller", b"M\xf6ller"), (b"\xe4\xff\xfe1", b"\xe4\xff\xfd1"), (b"P\xff", b"P\xfe")]
)
def test_ids_that_differ_in_bytes_stay_two(
    screener: Screener, tmp_path: Path, ids: tuple[bytes, bytes], character_set: str | None
) -> None:
    for number, patient in enumerate(ids):
        write_study(tmp_path, f"1.2.{number}", "X", slices=1)
        in_bytes(tmp_path / f"1.2.{number}-0.dcm", patient, character_set)
    screening = screener.screen([tmp_path])
    assert len({case.patient_id for case in screening}) == 2
    assert all(case.patient_id.isprintable() for case in screening)
    imported = read_anything(tmp_path, Wishes(modality=Modality.CT))
    assert len({record.patient_id for record in imported.manifest}) == 2


def test_one_study_of_two_patients_is_told_to_both(screener: Screener, tmp_path: Path) -> None:
    write_study(tmp_path / "a", "1.2.7", "P1")
    write_study(tmp_path / "b", "1.2.7", "P2")
    write_study(tmp_path / "c", "1.2.8", "P3")
    told = {case.patient_id: notes(case) for case in screener.screen([tmp_path])}
    text = "study 1.2.7 is under 2 patients; find out whom it shows"
    assert told == {"P1": [text], "P2": [text], "P3": []}
    (doubt,) = read_anything(tmp_path, Wishes(modality=Modality.CT)).doubts
    assert (doubt.name, doubt.reason) == ("study 1.2.7", "is under 2 patients: P1, P2; whom does it show?")


def test_nan_in_a_table_joins_nobody(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_png(tmp_path / f"{name}.png", 0.5)
    table = tmp_path / "table.csv"
    table.write_text("path,patient_id,label\na.png,nan,covid\nb.png,nan,normal\nc.png,P1,normal\n", encoding="utf-8")
    imported = read_anything(table, Wishes(modality=Modality.CXR, source="x"))
    assert [record.patient_id for record in imported.manifest] == [None, None, "P1"]
    assert len({record.unit for record in imported.manifest}) == 3
    (doubt,) = imported.doubts
    assert (doubt.name, doubt.reason) == ("patient_id 'nan'", "names nobody, so it joins no images (images: 2)")


def test_nan_in_a_table_of_predictions_joins_nobody() -> None:
    rows = [Prediction(f"{name}.png", patient, None, 0.5, None) for name, patient in (("a", "nan"), ("b", "nan"))]
    assert [row.unit for row in rows] == ["image:a.png", "image:b.png"]


def test_a_department_and_its_pseudonyms_keep_two_ids_two(tmp_path: Path) -> None:
    worker = Deidentifier(b"k" * 32, tmp_path / "out", options=Options())
    received, pseudonyms = set(), set()
    for number, patient in enumerate((b"M\xfcller", b"M\xf6ller")):
        write_study(tmp_path, f"1.2.{number}", "X", slices=1, BurnedInAnnotation="NO")
        path = tmp_path / f"1.2.{number}-0.dcm"
        in_bytes(path, patient, "ISO_IR 192")
        received.add(read_received(path).patient_id)
        pseudonyms.add(worker.deidentify(path).pseudonym)
    assert len(received) == len(pseudonyms) == 2
    write_study(tmp_path, "1.2.9", "ANONYMOUS", slices=1)
    assert read_received(tmp_path / "1.2.9-0.dcm").patient_id == ""
