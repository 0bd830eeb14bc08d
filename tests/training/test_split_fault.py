"""Patients whose label is a coin toss: nothing can be learned by patient, but everything by knowing them again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from duoscan.audit.ledger import beside, read_uses
from duoscan.errors import InputError, ManifestError
from duoscan.interfaces.cli.split_fault import split_fault_command
from duoscan.interfaces.cli.train import train_command
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.manifest.splits import split_by_patient
from duoscan.manifest.table import write_manifest
from duoscan.terms import Split
from duoscan.training.recipe import Recipe
from duoscan.training.split_fault import show_split_fault

RECIPE = Recipe.model_validate(
    {
        "name": "memoriser",
        "modality": "ct",
        "classes": ["covid", "other"],
        "model": {"backbone": "plain:tiny", "pretrained": False, "dropout": 0, "hidden": [{"units": 64}]},
        "input": {"size": 16, "crop_borders": False},
        "augment": {"rotate_deg": 0, "min_area": 1, "aspect_jitter": 0, "brightness": 0, "contrast": 0, "gamma": 0},
        "optimise": {"epochs": 40, "batch_size": 16, "learning_rate": 0.01, "patience": 40, "amp": "off", "ema": 0.0},
    }
)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """40 patients of 8 images each; a patient is a fixed pattern plus noise, and pattern and label are unrelated."""
    rng = np.random.default_rng(0)
    records = []
    for patient in range(40):
        pattern = rng.random((4, 4)).repeat(8, 0).repeat(8, 1)
        for image in range(8):
            grey = (pattern + rng.normal(0, 0.05, pattern.shape)).clip(0, 1)
            path = f"{patient}-{image}.png"
            Image.fromarray((grey * 255).astype(np.uint8)).save(tmp_path / path)
            label = "covid" if patient % 2 else "other"
            records.append(ImageRecord(path=path, modality="ct", label=label, patient_id=f"p{patient}"))
    return split_by_patient(
        Manifest(tmp_path, tuple(records)), {Split.TRAIN: 0.5, Split.VAL: 0.2, Split.TEST: 0.3}, seed=0
    )


@pytest.mark.slow
def test_the_fault_flatters_a_model_that_learned_nothing(manifest: Manifest, tmp_path: Path) -> None:
    fault = show_split_fault(manifest, RECIPE, tmp_path / "runs")
    # By patient the truth is a coin toss; by image the patients are known again.
    assert fault.by_patient.metrics["auroc"].value < 0.75
    assert fault.by_image.metrics["auroc"].value > 0.85
    low = fault.added["accuracy"].low
    assert low is not None
    assert low > 0
    assert fault.shared_units > 20
    assert len(fault.to_json()["added"]) == 4
    again = show_split_fault(manifest, RECIPE, tmp_path / "runs")  # finished runs are read, not trained again
    assert again.to_json() == fault.to_json()


def test_a_crossing_manifest_has_no_honest_side(manifest: Manifest, tmp_path: Path) -> None:
    crossing = manifest.records[0].model_copy(update={"split": Split.TRAIN})
    others = [record.model_copy(update={"split": Split.TEST}) for record in manifest.records[1:]]
    with pytest.raises(ManifestError, match="p0"):
        show_split_fault(manifest.replace([crossing, *others]), RECIPE, tmp_path / "runs")


@pytest.mark.parametrize("command", ["split-fault", "train"])
def test_measuring_on_the_test_part_is_a_use_once_it_is_measured(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    trained = []

    def train(*arguments: object) -> SimpleNamespace:
        trained.append(arguments)
        if len(trained) == 1:
            raise InputError("stop here")
        return SimpleNamespace(added={}, shared_units=0, to_json=dict)

    monkeypatch.setattr("duoscan.training.split_fault.show_split_fault", train)
    monkeypatch.setattr("duoscan.training.crossval.cross_validate", train)
    table = tmp_path / "m.csv"
    write_manifest(manifest, table)
    asked = [str(table), "--recipe", "compact", "--run", str(tmp_path / "run")]
    called, folds = (train_command, ["--folds", "3"]) if command == "train" else (split_fault_command, [])
    assert "stop here" in str(CliRunner().invoke(called, [*asked, *folds]).exception)
    assert read_uses(beside(table)) == []
    for seed, said in (("1", "Use 1 of this test set, by 1 model"), ("2", "Use 2 of this test set, by 2 models")):
        result = CliRunner().invoke(called, [*asked, *folds, "--set", f"seed={seed}"])
        assert said in result.output, result.output
    (first, _) = read_uses(beside(table))
    assert (first.kind, first.rows) == ("ct", len(manifest.where(split=Split.TEST)))
    test_rows = manifest.where(split=Split.TEST).records
    write_manifest(manifest.replace([one for one in manifest if one is not test_rows[0]]), table)
    locked = CliRunner().invoke(called, [*asked, *folds])
    assert "is locked" in str(locked.exception), "before hours are spent"
    assert len(trained) == 3
