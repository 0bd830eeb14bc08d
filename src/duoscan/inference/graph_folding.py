"""A graph's constants worked out before the runtime sees them, within bounds.

ONNX Runtime fuses batch norms and activations into convolutions only where their parameters are constants, which makes
a forward pass several times faster. It would work constants out itself, whatever that takes: 4 kB of matrix products
hold it for minutes, 2 kB of text for gigabytes. So it is told not to, and gets what our exports need worked out here:
weights widened from half precision, biases of zeros, bounds of activations. What is too large, or no such step, stays a
node and is run under the bounds of a forward pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from duoscan.inference.graph_fields import GraphError, Message, Pieces, written
from duoscan.inference.graph_guards import CONSTANT, FLOAT, NUMERIC_TYPES, check_graph, refused, tensor_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[np.generic]

MAX_FOLDED_BYTES = 768 * 2**20
"""Of all results together; no more fits in the runtime's pool of memory."""
_FOLDED_BYTES, _FOLDED_TIMES = 16 * 2**20, 6
"""Of them beside, and for each byte of weights: a half widened, transposed and joined takes six."""
_GROWN_BYTES, _GROWN_TIMES = 2**20, 2
"""Of one result, and for each byte it is made from."""
_COPIED_BYTES, _COPIED_TIMES = 16 * 2**20, 4
"""Of all weights and constants, counted wherever a node takes them, and for each byte of them; two in a network that
looks at each image and its mirror image."""

_INT64, _BOOL = 7, 9
_TWO_64, _LARGEST = 2**64, 2**63 - 1

_DTYPES = {kind: np.dtype(name) for kind, name in NUMERIC_TYPES.items() if name}
_TYPES = {dtype: kind for kind, dtype in _DTYPES.items()}

# Type of a node's first output where it is not that of its first input.
_TYPE_OF_INPUT = {b"CastLike": 1, b"Where": 1}
_FIXED_TYPES = dict.fromkeys((b"Shape", b"Size", b"ArgMax", b"ArgMin"), _INT64) | dict.fromkeys(
    (b"Equal", b"Greater", b"GreaterOrEqual", b"Less", b"LessOrEqual", b"IsInf", b"IsNaN"), _BOOL
)


def folded(graph: bytes, path: Path) -> bytes:
    """The model without the nodes whose results could be worked out, and without its notes.

    Args:
        graph: A serialised ONNX model.
        path: Of its bundle, for the message.

    Raises:
        BundleError: It holds what it must not (:func:`~duoscan.inference.graph_guards.check_graph`), or few weights in
            so many places that the runtime, which makes a copy for each, would run out of memory.
    """
    model = check_graph(graph, path)
    try:
        return _folded(model)
    except GraphError as error:
        raise refused(error, path) from error


def _folded(model: Message) -> bytes:
    (graph,) = model.all("graph")
    folding = _Folding(graph)
    kept = [node for node in graph.all("node") if not folding.is_worked_out(node)]
    uses = Counter(bytes(name) for node in kept for name in node.all("input"))
    _check_copies(graph, kept, folding.made, uses)
    wanted = {*uses, *(output.bytes("name") for output in graph.all("output"))}
    weights: list[Pieces] = [[tensor.raw] for tensor in graph.all("initializer") if tensor.bytes("name") in wanted]
    weights += [_as_tensor(name, array) for name, array in folding.made.items() if name in wanted]
    pieces = written(
        "GraphProto",
        [
            *(("node", _bare(node)) for node in kept),
            ("name", [graph.bytes("name")]),
            *(("initializer", weight) for weight in weights),
            *((name, [value.raw]) for name in ("input", "output") for value in graph.all(name)),
        ],
    )
    imports = [("opset_import", [one.raw]) for one in model.all("opset_import")]
    return b"".join(written("ModelProto", [("ir_version", model.number("ir_version")), *imports, ("graph", pieces)]))


def _check_copies(graph: Message, kept: list[Message], made: dict[bytes, Array], uses: Counter[bytes]) -> None:
    sizes = {name: array.nbytes for name, array in made.items()}
    sizes |= {tensor.bytes("name"): tensor_bytes(tensor) for tensor in graph.all("initializer")}
    for node in kept:
        if node.bytes("op_type") == CONSTANT:
            held = sum(tensor_bytes(tensor) for attribute in node.all("attribute") for tensor in attribute.all("t"))
            sizes |= dict.fromkeys(map(bytes, node.all("output")), held)
    stored = sum(sizes[name] for name in uses if name in sizes)
    if sum(count * sizes.get(name, 0) for name, count in uses.items()) > _COPIED_BYTES + _COPIED_TIMES * stored:
        msg = "uses the same weights over and over"
        raise GraphError(msg)


def _bare(node: Message) -> Pieces:
    """A node without its notes."""
    said = [(name, [value]) for name in ("input", "output", "name", "op_type") for value in node.all(name)]
    return written("NodeProto", [*said, *(("attribute", [one.raw]) for one in node.all("attribute"))])


def _as_tensor(name: bytes, array: Array) -> Pieces:
    dims = [("dims", size) for size in array.shape]
    content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    kind = ("data_type", _TYPES[array.dtype])
    return written("TensorProto", [*dims, kind, ("name", [name]), ("raw_data", [content])])


def _as_array(tensor: Message) -> Array | None:
    """A stored tensor; ``None`` where its numbers are not raw, as those of exports are."""
    dtype = _DTYPES.get(tensor.number("data_type"))
    if dtype is None or "raw_data" not in tensor.values:
        return None
    return np.frombuffer(tensor.all("raw_data")[0], dtype).reshape(tensor.all("dims"))


