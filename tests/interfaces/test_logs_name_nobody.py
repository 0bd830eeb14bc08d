"""What ``duoscan screen`` says to a terminal or a log names no patient, whatever the headers hold.

The table on the screen names patients by PatientID, which is its purpose; ``--quiet`` leaves it out.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pydicom
import pytest

from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.plan import FileFormat, PhantomOptions
from duoscan.quiet import quiet
from duoscan.terms import Modality

SECRET = "CANARY"
TEXTS = (
    "PatientName", "OtherPatientNames", "ReferringPhysicianName", "PatientComments", "PatientAddress",
    "InstitutionName", "AccessionNumber", "StudyDescription", "SeriesDescription", "ImageComments", "OperatorsName",
)  # fmt: skip
# Values that are not of their form: libraries like to quote those.
WRONG = {"PatientBirthDate": "DA", "PatientAge": "AS", "StudyTime": "TM", "SliceThickness": "DS", "PatientSex": "CS"}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studies with a secret in every attribute that may name somebody, and a file that cannot be read."""
    options = PhantomOptions(patients=3, seed=6, slices=4, ct_size=64, xray_size=96, formats=FileFormat.DICOM)
    cohort = tmp_path_factory.mktemp("cohort") / "cohort"
    write_cohort(options, cohort, workers=1)
    out = tmp_path_factory.mktemp("planted")
    for number, path in enumerate(sorted((cohort / "dicom").rglob("*.dcm"))):
        with quiet:
            dataset = pydicom.dcmread(path)
            dataset.PatientID = f"{SECRET}-{dataset.PatientID}"
            for keyword in TEXTS:
                setattr(dataset, keyword, f"{SECRET} no caret, {keyword} that is longer than it may be " * 2)
            for keyword, kind in WRONG.items():
                dataset[keyword] = pydicom.DataElement(keyword, kind, "", validation_mode=0)
                dataset[keyword]._value = SECRET
            dataset.add_new(0x00091001, "LO", SECRET)
            dataset.save_as(out / f"{number}.dcm")
    whole = (out / "0.dcm").read_bytes()
    (out / "cut.dcm").write_bytes(whole[: len(whole) // 2])
    return out


def run(*arguments: str) -> tuple[int, str, str]:
    code = "from duoscan.interfaces.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-W", "default", "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    return ran.returncode, ran.stdout, ran.stderr


@pytest.mark.parametrize(
    ("send", "why"),
    [("NOBODY@127.0.0.1:9", "no association"), ("http://127.0.0.1:9/dicom-web", "no connection")],
)
def test_neither_answers_nor_errors_name_anybody(
    planted: Path, brightness_bundles: dict[Modality, Path], tmp_path: Path, send: str, why: str
) -> None:
    models = [
        "--xray-bundle",
        str(brightness_bundles[Modality.CXR]),
        "--ct-bundle",
        str(brightness_bundles[Modality.CT]),
    ]
    results = ["--dicom-out", str(tmp_path), "--dicom-objects", "sr,heatmap,seg,pmap,gsps"]
    quietly = ["screen", str(planted), "--need-ct-all", "--quiet", "--no-quality-check"]
    code, out, err = run(*quietly, *models, *results, "--send", send)
    assert "Traceback" not in err
    assert SECRET not in out + err
    assert code == 2
    assert "no seg written" in err  # SliceThickness is none
    assert why in err
    # The secret did get as far as the results, so there was something to be silent about.
    assert SECRET.encode() in next(tmp_path.rglob("report.dcm")).read_bytes()


def test_the_table_names_patients_by_their_id_and_nothing_else(
    planted: Path, brightness_bundles: dict[Modality, Path]
) -> None:
    models = [
        "--xray-bundle",
        str(brightness_bundles[Modality.CXR]),
        "--ct-bundle",
        str(brightness_bundles[Modality.CT]),
    ]
    _, out, err = run("screen", str(planted), "--no-quality-check", *models)
    assert f"{SECRET}-phantom" in out
    assert "caret" not in out
    assert SECRET not in err
