"""A whole run on generated images: bright is covid, so a tiny network learns it in seconds."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from duoscan.errors import InputError, ManifestError
from duoscan.formats.reader import read_image
from duoscan.imaging.preprocess import preprocess
from duoscan.inference.bundle import read_bundle
from duoscan.inference.predictor import Predictor, predict_manifest
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.manifest.table import write_manifest
from duoscan.predictions import read_predictions
from duoscan.terms import Finding, Split
from duoscan.training.crossval import cross_validate
from duoscan.training.loop import learning_rate_factor
from duoscan.training.recipe import OptimiseSection, Recipe
from duoscan.training.run import train
from stand_ins import write_png

RECIPE = Recipe.model_validate(
    {
        "name": "tiny",
        "modality": "ct",
        "classes": ["covid", "other"],
        "model": {"backbone": "plain:tiny", "pretrained": False, "dropout": 0.1},
        "input": {"size": 32, "crop_borders": False},
        "optimise": {"epochs": 4, "batch_size": 8, "learning_rate": 0.02, "warmup_epochs": 1, "amp": "off"},
    }
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """48 images, one a patient: 24 train, 12 val, 12 test; every other one covid and bright."""
    root = tmp_path_factory.mktemp("images")
    records = []
    for index in range(48):
        covid = index % 2 == 0
        mean = (0.6 if covid else 0.4) + 0.05 * np.sin(index)
        write_png(root / f"{index:02d}.png", mean, size=40 + index % 3)
        split = Split.TRAIN if index < 24 else Split.VAL if index < 36 else Split.TEST
        label = Finding.COVID if covid else Finding.OTHER
        record = {"path": f"{index:02d}.png", "modality": "ct", "label": label, "source": f"s{index % 3}"}
        records.append(ImageRecord.model_validate(record | {"patient_id": f"p{index}", "split": split}))
    return Manifest(root, tuple(records))


@pytest.fixture(scope="module")
def run(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(manifest, RECIPE, folder)
    return folder


def test_the_run_is_complete_and_learns(run: Path, manifest: Manifest) -> None:
    assert {path.name for path in run.iterdir()} >= {
        "recipe.toml", "manifest.csv", "environment.json", "checkpoint.pt", "history.csv", "logs",
        "predictions-val.csv", "model.duoscan", "run.json",
    }  # fmt: skip
    assert list((run / "logs").glob("events.out.tfevents.*"))
    assert len((run / "history.csv").read_text(encoding="utf-8").splitlines()) == 1 + 4
    rows = predict_manifest(run / "model.duoscan", manifest.where(split=Split.TEST))
    right = [(row.decision == "positive") == (row.label == Finding.COVID) for row in rows]
    assert sum(right) >= 11
    assert len(read_predictions(run / "predictions-val.csv")) == 12


def test_the_activation_map_explains_the_logit(run: Path, manifest: Manifest) -> None:
    bundle = read_bundle(run / "model.duoscan")
    predictor = Predictor(bundle, check_quality=False)
    batch = np.stack([preprocess(read_image(manifest.file(r)), bundle.info.contract) for r in manifest.records[:6]])
    logits, activation = predictor._runtime.run(batch)[:2]
    # Mean over places plus the head's bias is the logit, so the difference is the same for every image.
    bias = logits - activation.mean(axis=(2, 3))
    np.testing.assert_allclose(bias, np.broadcast_to(bias[0], bias.shape), atol=1e-4)


def test_provenance_and_thresholds(run: Path) -> None:
    info = read_bundle(run / "model.duoscan").info
    assert info.provenance.recipe["optimise"]["epochs"] == 4
    assert info.provenance.parity < 1e-4
    points = {"argmax", "youden", "sensitivity"}
    assert set(info.operating_points) == points | {f"study-{point}" for point in points}
    # One image a patient here, so that images and studies are the same thing.
    assert info.study_threshold == info.threshold
    assert info.provenance.data_summary["s0/covid"] == {"images": 4, "patients_or_blocks": 4}


def test_a_finished_run_is_never_edited(run: Path, manifest: Manifest) -> None:
    before = (run / "model.duoscan").read_bytes()
    with pytest.raises(InputError, match="holds a finished run"):
        train(manifest, RECIPE, run)
    assert (run / "model.duoscan").read_bytes() == before


def test_another_recipe_does_not_take_up_a_run(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"recipe": {}, "data_fingerprint": ""}), encoding="utf-8")
    with pytest.raises(InputError, match="another recipe or other data"):
        train(manifest, RECIPE, tmp_path)


def test_a_foreign_folder_is_left_alone(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="not empty and not a run"):
        train(manifest, RECIPE, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_patient_in_two_splits_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    crossing = manifest.records[0].model_copy(update={"patient_id": "p47"})
    with pytest.raises(ManifestError, match="p47"):
        train(manifest.replace([crossing, *manifest.records[1:]]), RECIPE, tmp_path / "run")


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(run: Path, manifest: Manifest, tmp_path: Path) -> None:
    """kill -9 after the first checkpoint, somewhere in a later epoch; then take the run up."""
    table = tmp_path / "manifest.csv"
    write_manifest(manifest, table)
    folder = tmp_path / "killed"
    slow = (
        "import sys, time, pathlib; from duoscan.manifest.table import read_manifest;"
        "from duoscan.training import run as r; from duoscan.training.recipe import Recipe;"
        f"recipe = Recipe.model_validate_json({RECIPE.model_dump_json()!r});"
        "from duoscan.training.watcher import TrainingWatcher; w = TrainingWatcher(on_tick=lambda: time.sleep(0.05));"
        "r.train(read_manifest(pathlib.Path(sys.argv[1])), recipe, pathlib.Path(sys.argv[2]), w)"
    )
    with subprocess.Popen([sys.executable, "-c", slow, str(table), str(folder)]) as process:
        for _ in range(1200):
            if (folder / "checkpoint.pt").exists() or process.poll() is not None:
                break
            time.sleep(0.05)
        time.sleep(0.07)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "model.duoscan").exists()
    from duoscan.manifest.table import read_manifest

    train(read_manifest(table), RECIPE, folder)
    one, two = (torch.load(path / "checkpoint.pt", weights_only=True) for path in (run, folder))
    for part in ("network", "averaged", "best_state"):
        for name, value in one[part].items():
            assert torch.equal(value, two[part][name]), f"{part}.{name}"
    assert read_bundle(run / "model.duoscan").digest == read_bundle(folder / "model.duoscan").digest


def test_members_come_from_further_seeds(manifest: Manifest, tmp_path: Path) -> None:
    short = RECIPE.optimise.model_copy(update={"epochs": 1})
    two = RECIPE.model_copy(update={"optimise": short, "model": RECIPE.model.model_copy(update={"members": 2})})
    info = train(manifest, two, tmp_path / "run").info
    assert set(info.provenance.metrics) == {"member-1", "member-2", "operating_points"}
    first, second = (
        torch.load(tmp_path / "run" / name, weights_only=True)["best_state"]["head.last.weight"]
        for name in ("checkpoint.pt", "member-2/checkpoint.pt")
    )
    assert not torch.equal(first, second)


def test_cross_validation_answers_every_image_once(manifest: Manifest, tmp_path: Path) -> None:
    quick = RECIPE.model_copy(update={"optimise": RECIPE.optimise.model_copy(update={"epochs": 1})})
    rows = read_predictions(cross_validate(manifest, quick, tmp_path, folds=3))
    assert sorted(row.path for row in rows) == [record.path for record in manifest]
    assert all(row.split is Split.TEST for row in rows)


@pytest.mark.parametrize(
    ("step", "section", "expected"),
    [
        (0, {"warmup_epochs": 2, "schedule": "constant"}, 1 / 20),
        (50, {"warmup_epochs": 0, "schedule": "constant"}, 1.0),
        # Half of the way down a cosine from 1 to 0.
        (50, {"warmup_epochs": 0, "epochs": 10}, 0.5),
        (100, {"warmup_epochs": 0, "epochs": 10}, 0.0),
        # System 1: ×0.96 every 40 steps.
        (85, {"warmup_epochs": 0, "schedule": "exponential"}, 0.96**2),
    ],
)
def test_learning_rate_by_hand(step: int, section: dict[str, object], expected: float) -> None:
    assert learning_rate_factor(step, 10, OptimiseSection.model_validate(section)) == pytest.approx(expected)
