"""A graph from elsewhere reads no file, runs not for ever and takes no gigabytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from duoscan.errors import BundleError
from duoscan.inference import graph_fields
from duoscan.inference.bundle import read_bundle, write_bundle
from duoscan.inference.graph_guards import EXPANDED, OPERATORS, check_graph
from duoscan.inference.predictor import Predictor
from duoscan.inference.runtimes import guarded_session
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


def joined(*nodes: onnx.NodeProto, last: str = "last") -> onnx.ModelProto:
    """The same, whose logits ask for a value of theirs: what nothing asks for is removed, not run."""
    made = model(*nodes)
    made.graph.node[-1].output[0] = "plain"
    made.graph.node.append(helper.make_node("ReduceMax", [last], ["most"], keepdims=0))
    made.graph.node.append(helper.make_node("Add", ["plain", "most"], ["logits"]))
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


def constant_in_another_file() -> onnx.ModelProto:
    tensor = helper.make_tensor("t", TensorProto.FLOAT, [1], [1.0])
    tensor.external_data.add(key="location", value="/dev/zero")
    return model(helper.make_node("Constant", [], ["unused"], value=tensor))


def in_another_file(path: str, count: int) -> onnx.SparseTensorProto:
    """A file's bytes as the values of a sparse tensor."""
    values = TensorProto(name="leak", data_type=TensorProto.UINT8, dims=[count], data_location=TensorProto.EXTERNAL)
    values.external_data.add(key="location", value=path)
    values.external_data.add(key="length", value=str(count))
    return helper.make_sparse_tensor(values, helper.make_tensor("", TensorProto.INT64, [count], range(count)), [count])


def sparse_weights_in_another_file() -> onnx.ModelProto:
    made = model(
        helper.make_node("Cast", ["leak"], ["read"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["read"], ["told"], keepdims=0),
    )
    made.graph.sparse_initializer.append(in_another_file("secret.txt", 12))
    made.graph.node[-1].output[0] = "plain"
    made.graph.node.append(helper.make_node("Add", ["plain", "told"], ["logits"]))
    return made


def sparse_constant_in_another_file() -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["leak"], sparse_value=in_another_file("secret.txt", 12))
    made = sparse_weights_in_another_file()
    del made.graph.sparse_initializer[:]
    made.graph.node.insert(0, node)
    return made


def sparse_constants() -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["leak"])
    node.attribute.add(name="x", type=12).sparse_tensors.append(in_another_file("secret.txt", 12))
    return model(node)


def defines_functions() -> onnx.ModelProto:
    made = model()
    made.functions.append(helper.make_function("own", "f", ["x"], ["y"], [], [helper.make_opsetid("", 18)]))
    return made


def trains() -> onnx.ModelProto:
    made = model()
    made.training_info.add()
    return made


def of_another_domain() -> onnx.ModelProto:
    return model(helper.make_node("Inverse", ["images"], ["x"], domain="com.microsoft"))


def imports_another_domain() -> onnx.ModelProto:
    made = model()
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    return made


def text() -> onnx.ModelProto:
    """1,887 bytes that took 6.2 GiB: a text of a kilobyte, four million times, outside of the pool of memory."""
    return joined(
        helper.make_node("Constant", [], ["text"], value_string=b"x" * 1000),
        helper.make_node("Constant", [], ["many"], value_ints=[2**22]),
        helper.make_node("Expand", ["text", "many"], ["large"]),
        helper.make_node("Size", ["large"], ["size"]),
        helper.make_node("Cast", ["size"], ["last"], to=TensorProto.FLOAT),
    )


def numbers_as_text() -> onnx.ModelProto:
    return model(helper.make_node("Cast", ["images"], ["x"], to=TensorProto.STRING))


def stored_text() -> onnx.ModelProto:
    made = model()
    made.graph.initializer.append(helper.make_tensor("t", TensorProto.STRING, [1], [b"x"]))
    return made


def joins_text() -> onnx.ModelProto:
    return model(helper.make_node("StringConcat", ["images", "images"], ["x"]))


def text_goes_in() -> onnx.ModelProto:
    made = model()
    made.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING
    return made


def sequence_goes_in() -> onnx.ModelProto:
    made = model()
    kind = helper.make_sequence_type_proto(made.graph.input[0].type)
    made.graph.input[0].type.CopyFrom(kind)
    return made


def asks_for_more() -> onnx.ModelProto:
    made = model()
    made.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    return made


def two_of_one_name() -> onnx.ModelProto:
    return model(helper.make_node("Sin", ["images"], ["weight"]))


