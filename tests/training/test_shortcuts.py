"""Shortcuts planted by hand: what the audit must find, and what it must leave alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

from duoscan.audit.ledger import beside, read_uses
from duoscan.audit.result import Level
from duoscan.audit.storage import read_shortcuts
from duoscan.errors import ManifestError
from duoscan.evaluation.retained import Retained
from duoscan.imaging.contract import PreprocessingContract
from duoscan.interfaces.cli.shortcuts import RESULT_NAME, shortcuts_command
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.manifest.table import read_manifest, write_manifest
from duoscan.terms import Finding, Modality, Split
from duoscan.training.backbones import Backbone
from duoscan.training.shortcuts.audit import CONTROL, Scores, audit_shortcuts, quick_scores
from duoscan.training.shortcuts.features import (
    BORDERS,
    HISTOGRAM,
    LUNGS_ERASED,
    LUNGS_ONLY,
    WHOLE,
    ProbeFeatures,
    probe_features,
)
from duoscan.training.shortcuts.learned import dealt_anew

PATIENTS = 120
CONTRACT = PreprocessingContract(modality=Modality.CXR, height=64, width=64, crop_borders=False)


def record(number: int, *, covid: bool, split: Split | None, **changes: object) -> ImageRecord:
    label = Finding.COVID if covid else Finding.NORMAL
    fields = {"path": f"{number}.png", "modality": "cxr", "label": label, "patient_id": f"p{number}", "split": split}
    return ImageRecord.model_validate(fields | changes)


def split_of(number: int) -> Split:
    return Split.TRAIN if number % 4 < 2 else Split.VAL if number % 4 == 2 else Split.TEST


def features(rng: np.random.Generator, telling: dict[str, float]) -> ProbeFeatures:
    """Gaussian features, one of eight columns moved by so many standard deviations where covid."""
    records = tuple(
        record(number, covid=number // 4 % 2 == 0, split=split_of(number), source=f"s{number // 8 % 2}")
        for number in range(PATIENTS * 4)
    )
    covid = np.array([one.label is Finding.COVID for one in records])
    by_probe = {}
    for name, shift in telling.items():
        values = rng.normal(size=(len(records), 8))
        values[covid, 3] += shift
        by_probe[name] = values.astype(np.float32)
    return ProbeFeatures(records, by_probe)


def test_a_marker_on_the_border_fails_the_audit() -> None:
    made = features(np.random.default_rng(1), {WHOLE: 3.0, BORDERS: 3.0, HISTOGRAM: 0.0})
    result = audit_shortcuts(quick_scores(made, 0), made)
    assert result.level is Level.FAIL
    assert any("without any lung" in reason for reason in result.reasons)
    probes = result.facts["probes"]
    # Both are told apart by the same shift, so about all of the skill is retained.
    assert probes[BORDERS]["retained"]["value"] == pytest.approx(1.0, abs=0.1)
    assert probes[HISTOGRAM]["auroc"]["low"] < 0.5 < probes[HISTOGRAM]["auroc"]["high"]
    assert result.facts[CONTROL]["low"] < 0.55


def test_disease_inside_the_image_passes() -> None:
    made = features(
        np.random.default_rng(2), {WHOLE: 3.0, BORDERS: 0.0, HISTOGRAM: 0.0, LUNGS_ERASED: 0.0, LUNGS_ONLY: 3.0}
    )
    result = audit_shortcuts(quick_scores(made, 0), made)
    assert result.level is Level.PASS, result.reasons
    assert result.facts["probes"][LUNGS_ONLY]["retained"]["value"] > 0.9


def test_without_any_skill_there_is_nothing_to_retain() -> None:
    made = features(np.random.default_rng(3), {WHOLE: 0.0, BORDERS: 0.0, HISTOGRAM: 0.0})
    result = audit_shortcuts(quick_scores(made, 0))
    assert result.level is Level.WARN
    assert any("no skill" in reason for reason in result.reasons)


def test_a_control_that_is_not_at_chance_fails() -> None:
    records = tuple(record(number, covid=number % 2 == 0, split=None) for number in range(200))
    perfect = np.array([number % 2 == 0 for number in range(200)], dtype=float)
    rng = np.random.default_rng(0)
    labels = rng.random(200) < 0.5
    scores = Scores(
        records, {WHOLE: perfect + rng.normal(0, 0.1, 200)}, labels + rng.normal(0, 0.1, 200), labels, "by hand"
    )
    result = audit_shortcuts(scores)
    assert result.level is Level.FAIL
    assert "not chance" in result.reasons[0]


def test_retained_skill_by_hand() -> None:
    # Two of either class. Whole: all four pairs in order, AUROC 1. Probe: three of four, 0.75. So half of the skill.
    reference = np.array([True, True, False, False])
    whole = np.array([4.0, 3.0, 2.0, 1.0])
    probe = np.array([4.0, 2.0, 3.0, 1.0])
    found = Retained(reference, probe, whole)(np.ones((1, 4)))
    assert found["auroc"][0] == pytest.approx(0.75)
    assert found["retained"][0] == pytest.approx(0.5)


def test_labels_are_dealt_out_by_patient_and_split() -> None:
    records = [
        record(
            number,
            covid=number % 3 == 0,
            split=split_of(number // 2),
            patient_id=f"p{number // 6}-{split_of(number // 2)}",
        )
        for number in range(240)
    ]
    dealt = dealt_anew(records, seed=5)
    by_patient: dict[str, set[Finding | None]] = {}
    for one in dealt:
        by_patient.setdefault(one.unit, set()).add(one.label)
    assert all(len(labels) == 1 for labels in by_patient.values())
    assert [one.path for one in dealt] == [one.path for one in records]
    assert dealt_anew(records, seed=5) == dealt


def test_a_split_by_image_adds_where_patients_look_alike() -> None:
    # The class cannot be seen, but each patient has ten images around a point of its own.
    rng = np.random.default_rng(4)
    records = tuple(
        record(number, covid=number // 10 % 2 == 0, split=None, patient_id=f"p{number // 10}") for number in range(600)
    )
    points = rng.normal(size=(60, 40)).repeat(10, axis=0)
    made = ProbeFeatures(records, {WHOLE: (points + 0.1 * rng.normal(size=points.shape)).astype(np.float32)})
    added = audit_shortcuts(quick_scores(made, 0), made).facts["split_by_image"]["added"]
    assert added["low"] > 0.2


def test_another_source_with_another_sign_leaves_nothing() -> None:
    # In source a the class moves column 0, in source b column 1.
    rng = np.random.default_rng(6)
    records = tuple(
        record(number, covid=number % 2 == 0, split=None, source="ab"[number // 2 % 2]) for number in range(400)
    )
    values = rng.normal(size=(400, 4))
    for number, one in enumerate(records):
        if one.label is Finding.COVID:
            values[number, 0 if one.source == "a" else 1] += 3.0
    made = ProbeFeatures(records, {WHOLE: values.astype(np.float32)})
    matrix = audit_shortcuts(quick_scores(made, 0), made).facts["sources"]["matrix"]
    assert matrix["a"]["a"]["value"] > 0.95
    assert matrix["b"]["b"]["value"] > 0.95
    assert matrix["a"]["b"]["low"] < 0.5 < matrix["a"]["b"]["high"]


def test_one_class_is_refused() -> None:
    records = tuple(record(number, covid=True, split=None) for number in range(30))
    with pytest.raises(ManifestError, match="at least ten of either"):
        quick_scores(ProbeFeatures(records, {WHOLE: np.zeros((30, 2), np.float32)}), 0)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """96 noisy pictures; where covid, a bright strip along the upper border; a lung mask in the middle."""
    rng = np.random.default_rng(0)
    records = []
    lung = np.zeros((64, 64), np.uint8)
    lung[20:44, 12:52] = 255
    Image.fromarray(lung).save(tmp_path / "lung.png")
    for number in range(96):
        covid = number // 4 % 2 == 0
        grey = rng.normal(0.5, 0.1, (64, 64))
        if covid:
            grey[:6, :24] = 1.0
        Image.fromarray((grey.clip(0, 1) * 255).astype(np.uint8)).save(tmp_path / f"{number}.png")
        records.append(record(number, covid=covid, split=split_of(number), lung_mask="lung.png"))
    return Manifest(tmp_path, tuple(records))


@pytest.fixture
def backbone(monkeypatch: pytest.MonkeyPatch) -> str:
    """One convolution with fixed random weights in place of a trained network."""

    def build(_name: str, *, pretrained: bool, size: int) -> Backbone:
        assert pretrained
        torch.manual_seed(0)
        return Backbone(nn.Sequential(nn.Conv2d(3, 16, 5, stride=4), nn.ReLU()).eval(), 16, 3, "")

    monkeypatch.setattr("duoscan.training.shortcuts.features.build_backbone", build)
    return "one-convolution"


def test_features_of_every_probe_are_made_once(manifest: Manifest, backbone: str, tmp_path: Path) -> None:
    ticks: list[int] = []
    made = probe_features(manifest, CONTRACT, backbone, tmp_path / "cache", lambda: ticks.append(1))
    assert set(made.by_probe) == {WHOLE, BORDERS, "thumbnail", HISTOGRAM, LUNGS_ERASED, LUNGS_ONLY}
    assert all(len(values) == 96 for values in made.by_probe.values())
    assert len(ticks) == 96
    np.testing.assert_allclose(made.by_probe[HISTOGRAM].sum(axis=1), 1.0, rtol=1e-5)
    again = probe_features(manifest, CONTRACT, backbone, tmp_path / "cache", lambda: ticks.append(1))
    assert len(ticks) == 96
    np.testing.assert_array_equal(again.by_probe[WHOLE], made.by_probe[WHOLE])


def test_the_command_finds_the_marker(manifest: Manifest, backbone: str, tmp_path: Path) -> None:
    write_manifest(manifest, tmp_path / "m.csv")
    small = ["--set", "input.size=64", "--set", "input.crop_borders=false"]
    arguments = [str(tmp_path / "m.csv"), "--backbone", backbone, "--run", str(tmp_path / "run"), *small]
    result = CliRunner().invoke(shortcuts_command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "Use 1 of this test set, by 0 models so far" in result.output
    (use,) = read_uses(beside(tmp_path / "m.csv"))
    assert (use.kind, use.model) == ("cxr", "")
    found = read_shortcuts(tmp_path / "run" / RESULT_NAME)
    assert found.modality is Modality.CXR
    assert found.result.level is Level.FAIL
    found.check_rows(read_manifest(tmp_path / "m.csv"), tmp_path)
    probes = json.loads((tmp_path / "run" / RESULT_NAME).read_text())["result"]["facts"]["probes"]
    assert probes[BORDERS]["auroc"]["value"] > 0.9
    assert probes[LUNGS_ONLY]["auroc"]["low"] < 0.5
