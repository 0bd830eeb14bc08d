"""Screening on generated images with models that call bright images positive."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageOps
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from duoscan.cases.outputs import COLUMNS
from duoscan.cases.screening import CaseAnswer, Screener
from duoscan.errors import InputError
from duoscan.interfaces.cli.answers import write_answers
from duoscan.manifest.patient_rules import PatientRules
from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.plan import PhantomOptions
from duoscan.policies.rule import Answer
from duoscan.terms import Decision, Modality
from stand_ins import write_png

BRIGHT, DARK = 0.8, 0.2


@pytest.fixture
def screener(brightness_bundles: dict[Modality, Path]) -> Screener:
    # The images are noise of a given brightness, which the quality check rightly refuses.
    return Screener(brightness_bundles[Modality.CXR], brightness_bundles[Modality.CT], check_quality=False)


@pytest.fixture
def clinic(tmp_path: Path) -> tuple[Path, PatientRules]:
    """Six patients: every way through the rule that needs no clinician."""
    means = {
        "sick/x.png": BRIGHT, "sick/c1.png": BRIGHT, "sick/c2.png": BRIGHT,
        "cleared/x.png": BRIGHT, "cleared/c1.png": DARK,
        "waiting/x.png": BRIGHT,
        "well/x.png": DARK, "well/c1.png": BRIGHT,
        "broken/x.png": None,
        "half/x.png": BRIGHT, "half/c1.png": BRIGHT, "half/c2.png": None,
    }  # fmt: skip
    table = {}
    for name, mean in means.items():
        path = tmp_path / name
        if mean is None:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"\x89PNG\r\n broken")
        else:
            write_png(path, mean)
        table[str(path)] = (name.split("/")[0], "cxr" if name.endswith("x.png") else "ct")
    return tmp_path, PatientRules(table)


def by_patient(answers: list[CaseAnswer]) -> dict[str, CaseAnswer]:
    return {answer.patient_id: answer for answer in answers}


def test_every_way_through(screener: Screener, clinic: tuple[Path, PatientRules]) -> None:
    folder, rules = clinic
    answers = by_patient(screener.screen([folder], rules=rules))
    assert {name: case.answer for name, case in answers.items()} == {
        "sick": Answer.POSITIVE,
        "cleared": Answer.NEGATIVE,
        "waiting": Answer.CT_NEEDED,
        "well": Answer.NEGATIVE,
        "broken": Answer.UNREADABLE,
        "half": Answer.POSITIVE,
    }
    # A CT the rule had no need of is said to be unread, and a broken slice is named though the rest decided.
    assert answers["well"].ct.images[0].decision == Decision.NOT_READ
    assert (
        answers["well"].reason
        == "X-ray negative, no CT asked for; CT images not read: 1 [policy: confirm-positives, uncertified]"
    )
    assert "c2.png" in answers["half"].reason
    assert [len(answers[name].unreadable) for name in ("sick", "broken", "half")] == [0, 1, 1]


def test_the_clinician_asks(screener: Screener, clinic: tuple[Path, PatientRules]) -> None:
    folder, rules = clinic
    asked = by_patient(screener.screen([folder], rules=rules, need_ct={"well"}))
    assert asked["well"].answer is Answer.POSITIVE
    assert (
        asked["well"].reason
        == "X-ray negative, clinician asks for CT; CT positive [policy: confirm-positives, uncertified]"
    )
    everyone = by_patient(screener.screen([folder], rules=rules, need_ct=True))
    assert everyone["broken"].answer is Answer.CT_NEEDED


def test_thresholds_can_be_given(brightness_bundles: dict[Modality, Path], clinic: tuple[Path, PatientRules]) -> None:
    folder, rules = clinic
    strict = Screener(
        brightness_bundles[Modality.CXR], brightness_bundles[Modality.CT], xray_threshold=1.0, check_quality=False
    )
    assert by_patient(strict.screen([folder], rules=rules))["sick"].answer is Answer.NEGATIVE


def test_no_row_is_lost_and_order_does_not_matter(screener: Screener, clinic: tuple[Path, PatientRules]) -> None:
    folder, rules = clinic
    answers = screener.screen([folder], rules=rules)
    assert sum(len(case.images) for case in answers) == len(rules.table)
    backwards = screener.screen(sorted(folder.rglob("*.png"), reverse=True), rules=rules)
    assert {c.patient_id: (c.answer, c.xray.probability, c.ct.probability) for c in answers} == {
        c.patient_id: (c.answer, c.xray.probability, c.ct.probability) for c in backwards
    }


def test_outputs_agree(screener: Screener, clinic: tuple[Path, PatientRules], tmp_path: Path) -> None:
    folder, rules = clinic
    answers = screener.screen([folder], rules=rules)
    write_answers(answers, tmp_path / "out.csv", None, tmp_path / "out.json")
    with (tmp_path / "out.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    document = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert tuple(rows[0]) == COLUMNS
    assert [row["answer"] for row in rows] == [entry["answer"] for entry in document["cases"]]
    assert document["ct"]["graph_sha256"] == screener.bundle(Modality.CT).digest
    assert rows[0]["unreadable_images"] == "1"


def test_an_unknown_modality_in_the_table_is_a_row(screener: Screener, tmp_path: Path) -> None:
    path = write_png(tmp_path / "a.png", BRIGHT)
    [case] = screener.screen([path], rules=PatientRules({str(path): ("anna", "mri")}))
    assert case.answer is Answer.UNREADABLE
    assert "modality 'mri' in the patients table is unknown; use cxr or ct" in case.reason


def test_nothing_to_screen(screener: Screener, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no files"):
        screener.screen([tmp_path])


def write_dicom(path: Path, modality: str, patient: str, value: int) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Modality, data.PatientID, data.BodyPartExamined = modality, patient, "CHEST"
    data.Rows = data.Columns = 64
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.SamplesPerPixel, data.PixelRepresentation = 15, 1, 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.RescaleIntercept, data.RescaleSlope = "0", "1"
    # A quarter is air and a sixteenth water, without which a CT slice is not believed to be in HU.
    air, water, rest = (level.to_bytes(2, "little", signed=True) for level in (-1000, 0, value))
    data.PixelData = air * (64 * 16) + water * (64 * 4) + rest * (64 * 44)
    data.save_as(path)


def test_dicom_names_its_own_patient_and_modality(screener: Screener, tmp_path: Path) -> None:
    # The lung window ends at 150 HU, so 0 HU is bright and −1200 HU is dark.
    write_dicom(tmp_path / "one.dcm", "CT", "DICOM-7", 0)
    write_dicom(tmp_path / "two.dcm", "CT", "DICOM-8", -1200)
    write_dicom(tmp_path / "three.dcm", "MR", "DICOM-9", 0)
    answers = by_patient(screener.screen([tmp_path]))
    assert answers["DICOM-7"].answer is Answer.POSITIVE
    assert answers["DICOM-8"].answer is Answer.NEGATIVE
    assert answers["DICOM-9"].answer is Answer.UNREADABLE
    assert "MR" in answers["DICOM-9"].reason


def test_what_is_no_chest_is_refused_before_its_modality_is_guessed(
    brightness_bundles: dict[Modality, Path], tmp_path: Path
) -> None:
    picture = Image.new("L", (300, 300), 255)
    for left in range(20, 280, 60):
        ImageDraw.Draw(picture).rectangle((left, 40, left + 30, 260), fill=60)
    picture.save(tmp_path / "bars.png")
    bundles = brightness_bundles[Modality.CXR], brightness_bundles[Modality.CT]
    [case] = Screener(*bundles).screen([tmp_path / "bars.png"])
    assert case.answer is Answer.UNREADABLE
    assert "bars.png: unreadable: not a chest X-ray or an axial chest CT slice" in case.reason
    # Said to be an X-ray, it comes to the model and is refused there, in words about X-rays.
    [case] = Screener(*bundles).screen([tmp_path / "bars.png"], modality=Modality.CXR)
    assert "bars.png: unreadable: not a chest X-ray: it looks like something else" in case.reason
    [case] = Screener(*bundles, check_quality=False).screen([tmp_path / "bars.png"], modality=Modality.CXR)
    assert case.xray.probability is not None


def test_a_phantom_is_answered_and_its_negative_is_not(
    brightness_bundles: dict[Modality, Path], tmp_path: Path
) -> None:
    write_cohort(PhantomOptions(patients=1, seed=3, slices=2, ct_size=96, xray_size=256), tmp_path / "cohort")
    [xray] = (tmp_path / "cohort" / "cxr").rglob("*.png")
    with Image.open(xray) as image:
        ImageOps.invert(image.convert("L")).save(tmp_path / "negative.png")
    bundles = brightness_bundles[Modality.CXR], brightness_bundles[Modality.CT]
    answers = Screener(*bundles).screen([xray, tmp_path / "negative.png"], modality=Modality.CXR)
    rows = {Path(row.path).name: row for case in answers for row in case.images}
    assert rows[xray.name].probability is not None
    assert "inverted: looks like a negative" in str(rows["negative.png"].reason)
