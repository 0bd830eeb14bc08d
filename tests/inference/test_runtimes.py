"""A graph is loaded once in a process, whoever asks, and few are kept."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from duoscan.errors import BundleError, InputError
from duoscan.inference.bundle import Bundle, write_bundle
from duoscan.inference.runtimes import registry
from duoscan.inference.runtimes.registry import open_runtime
from duoscan.inference.runtimes.runtime import Outputs
from fuzz import seeds
from stand_ins import brightness_graph

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


class Noted:
    """A second runtime, which notes what it loads."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        loaded.append((bundle.graph, threads))

    def run(self, images: NDArray[np.float32]) -> Outputs:
        nothing = np.zeros((len(images), 2), np.float32)
        return Outputs(nothing, nothing[:, :, None, None])


loaded: list[tuple[bytes, int]] = []


@pytest.fixture(autouse=True)
def _second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.RUNTIMES, "noted", Noted)
    monkeypatch.setattr(registry, "_kept", {})
    loaded.clear()


def bundle(folder: Path, slope: float = 20.0) -> Bundle:
    return write_bundle(folder / f"{slope}.duoscan", seeds.info(), brightness_graph(slope=slope))


def test_a_runtime_is_chosen_by_name_and_kept(tmp_path: Path) -> None:
    one = bundle(tmp_path)
    assert open_runtime(one, "noted") is open_runtime(Bundle(one.info, bytes(bytearray(one.graph)), one.path), "noted")
    assert len(loaded) == 1
    assert open_runtime(one) is open_runtime(one) is not open_runtime(one, "noted")
    open_runtime(one, "noted", threads=2)
    assert [threads for _, threads in loaded] == [0, 2]
    with pytest.raises(InputError, match=r"runtime 'tvm' is unknown; use noted, onnxruntime"):
        open_runtime(one, "tvm")


def test_what_a_bundle_says_of_its_graph_does_not_decide(tmp_path: Path) -> None:
    """Two graphs under one stated hash, one path and one size stay two."""
    one, other = bundle(tmp_path, 20.0), bundle(tmp_path, 40.0)
    posing = Bundle(one.info, other.graph, one.path)
    assert posing.digest == one.digest
    images = np.full((1, 1, 32, 32), 0.5, np.float32)
    assert open_runtime(posing).run(images).logits[0, 0] == 2 * open_runtime(one).run(images).logits[0, 0]


def test_threads_that_ask_at_once_load_once(tmp_path: Path) -> None:
    one = bundle(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: open_runtime(one, "noted"), range(64)))
    assert len(set(map(id, found))) == len(loaded) == 1


def test_the_one_unused_longest_goes_first(tmp_path: Path) -> None:
    bundles = [bundle(tmp_path, slope) for slope in range(registry.MAX_KEPT + 1)]
    for one in [*bundles[: registry.MAX_KEPT], bundles[0], bundles[-1]]:
        open_runtime(one, "noted")
    assert len(loaded) == registry.MAX_KEPT + 1
    open_runtime(bundles[0], "noted")
    assert len(loaded) == registry.MAX_KEPT + 1
    open_runtime(bundles[1], "noted")
    assert loaded[-1] == (bundles[1].graph, 0)


def test_large_graphs_make_room_before_one_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = bundle(tmp_path, 1.0), bundle(tmp_path, 2.0)
    monkeypatch.setattr(registry, "MAX_KEPT_BYTES", 2 * len(first.graph) - 1)
    kept_at_load = []

    def load(one: Bundle, threads: int) -> Noted:
        kept_at_load.append(len(registry._kept))
        return Noted(one, threads)

    monkeypatch.setitem(registry.RUNTIMES, "noted", load)
    for one in (first, second, first):
        open_runtime(one, "noted")
    assert kept_at_load == [0, 0, 0]
    assert len(registry._kept) == 1


def test_a_graph_that_cannot_be_loaded_is_not_kept(tmp_path: Path) -> None:
    broken = replace(bundle(tmp_path), graph=b"\x0f")
    for _ in range(2):
        with pytest.raises(BundleError, match="no ONNX model"):
            open_runtime(broken)
    assert not registry._kept