def many_nodes() -> onnx.ModelProto:
    return model(*(helper.make_node("Sin", ["images"], [f"s{number}"]) for number in range(10_000)))


def grows_on_loading() -> onnx.ModelProto:
    """600 kB that took a minute and 1 GiB: the runtime writes 34 nodes for each of these."""
    return model(
        *(helper.make_node("GroupNormalization", ["images"] * 3, [f"s{n}"], num_groups=1) for n in range(2_000))
    )


def many_weights() -> onnx.ModelProto:
    made = model()
    made.graph.initializer.extend(numpy_helper.from_array(np.ones(1, np.int8), f"w{n}") for n in range(20_000))
    return made


def many_fields() -> onnx.ModelProto:
    return model(helper.make_node("Sin", ["images"], ["x"], numbers=[1] * 500_000))


def weights_over_and_over() -> onnx.ModelProto:
    """A 56 kB bundle that kept the runtime for minutes: a copy of one weight for each convolution that is fused."""
    nodes, last = [], "images"
    for number in range(100):
        nodes.append(helper.make_node("Conv", [last, "w"], [f"c{number}"]))
        nodes.append(helper.make_node("BatchNormalization", [f"c{number}", "g", "g", "g", "g"], [f"b{number}"]))
        last = f"b{number}"
    made = joined(*nodes, last=last)
    made.graph.initializer.append(numpy_helper.from_array(np.ones((512, 512, 1, 1), np.float32), "w"))
    made.graph.initializer.append(numpy_helper.from_array(np.ones(512, np.float32), "g"))
    return made


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (loop, "branches or loops"),
        (reads_a_file, "reads weights from other files"),
        (constant_in_another_file, "reads weights from other files"),
        (sparse_weights_in_another_file, "holds sparse weights"),
        (sparse_constant_in_another_file, "holds sparse weights"),
        (sparse_constants, "holds sparse weights"),
        (defines_functions, "defines functions"),
        (trains, "holds training information"),
        (of_another_domain, "uses operators of 'com.microsoft'"),
        (imports_another_domain, r"uses operators of 'ai\.onnx\.ml'"),
        (text, "holds text"),
        (numbers_as_text, "holds text or numbers of another type"),
        (stored_text, "holds text"),
        (joins_text, "uses the operator 'StringConcat'"),
        (text_goes_in, "holds text or numbers of another type"),
        (sequence_goes_in, "holds field 4 of a TypeProto, which is unknown"),
        (asks_for_more, "asks for other input than images"),
        (two_of_one_name, "calls two values by one name"),
        (many_nodes, "has more than 10,000 nodes"),
        (grows_on_loading, "has more than 10,000 nodes"),
        (many_weights, "has more than 20,000 weights and constants"),
        (many_fields, "has more than 500,000 fields"),
        (weights_over_and_over, "uses the same weights over and over"),
    ],
)
def test_what_a_graph_must_not_hold(tmp_path: Path, make: Callable[[], onnx.ModelProto], reason: str) -> None:
    (tmp_path / "secret.txt").write_bytes(b"no one's own")
    written = write_bundle(tmp_path / "b.duoscan", seeds.info(), make().SerializeToString())
    before = peak_bytes()
    with pytest.raises(BundleError, match=f"its graph {reason}, which no classifier needs"):
        Predictor(read_bundle(written.path))
    assert peak_bytes() - before < 2**28


def test_notes_are_not_longer_than_weights(tmp_path: Path) -> None:
    made = model()
    made.doc_string = "x" * 2**24
    with pytest.raises(BundleError, match="its graph takes more than 16 MiB beside its weights"):
        check_graph(made.SerializeToString(), tmp_path)


def descriptors() -> dict[str, Any]:
    """Every message that a model is read as, as ONNX's own package knows it."""
    found = {}
    for name in graph_fields.MESSAGES:
        outer, *inner = name.split(".")
        message = onnx.onnx_ml_pb2.DESCRIPTOR.message_types_by_name[outer]
        for part in inner:
            message = message.nested_types_by_name[part]
        found[name] = message
    return found


def test_known_fields_are_those_of_onnx() -> None:
    wires = {1: 1, 2: 5, 3: 0, 4: 0, 5: 0, 9: 2, 11: 2, 12: 2, 14: 0}  # of FieldDescriptor's types
    for name, message in descriptors().items():
        for number, field in graph_fields.MESSAGES[name].items():
            theirs = message.fields_by_number[number]
            assert theirs.name == field.name
            is_packed = theirs.is_packed and field.wire == graph_fields.BYTES
            assert is_packed or (wires[theirs.type], theirs.is_repeated) == (field.wire, field.many)
            if field.inside:
                assert theirs.message_type is descriptors()[field.inside]


