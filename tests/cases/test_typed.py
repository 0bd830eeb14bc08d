"""What a person typed is matched, or told: tables of patients and requests, patterns, words for modalities."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from duoscan.cases.find import collect, read_need_ct
from duoscan.errors import InputError
from duoscan.manifest.patient_rules import PatientRules, read_patient_table
from duoscan.manifest.readers.anything import Wishes, read_anything
from duoscan.terms import Modality
from stand_ins import ct_slice_hu, write_ct_slice, write_png

if TYPE_CHECKING:
    from pathlib import Path

    from duoscan.cases.screening import Screener


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    for name in ("anna/1.png", "bert/1.png"):
        write_png(tmp_path / "in" / name, 0.2)
    return tmp_path / "in"


def table(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("734", "need CT: no patient '734'; '00734' is there"),
        ("007-34", "need CT: no patient '007-34'; '00734' is there"),
        ("nan", "need CT: no patient 'nan'"),
        ("P9", "need CT: no patient 'P9'"),
        (" 00734 ", None),
    ],
)
@pytest.mark.parametrize("word", ["yes", "no"])
def test_a_request_is_matched_or_told(
    screener: Screener, tmp_path: Path, typed: str, told: str | None, word: str
) -> None:
    write_ct_slice(tmp_path / "in" / "1.dcm", ct_slice_hu(), 0.0, PatientID=" 00734 ")
    asked = read_need_ct(table(tmp_path / "need.csv", "patient_id,need_ct", f"{typed},{word}"))
    screening = screener.screen([tmp_path / "in"], need_ct=asked)
    (case,) = screening
    assert case.need_ct is (told is None and word == "yes")
    assert screening.unmatched == (() if told is None else (told,))


def test_two_answers_to_one_request_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"row 4: another row says the opposite of P1; keep one"):
        read_need_ct(table(tmp_path / "n.csv", "patient_id,need_ct", "P1,yes", "P1,yes", "P1,no"))


@pytest.mark.parametrize(
    "written", ["in/anna/1.png", "in\\anna\\1.png", "./in/anna/1.png", "in/bert/../anna/1.png", " in/anna/1.png ", "{}"]
)
def test_a_path_is_matched_however_it_is_written(incoming: Path, tmp_path: Path, written: str) -> None:
    row = f"{written.format(incoming / 'anna' / '1.png')},P1 ,cxr"
    rules = PatientRules(read_patient_table(table(tmp_path / "p.csv", "path,patient_id,modality", row)))
    found = collect([incoming], rules)
    assert [image.patient_id for image in found] == ["P1", None]
    assert found.unmatched == ()


def test_a_row_about_no_image_is_told(incoming: Path, tmp_path: Path) -> None:
    lines = ["path,patient_id", "in/anna/1.png,P1", "", "in/carla/1.png,P2", "in/anna/1.png,P1"]
    found = collect([incoming], PatientRules(read_patient_table(table(tmp_path / "p.csv", *lines))))
    assert found.unmatched == ("p.csv, row 4: 'in/carla/1.png' is the path of no image",)


def test_a_row_that_is_about_two_files_of_one_name_is_an_error(incoming: Path, tmp_path: Path) -> None:
    written = table(tmp_path / "p.csv", "path,patient_id", "1.png,P1")
    with pytest.raises(InputError, match=r"says '1.png', which is .*anna/1.png and .*bert/1.png; write the path"):
        collect([incoming], PatientRules(read_patient_table(written)))
    assert [one.patient_id for one in collect([incoming / "bert"], PatientRules(read_patient_table(written)))] == ["P1"]
    # Beside the table it means the one file there, and no other of its name.
    written = table(incoming / "anna" / "p.csv", "path,patient_id", "1.png,P1")
    told = {image.name: image.patient_id for image in collect([incoming], PatientRules(read_patient_table(written)))}
    assert told == {str(incoming / "anna" / "1.png"): "P1", str(incoming / "bert" / "1.png"): None}


def test_one_file_of_two_patients_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"row 3: 'in\\a.png' is of P2, another row says P1; keep one"):
        read_patient_table(table(tmp_path / "p.csv", "path,patient_id", "in/a.png,P1", "in\\a.png,P2"))
    with pytest.raises(InputError, match=r"row 2: the path is empty"):
        read_patient_table(table(tmp_path / "p.csv", "path,patient_id", ",P1"))


def test_a_file_that_is_given_twice_counts_once(incoming: Path, tmp_path: Path) -> None:
    (tmp_path / "again").symlink_to(incoming / "anna" / "1.png")
    given = [incoming, incoming / "anna", incoming / "anna" / ".." / "anna" / "1.png", tmp_path / "again"]
    assert len(collect(given)) == 2


@pytest.mark.parametrize("word", ["cxr", "CXR", "X-ray", "x ray", "XR", "DX", "Radiograph", "chest X-Ray"])
def test_words_for_a_radiograph(screener: Screener, incoming: Path, tmp_path: Path, word: str) -> None:
    rules = PatientRules(
        read_patient_table(table(tmp_path / "p.csv", "path,patient_id,modality", f"in/anna/1.png,P1,{word}"))
    )
    (case,) = screener.screen([incoming / "anna"], rules=rules)
    assert [row.modality for row in case.images] == [Modality.CXR]


def test_nan_in_a_patients_table_joins_nobody(incoming: Path, tmp_path: Path) -> None:
    lines = ["path,patient_id", "in/anna/1.png,nan", "in/bert/1.png,nan"]
    found = collect([incoming], PatientRules(read_patient_table(table(tmp_path / "p.csv", *lines))))
    assert [image.patient_id for image in found] == [None, None]
    assert found.unmatched == ()


def test_a_pattern_that_never_matches_is_an_error(incoming: Path) -> None:
    with pytest.raises(InputError, match=r"the patient pattern '\(P\\d\+\)' matches none of 2 paths, such as .*anna"):
        collect([incoming], PatientRules({}, re.compile(r"(P\d+)")))
    assert [one.patient_id for one in collect([incoming], PatientRules({}, re.compile(r"(anna)")))] == ["anna", None]
    # A group that takes no part finds nobody.
    with pytest.raises(InputError, match="matches none"):
        collect([incoming], PatientRules({}, re.compile(r"(P\d+)?1\.png")))


def test_rows_of_a_label_table_are_matched_or_told_too(tmp_path: Path) -> None:
    write_ct_slice(tmp_path / "in" / "a" / "1.dcm", ct_slice_hu(), 0.0, PatientID="00734")
    labels = table(tmp_path / "l.csv", "path,patient_id,label", "a\\1.dcm,,covid", ",734,normal", ",nan,normal")
    imported = read_anything(tmp_path / "in", Wishes(labels=labels))
    assert [record.label for record in imported.manifest] == ["covid"]
    assert [(one.name, one.reason) for one in imported.absent] == [
        ("l.csv row 3", "no image of patient '734'; '00734' is there"),
        ("l.csv row 4", "no image of patient 'nan'"),
    ]
