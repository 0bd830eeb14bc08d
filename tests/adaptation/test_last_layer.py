"""The last layer out of a graph and into it: parity with numpy, and a map whose mean plus the bias is the logit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from duoscan.adaptation.last_layer import (
    FeatureReader,
    LastLayer,
    check_parity,
    difference,
    last_layer_of,
    with_last_layer,
)
from duoscan.errors import TrainingError
from duoscan.inference.bundle import Bundle
from duoscan.inference.runtimes.onnx_runtime import OnnxRuntime
from duoscan.inference.shipped import load_bundle
from duoscan.terms import Modality
from linear_heads import MAPS, linear_bundle, linear_graph
from stand_ins import brightness_graph


def _layer(bundle: Bundle) -> LastLayer:
    layer = last_layer_of(bundle.graph)
    assert layer is not None
    return layer


def _moved(layer: LastLayer) -> LastLayer:
    rng = np.random.default_rng(1)
    scale = np.abs(layer.weight).max()
    return replace(
        layer, weight=layer.weight + rng.normal(0, scale, layer.weight.shape), bias=layer.bias + rng.normal(0, 1, 2)[0]
    )


def _check_edit(bundle: Bundle, images: np.ndarray) -> None:
    layer = _layer(bundle)
    reader = FeatureReader(bundle, layer)
    before = reader.run(images)
    assert reader.is_linear
    np.testing.assert_array_equal(before.logits, OnnxRuntime(bundle).run(images).logits)
    moved = _moved(layer)
    changed = replace(bundle, graph=with_last_layer(bundle.graph, moved))
    after = OnnxRuntime(changed).run(images)
    expected = reader.features @ moved.weight.T + moved.bias
    np.testing.assert_allclose(after.logits, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    shown = after.activation.mean(axis=(2, 3)) + moved.bias
    np.testing.assert_allclose(shown, after.logits, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    assert np.abs(after.logits - before.logits).max() > 0.1
    check_parity(changed, moved, images, reader.features)
    with pytest.raises(TrainingError, match="the bundle was not written"):
        check_parity(bundle, moved, images, reader.features)


@pytest.mark.parametrize("modality", list(Modality))
def test_shipped_bundles_take_other_weights(modality: Modality) -> None:
    bundle = load_bundle(None, modality)
    contract = bundle.info.contract
    shape = (3, len(contract.mean), contract.height, contract.width)
    _check_edit(bundle, np.random.default_rng(0).normal(0, 1, shape).astype(np.float32))


@pytest.mark.parametrize("members", [1, 3])
def test_members_are_one_layer_on_all_their_features(members: int, tmp_path: Path) -> None:
    bundle = linear_bundle(tmp_path / "a.duoscan", members)
    assert _layer(bundle).weight.shape == (2, members * MAPS)
    _check_edit(bundle, np.random.default_rng(0).normal(0, 1, (5, 1, 32, 32)).astype(np.float32))


def test_the_same_weights_give_the_same_answers(tmp_path: Path) -> None:
    bundle = linear_bundle(tmp_path / "a.duoscan", 2)
    images = np.random.default_rng(0).normal(0, 1, (5, 1, 32, 32)).astype(np.float32)
    again = replace(bundle, graph=with_last_layer(bundle.graph, _layer(bundle)))
    found = [OnnxRuntime(one).run(images).logits for one in (bundle, again)]
    np.testing.assert_allclose(*found, atol=1e-6)  # the biases of two members become their mean


def test_graphs_of_another_end_have_none() -> None:
    assert last_layer_of(brightness_graph()) is None
    assert last_layer_of(linear_graph([np.ones((2, MAPS), np.float32)], bends=True)) is None


def test_a_map_of_other_weights_is_seen(tmp_path: Path) -> None:
    bundle = linear_bundle(tmp_path / "a.duoscan")
    layer = _layer(bundle)
    reader = FeatureReader(bundle, layer)
    outputs = reader.run(np.random.default_rng(0).normal(0, 1, (5, 1, 32, 32)).astype(np.float32))
    assert difference(layer, reader.features, outputs) < 1e-5
    assert difference(layer, reader.features, outputs._replace(activation=outputs.activation * 1.5)) > 1e-3
