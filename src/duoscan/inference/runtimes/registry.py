"""Runtimes by name, each graph loaded once in a process and kept.

A new runtime is one file with one class, and one entry in :data:`RUNTIMES`.
"""

from __future__ import annotations

import hashlib
import os
from threading import Lock
from typing import TYPE_CHECKING

from duoscan.errors import InputError
from duoscan.inference.runtimes.onnx_runtime import OnnxRuntime

if TYPE_CHECKING:
    from collections.abc import Callable

    from duoscan.inference.bundle import Bundle
    from duoscan.inference.runtimes.runtime import Runtime

RUNTIMES: dict[str, Callable[[Bundle, int], Runtime]] = {"onnxruntime": OnnxRuntime}
"""Name → a checked bundle and the threads of one forward pass (0: as the runtime likes) → what runs it."""
DEFAULT_RUNTIME = "onnxruntime"

MAX_KEPT = 4
"""Graphs; a process that screens has two."""
MAX_KEPT_BYTES = 256 * 2**20
"""Of them together; the oldest go first, so that a new one finds room in the pool of memory."""

_kept: dict[tuple[object, ...], tuple[Runtime, int]] = {}  # with the size of its graph; the one asked for last is last
_lock = Lock()


def open_runtime(bundle: Bundle, name: str = DEFAULT_RUNTIME, threads: int = 0) -> Runtime:
    """What runs a bundle's graph, loaded now or earlier in this process.

    Args:
        bundle: A checked bundle.
        name: Of the runtime, a key of :data:`RUNTIMES`.
        threads: Threads inside one forward pass; 0 leaves it to the runtime.

    Raises:
        InputError: There is no such runtime.
        BundleError: The graph holds what it must not, or cannot be loaded.
    """
    if name not in RUNTIMES:
        raise InputError(f"runtime '{name}' is unknown; use {', '.join(sorted(RUNTIMES))}")
    # The graph's own hash, not the one that the bundle states: it decides which model answers. What a runtime checks
    # or names in its errors belongs here too, and the process, since no session survives a fork.
    digest = hashlib.sha256(bundle.graph).digest()
    info = bundle.info
    heads = tuple((head.name, head.width) for head in info.heads)
    key = (os.getpid(), name, threads, digest, bundle.path, len(info.classes), info.aggregation, heads)
    with _lock:  # held while a graph is loaded, so that two threads do not load it twice
        kept = _kept.pop(key, None)
        if kept is None:
            _make_room(len(bundle.graph))
            kept = RUNTIMES[name](bundle, threads), len(bundle.graph)
        _kept[key] = kept
    return kept[0]


def _make_room(graph_bytes: int) -> None:
    while _kept and (len(_kept) >= MAX_KEPT or sum(size for _, size in _kept.values()) + graph_bytes > MAX_KEPT_BYTES):
        del _kept[next(iter(_kept))]
