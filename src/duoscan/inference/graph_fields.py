"""An ONNX model read field by field, each against what is known of its message, and written again.

The base install has no ONNX library, so the protocol buffers are read here; see ``onnx.proto`` for the numbers. What is
not listed is refused, since a list of what is bad is never whole: ONNX Runtime follows external data wherever a path
leads, and the places for it grow with every version of the format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_FIELDS = 500_000
"""Of all messages together; the largest model exported so far has 40,000. As many take 2 s to read."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WIDTH = {FIXED64: 8, FIXED32: 4}
_LARGEST_BITS = 64
_SEVEN_BITS = 0x7F

Pieces = list[bytes | memoryview]
"""Bytes that follow each other."""


class GraphError(ValueError):
    """What a graph holds and must not; its words complete "its graph …"."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message.

    Attributes:
        name: As in ``onnx.proto``.
        wire: How its value is written.
        inside: The message in it, where it is looked into.
        many: Whether it may come more than once.
    """

    name: str
    wire: int
    inside: str = ""
    many: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """What was read of one message.

    Attributes:
        raw: Its bytes.
        values: Field → its values in order: integers, bytes, or messages.
    """

    raw: memoryview
    values: dict[str, list[Any]]

    def all(self, name: str) -> list[Any]:
        """Every value of a field."""
        return self.values.get(name, [])

    def number(self, name: str, default: int = 0) -> int:
        """The integer in a field, as stored: a negative one is 2⁶⁴ higher."""
        return int(self.all(name)[0]) if name in self.values else default

    def bytes(self, name: str) -> bytes:
        """The bytes in a field; none where it is absent."""
        return b"".join(self.all(name))


def _strings(**numbers: int) -> dict[int, Field]:
    return {number: Field(name, BYTES) for name, number in numbers.items()}


def _integers(**numbers: int) -> dict[int, Field]:
    return {number: Field(name, VARINT) for name, number in numbers.items()}


def _many(name: str, number: int, inside: str = "", wire: int = BYTES) -> dict[int, Field]:
    return {number: Field(name, wire, inside, many=True)}


def _one(name: str, number: int, inside: str) -> dict[int, Field]:
    return {number: Field(name, BYTES, inside)}


# Nothing reads the notes in metadata_props, doc_string and value_info, so they are not looked into.
MESSAGES: dict[str, dict[int, Field]] = {
    "ModelProto": _integers(ir_version=1, model_version=5)
    | _strings(producer_name=2, producer_version=3, domain=4, doc_string=6)
    | _one("graph", 7, "GraphProto")
    | _many("opset_import", 8, "OperatorSetIdProto")
    | _many("metadata_props", 14),
    "OperatorSetIdProto": _strings(domain=1) | _integers(version=2),
    "GraphProto": _strings(name=2, doc_string=10)
    | _many("node", 1, "NodeProto")
    | _many("initializer", 5, "TensorProto")
    | _many("input", 11, "ValueInfoProto")
    | _many("output", 12, "ValueInfoProto")
    | _many("value_info", 13)
    | _many("metadata_props", 16),
    "NodeProto": _strings(name=3, op_type=4, doc_string=6, domain=7)
    | _many("input", 1)
    | _many("output", 2)
    | _many("attribute", 5, "AttributeProto")
    | _many("metadata_props", 9),
    "AttributeProto": _strings(name=1, s=4, doc_string=13)
    | _integers(i=3, type=20)
    | {2: Field("f", FIXED32)}
    | _one("t", 5, "TensorProto")
    | _many("floats", 7, wire=FIXED32)
    | _many("ints", 8, wire=VARINT),
    "TensorProto": _integers(data_type=2, data_location=14)
    | _many("dims", 1, wire=VARINT)
    | _strings(float_data=4, int32_data=5, int64_data=7, name=8, raw_data=9, double_data=10, uint64_data=11)
    | _strings(doc_string=12)
    | _many("metadata_props", 16),
    "ValueInfoProto": _strings(name=1, doc_string=3) | _one("type", 2, "TypeProto") | _many("metadata_props", 4),
    "TypeProto": _strings(denotation=6) | _one("tensor_type", 1, "TypeProto.Tensor"),
    "TypeProto.Tensor": _integers(elem_type=1) | _one("shape", 2, "TensorShapeProto"),
    "TensorShapeProto": _many("dim", 1, "TensorShapeProto.Dimension"),
    "TensorShapeProto.Dimension": _integers(dim_value=1) | _strings(dim_param=2, denotation=3),
}
"""Message → number → field: all that a graph may be made of."""