class _Node(NamedTuple):
    """One node whose inputs are known.

    Attributes:
        inputs: Their values; of ``CastLike`` the first alone.
        attributes: By name.
        kind: TensorProto.DataType of the result; 0 where that is not known.
    """

    inputs: list[Array]
    attributes: dict[bytes, Message]
    kind: int

    def integer(self, name: bytes, default: int | None = None) -> int | None:
        """An attribute."""
        return _signed(self.attributes[name].number("i")) if name in self.attributes else default

    def sizes(self, place: int) -> tuple[int, ...]:
        """An input that holds a shape or axes."""
        return tuple(self.inputs[place].reshape(-1)[: np.iinfo(np.uint8).max].tolist())


class _Folding:
    """What is known of the values of a graph.

    Attributes:
        made: Name → result of a node, as far as nodes were worked out.
    """

    def __init__(self, graph: Message) -> None:
        self.made: dict[bytes, Array] = {}
        self._stored: dict[bytes, Array] = {}
        self._kinds = {value.bytes("name"): FLOAT for value in graph.all("input")}
        for tensor in graph.all("initializer"):
            self._kinds[tensor.bytes("name")] = tensor.number("data_type")
            if (array := _as_array(tensor)) is not None:
                self._stored[tensor.bytes("name")] = array
        weights = sum(array.nbytes for array in self._stored.values())
        self._left = min(MAX_FOLDED_BYTES, _FOLDED_BYTES + _FOLDED_TIMES * weights)

    def is_worked_out(self, node: Message) -> bool:
        """Whether the result of a node, which comes after the nodes that it needs, is known now."""
        names, outputs = ([bytes(name) for name in node.all(side)] for side in ("input", "output"))
        operator, attributes = node.bytes("op_type"), {one.bytes("name"): one for one in node.all("attribute")}
        if len(outputs) != 1 or not outputs[0]:
            return False
        kind = self._kinds[outputs[0]] = self._kind(operator, names, attributes)
        # What CastLike asks of its second input is the type alone.
        inputs = [
            self.made.get(name, self._stored.get(name)) for name in names[: 1 if operator == b"CastLike" else None]
        ]
        known = [array for array in inputs if array is not None]
        if operator not in _STEPS or len(known) < len(inputs):
            return False
        array = _result(_STEPS[operator], _Node(known, attributes, kind))
        if array is None or array.nbytes > self._left:
            return False
        self._left -= array.nbytes
        self.made[outputs[0]], self._kinds[outputs[0]] = array, _TYPES[array.dtype]
        return True

    def _kind(self, operator: bytes, names: list[bytes], attributes: dict[bytes, Message]) -> int:
        if operator == b"Cast":
            return attributes[b"to"].number("i") if b"to" in attributes else 0
        if operator in _FIXED_TYPES:
            return _FIXED_TYPES[operator]
        place = _TYPE_OF_INPUT.get(operator, 0)
        return self._kinds.get(names[place], 0) if place < len(names) else 0


def _result(step: _Step, node: _Node) -> Array | None:
    try:
        array = step(node)
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError):
        return None  # the runtime says what is wrong with it
    most = max(_GROWN_BYTES, _GROWN_TIMES * sum(one.nbytes for one in node.inputs))
    return array if array.dtype in _TYPES and array.nbytes <= most else None


def _constant(node: _Node) -> Array:
    ((name, value),) = node.attributes.items()
    if name == b"value":
        array = _as_array(value.all("t")[0])
        if array is None:
            raise ValueError(name)
        return array
    if name in {b"value_int", b"value_ints"}:
        whole = [_signed(number) for number in value.all("i") or value.all("ints")]
        return np.array(whole, np.int64).reshape(() if name == b"value_int" else -1)
    return np.frombuffer(b"".join(value.all("f") or value.all("floats")), "<f4").reshape(
        () if name == b"value_float" else -1
    )


def _cast(node: _Node) -> Array:
    (array,) = node.inputs
    return array.astype(_DTYPES[node.kind], casting="safe", copy=False)


def _concat(node: _Node) -> Array:
    return np.concatenate(node.inputs, axis=_signed(node.attributes[b"axis"].number("i")))


def _expand(node: _Node) -> Array:
    array = node.inputs[0]
    return np.broadcast_to(array, np.broadcast_shapes(array.shape, node.sizes(1)))


def _reshape(node: _Node) -> Array:
    array, sizes = node.inputs[0], node.sizes(1)
    if not node.integer(b"allowzero", 0):
        sizes = tuple(size or array.shape[place] for place, size in enumerate(sizes))
    return array.reshape(sizes)


def _shape(node: _Node) -> Array:
    return np.array(node.inputs[0].shape[node.integer(b"start") : node.integer(b"end")], np.int64)


def _squeeze(node: _Node) -> Array:
    return np.squeeze(node.inputs[0], node.sizes(1) if len(node.inputs) > 1 else None)


def _transpose(node: _Node) -> Array:
    stated = node.attributes.get(b"perm")
    return np.transpose(node.inputs[0], stated.all("ints") if stated else None)


_Step = Callable[[_Node], "Array"]
_STEPS: dict[bytes, _Step] = {
    b"Cast": _cast,
    b"CastLike": _cast,
    b"Concat": _concat,
    b"Constant": _constant,
    b"Expand": _expand,
    b"Identity": lambda node: node.inputs[0],
    b"Reshape": _reshape,
    b"Shape": _shape,
    b"Squeeze": _squeeze,
    b"Transpose": _transpose,
    b"Unsqueeze": lambda node: np.expand_dims(node.inputs[0], node.sizes(1)),
}
"""None gives more numbers than it gets but Expand, which makes a view, and Concat; none takes longer than a copy."""


def _signed(number: int) -> int:
    return number if number <= _LARGEST else number - _TWO_64
