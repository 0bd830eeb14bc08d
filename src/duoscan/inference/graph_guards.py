"""What an ONNX graph from elsewhere may hold: numbers and the operators of a classifier, and bounded in size.

ONNX Runtime follows an external-data path wherever it leads, runs a ``Loop`` for as long as it says, inlines functions
that call each other twice over and over, and keeps text outside of every pool of memory. No classifier needs any of it.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from duoscan.errors import BundleError
from duoscan.inference.graph_fields import GraphError, Message, read_model
from duoscan.inference.graph_names import INPUT_NAME

if TYPE_CHECKING:
    from pathlib import Path

MAX_NODES = 10_000
"""Beside constants, as :data:`EXPANDED`; the largest graph exported so far has 2,100. ONNX Runtime needs 3 s for the
worst of as many."""
MAX_CONSTANTS = 20_000
"""Weights and constant nodes; the largest has 1,500."""
MAX_STRUCTURE_BYTES = 16 * 2**20
"""Of all but weights as they lie in memory; the largest so far has 1.2 MiB."""

MAX_DIMENSIONS = 16
"""Of a stored tensor."""

DOMAINS = frozenset({b"", b"ai.onnx"})
"""Of the standard's own operators."""

FLOAT = 1
NUMERIC_TYPES = {
    FLOAT: "<f4", 2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8",
    12: "<u4", 13: "<u8", 16: "",
}  # fmt: skip
"""TensorProto.DataType → numpy's name of it, empty where numpy has none (bfloat16). No text, no complex numbers."""

OPERATORS = frozenset(
    (
        b"Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast CastLike Ceil Celu Clip Concat "
        b"Constant ConstantOfShape Conv ConvTranspose Cos CumSum DepthToSpace Div Dropout Einsum Elu Equal Erf "
        b"Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool "
        b"Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization IsInf "
        b"IsNaN LRN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul "
        b"Max MaxPool Mean Min Mish Mod Mul Neg Not Or PRelu Pad Pow RMSNormalization Range Reciprocal "
        b"ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
        b"ReduceSumSquare Relu Reshape Resize Round ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Size "
        b"Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh ThresholdedRelu Tile "
        b"TopK Transpose Trilu Unsqueeze Where Xor"
    ).split()
)
"""What exports of convolutional networks and vision transformers are made of."""

CONSTANT = b"Constant"
EXPANDED = {
    b"GroupNormalization": 40, b"LayerNormalization": 30, b"RMSNormalization": 20, b"Gelu": 20, b"Selu": 13,
    b"Elu": 13, b"HardSigmoid": 13, b"Range": 10, b"LeakyRelu": 8, b"LogSoftmax": 8, b"Softmax": 8, b"Celu": 6,
    b"PRelu": 6, b"ReduceL2": 6, b"ReduceLogSumExp": 6, b"Softplus": 6, b"Softsign": 6, b"ThresholdedRelu": 6,
    b"Clip": 4, b"GreaterOrEqual": 4, b"LessOrEqual": 4, b"Mish": 4, b"Relu": 4,
}  # fmt: skip
"""Nodes that the runtime may put in place of one, where it has no code of its own for an operator and a type."""

_TEXT = b"value_string"  # of a Constant
_TYPED = {"float_data": 4, "double_data": 8, "int32_data": 0, "int64_data": 0, "uint64_data": 0}  # bytes; 0: varints


def check_graph(graph: bytes, path: Path) -> Message:
    """Refuse a graph that could read files, run without end or take memory that its weights do not need.

    Args:
        graph: A serialised ONNX model.
        path: Of its bundle, for the message.

    Returns:
        The model, every field of it known.

    Raises:
        BundleError: It holds what it must not, or is no ONNX model.
    """
    try:
        model = read_model(graph)
        _check_model(model)
    except GraphError as error:
        raise refused(error, path) from error
    except (IndexError, ValueError) as error:
        raise BundleError(f"{path}: its graph is no ONNX model; export the bundle anew with 'duoscan train'") from error
    return model


def refused(error: GraphError, path: Path) -> BundleError:
    """What a user is told."""
    return BundleError(f"{path}: its graph {error}, which no classifier needs; it is not loaded")


