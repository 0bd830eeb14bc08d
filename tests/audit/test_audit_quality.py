"""Planted faults are counted by reason, and phantoms raise no alarm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from duoscan.audit.quality import audit_quality
from duoscan.audit.result import Level
from duoscan.manifest.records import Manifest
from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.plan import PhantomOptions

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = PhantomOptions(patients=4, seed=5, slices=3, ct_size=96, xray_size=128)


def test_phantoms_are_fit_and_each_is_reported(tmp_path: Path) -> None:
    manifest = write_cohort(OPTIONS, tmp_path)
    calls: list[None] = []
    result = audit_quality(manifest, on_image=lambda: calls.append(None))
    assert result.level is Level.PASS
    assert len(calls) == len(manifest)


@pytest.mark.parametrize("seed", range(20))
def test_clean_cohorts_raise_no_alarm(tmp_path: Path, seed: int) -> None:
    options = PhantomOptions(patients=2, seed=seed, slices=3, ct_size=96, xray_size=128)
    result = audit_quality(write_cohort(options, tmp_path))
    assert (result.level, result.facts["unfit"]) == (Level.PASS, 0)


def test_planted_turns_negatives_and_pages_are_named(tmp_path: Path) -> None:
    manifest = write_cohort(OPTIONS, tmp_path)
    changed = []
    for record in manifest.where(modality="cxr"):
        with Image.open(manifest.file(record)) as image:
            grey = np.asarray(image.convert("L"))
        for kind, values in {"turned": np.rot90(grey), "negative": 255 - grey}.items():
            name = f"{kind}-{len(changed)}.png"
            Image.fromarray(np.ascontiguousarray(values)).save(tmp_path / name)
            changed.append(record.model_copy(update={"path": name}))
    result = audit_quality(Manifest(manifest.root, (*manifest.records, *changed)))
    assert result.level is Level.WARN
    # Four X-rays, each once on its side and once as a negative.
    assert result.facts["by_reason"] == {"rotated": 4, "inverted": 4}
    assert {row[0].split("-")[0] for row in result.tables[0].rows} == {"turned", "negative"}


def test_a_pool_finds_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write_cohort(OPTIONS, tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    added = manifest.records[0].model_copy(update={"path": "broken.png"})
    table = Manifest(manifest.root, (added, *manifest.records))
    alone = audit_quality(table, workers=1)
    monkeypatch.setattr("duoscan.audit.quality._WORTH_A_POOL", 1)
    assert audit_quality(table, workers=2) == alone
    assert alone.facts["by_reason"] == {"unreadable": 1}


def test_few_unfit_images_are_shown_without_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write_cohort(OPTIONS, tmp_path)
    # 16 images; with 1 of them unfit the share is 6 %.
    answers = iter(["blurred: so"] + [None] * (len(manifest) - 1))
    monkeypatch.setattr("duoscan.audit.quality.why_refused", lambda *_: next(answers))
    monkeypatch.setattr("duoscan.audit.quality.FEW", 0.07)
    result = audit_quality(manifest, workers=1)
    assert (result.level, result.facts["unfit"]) == (Level.PASS, 1)
    assert result.tables[0].rows[0][1] == "blurred: so"


def test_faults_are_counted_by_reason(tmp_path: Path) -> None:
    manifest = write_cohort(OPTIONS, tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (128, 128), dtype=np.uint8)
    planted = {"black.png": np.zeros((128, 128), np.uint8), "tiny.png": noise[:50], "noise.png": noise}
    for name, values in planted.items():
        Image.fromarray(values).save(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    first = manifest.records[0]
    added = tuple(first.model_copy(update={"path": name}) for name in (*planted, "broken.png"))
    result = audit_quality(Manifest(manifest.root, (*manifest.records, *added)))
    assert result.level is Level.WARN
    assert sum(result.facts["by_reason"].values()) == result.facts["unfit"] == 4
    assert result.facts["by_reason"]["too small"] == 1
    assert result.facts["by_reason"]["noise"] == 1
    assert result.facts["images"] == len(manifest) + 4


def test_an_empty_manifest_is_no_pass(tmp_path: Path) -> None:
    assert audit_quality(Manifest(tmp_path)).level is Level.NOT_RUN
