"""Attention over slices: trained on the labels of studies, written into the graph, chosen on validation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner

from duoscan.errors import BundleError, InputError, RecipeError, TrainingError
from duoscan.formats.reader import read_image
from duoscan.imaging.preprocess import preprocess
from duoscan.inference.aggregation import Aggregation
from duoscan.inference.bundle import Bundle, read_bundle, write_bundle
from duoscan.inference.calibrator import expit
from duoscan.inference.predictor import Predictor, predict_manifest
from duoscan.inference.runtimes.onnx_runtime import OnnxRuntime
from duoscan.inference.shipped import load_bundle
from duoscan.interfaces.cli import cli
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.manifest.table import write_manifest
from duoscan.predictions import Prediction, read_predictions
from duoscan.terms import Finding, Modality, Split
from duoscan.training.attention import GatedAttention, bags_of, study_logits, train_attention
from duoscan.training.attention_graph import FeatureReader, pooled_names, with_attention
from duoscan.training.recipe import Recipe, read_recipe
from duoscan.training.run import train
from duoscan.training.studies import pool_studies
from duoscan.training.watcher import TrainingWatcher
from stand_ins import brightness_graph, brightness_info, write_png

SLICES = 6


def needles(patients: int, seed: int) -> tuple[list[Prediction], np.ndarray]:
    """Studies of which one slice in six counts: feature 0 marks it, and only there do the log odds mean anything."""
    rng = np.random.default_rng(seed)
    rows, features = [], []
    for patient in range(patients):
        counts = np.arange(SLICES) == rng.integers(SLICES)
        noise = rng.normal(size=SLICES)
        log_odds = np.where(counts, (2.0 if patient % 2 else -2.0) + noise, 3 * noise)
        label = Finding.COVID if patient % 2 else Finding.NORMAL
        rows += [
            Prediction(f"{patient}/{k}", f"p{patient}", Modality.CT, float(p), "", label=label)
            for k, p in enumerate(expit(log_odds))
        ]
        features.append(np.column_stack([counts + 0.1 * rng.normal(size=SLICES), rng.normal(size=(SLICES, 3))]))
    return rows, np.concatenate(features).astype(np.float32)


@pytest.fixture(scope="module")
def scorer() -> GatedAttention:
    return train_attention(bags_of(*needles(80, 1)), bags_of(*needles(60, 2)), seed=0)


def auroc(scores: np.ndarray, sick: np.ndarray) -> float:
    return float(np.mean(scores[sick][:, None] > scores[~sick][None, :]))


def test_attention_finds_the_slice_that_counts(scorer: GatedAttention) -> None:
    """On patients of a new seed, where neither the mean nor the highest of the slices tells much."""
    rows, features = needles(200, 3)
    with torch.inference_mode():
        scores = scorer(torch.from_numpy(features)).numpy().reshape(-1, SLICES)
    probabilities = np.array([row.probability for row in rows]).reshape(-1, SLICES)
    sick = np.arange(200) % 2 == 1
    studies = list(zip(probabilities, scores, strict=True))
    found = {
        name: auroc(np.array([Aggregation.named(name).apply(*study) for study in studies]), sick)
        for name in ("attention", "mean", "max")
    }
    assert found["attention"] > 0.9
    assert max(found["mean"], found["max"]) < 0.8


def test_training_is_seeded_and_starts_from_the_mean_logit(scorer: GatedAttention) -> None:
    again = train_attention(bags_of(*needles(80, 1)), bags_of(*needles(60, 2)), seed=0)
    for name, value in scorer.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    bags = bags_of(*needles(4, 4))
    untrained = study_logits(GatedAttention(4)(bags.features), bags)
    assert untrained.tolist() == pytest.approx(bags.evidence.reshape(4, SLICES).mean(1).tolist(), abs=1e-5)


def test_studies_of_other_sizes_are_joined_as_the_table_joins_them() -> None:
    rows, features = needles(3, 5)
    rows, features = rows[:10], features[:10]  # 6 and 4 slices
    bags, scores = bags_of(rows, features), torch.linspace(-2, 3, 10)
    found = expit(study_logits(scores, bags).double().numpy())
    for study, part in enumerate((slice(0, 6), slice(6, 10))):
        probabilities = [row.probability or 0.0 for row in rows[part]]
        wanted = Aggregation.named("attention").apply(probabilities, scores[part].tolist())
        assert found[study] == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(("modality", "features"), [(Modality.CXR, 1280), (Modality.CT, 2)])
def test_the_features_of_a_bundle_make_its_logits(modality: Modality, features: int) -> None:
    """The head of a shipped network on the features read gives its logits."""
    bundle = load_bundle(None, modality)
    reader = FeatureReader(bundle.graph)
    contract = bundle.info.contract
    images = np.random.default_rng(0).normal(size=(3, 1, contract.height, contract.width)).astype(np.float32)
    logits = reader.run(images).logits
    assert reader.features.shape == (3, features)
    arrays = {one.name: onnx.numpy_helper.to_array(one).astype(np.float32) for one in graph_of(bundle).initializer}
    expected = reader.features @ arrays["members.0.head.last.weight_half"].T + arrays["members.0.head.last.bias"]
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def graph_of(bundle: Bundle) -> onnx.GraphProto:
    return onnx.load_from_string(bundle.graph).graph


def test_a_graph_without_global_average_is_refused() -> None:
    model = onnx.load_from_string(brightness_graph())
    assert pooled_names(model) == ["logits"]
    (maker,) = (node for node in model.graph.node if "logits" in node.output)
    maker.CopyFrom(onnx.helper.make_node("Flatten", ["images"], ["logits"]))
    with pytest.raises(TrainingError, match="passes no global average"):
        pooled_names(model)


def test_the_extended_graph_equals_the_old_one_and_torch() -> None:
    bundle = load_bundle(None, Modality.CXR)
    images = np.random.default_rng(1).normal(size=(4, 1, 224, 224)).astype(np.float32)
    old = OnnxRuntime(bundle).run(images)
    reader = FeatureReader(bundle.graph)
    reader.run(images)
    torch.manual_seed(0)
    scorer = GatedAttention(reader.features.shape[1])
    torch.nn.init.normal_(scorer.score.weight)
    graph = with_attention(bundle.graph, scorer, images)
    new = OnnxRuntime(Bundle(bundle.info, graph, bundle.path)).run(images)
    np.testing.assert_allclose(new.logits, old.logits, atol=1e-5)
    np.testing.assert_allclose(new.activation, old.activation, atol=1e-4)
    assert old.attention is None
    assert new.attention is not None
    assert new.attention.shape == (4,)
    assert new.attention.std() > 0.0
    with torch.inference_mode():  # scorer was rounded in place
        np.testing.assert_allclose(new.attention, scorer(torch.from_numpy(reader.features)).numpy(), atol=1e-3)
    with pytest.raises(TrainingError, match="gives attention already"):
        with_attention(graph, scorer, images)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    assert session.run(["attention"], {"images": images[:1]})[0].shape == (1,)


def test_a_bundle_that_states_attention_without_a_score_is_refused(tmp_path: Path) -> None:
    info = brightness_info(Modality.CT, aggregation="attention")
    bundle = write_bundle(tmp_path / "a.duoscan", info, brightness_graph())
    with pytest.raises(BundleError, match="its graph gives no score"):
        Predictor(bundle)


RECIPE = Recipe.model_validate(
    {
        "name": "tiny",
        "modality": "ct",
        "classes": ["covid", "other"],
        "model": {"backbone": "plain:tiny", "pretrained": False},
        "input": {"size": 32, "crop_borders": False},
        "optimise": {"epochs": 2, "batch_size": 16, "learning_rate": 0.02, "warmup_epochs": 1, "amp": "off"},
    }
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """84 patients of 3 slices, 40 train and 40 val; the sick have one bright slice. Test images cannot be read."""
    root, records = tmp_path_factory.mktemp("slices"), []
    for patient in range(84):
        split = Split.TRAIN if patient < 40 else Split.VAL if patient < 80 else Split.TEST
        for place in range(3):
            sick = patient % 2 == 1
            path = f"{patient:02d}-{place}.png"
            if split is Split.TEST:
                (root / path).write_text("no image", encoding="utf-8")
            else:
                write_png(root / path, 0.65 if sick and place == patient % 3 else 0.45, size=36 + patient % 5)
            fields = {"path": path, "modality": "ct", "label": "covid" if sick else "other", "source": "made"}
            records.append(ImageRecord.model_validate(fields | {"patient_id": f"p{patient}", "split": split}))
    return Manifest(root, tuple(records))


@pytest.fixture(scope="module")
def run(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That it ends well shows that no test image was read."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(manifest, RECIPE, folder)
    return folder


def test_a_run_ends_with_a_choice_and_its_bundle_obeys_it(run: Path, manifest: Manifest) -> None:
    info = read_bundle(run / "model.duoscan").info
    document = info.provenance.metrics["aggregation"]
    names = [one["name"] for one in document["candidates"]]
    assert names == ["max", "mean", "top-2", "noisy-or", "attention"]
    assert document["chosen"] == info.aggregation in names
    assert all(one["log_loss"]["low"] <= one["log_loss"]["value"] for one in document["candidates"])
    rows = predict_manifest(run / "model.duoscan", manifest.where(split=Split.VAL))
    assert {row.aggregation for row in rows} == {info.aggregation}
    stored = read_predictions(run / "predictions-val.csv")
    assert [row.probability for row in stored] == [row.probability for row in rows]


def test_attention_on_demand(run: Path, manifest: Manifest, tmp_path: Path) -> None:
    table = manifest.root / "manifest.csv"
    write_manifest(manifest, table)
    arguments = ["pool", str(run), str(table), "--out", str(tmp_path / "out"), "--aggregation", "attention"]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert "attention ← chosen" in done.output
    assert "joined by attention: taken as asked" in done.output
    before, after = (read_bundle(folder / "model.duoscan") for folder in (run, tmp_path / "out"))
    assert after.info.aggregation == "attention"
    assert after.study_digest not in {before.study_digest, after.digest}
    record = next(record for record in manifest if record.split is Split.VAL)
    image = preprocess(read_image(manifest.file(record)), after.info.contract)[None]
    answers = [Predictor(bundle).answer(image)[0] for bundle in (before, after)]
    assert answers[0].probability == pytest.approx(answers[1].probability, abs=1e-5)
    assert answers[1].attention is not None
    rows = read_predictions(tmp_path / "out" / "predictions-val.csv")
    assert all(row.attention is not None and row.aggregation == "attention" for row in rows)
    again = CliRunner().invoke(cli, arguments)
    assert "not empty" in str(again.exception)


def test_what_cannot_be_had_is_refused(run: Path, manifest: Manifest) -> None:
    bundle = read_bundle(run / "model.duoscan")
    with pytest.raises(RecipeError, match="aggregation 'median' is unknown"):
        read_recipe("compact-ct", ["study.aggregation=median"])
    crossed = manifest.where(split=Split.TRAIN)
    with pytest.raises(InputError, match="of the train part"):
        pool_studies(bundle, crossed, crossed, RECIPE, TrainingWatcher())