def _check_model(model: Message) -> None:
    if len(model.all("graph")) != 1:
        msg = "no graph"
        raise ValueError(msg)
    for imported in model.all("opset_import"):
        _check_domain(imported)
    (graph,) = model.all("graph")
    operators = Counter(node.bytes("op_type") for node in graph.all("node"))
    constants = operators.pop(CONSTANT, 0)
    if sum(count * EXPANDED.get(operator, 1) for operator, count in operators.items()) > MAX_NODES:
        msg = f"has more than {MAX_NODES:,} nodes"
        raise GraphError(msg)
    if len(graph.all("initializer")) + constants > MAX_CONSTANTS:
        msg = f"has more than {MAX_CONSTANTS:,} weights and constants"
        raise GraphError(msg)
    for node in graph.all("node"):
        _check_node(node)
    for tensor in graph.all("initializer"):
        _check_tensor(tensor)
    for value in [*graph.all("input"), *graph.all("output")]:
        _check_value(value)
    if [value.bytes("name") for value in graph.all("input")] != [INPUT_NAME.encode()]:
        msg = "asks for other input than images"
        raise GraphError(msg)
    _check_names(graph)
    if len(model.raw) - _weight_bytes(graph) > MAX_STRUCTURE_BYTES:
        msg = f"takes more than {MAX_STRUCTURE_BYTES // 2**20} MiB beside its weights"
        raise GraphError(msg)


def _check_domain(message: Message) -> None:
    if (domain := message.bytes("domain")) not in DOMAINS:
        msg = f"uses operators of '{_shown(domain)}'"
        raise GraphError(msg)


def _check_node(node: Message) -> None:
    _check_domain(node)
    if (operator := node.bytes("op_type")) not in OPERATORS:
        msg = f"uses the operator '{_shown(operator)}'"
        raise GraphError(msg)
    for attribute in node.all("attribute"):
        name = attribute.bytes("name")
        if name == _TEXT and operator == CONSTANT:
            msg = "holds text"
            raise GraphError(msg)
        if name == b"to" and operator == b"Cast":
            _check_type(attribute.number("i"))
        for tensor in attribute.all("t"):
            _check_tensor(tensor)


def _check_tensor(tensor: Message) -> None:
    if tensor.number("data_location"):
        msg = "reads weights from other files"
        raise GraphError(msg)
    kind = tensor.number("data_type")
    _check_type(kind)
    counts = [_count(name, tensor.bytes(name)) for name in _TYPED if name in tensor.values]
    if "raw_data" in tensor.values:
        counts.append(len(tensor.all("raw_data")[0]) / _width(kind))
    dims = tensor.all("dims")
    if len(counts) > 1 or len(dims) > MAX_DIMENSIONS or sum(counts) != math.prod(dims):
        msg = "a tensor of another size than it says"
        raise ValueError(msg)


def tensor_bytes(tensor: Message) -> int:
    """What the numbers of a checked tensor take in memory."""
    return int(math.prod(tensor.all("dims"))) * _width(tensor.number("data_type"))


def _width(kind: int) -> int:
    return np.dtype(NUMERIC_TYPES[kind] or "<u2").itemsize


def _count(name: str, packed: bytes) -> float:
    """Numbers in a packed field."""
    if width := _TYPED[name]:
        return len(packed) / width
    return int(np.count_nonzero(np.frombuffer(packed, np.uint8) < 0x80))


def _check_type(kind: int) -> None:
    if kind not in NUMERIC_TYPES:
        msg = "holds text or numbers of another type"
        raise GraphError(msg)


def _check_value(value: Message) -> None:
    for kind in value.all("type"):
        for tensor in kind.all("tensor_type"):
            _check_type(tensor.number("elem_type"))


def _check_names(graph: Message) -> None:
    """One name must mean one value: what is worked out here goes by names."""
    names = [one.bytes("name") for kind in ("input", "initializer") for one in graph.all(kind)]
    names += [bytes(output) for node in graph.all("node") for output in node.all("output") if output]
    if len(set(names)) != len(names):
        msg = "calls two values by one name"
        raise GraphError(msg)


def _weight_bytes(graph: Message) -> int:
    tensors = [*graph.all("initializer")]
    tensors += [tensor for node in graph.all("node") for one in node.all("attribute") for tensor in one.all("t")]
    return sum(len(tensor.all("raw_data")[0]) for tensor in tensors if "raw_data" in tensor.values)


def _shown(name: bytes) -> str:
    return ascii(name[:40].decode("ascii", "replace"))[1:-1]
