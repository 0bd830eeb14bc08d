"""Linear heads into a bundle's graph, where its pooled features are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from duoscan.errors import TrainingError
from duoscan.inference.graph_names import INPUT_NAME, OUTPUT_NAMES
from duoscan.inference.heads import OUTPUT_PREFIX
from duoscan.training.attention_graph import FeatureReader, pooled_names
from duoscan.training.export import PARITY_TOLERANCE, packed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from duoscan.training.further.fits import LinearHead

_FEATURES = "heads.features"


def with_heads(graph: bytes, heads: Mapping[str, LinearHead], images: NDArray[np.float32]) -> bytes:
    """The graph with one more output a head, ``head.<name>`` (N, K); all others stay what they were.

    Weights are rounded to half precision like all others of a bundle.

    Args:
        graph: A bundle's graph.
        heads: By name, for its pooled features.
        images: Real model input (N, C, H, W) on which the graphs and the heads are compared.

    Raises:
        TrainingError: The graph has one of these heads already, or the new one disagrees with the old one or a head.
    """
    model = onnx.load_from_string(graph)
    known = {output.name for output in model.graph.output}
    if twice := sorted(name for name in heads if f"{OUTPUT_PREFIX}{name}" in known):
        raise TrainingError(f"the graph gives {', '.join(twice)} already; take the bundle from before it was added")
    rounded = {name: head.rounded() for name, head in heads.items()}
    model.graph.node.append(helper.make_node("Concat", pooled_names(model), [_FEATURES], axis=1))
    for name, head in rounded.items():
        output = f"{OUTPUT_PREFIX}{name}"
        inputs = [_FEATURES, f"{output}.weight", f"{output}.bias"]
        model.graph.node.append(helper.make_node("Gemm", inputs, [output], transB=1))
        model.graph.initializer.append(numpy_helper.from_array(head.weight, inputs[1]))
        model.graph.initializer.append(numpy_helper.from_array(head.bias, inputs[2]))
        model.graph.output.append(
            helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, ["batch", len(head.bias)])
        )
    extended = packed(model)
    _check_parity(graph, extended, rounded, images)
    return extended


def _check_parity(before: bytes, after: bytes, heads: Mapping[str, LinearHead], images: NDArray[np.float32]) -> None:
    reader = FeatureReader(before)
    logits, activation, *_ = reader.run(images)
    expected = dict(zip(OUTPUT_NAMES, (logits, activation), strict=True))
    expected |= {f"{OUTPUT_PREFIX}{name}": head(reader.features) for name, head in heads.items()}
    session = onnxruntime.InferenceSession(after, providers=["CPUExecutionProvider"])
    found = session.run(list(expected), {INPUT_NAME: images})
    for (name, one), other in zip(expected.items(), found, strict=True):
        difference, limit = float(np.abs(one - other).max()), PARITY_TOLERANCE * max(1.0, float(np.abs(one).max()))
        if difference > limit:
            raise TrainingError(
                f"the graph with further heads differs by {difference:.2g} in {name} (limit {limit:.2g}); "
                "the bundle was not written"
            )