WAYS = {
    "ModelProto": [],
    "GraphProto": ["graph"],
    "OperatorSetIdProto": ["opset_import"],
    "NodeProto": ["graph", "node"],
    "AttributeProto": ["graph", "node", "attribute"],
    "TensorProto": ["graph", "initializer"],
    "ValueInfoProto": ["graph", "input"],
    "TypeProto": ["graph", "input", "type"],
    "TypeProto.Tensor": ["graph", "input", "type", "tensor_type"],
    "TensorShapeProto": ["graph", "input", "type", "tensor_type", "shape"],
    "TensorShapeProto.Dimension": ["graph", "input", "type", "tensor_type", "shape", "dim"],
}
"""Message → fields that lead there."""


def inside(name: str, content: bytes) -> bytes:
    """A model that holds nothing but one message of this name with this content."""
    kinds = ["ModelProto"]
    for way in WAYS[name]:
        kinds.append(next(field.inside for field in graph_fields.MESSAGES[kinds[-1]].values() if field.name == way))
    assert kinds[-1] == name
    for kind, way in zip(reversed(kinds[:-1]), reversed(WAYS[name]), strict=True):
        content = b"".join(graph_fields.written(kind, [(way, [content])]))
    return content


def varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


@pytest.mark.parametrize("name", graph_fields.MESSAGES)
def test_fields_that_are_not_known_are_refused(tmp_path: Path, name: str) -> None:
    """Every other field of ONNX's own messages, and numbers that no version has; with any type."""
    known = graph_fields.MESSAGES[name]
    others = {field.number for field in descriptors()[name].fields} | {17, 99, 2**28} - set(known)
    for number in others - set(known):
        for wire, content in ((0, b"\x01"), (1, bytes(8)), (2, b"\x00"), (5, bytes(4))):
            with pytest.raises(BundleError, match="its graph .*, which no classifier needs"):
                check_graph(inside(name, varint(number << 3 | wire) + content), tmp_path)


@pytest.mark.parametrize("name", graph_fields.MESSAGES)
def test_fields_of_another_type_are_refused(tmp_path: Path, name: str) -> None:
    for number, field in graph_fields.MESSAGES[name].items():
        for wire, content in ((0, b"\x01"), (1, bytes(8)), (2, b"\x00"), (5, bytes(4))):
            if wire == field.wire or (field.many and wire == 2):
                continue
            with pytest.raises(BundleError, match="no ONNX model"):
                check_graph(inside(name, varint(number << 3 | wire) + content), tmp_path)


def test_a_number_that_overflows_is_not_another_one(tmp_path: Path) -> None:
    """Others read keys and types modulo 2³²; to them these are sparse weights, other files and text."""
    for kind, content, reason in (
        ("GraphProto", varint(2**32 + (15 << 3 | 2)) + b"\0", "which is unknown"),
        ("TensorProto", varint(14 << 3) + varint(2**32 + 1), "reads weights from other files"),
        ("TensorProto", varint(2 << 3) + varint(2**32 + 8), "holds text or numbers of another type"),
    ):
        with pytest.raises(BundleError, match=reason):
            check_graph(inside(kind, content), tmp_path)


@pytest.mark.parametrize("size", [[2], [2, 2], [1] * 17, [0], [-1], [2**31, 2**31], [2**63, 2]])
def test_a_tensor_of_another_size_than_it_says(tmp_path: Path, size: list[int]) -> None:
    for content in ({"raw_data": bytes(4)}, {"float_data": [0.0]}, {"float_data": [0.0], "raw_data": bytes(4)}):
        made = model()
        made.graph.initializer.append(TensorProto(name="t", data_type=1, **content))
        made.graph.initializer[-1].dims.extend(one - 2**64 if one >= 2**63 else one for one in size)
        with pytest.raises(BundleError, match="no ONNX model"):
            check_graph(made.SerializeToString(), tmp_path)


def test_what_an_operator_may_become_is_counted() -> None:
    """The bodies that the standard gives for operators without code of their own."""
    histories = [one for one in onnx.defs.get_all_schemas_with_history() if not one.domain]
    for schema in (one for one in histories if one.name.encode() in OPERATORS):
        bodies = [schema.get_function_with_opset_version(v) for v in schema.function_opset_versions]
        if schema.context_dependent_function_opset_versions and schema.name in EXAMPLES:
            bodies += [body_of(schema, version) for version in schema.context_dependent_function_opset_versions]
        for body in bodies:
            assert len(onnx.FunctionProto.FromString(body).node) <= EXPANDED.get(schema.name.encode(), 3), schema.name


