"""The audit of patients and splits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from duoscan.audit.patients import audit_patients
from duoscan.audit.result import Level
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.terms import Finding, Modality, Split

_TRAIN, _TEST = Split.TRAIN, Split.TEST


def _row(path: str, patient: str | None = None, **more: object) -> ImageRecord:
    return ImageRecord.model_validate(
        {"path": path, "modality": Modality.CT, "patient_id": patient, "split": _TRAIN, "source": "a"} | more
    )


def _manifest(*records: ImageRecord, root: Path = Path()) -> Manifest:
    return Manifest(root, records)


def test_a_patient_in_two_splits_fails_and_is_named() -> None:
    rows = [_row("1", "p"), _row("2", "p", split=_TEST), _row("3", "q"), _row("4", "r", split=None)]
    result = audit_patients(_manifest(*rows))
    assert result.level is Level.FAIL
    assert result.facts["crossing"] == [{"unit": "p", "splits": ["train", "test"]}]
    # p counts in both: train holds p and q, test holds p
    assert result.facts["units_per_split"] == {"train": 2, "val": 0, "test": 1}
    assert result.facts["images_without_split"] == 1
    assert "1 of 3 patients or groups, with 2 images" in result.reasons[0]


def test_whole_patients_pass() -> None:
    result = audit_patients(_manifest(_row("1", "p"), _row("2", "p"), _row("3", "q", split=_TEST)))
    assert result.level is Level.PASS
    assert result.tables[0].rows == (("train", "2", "1", "0", "0"), ("test", "1", "1", "0", "0"))


def test_without_splits_nothing_is_passed() -> None:
    assert audit_patients(_manifest(_row("1", "p", split=None))).level is Level.NOT_RUN


def test_unknown_patients_are_counted_by_source() -> None:
    rows = [_row("1", "p"), _row("2", group="g"), _row("3"), _row("4", "q", source="b")]
    result = audit_patients(_manifest(*rows))
    assert result.level is Level.WARN
    assert result.facts["unknown_patients"] == {
        "a": {"images": 3, "unknown": 2, "share": pytest.approx(2 / 3), "without_group": 1},
        "b": {"images": 1, "unknown": 0, "share": 0.0, "without_group": 0},
    }


def test_several_labels_and_several_sources_of_a_patient_are_named() -> None:
    rows = [
        _row("1", "p", label=Finding.NORMAL),
        _row("2", "p", label=Finding.COVID),
        _row("3", "q", label=Finding.COVID),
        _row("4", "q", label=Finding.COVID, source="b"),
        _row("5", "q"),
    ]
    result = audit_patients(_manifest(*rows))
    assert result.level is Level.WARN
    assert result.facts["patients_with_several_labels"] == {"p": ["covid", "normal"]}
    assert result.facts["patients_in_several_sources"] == {"q": ["a", "b"]}
    assert json.dumps(result.to_json())


def _numbered(folder: Path, patient_of: list[int], splits: list[Split]) -> Manifest:
    """Noise pictures without ids, ``Covid (n).png``; those of one patient differ by a little noise only."""
    rng = np.random.default_rng(5)
    bodies = {patient: rng.uniform(0, 255, (32, 32)) for patient in sorted(set(patient_of))}
    records = []
    for number, (patient, split) in enumerate(zip(patient_of, splits, strict=True), start=1):
        name = f"Covid ({number}).png"
        values = bodies[patient] + rng.normal(0, 20, (32, 32))
        Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(folder / name)
        records.append(_row(name, label=Finding.COVID, split=split, group=f"{split}-block"))
    return Manifest(folder, tuple(reversed(records)))  # the order of rows says nothing


def test_numbers_that_follow_patients_are_seen_and_the_cut_between_splits_too(tmp_path: Path) -> None:
    # Ten patients of eight slices, numbered one after the other; the split falls within patient 6.
    patients = [place // 8 for place in range(80)]
    splits = [_TRAIN if place < 52 else _TEST for place in range(80)]
    seen: list[int] = []
    result = audit_patients(_numbered(tmp_path, patients, splits), on_image=lambda: seen.append(1))
    assert len(seen) == 80
    (found,) = result.facts["neighbours"]
    # 79 neighbouring pairs, of which the 9 at the border of two patients are as unlike as any.
    assert (found["pairs"], found["across_splits"], found["across_splits_alike"]) == (79, 1, 1)
    assert found["alike"]["value"] == pytest.approx(70 / 79, abs=2 / 79)
    assert result.level is Level.WARN
    assert any("1 pairs of neighbours stand in different splits, 1 of them much alike" in r for r in result.reasons)


def test_numbers_that_follow_nothing_are_not_called_patients(tmp_path: Path) -> None:
    # Every picture a patient of its own.
    result = audit_patients(_numbered(tmp_path, list(range(80)), [_TRAIN] * 80))
    (found,) = result.facts["neighbours"]
    assert found["alike"]["value"] < 0.06
    assert any("no more alike than others" in reason for reason in result.reasons)


def test_unreadable_neighbours_are_left_out(tmp_path: Path) -> None:
    manifest = _numbered(tmp_path, [place // 8 for place in range(80)], [_TRAIN] * 80)
    (tmp_path / "Covid (1).png").write_bytes(b"no picture")
    (found,) = audit_patients(manifest).facts["neighbours"]
    # the first of 79 pairs cannot be compared
    assert found["pairs"] == 78


def test_an_empty_manifest_is_no_pass() -> None:
    assert audit_patients(_manifest()).level is Level.NOT_RUN


@pytest.mark.data
def test_the_numbers_of_the_slice_set_without_ids_follow_patients(data_dir: Path) -> None:
    files = sorted((data_dir / "ct" / "sarscov2").rglob("Covid*.*"))
    assert len(files) > 100
    rows = [_row(file.relative_to(data_dir).as_posix(), label=Finding.COVID, group="all") for file in files]
    (found,) = audit_patients(Manifest(data_dir, tuple(rows))).facts["neighbours"]
    assert found["alike"]["low"] > 0.3
