from __future__ import annotations

import re
from pathlib import Path

import pytest

from duoscan.cases.find import collect, read_need_ct
from duoscan.errors import InputError
from duoscan.manifest.patient_rules import PatientRules, folder_patient, read_patient_table


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    for name in ("anna/xray/1.png", "anna/ct/1.png", "xray/bert_01.png", "carla.png", ".hidden/x.png", ".DS_Store"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def test_every_visible_file_is_found_once(incoming: Path) -> None:
    found = collect([incoming, incoming / "carla.png"])
    names = [image.path.relative_to(incoming).as_posix() for image in found]
    assert sorted(names) == ["anna/ct/1.png", "anna/xray/1.png", "carla.png", "xray/bert_01.png"]


def test_patient_by_folder(incoming: Path) -> None:
    patients = {folder_patient(image.path, [incoming]) for image in collect([incoming])}
    # 'xray' says what the images are, so bert's file stands for itself.
    assert patients == {"anna", None}


def test_table_comes_before_pattern(incoming: Path) -> None:
    rules = PatientRules({"carla.png": ("p3", "ct")}, re.compile(r"(bert)_"))
    found = {image.path.name: image for image in collect([incoming], rules)}
    assert (found["carla.png"].patient_id, found["carla.png"].modality) == ("p3", "ct")
    assert found["bert_01.png"].patient_id == "bert"


def test_missing_and_empty(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        collect([tmp_path / "nothing"])
    with pytest.raises(InputError, match="no files in"):
        collect([tmp_path])


def test_need_ct(tmp_path: Path) -> None:
    path = tmp_path / "need.csv"
    path.write_text("patient_id,need_ct\nanna,yes\nbert,no\ncarla,1\n", encoding="utf-8")
    assert read_need_ct(path) == {"anna": True, "bert": False, "carla": True}
    path.write_text("patient_id,need_ct\nanna,perhaps\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"row 2: need_ct is 'perhaps'; write yes or no"):
        read_need_ct(path)
    path.write_text("patient,need_ct\nanna,yes\n", encoding="utf-8")
    with pytest.raises(InputError, match="lacks the column patient_id; found patient, need_ct"):
        read_need_ct(path)


def test_patient_table(tmp_path: Path) -> None:
    path = tmp_path / "patients.csv"
    path.write_text("path,patient_id,modality\na.png,p1,ct\nb.png,p1,\n", encoding="utf-8")
    table = read_patient_table(path)
    assert table["a.png"][:2] == ("p1", "ct")
    assert table["b.png"][:2] == ("p1", None)


def test_a_patient_table_is_read_from_its_own_folder(incoming: Path) -> None:
    (incoming / "patients.csv").write_text("path,patient_id,modality\nanna/ct/1.png,p9,ct\n", encoding="utf-8")
    rules = PatientRules(read_patient_table(incoming / "patients.csv"))
    row = rules.row_of(incoming / "anna" / "ct" / "1.png", "elsewhere.png")
    assert row is not None
    assert row[:2] == ("p9", "ct")
    assert rules.row_of(incoming / "anna" / "xray" / "1.png", "elsewhere.png") is None
