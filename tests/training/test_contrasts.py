"""Classes told apart within a site, views kept, and what is degraded."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.metrics import roc_auc_score

from duoscan.errors import RecipeError
from duoscan.imaging.preprocess import normalise
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.terms import Finding, Split
from duoscan.training.classifier import build_classifier, frozen_modules
from duoscan.training.data import TrainingSet, load_set, sampling_weights
from duoscan.training.degrade import degrade
from duoscan.training.loop import Trainer, contrast_auroc, contrast_loss
from duoscan.training.recipe import AugmentSection, Recipe
from duoscan.training.views import FrozenLayers, Views, split_backbone
from stand_ins import write_png

CLASSES = (Finding.COVID, Finding.PNEUMONIA, Finding.NORMAL)


def recipe(**changes: object) -> Recipe:
    stated: dict[str, object] = {
        "name": "r",
        "modality": "cxr",
        "classes": CLASSES,
        "model": {"backbone": "plain:tiny", "pretrained": False, "freeze": ["0"]},
        "input": {"size": 32, "crop_borders": False},
        "data": {"contrasts": "within-site", "balance": "contrast"},
        "optimise": {"epochs": 2, "batch_size": 4, "views": 3, "amp": "off"},
    }
    return Recipe.model_validate(stated | changes)


def record(number: int, label: str, source: str, site: str | None = None, split: str = "train") -> ImageRecord:
    fields = {"path": f"{number}.png", "modality": "cxr", "label": label, "source": source, "site": site}
    return ImageRecord.model_validate(fields | {"patient_id": str(number), "split": split})


def image_set(*stated: tuple[str, str, str | None]) -> TrainingSet:
    records = tuple(record(number, *one) for number, one in enumerate(stated))
    targets = np.array([CLASSES.index(Finding(label)) for label, _, _ in stated])
    grey = np.random.default_rng(0).random((len(stated), 37, 37)).astype(np.float16)
    return TrainingSet(grey, targets, records, np.ones((len(stated), 3), bool))


def test_classes_that_are_not_compared_do_not_count() -> None:
    logits = torch.tensor([[2.0, 50.0, -1.0], [0.5, 0.0, 0.25]], requires_grad=True)
    compared = torch.tensor([[True, False, True], [True, True, True]])
    targets = torch.tensor([0, 2])
    found = contrast_loss(logits, targets, compared, smoothing=0.1)
    # Over the two classes of the first image, and the three of the second, torch's own smoothing spreads alike.
    first = F.cross_entropy(logits[:1, [0, 2]], torch.tensor([0]), label_smoothing=0.1)
    second = F.cross_entropy(logits[1:], torch.tensor([2]), label_smoothing=0.1)
    assert float(found.detach()) == pytest.approx(float((first + second).detach() / 2))
    found.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad[0, 1] == 0
    assert torch.isfinite(logits.grad).all()


def test_pairs_are_compared_within_each_site() -> None:
    rng = np.random.default_rng(1)
    sites = [("covid", "a", None), ("normal", "a", None), ("covid", "b", "x"), ("pneumonia", "b", "x")]
    images = image_set(*(sites[k] for k in rng.integers(0, 4, 120)))
    logits = rng.normal(size=(120, 3))
    expected, weight = 0.0, 0
    for source, first, second in (("a", 0, 2), ("b", 0, 1)):
        own = np.array([one.source == source for one in images.records])
        score = logits[own, first] - logits[own, second]
        expected += own.sum() * float(roc_auc_score(images.targets[own] == first, score))
        weight += int(own.sum())
    assert contrast_auroc(logits, images) == pytest.approx(expected / weight)


def test_weights_by_hand() -> None:
    images = image_set(("covid", "a", None), ("covid", "a", None), ("normal", "a", None), *[("covid", "b", "x")] * 1,
                       ("pneumonia", "b", "x"))  # fmt: skip
    weights = sampling_weights(images, "contrast")
    # Sources weigh as √3 and √2; the classes of each alike.
    whole = np.sqrt(3) + np.sqrt(2)
    assert weights[:3].sum() == pytest.approx(np.sqrt(3) / whole)
    assert weights[2] == pytest.approx(weights[:2].sum())
    assert weights[3] == pytest.approx(weights[4])


def test_a_site_with_one_class_takes_no_part(tmp_path: Path) -> None:
    stated = [("covid", "a", None), ("normal", "a", None), ("covid", "b", "x"), ("pneumonia", "b", "x"),
              ("covid", "b", "alone"), ("covid", "c", None), ("normal", "c", None)]  # fmt: skip
    rows = [record(number, *one) for number, one in enumerate(stated)]
    for row in rows:
        write_png(tmp_path / row.path, 0.5)
    asked = recipe(data={"contrasts": "within-site", "exclude": ["c/covid"]})
    loaded = load_set(Manifest(tmp_path, tuple(rows)), asked, Split.TRAIN, asked.contract())
    assert [one.path for one in loaded.records] == ["0.png", "1.png", "2.png", "3.png"]
    assert loaded.compared.tolist() == [[True, False, True]] * 2 + [[True, True, False]] * 2


def test_a_sources_own_words_may_say_more_than_its_label() -> None:
    asked = recipe(data={"findings": {"a/Atypical": "pneumonia"}, "exclude": ["a/covid"], "exclude_views": ["L"]})
    rows = [record(0, label, "a") for label in ("other", "other", "covid", "normal", "normal")]
    changed = [{"finding": "Atypical"}, {"finding": "Vague"}, {}, {}, {"view": "L"}]
    found = [asked.trains_as(row.model_copy(update=update)) for row, update in zip(rows, changed, strict=True)]
    assert found == [Finding.PNEUMONIA, None, None, Finding.NORMAL, None]


def test_views_give_what_the_whole_network_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUOSCAN_CACHE", str(tmp_path))
    asked = recipe()
    contract = asked.contract()
    network, _ = build_classifier(asked)
    network.eval()
    images = image_set(*[("covid", "a", None), ("normal", "a", None)] * 2)
    images = TrainingSet(images.grey[:, :32, :32], images.targets, images.records, images.compared)
    first, rest = split_backbone(network, frozen_modules(network, asked.model.freeze))
    trainer = Trainer(network, asked, images, images, tmp_path / "checkpoint.pt")
    views = Views(asked, FrozenLayers(first, 1, 32), trainer.normalise, images, 0)
    maps = views.draw(np.arange(4), np.random.default_rng(0))
    whole = torch.from_numpy(np.stack([normalise(grey.astype(np.float32), contract) for grey in images.grey]))
    with torch.inference_mode():
        np.testing.assert_allclose(network.judge(rest(maps)), network(whole), atol=5e-3)


def test_a_training_on_views_repeats_and_only_what_learns_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUOSCAN_CACHE", str(tmp_path / "cache"))
    asked = recipe()
    images = image_set(*[("covid", "a", None), ("normal", "a", None)] * 8)
    small = TrainingSet(images.grey[:, :32, :32], images.targets, images.records, images.compared)
    histories, kept = [], []
    for name in "ab":
        network, _ = build_classifier(asked)
        before = {key: value.clone() for key, value in network.state_dict().items()}
        trainer = Trainer(network, asked, images, small, tmp_path / f"{name}.pt")
        histories.append(list(trainer.run()))
        moved = {key for key, value in trainer.network.state_dict().items() if not torch.equal(value, before[key])}
        assert not any(key.startswith("backbone.0.") for key in moved)
        assert any(key.startswith("backbone.1.") for key in moved)
        kept.append(sorted(path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")))
    assert histories[0] == histories[1]
    assert len(kept[0]) == 32
    assert kept[0] == kept[1]  # the second training made none anew


def test_views_need_frozen_leading_layers() -> None:
    learning = recipe(model={"backbone": "plain:tiny", "pretrained": False, "freeze": ["1"]})
    network, _ = build_classifier(learning)
    with pytest.raises(RecipeError, match="from the first on"):
        split_backbone(network, frozen_modules(network, learning.model.freeze))


def test_degraded_images_stay_images() -> None:
    rng = np.random.default_rng(0)
    views = torch.from_numpy(rng.random((6, 1, 64, 64), dtype=np.float32))
    section = AugmentSection(shrink=1, jpeg=1, randconv=1, amplitude=1)
    one, two = (degrade(views, section, np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == views.shape
    assert 0 <= float(one.min()) < float(one.max()) <= 1
    assert torch.equal(degrade(views, AugmentSection(), rng), views)


def test_jpeg_is_that_of_pillow() -> None:
    grey = np.random.default_rng(2).random((1, 1, 40, 40), dtype=np.float32)
    found = degrade(torch.from_numpy(grey), AugmentSection(jpeg=1), np.random.default_rng(5))
    rng = np.random.default_rng(5)
    rng.random(), rng.random()
    stream = io.BytesIO()
    Image.fromarray(np.rint(grey[0, 0] * 255).astype(np.uint8)).save(stream, "JPEG", quality=int(rng.integers(30, 96)))
    np.testing.assert_allclose(found[0, 0], np.asarray(Image.open(stream), np.float32) / 255, atol=1e-6)
