"""The recipes of the two published systems on real images, for one epoch of a few: a smoke run, not a result."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import ResNetConfig

from duoscan.inference.bundle import read_bundle
from duoscan.inference.predictor import predict_manifest
from duoscan.manifest.readers.foreign_table import from_table
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.terms import Modality, Split
from duoscan.training.recipe import Recipe, read_recipe
from duoscan.training.run import train


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What each recipe needs where no hub can be reached: untrained weights of the same layers."""
    resnet152 = tmp_path_factory.mktemp("resnet-152")
    ResNetConfig(depths=[3, 8, 36, 3], layer_type="bottleneck").save_pretrained(resnet152)
    return {
        "seed1-xray": ["model.pretrained=false"],
        "seed1-ct": ["model.pretrained=false", f"model.backbone={resnet152}"],
    }


def few(manifest: Manifest, recipe: Recipe) -> Manifest:
    """The first patients of each class, one image each: four to train, two to validate, one to test."""
    parts = [Split.TRAIN] * 4 + [Split.VAL] * 2 + [Split.TEST]
    chosen: list[ImageRecord] = []
    for finding in recipe.classes:
        labels = {finding, *(label for label, target in recipe.data.merge.items() if target is finding)}
        patients = {record.unit: record for record in manifest if record.label in labels}
        for record, split in zip(patients.values(), parts, strict=False):
            chosen.append(record.model_copy(update={"split": split}))
    assert len(chosen) == 7 * len(recipe.classes)
    return manifest.replace(chosen)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["seed1-xray", "seed1-ct", "seed2-xray", "seed2-ct"])
def test_a_published_recipe_trains_exports_and_answers(
    name: str, offline: dict[str, list[str]], data_dir: Path, tmp_path: Path
) -> None:
    recipe = read_recipe(name, [*offline.get(name, []), "optimise.epochs=1", "optimise.batch_size=4"])
    modality = Modality(recipe.modality)
    source = {Modality.CXR: "darkcovidnet", Modality.CT: "ucsd_covid_ct"}[modality]
    everything = from_table(data_dir / f"{modality}.csv", modality=modality).manifest.where(sources=[source])
    manifest = few(everything, recipe)
    train(manifest, recipe, tmp_path / "run")
    bundle = read_bundle(tmp_path / "run" / "model.duoscan")
    assert bundle.info.name == name
    assert bundle.info.provenance.parity < 1e-2
    rows = predict_manifest(bundle, manifest.where(split=Split.TEST))
    assert [row.probability is not None for row in rows] == [True] * len(recipe.classes)
