"""``duoscan evaluate`` as a person runs it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from duoscan.errors import InputError, PredictionsError
from duoscan.interfaces.cli.evaluate import evaluate_command
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.manifest.table import read_manifest, write_manifest
from duoscan.predictions import Prediction, read_predictions, write_predictions
from duoscan.terms import Finding, Modality, Split

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def run(*arguments: object) -> Result:
    words = [str(argument) for argument in (*arguments, "--resamples", 100)]
    return CliRunner().invoke(evaluate_command, words)


@pytest.fixture
def rows(matrix_rows: Callable[..., list[Prediction]]) -> list[Prediction]:
    """Sixty decided images of sixty patients."""
    return matrix_rows(20, 5, 3, 32)


@pytest.fixture
def table(tmp_path: Path, rows: list[Prediction]) -> Path:
    """Those images as a file."""
    write_predictions(rows, tmp_path / "table.csv")
    return tmp_path / "table.csv"


def test_the_table_shows_value_interval_and_baseline(table: Path) -> None:
    result = run(table)
    assert result.exit_code == 0, result.output
    assert "60 images of 60 patients (25 covid, 35 normal); split: not stated" in result.output
    assert "Operating point: the decisions in the table" in result.output
    (line,) = [line for line in result.output.splitlines() if "Sensitivity" in line]
    _, name, value, baseline, _ = (cell.strip() for cell in line.split("│"))
    assert name == "Sensitivity (TPR)"
    assert value.startswith("0.800 [0.")
    assert baseline == "0.000"
    # By Bayes at 10 %: 0.1 · 20/25 against 0.9 · 3/35, and 0.9 · 32/35 against 0.1 · 5/25.
    (line,) = [line for line in result.output.splitlines() if "10%" in line]
    _, _, ppv, npv, _ = (cell.strip() for cell in line.split("│"))
    assert (ppv[:7], npv[:7]) == ("0.509 [", "0.976 [")


def test_anybodys_table_is_evaluated(tmp_path: Path) -> None:
    path = tmp_path / "foreign.csv"
    path.write_text("label,probability\n" + "1,0.9\n0,0.2\n1,0.4\n0,0.1\n" * 5)
    result = run(path)
    assert result.exit_code == 0, result.output
    assert "P(covid) ≥ 0.5 (default: none was given" in result.output
    assert "20 of 20 images name no patient and stand for themselves" in result.output
    assert "P(covid) ≥ 0.3 (given)" in run(path, "--threshold", 0.3).output


@pytest.mark.usefixtures("no_figures")
def test_out_holds_the_evidence_and_the_fingerprint_of_the_table(table: Path, tmp_path: Path) -> None:
    import hashlib

    result = run(table, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert document["data_fingerprint"] == hashlib.sha256(table.read_bytes()).hexdigest()
    assert document["confusion"]["rows"] == [[20, 5], [3, 32]]
    assert [one["prevalence"] for one in document["predictive_values"]] == [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert document["command"]
    again = run(table, "--out", tmp_path / "out")
    assert isinstance(again.exception, InputError)
    assert run(table, "--out", tmp_path / "out", "--force").exit_code == 0


def test_the_test_split_is_taken_where_there_are_several(tmp_path: Path, rows: list[Prediction]) -> None:
    path = tmp_path / "split.csv"
    write_predictions(
        [replace(row, split=Split.TRAIN if place % 2 else Split.TEST) for place, row in enumerate(rows)], path
    )
    assert "30 images of 30 patients" in (taken := run(path).output)
    assert "split: test" in taken
    assert "split: train" in run(path, "--split", "train").output
    everything = run(path, "--split", "all")
    assert "60 images" in everything.output
    assert "Note: Rows of several splits are pooled: test, train." in everything.output


def test_a_split_that_is_not_there_is_refused(tmp_path: Path, rows: list[Prediction], table: Path) -> None:
    path = tmp_path / "split.csv"
    write_predictions(
        [replace(row, split=Split.TRAIN if place % 2 else Split.VAL) for place, row in enumerate(rows)], path
    )
    for result in (run(path), run(table, "--split", "val")):
        assert isinstance(result.exception, PredictionsError)
        assert "choose one with --split" in str(result.exception)
    assert "(splits found: train, val)" in str(run(path).exception)


def test_one_modality_can_be_taken(tmp_path: Path, rows: list[Prediction]) -> None:
    path = tmp_path / "both.csv"
    both = [replace(row, modality=Modality.CT if place % 3 else Modality.CXR) for place, row in enumerate(rows)]
    write_predictions(both, path)
    assert "20 images" in run(path, "--modality", "cxr").output
    assert "Several modalities are pooled" in run(path).output


def test_sources_stand_one_below_the_other(tmp_path: Path, rows: list[Prediction]) -> None:
    path = tmp_path / "sources.csv"
    write_predictions([replace(row, source="[A]" if place % 2 else "B") for place, row in enumerate(rows)], path)
    result = run(path)
    assert "By source" in result.output
    assert "│ [A]" in result.output


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("as_run", [True, False])
def test_a_model_answers_a_manifest(tmp_path: Path, runs: dict[Modality, Path], *, as_run: bool) -> None:
    """Of its modality and of the test part, at its own operating point unless another is given."""
    run_folder, manifest = runs[Modality.CXR], tmp_path / "m.csv"
    table = read_manifest(run_folder / "manifest.csv")
    other = read_manifest(runs[Modality.CT] / "manifest.csv").records[-1]
    write_manifest(Manifest(table.root.parent, (*_beside(table), *_beside(table.replace([other])))), manifest)
    target = run_folder if as_run else run_folder / "model.duoscan"
    result = run(target, manifest, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "27 images of 27 patients (9 covid, 9 normal, 9 pneumonia); split: test" in result.output
    assert "P(covid) ≥ 0.5 (bundle)" in result.output
    tested = read_manifest(manifest).where(split=Split.TEST, modality=Modality.CXR)
    assert [row.path for row in read_predictions(tmp_path / "out" / "predictions.csv")] == [one.path for one in tested]
    document = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert document["data_fingerprint"] == tested.fingerprint()
    uses = {"use": 1, "models": 1, "before": 0, "test_set": "", "changed": 0, "note": ""}
    assert document["test_uses"] | {"test_set": ""} == uses
    again = run(target, manifest, "--threshold", 0.7).output
    assert "P(covid) ≥ 0.7 (given)" in again
    assert "Use 2 of this test set, by 1 model so far." in again
    assert "split: all" in run(target, manifest, "--split", "all").output


@pytest.mark.usefixtures("no_figures")
def test_a_run_that_keeps_its_manifest_needs_no_other(tmp_path: Path, runs: dict[Modality, Path]) -> None:
    result = run(runs[Modality.CXR], "--out", tmp_path / "out", "--by", "source")
    assert result.exit_code == 0, result.output
    assert "27 images of 27 patients (9 covid, 9 normal, 9 pneumonia); split: test" in result.output
    assert (tmp_path / "out" / "predictions.csv").exists()
    assert "By group" in result.output
    bare = run(runs[Modality.CXR] / "model.duoscan")
    assert "name the MANIFEST" in bare.output
    unknown = run(runs[Modality.CXR], "--by", "age")
    assert isinstance(unknown.exception, InputError)
    assert "--by age: no column of a manifest; use one of path, modality" in str(unknown.exception)


def _beside(table: Manifest) -> list[ImageRecord]:
    """The records as seen from the folder above."""
    return [one.model_copy(update={"path": f"{table.root.name}/{one.path}"}) for one in table]


def test_a_model_needs_a_manifest_and_a_table_none(table: Path, tmp_path: Path) -> None:
    model = run(tmp_path)
    assert model.exit_code == 2
    assert "name the MANIFEST" in model.output
    both = run(table, table)
    assert both.exit_code == 2
    assert "needs no MANIFEST" in both.output
    modality = run(tmp_path, table, "--modality", "ct")
    assert modality.exit_code == 2
    assert "a model answers the images of its own modality" in modality.output


def test_numbers_on_the_screen_load_no_heavy_library(table: Path) -> None:
    code = (
        "import sys; from duoscan.interfaces.cli.evaluate import evaluate_command; "
        "evaluate_command.main([sys.argv[1], '--resamples', '100'], standalone_mode=False); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'matplotlib', 'sklearn', 'scipy', 'pandas')))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(table)], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_per_patient_joins_slices_as_screening_does(tmp_path: Path) -> None:
    # CT takes the mean of the three highest: patient a 0.8, b 0.2. Per image the two classes overlap.
    table = tmp_path / "p.csv"
    slices = {"a": (1, (0.9, 0.8, 0.7, 0.0)), "b": (0, (0.2, 0.2, 0.2, 0.1))}
    rows = [f"{name},ct,{label},{p}" for name, (label, chances) in slices.items() for p in chances]
    table.write_text("\n".join(["patient_id,modality,label,probability", *rows]) + "\n", encoding="utf-8")
    result = run(table, "--per-patient")
    assert "2 images of 2 patients (1 covid, 1 other)" in result.output
    (line,) = [line for line in result.output.splitlines() if "AUROC  " in line]
    assert "1.000" in line


def test_per_patient_needs_a_modality(tmp_path: Path) -> None:
    table = tmp_path / "p.csv"
    table.write_text("patient_id,label,probability\na,1,0.9\nb,0,0.1\n", encoding="utf-8")
    result = run(table, "--per-patient")
    assert isinstance(result.exception, PredictionsError)
    assert "--per-patient needs rows of one stated modality" in str(result.exception)


@pytest.mark.usefixtures("no_figures")
def test_a_stated_prevalence_moves_probability_ppv_and_npv(tmp_path: Path, rows: list[Prediction]) -> None:
    labels = [Finding.COVID] * 2 + [Finding.NORMAL] * 8
    validation = [replace(rows[0], path=f"{place}", split=Split.VAL, label=label) for place, label in enumerate(labels)]
    path = tmp_path / "split.csv"
    tested = [replace(row, probability=0.8 if row.probability else 0.3, split=Split.TEST) for row in rows]
    write_predictions([*tested, *validation], path)
    result = run(path, "--prevalence", 0.1, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    # By Bayes at 10 %: 0.1 · 20/25 against 0.9 · 3/35, and 0.9 · 32/35 against 0.1 · 5/25.
    assert "At the stated prevalence of 0.1: PPV 0.509 [" in result.output
    assert "NPV 0.976 [" in result.output
    assert "prevalence of 0.200, that of the labelled validation rows of split.csv" in result.output
    shift = json.loads((tmp_path / "out" / "metrics.json").read_text())["prior_shift"]
    assert (shift["was"], shift["prevalence"]) == (0.2, 0.1)
    assert shift["ppv"]["value"] == pytest.approx(0.08 / (0.08 + 0.9 * 3 / 35))
    with (tmp_path / "out" / "at-prevalence.csv").open(encoding="utf-8") as stream:
        moved = list(csv.DictReader(stream))
    assert [line["path"] for line in moved] == [row.path for row in rows]
    for line in moved:  # the odds fall from 1 : 4 to 1 : 9
        before, after = float(line["probability"]), float(line["probability_at_prevalence"])
        assert after / (1 - after) == pytest.approx(before / (1 - before) * 4 / 9)
    run(path, "--out", tmp_path / "out", "--force")
    assert not (tmp_path / "out" / "at-prevalence.csv").exists()


def test_without_validation_rows_the_prior_is_to_be_stated(table: Path, tmp_path: Path) -> None:
    """How common covid is among the measured rows has no part in what P(covid) was fitted at."""
    refused = run(table, "--prevalence", 0.1).exception
    assert isinstance(refused, InputError)
    assert "State it with --prior" in str(refused)
    output = run(table, "--prevalence", 0.1, "--prior", 0.25).output
    assert "right at a prevalence of 0.250, that of the prior, as stated" in output
    assert "say with --prevalence where to" in run(table, "--prior", 0.25).output


def test_the_prevalence_of_patients_is_not_that_of_their_images(tmp_path: Path) -> None:
    table = tmp_path / "p.csv"
    images = [("test", "a", 1, 0.9), ("test", "b", 0, 0.2), ("val", "d", 0, 0.1)] + [("val", "c", 1, 0.9)] * 3
    lines = [f"{split},{patient},ct,{label},{p}" for split, patient, label, p in images]
    table.write_text("\n".join(["split,patient_id,modality,label,probability", *lines]) + "\n", encoding="utf-8")
    assert "right at a prevalence of 0.750" in run(table, "--prevalence", 0.1).output
    assert "right at a prevalence of 0.500" in run(table, "--prevalence", 0.1, "--per-patient").output
