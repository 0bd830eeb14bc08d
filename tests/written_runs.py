"""Runs written by hand: a model that calls bright images positive, nothing trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from duoscan.inference.bundle import Provenance, write_bundle
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.manifest.table import write_manifest
from duoscan.terms import Finding, Modality, Split
from duoscan.training.recipe import Recipe
from stand_ins import brightness_graph, brightness_info, write_png

HISTORY = """epoch,learning_rate,train_loss,train_accuracy,val_loss,val_accuracy,val_auroc
0,0.001,0.70,0.50,0.69,0.55,0.60
1,0.002,0.60,0.65,0.62,0.70,0.75
2,0.001,0.50,0.75,0.66,0.65,0.74
"""
SLICES = 2
LABELS = (Finding.COVID, Finding.NORMAL, Finding.PNEUMONIA)


def recipe(modality: Modality) -> Recipe:
    return Recipe.model_validate(
        {
            "name": f"bright-{modality}",
            "modality": modality,
            "classes": ["covid", "other"],
            "model": {"backbone": "plain:tiny", "pretrained": False},
            "data": {"merge": {"normal": "other", "pneumonia": "other"}},
        }
    )


def cohort(root: Path, source: str, modality: Modality) -> Manifest:
    """54 patients: 18 train, 9 val, 27 test; one X-ray each or two slices. Covid is bright, one in six is not told."""
    records = []
    for number in range(54):
        label = LABELS[number % 3]
        is_bright = (label is Finding.COVID) != (number % 6 == 5)
        split = Split.TRAIN if number < 18 else Split.VAL if number < 27 else Split.TEST
        for image in range(SLICES if modality is Modality.CT else 1):
            mean = (0.53 if is_bright else 0.47) + 0.002 * (number % 7) + 0.001 * image
            path = f"{modality}/{number:02d}-{image}.png"
            write_png(root / path, mean, size=40)
            records.append(
                ImageRecord(
                    path=path,
                    modality=modality,
                    label=label,
                    source=f"{source}-{number % 2}",
                    patient_id=f"p{number:02d}",
                    split=split,
                    license="CC0",
                )
            )
    return Manifest(root, tuple(records))


def write_run(folder: Path, manifest: Manifest) -> Path:
    """A finished run folder as ``duoscan train`` leaves it."""
    modality = manifest.records[0].modality
    provenance = Provenance(
        duoscan_version="0",
        recipe=recipe(modality).model_dump(mode="json"),
        data_fingerprint=manifest.fingerprint(),
        data_summary={"all/covid": {"images": 6, "patients_or_blocks": 6}},
        licences=("images: CC0",),
        metrics={"member-1": {"epoch": 1}, "member-2": {"epoch": 0}},
        parity=1e-6,
    )
    folder.mkdir(parents=True)
    info = brightness_info(modality, name=f"bright-{modality}", provenance=provenance)
    write_bundle(folder / "model.duoscan", info, brightness_graph())
    write_manifest(manifest, folder / "manifest.csv")
    (folder / "history.csv").write_text(HISTORY)
    (folder / "member-2").mkdir()
    (folder / "member-2" / "history.csv").write_text("\n".join(HISTORY.splitlines()[:2]))
    (folder / "recipe.toml").write_text(f'name = "bright-{modality}"\n')
    (folder / "environment.json").write_text(json.dumps({"python": "3.11", "command": "duoscan train cohort.csv"}))
    (folder / "run.json").write_text("{}")
    return folder


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[Modality, Path]:
    """One run a modality on phantoms of the same patients."""
    root = tmp_path_factory.mktemp("phantoms")
    return {kind: write_run(root / f"run-{kind}", cohort(root, "phantom", kind)) for kind in Modality}


@pytest.fixture(scope="session")
def hospital_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on images that are not phantoms, from a source with a hostile name."""
    root = tmp_path_factory.mktemp("hospital")
    return write_run(root / "run-<b>bold</b>", cohort(root, "<script>alert(1)</script>", Modality.CXR))