_REFUSED = {
    ("ModelProto", 20): "holds training information",
    ("ModelProto", 25): "defines functions",
    ("ModelProto", 26): "is spread over several devices",
    ("GraphProto", 14): "is quantised",
    ("GraphProto", 15): "holds sparse weights",
    ("NodeProto", 10): "is spread over several devices",
    ("AttributeProto", 6): "branches or loops",
    ("AttributeProto", 9): "holds text",
    ("AttributeProto", 11): "branches or loops",
    ("AttributeProto", 21): "defines functions",
    ("AttributeProto", 22): "holds sparse weights",
    ("AttributeProto", 23): "holds sparse weights",
    ("TensorProto", 3): "holds weights in pieces",
    ("TensorProto", 6): "holds text",
    ("TensorProto", 13): "reads weights from other files",
}


def read_model(graph: bytes) -> Message:
    """A serialised model, every field of it known.

    Raises:
        GraphError: It holds a field that is not known, or too many.
        IndexError: It ends within a field.
        ValueError: A field is of another type than its message says, comes twice, or reaches beyond the end.
    """
    return _Reader().message("ModelProto", memoryview(graph))


class _Reader:
    def __init__(self) -> None:
        self._fields = 0

    def message(self, kind: str, raw: memoryview) -> Message:
        known, values = MESSAGES[kind], dict[str, list[Any]]()
        for number, wire, value in _fields(raw):
            self._count()
            field = known.get(number)
            if field is None:
                raise GraphError(_REFUSED.get((kind, number), f"holds field {number} of a {kind}, which is unknown"))
            found = values.setdefault(field.name, [])
            if found and not field.many:
                msg = f"{kind}.{field.name} twice"
                raise ValueError(msg)
            if wire == field.wire:
                found.append(self.message(field.inside, value) if field.inside else value)
            elif field.many and field.wire != BYTES and wire == BYTES:
                found.extend(self._packed(field.wire, value))
            else:
                msg = f"{kind}.{field.name} of type {wire}"
                raise ValueError(msg)
        return Message(raw, values)

    def _packed(self, wire: int, raw: memoryview) -> Iterator[int | memoryview]:
        place = 0
        while place < len(raw):
            self._count()
            if wire == VARINT:
                value, place = _varint(raw, place)
                yield value
            else:
                yield raw[place : place + _WIDTH[wire]]
                place += _WIDTH[wire]

    def _count(self) -> None:
        self._fields += 1
        if self._fields > MAX_FIELDS:
            msg = f"has more than {MAX_FIELDS:,} fields"
            raise GraphError(msg)


def _fields(message: memoryview) -> Iterator[tuple[int, int, Any]]:
    """The fields of one message: number, how it is written, and an integer or bytes."""
    place, end = 0, len(message)
    while place < end:
        key, place = _varint(message, place)
        wire = key & 7
        if wire == VARINT:
            value, place = _varint(message, place)
            yield key >> 3, wire, value
            continue
        if wire == BYTES:
            size, place = _varint(message, place)
        else:
            size = _WIDTH.get(wire, -1)
        if size < 0 or place + size > end:
            raise ValueError(wire)
        yield key >> 3, wire, message[place : place + size]
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    byte = message[place]
    if byte <= _SEVEN_BITS:
        return byte, place + 1
    value = shift = 0
    while True:
        byte = message[place]
        place += 1
        value |= (byte & _SEVEN_BITS) << shift
        shift += 7
        if value >> _LARGEST_BITS or shift > _LARGEST_BITS + 7:  # others leave bits out, and read another number
            raise ValueError(value)
        if byte <= _SEVEN_BITS:
            return value, place


def written(kind: str, values: Iterable[tuple[str, int | Pieces]]) -> Pieces:
    """A message, in pieces, so that weights are copied once, when all are joined.

    Args:
        kind: Which.
        values: Fields of it with their values, in order; those of a repeated field one by one.
    """
    numbers = {field.name: number for number, field in MESSAGES[kind].items()}
    pieces: Pieces = []
    for name, value in values:
        if isinstance(value, int):
            pieces += [_as_varint(numbers[name] << 3 | VARINT), _as_varint(value)]
        else:
            size = sum(map(len, value))
            pieces += [_as_varint(numbers[name] << 3 | BYTES), _as_varint(size), *value]
    return pieces


def _as_varint(value: int) -> bytes:
    found = bytearray()
    while value > _SEVEN_BITS:
        found.append(value & _SEVEN_BITS | 0x80)
        value >>= 7
    return bytes([*found, value])
