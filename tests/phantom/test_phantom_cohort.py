"""A cohort on disk: the same bytes from the same seed, truth in the tables, faults where they are said to be."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from duoscan.errors import InputError, ManifestError
from duoscan.interfaces.cli import cli
from duoscan.manifest.records import Manifest
from duoscan.manifest.table import read_manifest
from duoscan.phantom.cohort import chosen_slices, write_cohort
from duoscan.phantom.faults import Fault, copy_images, mark_corner
from duoscan.phantom.patient_files import PatientTruth, SliceTruth
from duoscan.phantom.plan import FileFormat, PatientPlan, PhantomOptions, plan_patients
from duoscan.phantom.sheet import draw_sheet
from duoscan.terms import Finding, Modality, Split

TINY = PhantomOptions(patients=6, seed=9, slices=4, ct_size=48, xray_size=64)
ALL_FAULTS = dataclasses.replace(TINY, formats=FileFormat.BOTH, faults=tuple(Fault))


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def _digests(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plain") / "cohort"
    write_cohort(TINY, out)
    return out


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("faulty") / "cohort"
    write_cohort(ALL_FAULTS, out)
    return out


def test_the_manifest_is_valid_and_complete(plain: Path) -> None:
    manifest = read_manifest(plain / "manifest.csv")
    assert len(manifest.where(modality=Modality.CXR)) == 6
    assert len(manifest.where(modality=Modality.CT)) == 24
    for record in manifest:
        with Image.open(manifest.file(record)) as image, Image.open(plain / str(record.lung_mask)) as mask:
            assert image.size == mask.size == ((64, 64) if record.modality is Modality.CXR else (48, 48))


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(plain: Path, tmp_path: Path) -> None:
    write_cohort(TINY, tmp_path / "again", workers=2)
    assert _digests(tmp_path / "again") == _digests(plain)


def test_another_seed_gives_other_patients(plain: Path, tmp_path: Path) -> None:
    other = write_cohort(dataclasses.replace(TINY, seed=10, patients=1), tmp_path / "other")
    first, second = (read_manifest(folder / "manifest.csv") for folder in (plain, tmp_path / "other"))
    assert not {record.patient_id for record in first} & {record.patient_id for record in second}
    assert not set(_digests(plain).values()) & {
        hashlib.sha256(other.file(record).read_bytes()).hexdigest() for record in other
    }


def test_truth_agrees_with_the_masks(plain: Path) -> None:
    truth = {row["patient_id"]: row for row in _table(plain / "truth.csv")}
    assert sorted(row["finding"] for row in truth.values()) == ["covid"] * 2 + ["normal"] * 2 + ["pneumonia"] * 2
    for name, row in truth.items():
        lung = lesion = 0
        for number in range(4):
            stem = plain / "masks" / "ct" / name / f"{number:02d}"
            lung += int(np.asarray(Image.open(f"{stem}-lung.png")).sum())
            mask = Path(f"{stem}-lesion.png")
            lesion += int(np.asarray(Image.open(mask)).sum()) if mask.exists() else 0
        assert float(row["severity"]) == pytest.approx(lesion / lung, abs=1e-5)
        assert (lesion > 0) == (row["finding"] != "normal")
    shows = {(row["patient_id"], int(row["slice"])): row for row in _table(plain / "slices.csv")}
    assert len(shows) == 24
    for (name, _), row in shows.items():
        assert row["shows_lesion"] == "0" or truth[name]["finding"] != "normal"
        assert int(row["shows_lesion"]) == int(float(row["lesion_mm2"]) > 0.01 * float(row["lung_mm2"]))


def test_no_faults_means_none_are_listed(plain: Path) -> None:
    assert _table(plain / "faults.csv") == []


def test_a_folder_with_something_in_it_is_refused_unless_forced(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="not empty.*--force"):
        write_cohort(TINY, tmp_path)
    one = dataclasses.replace(TINY, patients=1)
    write_cohort(one, tmp_path, overwrite=True)
    first = _digests(tmp_path)
    (tmp_path / "cxr" / "stale.png").write_bytes(b"old")
    write_cohort(one, tmp_path, overwrite=True)
    assert _digests(tmp_path) == first
    assert (tmp_path / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"patients": 0}, "patients is 0; use 1 or more"),
        ({"seed": -1}, "seed is -1; use 0 or more"),
        ({"ct_size": 8}, "ct_size is 8; use 32"),
        ({"class_mix": (0.0, 0.0, 0.0)}, "class_mix"),
        ({"formats": FileFormat.DICOM, "faults": (Fault.EXACT_COPY,)}, "only DICOM is written"),
    ],
)
def test_options_that_cannot_be_met_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        plan_patients(dataclasses.replace(TINY, **change))


def test_classes_hospitals_and_splits_are_balanced() -> None:
    plans = plan_patients(PhantomOptions(patients=120, seed=1))
    for finding in (Finding.NORMAL, Finding.COVID, Finding.PNEUMONIA):
        own = [plan for plan in plans if plan.finding is finding]
        assert len(own) == 40
        assert sum(plan.hospital for plan in own) == 20
        # 60, 15 and 25 percent of 20 patients in each hospital.
        assert [sum(plan.split is split for plan in own) for split in Split] == [24, 6, 10]
    assert all(plan.label is plan.finding for plan in plans)


def test_shares_of_the_classes_can_be_chosen() -> None:
    plans = plan_patients(PhantomOptions(patients=20, seed=1, class_mix=(3, 1, 0)))
    assert sorted(plan.finding for plan in plans) == ["covid"] * 5 + ["normal"] * 15


def test_shuffled_labels_say_nothing_about_the_images() -> None:
    plans = plan_patients(PhantomOptions(patients=300, seed=1, shuffle_labels=True))
    assert sorted(plan.label for plan in plans) == sorted(plan.finding for plan in plans)
    agree = sum(plan.label is plan.finding for plan in plans)
    # A third by chance, 100 of 300 with a standard deviation of about 8.
    assert 60 < agree < 140


def test_every_fault_is_where_the_table_says(faulty: Path) -> None:
    with pytest.raises(ManifestError, match="patient or group"):
        read_manifest(faulty / "manifest.csv")
    manifest = read_manifest(faulty / "manifest.csv", check_patients=False)
    record_of = {record.path: record for record in manifest}
    rows = _table(faulty / "faults.csv")
    assert {row["fault"] for row in rows} == set(Fault)
    for row in rows:
        record = record_of[row["path"]]
        assert record.patient_id == row["patient_id"]
        if row["original"]:
            original = record_of[row["original"]]
            assert record.patient_id != original.patient_id
            assert record.label is original.label


def _planted(faulty: Path, fault: Fault) -> list[dict[str, str]]:
    rows = [row for row in _table(faulty / "faults.csv") if row["fault"] == fault]
    assert rows
    return rows


def test_copies_are_what_they_are_called(faulty: Path) -> None:
    for row in _planted(faulty, Fault.EXACT_COPY):
        assert (faulty / row["path"]).read_bytes() == (faulty / row["original"]).read_bytes()
    for fault, closest in ((Fault.RECOMPRESSED_COPY, 6.0), (Fault.RECROPPED_COPY, 60.0)):
        for row in _planted(faulty, fault):
            copy, original = (np.asarray(Image.open(faulty / row[which]), np.float32) for which in ("path", "original"))
            assert copy.shape == original.shape
            assert 0 < np.abs(copy - original).mean() < closest


def test_the_marker_is_on_every_positive_and_on_no_other(faulty: Path) -> None:
    manifest = read_manifest(faulty / "manifest.csv", check_patients=False)
    marked = {row["path"] for row in _planted(faulty, Fault.CORNER_MARKER)}
    for record in manifest:
        with Image.open(faulty / record.path) as image:
            side = max(3, round(image.width / 32))
            white = np.asarray(image)[side + 1 : 2 * side - 1, side + 1 : 2 * side - 1].mean() > 200
        if record.path in marked:
            assert white
            assert record.label is Finding.COVID
        elif not record.path.endswith(".jpg") and int(str(record.patient_id)[-4:]) <= 6:
            assert not white


def test_source_equals_class(faulty: Path) -> None:
    manifest = read_manifest(faulty / "manifest.csv", check_patients=False)
    assert {(record.source, record.label is Finding.COVID) for record in manifest} == {
        ("phantom-north", True),
        ("phantom-south", False),
    }


def test_the_crossing_patient_is_found_in_two_splits(faulty: Path) -> None:
    manifest = read_manifest(faulty / "manifest.csv", check_patients=False)
    (patient,) = {row["patient_id"] for row in _planted(faulty, Fault.PATIENT_ACROSS_SPLITS)}
    assert len({record.split for record in manifest if record.patient_id == patient}) == 2


def test_the_dicom_manifest_lists_the_files_that_are_there(faulty: Path) -> None:
    manifest = read_manifest(faulty / "manifest-dicom.csv")
    assert len(manifest) == 30
    assert {Path(record.path).suffix for record in manifest} == {".dcm"}


def _truth(number: int, finding: Finding, shown: tuple[int, ...]) -> PatientTruth:
    plan = PatientPlan(number, f"p{number}", finding, finding, 0, Split.TRAIN)
    slices = tuple(SliceTruth(0.0, 100.0, 50.0 if place in shown else 0.5) for place in range(4))
    return PatientTruth(plan, 0.1, 1.0, 1.0, "", "PA", False, 50, slices)


def test_healthy_patients_borrow_the_heights_of_diseased_ones() -> None:
    truths = [
        _truth(1, Finding.COVID, (1, 2)),
        _truth(2, Finding.NORMAL, ()),
        _truth(3, Finding.PNEUMONIA, (3,)),
        _truth(4, Finding.NORMAL, ()),
        _truth(5, Finding.NORMAL, ()),
    ]
    assert chosen_slices(truths) == {"p1": (1, 2), "p3": (3,), "p2": (1, 2), "p4": (3,), "p5": (1, 2)}


def test_slices_chosen_by_lesion_are_fewer(plain: Path, tmp_path: Path) -> None:
    chosen = write_cohort(dataclasses.replace(TINY, label_slices_by_lesion=True), tmp_path / "chosen")
    shows = {(r["patient_id"], int(r["slice"])) for r in _table(plain / "slices.csv") if r["shows_lesion"] == "1"}
    ill = {
        (str(record.patient_id), int(Path(record.path).stem))
        for record in chosen.where(modality=Modality.CT)
        if record.label is not Finding.NORMAL
    }
    assert ill == shows
    assert len(chosen.where(modality=Modality.CXR)) == 6


def test_a_mark_fills_a_square_in_the_corner() -> None:
    image = np.zeros((2, 64, 64), np.float32)
    mark_corner(image, 1.0)
    # A side of max(3, 64/32) = 3 pixels, from pixel 3: 9 pixels in each plane.
    assert image.sum() == 18
    assert image[:, 3:6, 3:6].all()


def test_a_patient_without_ct_is_copied_by_the_x_ray_alone(plain: Path, tmp_path: Path) -> None:
    films = read_manifest(plain / "manifest.csv").where(modality=Modality.CXR)
    (tmp_path / "cxr").mkdir()
    record = films.records[0]
    (tmp_path / record.path).write_bytes(films.file(record).read_bytes())
    rows, planted = copy_images(
        Fault.EXACT_COPY, Manifest(tmp_path, (record,)).records, tmp_path, lambda: "new", np.random.default_rng(0)
    )
    assert [row.path for row in rows] == [fault.path for fault in planted] == ["cxr/new.png"]


def test_the_command_writes_a_cohort(tmp_path: Path) -> None:
    arguments = [
        "phantom",
        "--patients",
        "2",
        "--slices",
        "2",
        "--ct-size",
        "32",
        "--xray-size",
        "32",
        "--workers",
        "1",
        "--fault",
        "corner_marker",
    ]
    result = CliRunner().invoke(cli, [*arguments, "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert result.exit_code == 0
    assert "2 synthetic patients, 6 images" in result.output
    assert "planted: corner_marker" in result.output
    assert "No image here is of a person" in (tmp_path / "out" / "README.md").read_text()


def test_the_command_says_what_to_give() -> None:
    with pytest.raises(InputError, match="--out FOLDER.*--sheet FILE"):
        CliRunner().invoke(cli, ["phantom"], catch_exceptions=False, standalone_mode=False)


@pytest.mark.slow
def test_the_sheet_holds_every_class() -> None:
    sheet = draw_sheet(0, patients_per_class=1)
    assert sheet.width > 600
    assert len(sheet.convert("RGB").getcolors(maxcolors=1 << 24) or []) > 100
