from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoscan.errors import ManifestError
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.terms import Finding, Modality, Split
from duoscan.training.data import TrainingSet, epoch_order, load_set, sampling_weights
from duoscan.training.recipe import Recipe
from stand_ins import write_png

RECIPE = Recipe(name="r", modality=Modality.CT, classes=(Finding.COVID, Finding.OTHER))


def record(path: str, label: str = "covid", source: str = "a", split: str = "train") -> ImageRecord:
    return ImageRecord(path=path, modality="ct", label=label, source=source, patient_id=path, split=split)


def training_set(*pairs: tuple[int, str]) -> TrainingSet:
    records = tuple(record(str(index), source=source) for index, (_, source) in enumerate(pairs))
    targets = np.array([target for target, _ in pairs])
    return TrainingSet(np.zeros((len(pairs), 4, 4), np.float16), targets, records, np.ones((len(pairs), 2), bool))


def test_class_and_source_weights_by_hand() -> None:
    # Class 0: two images of a, one of b. Class 1: one image of a. Each class gets 1/2; in class 0 each source 1/4,
    # so the two images of a get 1/8 each.
    part = training_set((0, "a"), (0, "a"), (0, "b"), (1, "a"))
    assert sampling_weights(part, "class-source").tolist() == [1 / 8, 1 / 8, 1 / 4, 1 / 2]
    # By class alone: 1/2 over three images, and 1/2.
    assert sampling_weights(part, "class").tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])
    assert sampling_weights(part, "none").tolist() == [1 / 4] * 4


@given(count=st.integers(1, 60), seed=st.integers(0, 1000))
def test_equal_weights_show_every_image_once(count: int, seed: int) -> None:
    order = epoch_order(np.full(count, 1 / count), np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(count))


@given(weights=st.lists(st.floats(0.01, 1), min_size=2, max_size=30), seed=st.integers(0, 1000))
def test_an_image_comes_as_often_as_its_weight_says(weights: list[float], seed: int) -> None:
    share = np.array(weights) / sum(weights)
    drawn = Counter(epoch_order(share, np.random.default_rng(seed)).tolist())
    assert sum(drawn.values()) == len(weights)
    for index, expected in enumerate(share * len(weights)):
        assert abs(drawn[index] - expected) < 1 + 1e-9


def test_bad_images_are_all_named(tmp_path: Path) -> None:
    write_png(tmp_path / "good.png", 0.5)
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    rows = [record("good.png"), record("empty.png", "other"), record("text.png", "other")]
    with pytest.raises(ManifestError, match="2 of 3 train images cannot be read") as caught:
        load_set(Manifest(tmp_path, tuple(rows)), RECIPE, Split.TRAIN, RECIPE.contract())
    assert [line.split(":")[0] for line in caught.value.problems] == ["empty.png", "text.png"]


def test_a_missing_class_is_named_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no ct image of class other") as caught:
        load_set(Manifest(tmp_path, (record("a.png"),)), RECIPE, Split.TRAIN, RECIPE.contract())
    assert caught.value.problems == ("train/ct/covid: 1",)


def test_too_few_blocks_are_no_reason_to_split_again_alike(tmp_path: Path) -> None:
    rows = [
        record(f"{label}.png", label).model_copy(update={"patient_id": None, "group": f"{label}/block-0"})
        for label in ("covid", "other")
    ]
    with pytest.raises(ManifestError, match=r"too few were dealt out: say whose .*; split again") as caught:
        load_set(Manifest(tmp_path, tuple(rows)), RECIPE, Split.VAL, RECIPE.contract())
    assert caught.value.problems[0] == "val has no ct image of covid, of which there are 1 blocks to deal out"
