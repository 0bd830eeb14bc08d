"""Constants are worked out as ONNX says, within bounds, and the runtime answers as it would have without that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from duoscan.inference.graph_folding import folded
from duoscan.inference.runtimes.onnx_runtime import OnnxRuntime
from duoscan.inference.shipped import load_bundle
from duoscan.terms import Modality
from fuzz.trial import peak_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

HALF = np.arange(6, dtype=np.float16).reshape(1, 2, 3)


def graph_of(nodes: Sequence[onnx.NodeProto], constants: dict[str, NDArray[np.generic]], opset: int = 20) -> bytes:
    """A graph whose answers are the last node's, beside the images."""
    graph = helper.make_graph(
        nodes,
        "constants",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 1, 2, 2])],
        [helper.make_value_info(name, onnx.TypeProto()) for name in nodes[-1].output],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    serialised: bytes = model.SerializeToString()
    return serialised


def node(operator: str, *inputs: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, ["made"], **attributes)


def whole(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, np.int64)


@pytest.mark.parametrize(
    ("made", "constants"),
    [
        (node("Cast", "a", to=TensorProto.FLOAT), {"a": HALF}),
        (node("Cast", "a", to=TensorProto.DOUBLE), {"a": np.array(7, np.uint8)}),
        (node("CastLike", "a", "images"), {"a": HALF}),
        (node("Concat", "a", "a", "b", axis=-2), {"a": HALF, "b": HALF + np.float16(7)}),
        (node("Expand", "a", "to"), {"a": HALF, "to": whole(4, 1, 3)}),
        (node("Expand", "a", "to"), {"a": np.float32(2), "to": whole(5)}),
        (node("Identity", "a"), {"a": HALF}),
        (node("Reshape", "a", "to"), {"a": HALF, "to": whole(3, -1)}),
        (node("Reshape", "a", "to"), {"a": HALF, "to": whole(0, -1)}),
        (node("Reshape", "a", "to", allowzero=1), {"a": HALF[:0], "to": whole(0, 9)}),
        (node("Shape", "a"), {"a": HALF}),
        (node("Shape", "a", start=-2, end=-1), {"a": HALF}),
        (node("Shape", "a", start=1, end=9), {"a": HALF}),
        (node("Squeeze", "a"), {"a": HALF}),
        (node("Squeeze", "a", "axes"), {"a": HALF, "axes": whole(0)}),
        (node("Transpose", "a"), {"a": HALF}),
        (node("Transpose", "a", perm=[2, 0, 1]), {"a": HALF}),
        (node("Unsqueeze", "a", "axes"), {"a": HALF, "axes": whole(0, -1)}),
        (node("Constant", value_float=0.25), {}),
        (node("Constant", value_floats=[0.25, -1]), {}),
        (node("Constant", value_int=-3), {}),
        (node("Constant", value_ints=[-1, 2]), {}),
        (node("Constant", value=numpy_helper.from_array(HALF)), {}),
    ],
    ids=lambda one: one.op_type if isinstance(one, onnx.NodeProto) else "",
)
def test_steps_are_those_of_onnx(
    tmp_path: Path, made: onnx.NodeProto, constants: dict[str, NDArray[np.generic]]
) -> None:
    constants = {name: np.asarray(array) for name, array in constants.items()}
    graph = graph_of([made], constants)
    (expected,) = ReferenceEvaluator(graph).run(None, {"images": np.zeros((1, 1, 2, 2), np.float32)})
    found = onnx.load_from_string(folded(graph, tmp_path)).graph
    assert not found.node
    (array,) = [numpy_helper.to_array(one) for one in found.initializer if one.name == "made"]
    assert array.dtype == np.asarray(expected).dtype
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    ("made", "constants"),
    [
        (node("Cast", "a", to=TensorProto.FLOAT16), {"a": np.float32(1e9)}),  # loses what it holds
        (node("CastLike", "a", "unknown"), {"a": HALF}),
        (node("Cast", "a"), {"a": HALF}),
        (node("Concat", "a", "a"), {"a": HALF}),
        (node("Concat", "a", "b", axis=7), {"a": HALF, "b": HALF}),
        (node("Expand", "a", "to"), {"a": HALF, "to": whole(2**40, 2**40, 3)}),
        (node("Expand", "a", "to"), {"a": HALF, "to": whole(-4)}),
        (node("Expand", "a", "to"), {"a": HALF, "to": np.float32([2.0])}),
        (node("Reshape", "a", "to"), {"a": HALF, "to": whole(7)}),
        (node("Reshape", "a", "to"), {"a": HALF, "to": np.array([2**64 - 1], np.uint64)}),
        (node("Reshape", "a", "to"), {"a": HALF, "to": whole(*range(300))}),
        (node("Squeeze", "a", "axes"), {"a": HALF, "axes": whole(1)}),
        (node("Transpose", "a", perm=[0, 0, 1]), {"a": HALF}),
        (node("Transpose", "a", perm=[-1, 0, 1]), {"a": HALF}),
        (node("Unsqueeze", "a"), {"a": HALF}),
        (node("MatMul", "a", "a"), {"a": np.eye(2)}),
        (node("Identity", "images"), {}),
        (node("Identity", ""), {}),
        (helper.make_node("Identity", ["a"], [""]), {"a": HALF}),
        (helper.make_node("Identity", ["a"], []), {"a": HALF}),
        (helper.make_node("Identity", ["a"], ["one", "two"]), {"a": HALF}),
        (node("Constant", value=helper.make_tensor("t", TensorProto.BFLOAT16, [1], [1.0])), {}),
        (node("Constant"), {}),
    ],
)
def test_what_is_no_such_step_stays(
    tmp_path: Path, made: onnx.NodeProto, constants: dict[str, NDArray[np.generic]]
) -> None:
    constants = {name: np.asarray(array) for name, array in constants.items()}
    (left,) = onnx.load_from_string(folded(graph_of([made], constants), tmp_path)).graph.node
    assert left == made


