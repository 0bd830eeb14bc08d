"""The last linear layer of a bundle's graph: its input and weights out of the graph, other weights into it.

It is told from the graph itself. The logits must be a linear layer (``Gemm``) on features, or the plain mean of several
such layers, as members of an ensemble are joined; both are one linear layer on all features side by side. The
activation map uses the same weights as the logits, so new ones change both alike: the map's mean plus the bias stays
the logit. A graph of which that is not so, as where the head has hidden layers, keeps its last layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from duoscan.errors import MissingExtraError, TrainingError
from duoscan.inference.graph_names import ATTENTION_NAME, OUTPUT_NAMES
from duoscan.inference.runtimes.guarded_session import GuardedSession
from duoscan.inference.runtimes.registry import open_runtime
from duoscan.inference.runtimes.runtime import Outputs

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from duoscan.evaluation.sample import FloatArray
    from duoscan.inference.bundle import Bundle

EXAMPLES = 16
TOLERANCE = 1e-3  # of a logit, relative to the largest; as the export is checked
NOT_LINEAR = "the graph's logits are no linear layer, or mean of some, that its activation map shares"

_JOINING = frozenset({"Unsqueeze", "Squeeze", "Concat", "ReduceMean", "Identity", "Reshape"})
_SAME = frozenset({"Cast", "Identity"})


@dataclass(frozen=True)
class LinearPart:
    """One linear layer of the graph.

    Attributes:
        features: Tensor (N, D) that goes in.
        weight: Initializer of its weights.
        bias: Initializer of its bias.
        is_transposed: Whether the weights are stored as (K, D), else as (D, K).
    """

    features: str
    weight: str
    bias: str
    is_transposed: bool


@dataclass(frozen=True)
class LastLayer:
    """Logits (N, K) = features (N, D) · weightᵀ + bias; the features of all parts stand side by side.

    Attributes:
        parts: The M linear layers whose mean the logits are.
        weight: shape (K, D).
        bias: shape (K,).
    """

    parts: tuple[LinearPart, ...]
    weight: FloatArray
    bias: FloatArray

    def logits(self, features: NDArray[np.float32]) -> FloatArray:
        """Shape (N, K) for features (N, D)."""
        return np.asarray(features.astype(np.float64) @ self.weight.T + self.bias)


def last_layer_of(graph: bytes) -> LastLayer | None:
    """The last linear layer of a checked graph; ``None`` where its structure has none.

    Raises:
        MissingExtraError: onnx is not installed.
    """
    model = _loaded(graph)
    from onnx import numpy_helper

    parts = _parts(model)
    if not parts:
        return None
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    weights, biases = [], []
    for part in parts:
        weight = numpy_helper.to_array(tensors[part.weight]).astype(np.float64)
        weights.append(weight if part.is_transposed else weight.T)
        biases.append(numpy_helper.to_array(tensors[part.bias]).astype(np.float64).reshape(-1))
    if len({len(weight) for weight in weights}) > 1 or any(bias.shape != biases[0].shape for bias in biases):
        return None
    return LastLayer(parts, np.concatenate(weights, axis=1) / len(parts), np.mean(biases, axis=0))


def with_last_layer(graph: bytes, layer: LastLayer) -> bytes:
    """The graph with these weights in place of its own; all else stays as it is.

    Args:
        graph: The one the layer was taken from.
        layer: With other weights, which are stored in float32.

    Raises:
        MissingExtraError: onnx is not installed.
    """
    model = _loaded(graph)
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    place = 0
    for part in layer.parts:
        stored = tensors[part.weight]
        width = stored.dims[1 if part.is_transposed else 0]
        weight = layer.weight[:, place : place + width] * len(layer.parts)
        place += width
        for name, values in ((part.weight, weight if part.is_transposed else weight.T), (part.bias, layer.bias)):
            tensors[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
    serialised: bytes = model.SerializeToString()
    return serialised


class FeatureReader:
    """A runtime that keeps the features at the input of the last layer of every image it answers.

    Args:
        bundle: A checked bundle.
        layer: Its last layer.

    Raises:
        BundleError: The graph holds what it must not, or cannot be loaded.
    """

    def __init__(self, bundle: Bundle, layer: LastLayer) -> None:
        model = _loaded(bundle.graph)
        from onnx import TensorProto, helper

        self._names = [part.features for part in layer.parts]
        model.graph.output.extend(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in dict.fromkeys(self._names)
        )
        self._session = GuardedSession(model.SerializeToString(), bundle.path, 0)
        self._given = [*OUTPUT_NAMES, *({ATTENTION_NAME} & self._session.outputs)]
        self._layer = layer
        self._batches: list[NDArray[np.float32]] = []
        self.examples: NDArray[np.float32] = np.empty(0, np.float32)
        self.is_linear = True

    @property
    def features(self) -> NDArray[np.float32]:
        """Of all images answered so far, in order, shape (N, D)."""
        return np.concatenate(self._batches)

    def run(self, images: NDArray[np.float32]) -> Outputs:
        """Answer images (N, C, H, W), keep their features, and see whether the layer gives the logits and the map."""
        answered = self._session.run([*self._given, *self._names], images)
        features = np.concatenate(answered[len(self._given) :], axis=1)
        outputs = Outputs(*answered[: len(self._given)])
        if not self._batches:
            self.examples = images[:EXAMPLES]
        self.is_linear = self.is_linear and difference(self._layer, features, outputs) <= TOLERANCE
        self._batches.append(features)
        return outputs


def difference(layer: LastLayer, features: NDArray[np.float32], outputs: Outputs) -> float:
    """How far logits, and the map's mean plus the bias, lie from what the layer gives; relative to the largest logit.

    Args:
        layer: Of the graph that gave the outputs.
        features: shape (N, D).
        outputs: Of the same images.
    """
    expected = layer.logits(features)
    if expected.shape != outputs.logits.shape:
        return np.inf
    drawn = outputs.activation.astype(np.float64).mean(axis=(2, 3)) + layer.bias
    off = max(float(np.abs(found - expected).max()) for found in (outputs.logits, drawn))
    return off / max(1.0, float(np.abs(expected).max()))


def check_parity(
    bundle: Bundle, layer: LastLayer, examples: NDArray[np.float32], features: NDArray[np.float32]
) -> None:
    """Refuse a graph that does not give what its new last layer should.

    Args:
        bundle: With the new graph.
        layer: The layer that was put into it.
        examples: Model input, shape (N, C, H, W).
        features: Of the same images, shape (N, D).

    Raises:
        TrainingError: Logits or activation map differ.
    """
    off = difference(layer, features, open_runtime(bundle).run(examples))
    if not off <= TOLERANCE:
        raise TrainingError(
            f"the graph with its new last layer differs by {off:.2g} of the largest logit (limit {TOLERANCE:g}) from "
            "what the layer gives; the bundle was not written"
        )


def _loaded(graph: bytes) -> onnx.ModelProto:
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("adapt", "duoscan adapt") from error
    return onnx.load_from_string(graph)


def _parts(model: onnx.ModelProto) -> tuple[LinearPart, ...]:
    """The linear layers that the logits are joined from; none where anything else is on the way."""
    makers = {name: node for node in model.graph.node for name in node.output}
    tensors = {tensor.name for tensor in model.graph.initializer}
    parts: list[LinearPart] = []
    waiting, is_joined = [OUTPUT_NAMES[0]], True
    while waiting and is_joined:
        node = makers.get(waiting.pop(0))
        if node is None:
            is_joined = False
        elif node.op_type == "Gemm":
            part = _linear(node, makers, tensors)
            is_joined = part is not None
            parts += [part] if part else []
        elif node.op_type in _JOINING:
            waiting += node.input if node.op_type == "Concat" else node.input[:1]
        else:
            is_joined = False
    return tuple(parts) if is_joined else ()


def _linear(node: onnx.NodeProto, makers: dict[str, onnx.NodeProto], tensors: set[str]) -> LinearPart | None:
    numbers = {one.name: one.f if one.name in {"alpha", "beta"} else one.i for one in node.attribute}
    is_plain = numbers.get("alpha", 1.0) == numbers.get("beta", 1.0) == 1.0 and not numbers.get("transA", 0)
    if not is_plain or len(node.input) != 3:
        return None
    weight, bias = (_initializer(name, makers) for name in node.input[1:])
    if not {weight, bias} <= tensors:
        return None
    return LinearPart(node.input[0], weight, bias, is_transposed=bool(numbers.get("transB", 0)))


def _initializer(name: str, makers: dict[str, onnx.NodeProto]) -> str:
    """Where a tensor that is at most cast comes from."""
    while name in makers and makers[name].op_type in _SAME:
        name = makers[name].input[0]
    return name
