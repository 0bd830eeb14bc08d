"""What an ONNX graph from elsewhere may hold: it must not loop, nor read other files, nor bring code of its own.

ONNX Runtime follows an external-data path wherever it leads, runs a ``Loop`` for as long as it says, and inlines
functions that call each other twice over and over. No classifier needs any of it. The graph is walked as protocol
buffers, field by field, since the base install has no ONNX library; see ``onnx.proto`` for the numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_NODES = 100_000
"""Of one graph; the largest exported so far has 3,000."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTH = {_FIXED64: 8, _FIXED32: 4}

# Message → field → message in it. What is not listed is not looked into.
_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _TENSOR = "model", "graph", "node", "attribute", "tensor"
_INSIDE = {
    _MODEL: {7: _GRAPH},
    _GRAPH: {1: _NODE, 5: _TENSOR},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 10: _TENSOR},
    _TENSOR: {},
}
_REFUSED = {
    (_MODEL, 20): "holds training information",
    (_MODEL, 25): "defines functions",
    (_ATTRIBUTE, 6): "branches or loops",
    (_ATTRIBUTE, 11): "branches or loops",
    (_TENSOR, 13): "reads weights from other files",
    (_TENSOR, 14): "reads weights from other files",
}


def check_graph(graph: bytes, path: Path) -> None:
    """Refuse a graph that could read files or run without end.

    Args:
        graph: A serialised ONNX model.
        path: Of its bundle, for the message.

    Raises:
        BundleError: It holds what it must not, or is no ONNX model.
    """
    try:
        reason = _why_refused(memoryview(graph))
    except (IndexError, ValueError) as error:
        raise BundleError(f"{path}: its graph is no ONNX model; export the bundle anew with 'duoscan train'") from error
    if reason:
        raise BundleError(f"{path}: its graph {reason}, which no classifier needs; it is not loaded")


def _why_refused(model: memoryview) -> str | None:
    left, nodes = [(_MODEL, model)], 0
    while left:
        kind, message = left.pop()
        for number, value in _fields(message):
            if (kind, number) == (_TENSOR, 14) and value == 0:  # where weights lie by default: here
                continue
            if (kind, number) in _REFUSED:
                return _REFUSED[kind, number]
            inner = _INSIDE[kind].get(number)
            if inner is None:
                continue
            if isinstance(value, int):
                return "is no ONNX model"
            nodes += inner == _NODE
            if nodes > MAX_NODES:
                return f"has more than {MAX_NODES:,} nodes"
            left.append((inner, value))
    return None


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of one message: number, and an integer or bytes.

    Raises:
        IndexError: It ends within a field.
        ValueError: A field is of an unknown type or reaches beyond the end.
    """
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        if wire == _BYTES:
            size, place = _varint(message, place)
        else:
            size = _WIDTH.get(wire, -1)
        if size < 0 or place + size > len(message):
            raise ValueError(wire)
        yield number, message[place : place + size]
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, place
        if shift > 63:
            raise ValueError(shift)