EXAMPLES = {"GroupNormalization": 3, "LayerNormalization": 3, "RMSNormalization": 2, "Clip": 3, "Gelu": 1} | {
    "Softmax": 1,
    "LogSoftmax": 1,
    "CastLike": 2,
}
"""Operators whose body depends on the node, with the inputs that they take."""


def body_of(schema: onnx.defs.OpSchema, version: int) -> bytes:
    attributes = {"GroupNormalization": {"num_groups": 1}, "Gelu": {"approximate": "tanh"}}.get(schema.name, {})
    names = [str(number) for number in range(EXAMPLES[schema.name])]
    node = helper.make_node(schema.name, names, ["made"], **attributes)
    kind = helper.make_tensor_type_proto(TensorProto.FLOAT, [1, 4, 4, 4]).SerializeToString()
    return schema.get_context_dependent_function_with_opset_version(
        version, node.SerializeToString(), [kind] * len(names)
    )


def test_matrix_products_of_constants_are_not_worked_out_on_loading(tmp_path: Path) -> None:
    """1.8 kB that held the runtime for minutes when it loaded; now the clock of a forward pass ends them."""
    squares = [helper.make_node("MatMul", [f"m{n}", f"m{n}"], [f"m{n + 1}"]) for n in range(40)]
    made = joined(
        helper.make_node("Constant", [], ["size"], value_ints=[4096, 4096]),
        helper.make_node("ConstantOfShape", ["size"], ["m0"]),
        *squares,
        last="m40",
    )
    before = peak_bytes()
    Predictor(write_bundle(tmp_path / "b.duoscan", seeds.info(), made.SerializeToString()))
    assert peak_bytes() - before < 2**26


@pytest.mark.parametrize(
    "graph",
    [
        b"\xff" * 40,
        b"\x08" + b"\xff" * 9 + b"\x02",
        b"\x08" + b"\x80" * 20 + b"\0",
        b"\x3a\xff\xff\xff\xff\x0f",
        b"\x0f",
        b"\x3a\x05\x0a\x7f",
        b"\x3d\0",
    ],
)
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
    ]
    made = joined(*nodes, last="large")
    predictor = Predictor(write_bundle(tmp_path / "b.duoscan", seeds.info(), made.SerializeToString()))
    before = peak_bytes()
    with pytest.raises(BundleError, match="its graph fails on an image"):
        predictor.answer(np.repeat(IMAGE, 4, axis=0))
    assert peak_bytes() - before < 1.2 * guarded_session.MEMORY_BYTES


def test_a_graph_that_takes_too_long_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded_session, "_SECONDS_AN_IMAGE", 0.0)
    monkeypatch.setattr(guarded_session, "_PIXELS_A_SECOND", 4_000_000)
    nodes: list[onnx.NodeProto] = []
    last = "images"
    for number in range(9_990):
        nodes.append(helper.make_node("Sin", [last], [f"s{number}"]))
        last = f"s{number}"
    made = model(*nodes)
    made.graph.node[9_990].input[0] = last
    predictor = Predictor(write_bundle(tmp_path / "b.duoscan", seeds.info(), made.SerializeToString()))
    with pytest.raises(BundleError, match="its graph takes more than 0 s for 1 images"):
        predictor.answer(IMAGE)


def test_halves_give_what_the_whole_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(write_bundle(tmp_path / "b.duoscan", seeds.info(), brightness_graph()))
    batch = np.linspace(-1, 1, 5 * 32 * 32, dtype=np.float32).reshape(5, 1, 32, 32)
    expected = [answer.probability for answer in predictor.answer(batch)]
    forward = guarded_session.GuardedSession.run

    def small_only(self: guarded_session.GuardedSession, names: list[str], images: np.ndarray) -> object:
        if len(images) > 2:
            raise MemoryError
        return forward(self, names, images)

    monkeypatch.setattr(guarded_session.GuardedSession, "run", small_only)
    assert [answer.probability for answer in predictor.answer(batch)] == pytest.approx(expected)


def test_outputs_of_another_shape_are_told(tmp_path: Path) -> None:
    made = model()
    made.graph.node[-1].output[0] = "plain"
    made.graph.node.append(helper.make_node("Concat", ["plain", "plain"], ["logits"], axis=1))
    predictor = Predictor(write_bundle(tmp_path / "b.duoscan", seeds.info(), made.SerializeToString()))
    with pytest.raises(BundleError, match=r"gives \(1, 4\) and \(1, 2, 8, 8\) for 1 images and 2 classes"):
        predictor.answer(IMAGE)
