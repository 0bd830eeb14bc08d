"""What is read of a run, of a cross-validation and of a table."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from duoscan.errors import InputError
from duoscan.evidence.subject import Ask, Subject, read_subject, read_subjects
from duoscan.manifest.records import Manifest
from duoscan.manifest.table import read_manifest, write_manifest
from duoscan.predictions import Prediction, write_predictions
from duoscan.terms import Finding, Modality, Split


def read(target: Path, manifest: Path | None = None) -> Subject:
    if manifest is None:
        return read_subject(target)
    images = read_manifest(manifest, check_files=False, check_patients=False)
    return read_subject(target, Ask(images, manifest))


def rows(splits: str = "eee") -> list[Prediction]:
    """One row a letter: t(rain), v(al), e (test), - (none)."""
    parts = {"t": Split.TRAIN, "v": Split.VAL, "e": Split.TEST, "-": None}
    return [
        Prediction(
            f"{place}.png", f"p{place}", Modality.CT, place / 100, "positive", split=parts[letter], label=Finding.COVID
        )
        for place, letter in enumerate(splits)
    ]


def test_a_run_answers_its_test_images(runs: dict[Modality, Path]) -> None:
    run = runs[Modality.CT]
    stages: list[tuple[str, int]] = []
    seen: list[None] = []
    ask = Ask(seed=3, on_stage=lambda *stage: stages.append(stage), on_image=lambda: seen.append(None))
    subject = read_subject(run, ask)
    tested = read_manifest(run / "manifest.csv").where(split=Split.TEST)
    assert [row.path for row in subject.predictions] == [record.path for record in tested]
    assert stages == [("answering chest CT, test", 54)]  # 27 test patients with two slices each
    assert len(seen) == 54
    assert subject.files == tuple(tested.file(record) for record in tested)
    assert all(file and file.is_file() for file in subject.files)
    assert subject.fingerprint == tested.fingerprint()
    assert (subject.modality, subject.threshold, subject.threshold_origin) == (Modality.CT, 0.5, "bundle")
    assert subject.command == f"duoscan evaluate {run} {run / 'manifest.csv'} --split test --seed 3"
    assert subject.making is not None
    first, second = subject.making.parts[0].learnings
    assert [row["val_loss"] for row in first.history] == [0.69, 0.62, 0.66]
    assert [row["val_loss"] for row in second.history] == [0.69]
    assert (first.best_epoch, second.best_epoch) == (1, 0)
    assert subject.making.command == "duoscan train cohort.csv"
    assert "command" not in subject.making.environment
    assert subject.faults == ()


def test_a_run_passed_on_without_its_history_is_read(runs: dict[Modality, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(runs[Modality.CXR] / "model.duoscan", run)
    write_manifest(read_manifest(runs[Modality.CXR] / "manifest.csv"), run / "manifest.csv")
    making = read(run).making
    assert making is not None
    assert making.parts[0].learnings == ()
    assert (making.recipe, making.command, making.environment) == ("", "", {})


def test_stored_test_predictions_stand_for_images_that_are_gone(runs: dict[Modality, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs[Modality.CXR], run)  # the paths of its manifest now lead nowhere
    with pytest.raises(InputError, match=r"27 of 27 images to be answered are not there, e\.g\. .*name a manifest"):
        read(run)
    write_predictions(read(runs[Modality.CXR]).predictions, run / "predictions-test.csv")
    subject = read(run)
    assert len(subject.predictions) == 27
    assert subject.threshold is None
    assert subject.command == f"duoscan evaluate {run / 'predictions-test.csv'} --seed 0"


def test_images_none_of_which_can_be_read_are_told_with_the_reason(runs: dict[Modality, Path], tmp_path: Path) -> None:
    own = read_manifest(runs[Modality.CXR] / "manifest.csv").records[0]
    (tmp_path / "x.png").write_text("no picture")
    write_manifest(Manifest(tmp_path, (own.model_copy(update={"path": "x.png"}),)), tmp_path / "m.csv")
    with pytest.raises(InputError, match=r"none of 1 images can be answered, e\.g\. x\.png: .*not a picture"):
        read(runs[Modality.CXR], tmp_path / "m.csv")


def test_another_manifest_is_answered_in_place_of_the_own_images(runs: dict[Modality, Path], tmp_path: Path) -> None:
    run = runs[Modality.CXR]
    own = read_manifest(run / "manifest.csv")
    # Two patients the model was trained on, one it was not, and one of whom only the number of the image is known.
    chosen = [own.records[0], own.records[1], own.records[40], own.records[41].model_copy(update={"patient_id": None})]
    unsplit = [record.model_copy(update={"split": None}) for record in chosen]
    write_manifest(Manifest(own.root, tuple(unsplit)), tmp_path / "other.csv")
    subject = read(run, tmp_path / "other.csv")
    assert len(subject.predictions) == 4
    assert subject.is_external
    assert subject.split is None
    assert subject.faults == ("2 of the tested patient ids took part in training or validation.",)
    assert subject.command == f"duoscan evaluate {run} {tmp_path / 'other.csv'} --seed 0"
    assert subject.records is not None
    assert len(subject.records) == 54


def test_crossing_patients_are_told_not_refused(runs: dict[Modality, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(runs[Modality.CXR] / "model.duoscan", run)
    own = read_manifest(runs[Modality.CXR] / "manifest.csv")
    crossing = own.records[0].model_copy(update={"patient_id": "p53"})
    write_manifest(own.replace([crossing, *own.records[1:]]), run / "manifest.csv")
    (fault,) = read(run).faults
    assert fault.startswith("1 patients are in more than one part, e.g. patient or group 'p53' is in train and test")


def test_a_table_tells_little(tmp_path: Path) -> None:
    table = tmp_path / "theirs.csv"
    write_predictions(rows("tvee"), table)
    subject = read(table)
    assert [row.path for row in subject.predictions] == ["2.png", "3.png"]
    assert (subject.name, subject.split, subject.modality) == ("theirs", Split.TEST, Modality.CT)
    assert subject.fingerprint == hashlib.sha256(table.read_bytes()).hexdigest()
    assert subject.making is None
    assert subject.records is None
    assert subject.files == (None, None)
    assert subject.command == f"duoscan evaluate {table} --split test --seed 0"


def test_a_table_of_both_modalities_has_none(tmp_path: Path) -> None:
    mixed = [replace(row, modality=Modality.CXR if place else Modality.CT) for place, row in enumerate(rows())]
    write_predictions(mixed, tmp_path / "t.csv")
    assert read(tmp_path / "t.csv").modality is None


@pytest.mark.parametrize(
    ("splits", "patients", "faults"),
    [
        ("vvv", None, ["validation part, on which"]),
        ("tee", "aab", ["1 patients are in more than one part, e.g. patient or group"]),
        ("tee", "abc", []),
        ("---", "aaa", []),
    ],
)
def test_what_makes_a_table_too_good_is_told(
    tmp_path: Path, splits: str, patients: str | None, faults: list[str]
) -> None:
    table = [
        replace(row, patient_id=patients[place] if patients else row.patient_id)
        for place, row in enumerate(rows(splits))
    ]
    write_predictions(table, tmp_path / "t.csv")
    found = read(tmp_path / "t.csv").faults
    assert len(found) == len(faults)
    assert all(fault in text for fault, text in zip(faults, found, strict=True))


def test_folds_are_one_subject(runs: dict[Modality, Path], tmp_path: Path) -> None:
    own = read_manifest(runs[Modality.CXR] / "manifest.csv")
    run = tmp_path / "cv"
    pooled: list[Prediction] = []
    for number in (1, 2, 10):  # ten stands after two
        fold = run / f"fold-{number}"
        fold.mkdir(parents=True)
        for name in ("model.duoscan", "history.csv", "recipe.toml", "environment.json"):
            shutil.copy(runs[Modality.CXR] / name, fold)
        part = [(1, 2, 10)[place % 3] == number for place in range(len(own))]
        records = [
            record.model_copy(update={"split": Split.TEST if is_test else Split.TRAIN})
            for record, is_test in zip(own, part, strict=True)
        ]
        write_manifest(own.replace(records), fold / "manifest.csv")
        # Paths as they stood in the manifest that was given, not in that of the fold.
        pooled += [
            replace(row, path=Path(record.path).name)
            for row, record, is_test in zip(rows("e" * len(own)), own, part, strict=True)
            if is_test
        ]
    write_predictions(pooled, run / "predictions-test.csv")
    subject = read(run)
    assert subject.making is not None
    assert [part.name for part in subject.making.parts] == ["fold-1", "fold-2", "fold-10"]
    assert subject.threshold is None
    assert len(subject.predictions) == 54
    assert [file and file.name for file in subject.files] == [row.path for row in subject.predictions]
    assert all(file and file.is_file() for file in subject.files)
    with pytest.raises(InputError, match="no single model to answer"):
        read(run, runs[Modality.CXR] / "manifest.csv")
    write_predictions(pooled[::-1], run / "predictions-test.csv")
    assert set(read(run).files) == {None}  # no way to tell which image a row is of


def test_equal_names_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    tables = [tmp_path / folder / "t.csv" for folder in "ab"]
    for table in tables:
        write_predictions(rows(), table)
    assert [subject.name for subject in read_subjects(tables)] == [str(table) for table in tables]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such run folder"),
        (lambda path: path.mkdir(), "holds neither model.duoscan nor predictions-test.csv"),
        (lambda path: write_predictions([], path / "run.json"), "the run is not finished"),
        (lambda path: write_predictions([], path / "predictions-test.csv"), "no finished fold is there"),
        (
            lambda path: write_predictions(rows("tv"), path),
            r"no row is of the split 'test' \(splits found: train, val\)",
        ),
    ],
)
def test_what_cannot_be_reported_on_is_refused(tmp_path: Path, make: object, message: str) -> None:
    make(tmp_path / "x")  # type: ignore[operator]
    with pytest.raises(InputError, match=message):
        read(tmp_path / "x")


def test_a_bundle_alone_is_refused(runs: dict[Modality, Path]) -> None:
    with pytest.raises(InputError, match="a bundle without its run"):
        read(runs[Modality.CT] / "model.duoscan")
