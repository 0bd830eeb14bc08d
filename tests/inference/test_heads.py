"""Further heads: what they say lies on their scale, comes out of the same graph, and changes no answer."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import helper, numpy_helper
from pydantic import ValidationError

from duoscan.errors import BundleError, PredictionsError
from duoscan.inference.bundle import Bundle, BundleInfo, read_bundle, write_bundle
from duoscan.inference.heads import CategoryHead, ScoreHead, joined, middle
from duoscan.inference.predictor import ImageFile, Predictor
from duoscan.inference.runtimes.onnx_runtime import OnnxRuntime
from duoscan.predictions import Prediction, read_predictions, write_predictions
from duoscan.terms import Decision, Modality
from stand_ins import brightness_graph, brightness_info, write_png

COMMON = {"images": 40, "patients": 30}
KINDS = CategoryHead(name="kind", title="Kind of shadow", categories=("None", "A few", "Many"), **COMMON)
EXTENT = ScoreHead(name="extent", title="Extent", least=0.0, most=8.0, half_width=2.0, coverage=0.9, **COMMON)


def with_outputs(graph: bytes, widths: dict[str, int]) -> bytes:
    """The graph with further outputs: as many copies of the first logit as are asked for."""
    model = onnx.load_from_string(graph)
    for name, width in widths.items():
        weight = np.zeros((2, width), np.float32)
        weight[0] = np.arange(1, width + 1)
        model.graph.initializer.append(numpy_helper.from_array(weight, f"{name}.weight"))
        model.graph.node.append(helper.make_node("MatMul", ["logits", f"{name}.weight"], [name]))
        model.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", width]))
    serialised: bytes = model.SerializeToString()
    return serialised


def bundle(folder: Path, widths: dict[str, int], **changes: object) -> Bundle:
    info = brightness_info(Modality.CXR, heads=(KINDS, EXTENT), **changes)
    return write_bundle(folder / "heads.duoscan", info, with_outputs(brightness_graph(slope=1.0), widths))


WIDTHS = {"head.kind": 3, "head.extent": 1}


@given(arrays(np.float32, (3, 1), elements=st.floats(-50, 50, width=32)))
def test_a_score_and_its_interval_lie_on_the_scale_and_in_order(values: np.ndarray) -> None:
    for read in EXTENT.readings(values):
        assert 0 <= read["extent.low"] <= read["extent"] <= read["extent.high"] <= 8


@given(arrays(np.float32, (2, 3), elements=st.floats(-50, 50, width=32)))
def test_categories_are_probabilities(values: np.ndarray) -> None:
    for read, row in zip(KINDS.readings(values), values, strict=True):
        assert list(read) == ["kind.none", "kind.a_few", "kind.many"]
        assert sum(read.values()) == pytest.approx(1)
        assert list(read.values())[int(np.argmax(row))] == max(read.values())


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_says_nothing(nothing: float) -> None:
    assert KINDS.readings(np.array([[0, nothing, 0], [0, 0, 0]], np.float32))[0] == {}
    assert EXTENT.readings(np.array([[nothing], [1]], np.float32))[0] == {}
    assert joined(EXTENT, [{}, {}]) == {}


@given(st.lists(st.floats(0.001, 1), min_size=2, max_size=6))
def test_no_category_is_fewer_steps_away_on_average_than_the_middle_one(weights: list[float]) -> None:
    chances = np.array(weights) / np.sum(weights)
    steps = [float(np.abs(np.arange(len(chances)) - place) @ chances) for place in range(len(chances))]
    assert steps[middle(chances.tolist())] == pytest.approx(min(steps))


def test_a_study_is_the_mean_of_its_images_that_say_something() -> None:
    images = [dict(zip(EXTENT.keys, (value, value - 1, value + 1), strict=True)) for value in (2.0, 5.0)]
    assert joined(EXTENT, [*images, {}]) == {"extent": 3.5, "extent.low": 2.5, "extent.high": 4.5}


def test_one_forward_pass_gives_the_answer_and_the_heads(tmp_path: Path) -> None:
    """The heads are multiples of the first logit, so all can be told from P(covid)."""
    plain = Predictor(write_bundle(tmp_path / "a.duoscan", brightness_info(Modality.CXR), brightness_graph(slope=1.0)))
    made = Predictor(bundle(tmp_path, WIDTHS))
    images = np.random.default_rng(0).uniform(-1, 1, (5, 1, 32, 32)).astype(np.float32)
    for one, other in zip(plain.answer(images), made.answer(images), strict=True):
        assert one.probabilities == other.probabilities
        assert one.heads == {}
        logit = np.log(other.probability / (1 - other.probability))
        assert other.heads["extent"] == pytest.approx(max(0.0, logit), abs=1e-5)
        ratio = other.heads["kind.many"] / other.heads["kind.none"]
        assert np.log(ratio) == pytest.approx(2 * logit, abs=1e-4)


def test_the_table_keeps_what_heads_say(tmp_path: Path) -> None:
    files = [
        ImageFile(path, Prediction(str(path), "anna", None, None, Decision.UNREADABLE))
        for path in (write_png(tmp_path / "a.png", 0.7), tmp_path / "missing.png")
    ]
    predictor = Predictor(bundle(tmp_path, WIDTHS), check_quality=False)
    rows = [file.row for file in predictor.predict(files)]
    assert set(rows[0].heads) == {*KINDS.keys, *EXTENT.keys}
    assert rows[1].heads == {}
    for name in ("rows.csv", "rows.parquet"):
        write_predictions(rows, tmp_path / name)
        assert [row.heads for row in read_predictions(tmp_path / name)] == [row.heads for row in rows]
    (tmp_path / "bad.csv").write_text("probability,head.extent\n0.5,inf\n", encoding="utf-8")
    with pytest.raises(PredictionsError, match=r"row 2: head\.extent 'inf' is not a number"):
        read_predictions(tmp_path / "bad.csv")


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ({"head.kind": 3}, r"names head\.extent, which its graph lacks"),
        (WIDTHS | {"head.other": 1}, r"gives head\.other, which it does not name"),
        ({"head.kind": 4, "head.extent": 1}, r"gives head\.kind \(2, 4\) for 2 images"),
    ],
)
def test_a_graph_that_gives_other_heads_is_refused(tmp_path: Path, widths: dict[str, int], message: str) -> None:
    made = bundle(tmp_path, widths)
    with pytest.raises(BundleError, match=message):
        OnnxRuntime(made).run(np.zeros((2, 1, 32, 32), np.float32))


def test_a_bundle_keeps_its_heads_and_one_without_is_as_it_was(tmp_path: Path) -> None:
    made = bundle(tmp_path, WIDTHS)
    assert read_bundle(made.path).info.heads == (KINDS, EXTENT)
    without = write_bundle(tmp_path / "without.duoscan", brightness_info(Modality.CXR), brightness_graph())
    with zipfile.ZipFile(without.path) as archive:
        assert "heads" not in json.loads(archive.read("bundle.json"))


@pytest.mark.parametrize(
    "changes",
    [
        {"heads": (EXTENT, EXTENT)},
        {"heads": ({**KINDS.model_dump(), "categories": ("None", "none")},)},
        {"heads": ({**EXTENT.model_dump(), "most": 0.0},)},
        {"heads": ({**EXTENT.model_dump(), "name": "Ex tent"},)},
        {"heads": ({**EXTENT.model_dump(), "half_width": -1.0},)},
    ],
)
def test_heads_that_could_not_be_told_apart_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BundleInfo.model_validate(brightness_info(Modality.CXR).model_dump() | changes)


def test_no_threshold_reads_them(tmp_path: Path) -> None:
    made = bundle(tmp_path, WIDTHS)
    image = write_png(tmp_path / "a.png", 0.7)
    file = ImageFile(image, Prediction("a", None, None, None, Decision.UNREADABLE))
    plain = write_bundle(tmp_path / "plain.duoscan", brightness_info(Modality.CXR), brightness_graph(slope=1.0))
    whole, bare = (next(iter(Predictor(one, check_quality=False).predict([file]))).row for one in (made, plain))
    assert replace(whole, heads={}) == bare