def test_what_grows_stays(tmp_path: Path) -> None:
    """A kilobyte that doubles itself: 16 MiB are worked out, the rest is left to the bounds of a forward pass."""
    nodes = [helper.make_node("Concat", [f"c{n}", f"c{n}"], [f"c{n + 1}"], axis=0) for n in range(40)]
    before = peak_bytes()
    found = onnx.load_from_string(folded(graph_of(nodes, {"c0": np.ones(256, np.float32)}), tmp_path)).graph
    assert peak_bytes() - before < 2**27
    assert len(found.node) > 20
    wide = [helper.make_node("Expand", ["a", "to"], ["made"])]
    constants = {"a": np.ones(1, np.float32), "to": np.array([2**29])}
    assert len(onnx.load_from_string(folded(graph_of(wide, constants), tmp_path)).graph.node) == 1


@pytest.mark.parametrize("modality", Modality)
def test_shipped_models_answer_as_before_and_are_fused(modality: Modality) -> None:
    """As ONNX Runtime answers without any of its own optimisations."""
    bundle = load_bundle(None, modality)
    images = (
        np.random.default_rng(0)
        .normal(0, 0.5, (2, 1, bundle.info.contract.height, bundle.info.contract.width))
        .astype(np.float32)
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = onnxruntime.InferenceSession(bundle.graph, options, providers=["CPUExecutionProvider"])
    expected = plain.run(["logits", "activation"], {"images": images})
    found = OnnxRuntime(bundle).run(images)
    np.testing.assert_allclose(found.logits, expected[0], atol=1e-4)
    np.testing.assert_allclose(found.activation, expected[1], atol=1e-3)
    model = onnx.load_from_string(folded(bundle.graph, bundle.path))
    onnx.checker.check_model(model)
    stored = {one.name for one in model.graph.initializer}
    for one in model.graph.node:
        assert one.op_type != "Constant"
        assert one.op_type != "CastLike" or one.input[1] not in stored  # like what is known only with the images
        if one.op_type in {"Conv", "BatchNormalization"}:  # else the runtime could not make one of them
            assert set(one.input[1:]) <= stored
