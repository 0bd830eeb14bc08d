"""Pooled features out of a bundle's graph, and an attention scorer into it.

The graph is cut where every path from the images to the logits passes: at the global averages of the feature maps.
That is told from the graph itself, so any bundle will do, whatever backbone it was made from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper

from duoscan.errors import TrainingError
from duoscan.inference.graph_names import ATTENTION_NAME, INPUT_NAME, OUTPUT_NAMES
from duoscan.inference.runtimes.guarded_session import LEFT_OUT
from duoscan.inference.runtimes.runtime import Outputs
from duoscan.training.export import PARITY_TOLERANCE, packed, round_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from duoscan.training.attention import GatedAttention

PARITY_IMAGES = 16
_MAP_RANK = 4  # N C H W


class FeatureReader:
    """A runtime that keeps the pooled features of every image it answers.

    Args:
        graph: Of a bundle, checked.

    Raises:
        TrainingError: The graph has no such features.
    """

    def __init__(self, graph: bytes) -> None:
        model = onnx.load_from_string(graph)
        self._names = pooled_names(model)
        known = {output.name for output in model.graph.output}
        extra = [name for name in self._names if name not in known]
        model.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in extra)
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"], disabled_optimizers=LEFT_OUT
        )
        self._batches: list[NDArray[np.float32]] = []
        self.examples: NDArray[np.float32] = np.empty(0, np.float32)

    @property
    def features(self) -> NDArray[np.float32]:
        """Of all images answered so far, in order, shape (N, D)."""
        return np.concatenate(self._batches)

    def run(self, images: NDArray[np.float32]) -> Outputs:
        """Answer images (N, C, H, W), and keep their features."""
        logits, activation, *features = self._session.run([*OUTPUT_NAMES, *self._names], {INPUT_NAME: images})
        if not self._batches:
            self.examples = images[:PARITY_IMAGES]
        self._batches.append(np.concatenate(features, axis=1))
        return Outputs(logits, activation)


def pooled_names(model: onnx.ModelProto) -> list[str]:
    """Tensors (N, D) on which the logits alone depend: the global averages of the feature maps, one a member.

    Raises:
        TrainingError: There is a way from the images to the logits that passes none.
    """
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in [*inferred.value_info, *inferred.output]}
    makers = {name: node for node in model.graph.node for name in node.output}
    found, waiting, seen = [], [OUTPUT_NAMES[0]], set()
    while waiting:
        name = waiting.pop(0)
        if name == INPUT_NAME:
            msg = "the graph has a way from image to logits that passes no global average; attention needs one"
            raise TrainingError(msg)
        if name in seen or name not in makers:
            continue
        seen.add(name)
        node = makers[name]
        is_mean = node.op_type == "ReduceMean" and ranks.get(node.input[0]) == _MAP_RANK
        if is_mean:
            found.append(name)
        else:
            waiting.extend(node.input)
    return sorted(found)


def gives_attention(graph: bytes) -> bool:
    """Whether attention was added to a graph."""
    return ATTENTION_NAME in {output.name for output in onnx.load_from_string(graph).graph.output}


def with_attention(graph: bytes, scorer: GatedAttention, images: NDArray[np.float32]) -> bytes:
    """The graph with a third output, ``attention`` (N,); logits and activation stay what they were.

    Weights are rounded to half precision like all others of a bundle.

    Args:
        graph: A bundle's graph without attention.
        scorer: For its pooled features.
        images: Real model input (N, C, H, W) on which graph and torch are compared.

    Raises:
        TrainingError: The graph gives attention already, or the new one disagrees with the old one and torch.
    """
    if gives_attention(graph):
        msg = "the graph gives attention already; take the bundle from before it was added"
        raise TrainingError(msg)
    model = onnx.load_from_string(graph)
    round_weights(scorer)
    pooled = pooled_names(model)
    nodes, weights = _scorer_nodes(pooled, scorer)
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(weights)
    model.graph.output.append(helper.make_tensor_value_info(ATTENTION_NAME, onnx.TensorProto.FLOAT, ["batch"]))
    extended = packed(model)
    _check_parity(graph, extended, scorer, images)
    return extended


def _scorer_nodes(pooled: list[str], scorer: GatedAttention) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    weights = [
        numpy_helper.from_array(value.numpy(), f"attention.{name}") for name, value in scorer.state_dict().items()
    ]
    weights.append(numpy_helper.from_array(np.array([-1], np.int64), "attention.flat"))
    nodes = [helper.make_node("Concat", pooled, ["attention.features"], axis=1)]
    for part, bend in (("value", "Tanh"), ("gate", "Sigmoid")):
        inputs = ["attention.features", f"attention.{part}.weight", f"attention.{part}.bias"]
        nodes += [
            helper.make_node("Gemm", inputs, [f"attention.{part}"], transB=1),
            helper.make_node(bend, [f"attention.{part}"], [f"attention.{part}.bent"]),
        ]
    nodes += [
        helper.make_node("Mul", ["attention.value.bent", "attention.gate.bent"], ["attention.gated"]),
        helper.make_node("Gemm", ["attention.gated", "attention.score.weight"], ["attention.scores"], transB=1),
        helper.make_node("Reshape", ["attention.scores", "attention.flat"], [ATTENTION_NAME]),
    ]
    return nodes, weights


def _check_parity(before: bytes, after: bytes, scorer: GatedAttention, images: NDArray[np.float32]) -> None:
    reader = FeatureReader(before)
    logits, activation, *_ = reader.run(images)
    with torch.inference_mode():
        attention = scorer(torch.from_numpy(reader.features)).numpy()
    names = (*OUTPUT_NAMES, ATTENTION_NAME)
    session = onnxruntime.InferenceSession(after, providers=["CPUExecutionProvider"])
    found = session.run(names, {INPUT_NAME: images})
    for name, one, other in zip(names, (logits, activation, attention), found, strict=True):
        difference, limit = float(np.abs(one - other).max()), PARITY_TOLERANCE * max(1.0, float(np.abs(one).max()))
        if difference > limit:
            raise TrainingError(
                f"the graph with attention differs by {difference:.2g} in {name} (limit {limit:.2g}); "
                "the bundle was not written"
            )
