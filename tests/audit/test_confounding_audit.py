"""The audit of confounding on phantoms: every planted fault found, no alarm on clean cohorts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from duoscan.audit.confounding.audit import audit_confounding
from duoscan.audit.patients import audit_patients
from duoscan.audit.result import AuditResult, Level
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.manifest.table import read_manifest
from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.faults import Fault
from duoscan.phantom.hospitals import HOSPITALS
from duoscan.phantom.plan import PhantomOptions
from duoscan.terms import POSITIVE, Finding, Modality

_COHORTS = 20


def _options(patients: int, *faults: Fault) -> PhantomOptions:
    return PhantomOptions(patients, seed=41, slices=2, ct_size=64, xray_size=96, faults=faults)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Thirty patients, five of each class from each hospital."""
    return write_cohort(_options(30), tmp_path_factory.mktemp("clean") / "cohort")


def _draw(pool: Manifest, seed: int) -> Manifest:
    """Sixteen patients: four covid and four others from each hospital, one modality (X-ray for even seeds)."""
    rng = np.random.default_rng(seed)
    modality = (Modality.CXR, Modality.CT)[seed % 2]
    chosen: set[str | None] = set()
    for hospital in HOSPITALS:
        for is_positive in (True, False):
            patients = sorted(
                {
                    str(record.patient_id)
                    for record in pool
                    if record.source == hospital.name and (record.label is POSITIVE) == is_positive
                }
            )
            chosen |= set(rng.choice(patients, 4, replace=False).tolist())
    return pool.replace([r for r in pool if r.patient_id in chosen and r.modality is modality])


def test_no_alarm_on_clean_cohorts(clean: Manifest) -> None:
    # Eight against eight patients can raise one: a perfect split of them has p = 1 / C(16, 8) ≈ 0.00008.
    cohorts = [_draw(clean, seed) for seed in range(_COHORTS)]
    assert [audit_patients(cohort).level for cohort in cohorts] == [Level.PASS] * _COHORTS
    results = [audit_confounding(cohort) for cohort in cohorts]
    assert [result.level for result in results] == [Level.PASS] * _COHORTS
    assert all(len(result.reasons) == 3 for result in results)


def _titles_of_alarms(result: AuditResult, modality: Modality) -> list[str]:
    return [
        one["title"]
        for one in result.facts[modality]["characteristics"]
        if one["p_holm"] < 0.01 and one["auroc"]["value"] > 0.9
    ]


def test_a_corner_marker_is_found_and_named(tmp_path: Path) -> None:
    manifest = write_cohort(_options(18, Fault.CORNER_MARKER), tmp_path / "cohort")
    result = audit_confounding(manifest)
    assert result.level is Level.FAIL
    for modality in Modality:
        assert "bright mark, upper left corner" in _titles_of_alarms(result, modality)
        assert any(modality.spoken in reason and "upper left corner" in reason for reason in result.reasons)
        # the hospitals are as they should be
        assert result.facts[modality]["cramers_v"]["value"] == 0.0


def test_a_source_that_equals_a_class_and_patients_across_splits_are_found(tmp_path: Path) -> None:
    faults = (Fault.SOURCE_EQUALS_CLASS, Fault.PATIENT_ACROSS_SPLITS)
    write_cohort(_options(18, *faults), tmp_path / "cohort")
    manifest = read_manifest(tmp_path / "cohort" / "manifest.csv", check_patients=False)
    result = audit_confounding(manifest)
    assert result.level is Level.FAIL
    for modality in Modality:
        assert result.facts[modality]["cramers_v"]["value"] > 0.8
        assert "source" in _titles_of_alarms(result, modality)
    # covid comes from one hospital only, so that hospital holds no other class
    assert result.facts["cxr"]["one_class_sources"] == ["phantom-north"]
    planted = {
        line.split(",")[2]
        for line in (tmp_path / "cohort" / "faults.csv").read_text().splitlines()
        if line.startswith(Fault.PATIENT_ACROSS_SPLITS)
    }
    patients = audit_patients(manifest)
    assert patients.level is Level.FAIL
    assert {one["unit"] for one in patients.facts["crossing"]} == planted
    assert planted


def test_patients_of_a_clean_cohort_pass(clean: Manifest) -> None:
    result = audit_patients(clean)
    assert result.level is Level.PASS
    assert result.facts["units_per_split"] == {
        split: len({r.patient_id for r in clean if r.split == split}) for split in ("train", "val", "test")
    }


def _pictures(folder: Path, patients: int) -> Manifest:
    """Noise of one size, half of it covid: nothing to tell."""
    rng = np.random.default_rng(0)
    records = []
    for number in range(patients):
        name = f"{number}.png"
        Image.fromarray(rng.integers(0, 255, (64, 64), dtype=np.uint8)).save(folder / name)
        label = Finding.COVID if number % 2 else Finding.NORMAL
        records.append(ImageRecord(path=name, modality=Modality.CXR, label=label, patient_id=str(number), source="a"))
    return Manifest(folder, tuple(records))


@pytest.mark.parametrize("patients", [9, 10])
def test_too_few_patients_are_no_pass(tmp_path: Path, patients: int) -> None:
    # Four of nine are fewer than the folds; five of ten fall apart perfectly by chance in 1 of C(10, 5) = 252 cases.
    result = audit_confounding(_pictures(tmp_path, patients))
    assert result.level is Level.NOT_RUN
    assert "too few" in result.reasons[0]


def test_no_label_is_no_pass(tmp_path: Path) -> None:
    pictures = _pictures(tmp_path, 4)
    unlabelled = pictures.replace([record.model_copy(update={"label": None}) for record in pictures])
    assert audit_confounding(unlabelled).level is Level.NOT_RUN


def test_unreadable_images_are_counted_and_progress_covers_them(tmp_path: Path) -> None:
    pictures = _pictures(tmp_path, 24)
    (tmp_path / "3.png").write_bytes(b"no picture")
    seen = []
    result = audit_confounding(pictures, on_image=lambda: seen.append(1))
    assert len(seen) == 24
    assert (result.facts["cxr"]["unreadable"], result.facts["cxr"]["images"]) == (1, 23)
    assert any("1 images cannot be read" in reason for reason in result.reasons)
    assert any("one source" in reason for reason in result.reasons)


def test_content_is_shown_and_never_judged(tmp_path: Path) -> None:
    # Covid is bright in the middle, as disease may be, and the frame is the same noise in both classes.
    pictures = _pictures(tmp_path, 24)
    for record in pictures:
        if record.label is POSITIVE:
            with Image.open(pictures.file(record)) as image:
                values = np.array(image)
            values[12:-12, 12:-12] = 255
            Image.fromarray(values).save(pictures.file(record))
    result = audit_confounding(pictures)
    assert result.level is Level.PASS
    assert "mean grey" in _titles_of_alarms(result, Modality.CXR)


def test_the_result_is_json_and_its_tables_are_even(clean: Manifest) -> None:
    result = audit_confounding(_draw(clean, 0))
    assert result.to_json()["name"] == "confounding"
    for table in result.tables:
        assert all(len(row) == len(table.columns) for row in table.rows)
