"""A graph or bundle from elsewhere reads no file, runs not for ever and takes no gigabytes."""

from __future__ import annotations

import hashlib
import io
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from duoscan.errors import BundleError
from duoscan.inference import bundle as bundles
from duoscan.inference.bundle import read_bundle, write_bundle
from duoscan.inference.graph_guards import check_graph
from duoscan.inference.predictor import Predictor
from duoscan.inference.runtimes import onnx_runtime
from duoscan.inference.shipped import load_bundle
from duoscan.terms import Modality
from fuzz import seeds
from fuzz.trial import peak_bytes
from stand_ins import brightness_graph

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IMAGE = np.full((1, 1, 32, 32), 0.5, np.float32)


def model(*nodes: onnx.NodeProto, **changes: object) -> onnx.ModelProto:
    """The brightness graph with more nodes before its own."""
    made = onnx.load_from_string(brightness_graph())
    own = list(made.graph.node)
    del made.graph.node[:]
    made.graph.node.extend([*nodes, *own])
    return made


def loop() -> onnx.ModelProto:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["still"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("still", TensorProto.BOOL, [])],
    )
    return model(helper.make_node("Loop", ["", ""], [], body=body))


def reads_a_file() -> onnx.ModelProto:
    made = model()
    weight = made.graph.initializer[0]
    weight.ClearField("float_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../etc/passwd")
    return made


def defines_functions() -> onnx.ModelProto:
    made = model()
    made.functions.append(helper.make_function("own", "f", ["x"], ["y"], [], [helper.make_opsetid("", 18)]))
    return made


def constant_in_another_file() -> onnx.ModelProto:
    tensor = helper.make_tensor("t", TensorProto.FLOAT, [1], [1.0])
    tensor.external_data.add(key="location", value="/dev/zero")
    return model(helper.make_node("Constant", [], ["unused"], value=tensor))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (loop, "branches or loops"),
        (reads_a_file, "reads weights from other files"),
        (constant_in_another_file, "reads weights from other files"),
        (defines_functions, "defines functions"),
    ],
)
def test_what_a_graph_must_not_hold(tmp_path: Path, make: Callable[[], onnx.ModelProto], reason: str) -> None:
    written = write_bundle(tmp_path / "b.duoscan", seeds.info(), make().SerializeToString())
    with pytest.raises(BundleError, match=f"its graph {reason}, which no classifier needs"):
        Predictor(read_bundle(written.path))


@pytest.mark.parametrize("graph", [b"\xff" * 40, b"\x3a\xff\xff\xff\xff\x0f", b"\x0f", b"\x3a\x05\x0a\x7f", b"\x3d\0"])
def test_bytes_that_are_no_model(tmp_path: Path, graph: bytes) -> None:
    with pytest.raises(BundleError, match="no ONNX model"):
        check_graph(graph, tmp_path)


def test_shipped_graphs_pass() -> None:
    for modality in Modality:
        shipped = load_bundle(None, modality)
        check_graph(shipped.graph, shipped.path)


def test_a_graph_that_asks_for_gigabytes_is_stopped(tmp_path: Path) -> None:
    """Each image expanded to 4 GB; a batch is tried in halves before it is given up."""
    size = helper.make_tensor("n", TensorProto.INT64, [1], [2**30])
    nodes = [
        helper.make_node("Constant", [], ["n"], value=size),
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Expand", ["mean", "n"], ["large"]),
        helper.make_node("ReduceMax", ["large"], ["unused"], keepdims=0),
    ]
    made = model(*nodes)
    made.graph.output.append(helper.make_tensor_value_info("unused", TensorProto.FLOAT, None))
    # What nothing asks for is removed, so the logits must ask for it.
    made.graph.node[-1].output[0] = "plain"
    made.graph.node.append(helper.make_node("Add", ["plain", "unused"], ["logits"]))
    predictor = Predictor(write_bundle(tmp_path / "b.duoscan", seeds.info(), made.SerializeToString()))
    before = peak_bytes()
    with pytest.raises(BundleError, match="its graph fails on an image"):
        predictor.answer(np.repeat(IMAGE, 4, axis=0))
    assert peak_bytes() - before < 1.2 * onnx_runtime.MEMORY_BYTES


def test_a_graph_that_takes_too_long_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_runtime, "_SECONDS_AN_IMAGE", 0.0)
    monkeypatch.setattr(onnx_runtime, "_PIXELS_A_SECOND", 2_000_000)
    nodes: list[onnx.NodeProto] = []
    last = "images"
    for number in range(20_000):
        nodes.append(helper.make_node("Sin", [last], [f"s{number}"]))
        last = f"s{number}"
    made = model(*nodes)
    made.graph.node[20_000].input[0] = last
    predictor = Predictor(write_bundle(tmp_path / "b.duoscan", seeds.info(), made.SerializeToString()))
    with pytest.raises(BundleError, match="its graph takes more than 0 s for 1 images"):
        predictor.answer(IMAGE)


def test_halves_give_what_the_whole_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(write_bundle(tmp_path / "b.duoscan", seeds.info(), brightness_graph()))
    batch = np.linspace(-1, 1, 5 * 32 * 32, dtype=np.float32).reshape(5, 1, 32, 32)
    expected = [answer.probability for answer in predictor.answer(batch)]
    forward = onnx_runtime.OnnxRuntime._forward

    def small_only(self: onnx_runtime.OnnxRuntime, images: np.ndarray) -> object:
        if len(images) > 2:
            raise MemoryError
        return forward(self, images)

    monkeypatch.setattr(onnx_runtime.OnnxRuntime, "_forward", small_only)
    assert [answer.probability for answer in predictor.answer(batch)] == pytest.approx(expected)


def test_outputs_of_another_shape_are_told(tmp_path: Path) -> None:
    made = model()
    made.graph.node[-1].output[0] = "plain"
    made.graph.node.append(helper.make_node("Concat", ["plain", "plain"], ["logits"], axis=1))
    predictor = Predictor(write_bundle(tmp_path / "b.duoscan", seeds.info(), made.SerializeToString()))
    with pytest.raises(BundleError, match=r"gives \(1, 4\) and \(1, 2, 8, 8\) for 1 images and 2 classes"):
        predictor.answer(IMAGE)


def sealed(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = bytes(71)
    body = stream.getvalue()[:-71]
    path.write_bytes(body + b"sha256:" + hashlib.sha256(body).hexdigest().encode())
    return path


def test_a_bundle_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "MAX_GRAPH_BYTES", 2**20)
    path = sealed(tmp_path / "b.duoscan", {"bundle.json": seeds.infos()[0], "model.onnx": bytes(2**24)})
    with pytest.raises(BundleError, match=r"model\.onnx unpacks to more than 1 MiB"):
        read_bundle(path)
    path.write_bytes(b"PK" + bytes(2**21))
    with pytest.raises(BundleError, match="larger than 1 MiB"):
        read_bundle(path)


def test_other_packing_is_refused(tmp_path: Path) -> None:
    members = {"bundle.json": seeds.infos()[0], "model.onnx": brightness_graph()}
    with pytest.raises(BundleError, match="packed by method 14"):
        read_bundle(sealed(tmp_path / "b.duoscan", members, zipfile.ZIP_LZMA))
