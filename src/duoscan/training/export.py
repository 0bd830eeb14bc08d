"""A trained network → an ONNX graph whose parity with torch has been checked."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import torch

from duoscan.errors import TrainingError
from duoscan.inference.graph_names import INPUT_NAME, OUTPUT_NAMES
from duoscan.training.classifier import ExportGraph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from duoscan.training.classifier import Classifier

# Float32 sums in another order differ by about 1e-5 in logits of order 1; more means another function.
PARITY_TOLERANCE = 1e-3


def export_graph(members: Sequence[Classifier], images: NDArray[np.float32]) -> tuple[bytes, float]:
    """Export logits and activation maps in one graph.

    Weights are first rounded to half precision, which halves the file; sums stay in float32. What is compared, and what
    thresholds and metrics are taken from later, is the rounded network.

    Args:
        members: The trained classifiers, whose answers are averaged.
        images: Real model input (N, C, H, W), N ≥ 2, on which torch and the graph are compared.

    Returns:
        The serialised graph and the largest absolute difference of a logit.

    Raises:
        TrainingError: The difference is above ``PARITY_TOLERANCE`` (relative to the largest logit).
    """
    module = ExportGraph(members).eval().to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    round_weights(module)
    example = torch.from_numpy(images)
    with torch.inference_mode():
        expected = module(example)
    graph = packed(to_onnx(module, example[:2], INPUT_NAME, OUTPUT_NAMES))
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    found = session.run(list(OUTPUT_NAMES), {INPUT_NAME: images})
    difference = float(np.abs(expected[0].numpy() - found[0]).max())
    activation_difference = float(np.abs(expected[1].numpy() - found[1]).max())
    scale = max(1.0, float(expected[0].abs().max()), float(expected[1].abs().max()))
    if max(difference, activation_difference) > PARITY_TOLERANCE * scale:
        raise TrainingError(
            f"the exported graph differs from torch by {difference:.2g} in a logit and {activation_difference:.2g} "
            f"in an activation (limit {PARITY_TOLERANCE * scale:.2g}); the bundle was not written"
        )
    return graph, difference


def round_weights(module: torch.nn.Module) -> None:
    """Round matrices and kernels to half precision, in place."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                parameter.copy_(parameter.half().float())


def packed(model: onnx.ModelProto) -> bytes:
    """Serialise a graph, with rounded weights stored as what they are and widened on loading.

    Biases and statistics stay float32. The exporter notes for each node where in whose files it was made; that is
    nobody's business and goes.
    """
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT and len(weight.dims) > 1:
            exact = onnx.numpy_helper.to_array(weight)
            half = exact.astype(np.float16)
            if not np.array_equal(half.astype(np.float32), exact):
                continue
            casts.append(
                onnx.helper.make_node("Cast", [f"{weight.name}_half"], [weight.name], to=onnx.TensorProto.FLOAT)
            )
            weight.CopyFrom(onnx.numpy_helper.from_array(half, f"{weight.name}_half"))
    nodes = [*casts, *model.graph.node]
    for node in nodes:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    serialised: bytes = model.SerializeToString()
    return serialised


def to_onnx(
    module: torch.nn.Module,
    example: torch.Tensor,
    input_name: str,
    output_names: Sequence[str],
    *,
    optimize: bool = False,
) -> onnx.ModelProto:
    """Export a module in evaluation mode; the first axis of its input is the batch, of any length.

    Optimising folds batch norms into weights, which unrounds them; for a graph that is kept the runtime does that.

    Raises:
        TrainingError: The exporter gave nothing.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        program = torch.onnx.export(
            module,
            (example,),
            input_names=[input_name],
            output_names=list(output_names),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            optimize=optimize,
            verbose=False,
        )
    if program is None:
        raise TrainingError("torch.onnx.export gave nothing; the bundle was not written")
    model: onnx.ModelProto = program.model_proto
    return model
