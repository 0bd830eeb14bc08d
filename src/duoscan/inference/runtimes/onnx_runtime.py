"""ONNX Runtime on the CPU, with bounds on memory and time."""

from __future__ import annotations

from functools import cache
from threading import Timer
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import BundleError
from duoscan.inference.graph_folding import folded
from duoscan.inference.graph_names import ATTENTION_NAME, INPUT_NAME, OUTPUT_NAMES
from duoscan.inference.heads import OUTPUT_PREFIX
from duoscan.inference.runtimes.runtime import Outputs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from duoscan.inference.bundle import Bundle

MEMORY_BYTES = 768 * 2**20
"""What all graphs of a process may take together; a batch that needs more is run in halves."""

LEFT_OUT = ("ConstantFolding",)
"""Of the runtime's optimisations: it works out whatever does not depend on the images, however long that takes."""

_SECONDS_AN_IMAGE = 4.0
_PIXELS_A_SECOND = 10_000
"""Of input; a large transformer on two cores answers 100,000 in a second."""


class OnnxRuntime:
    """ONNX Runtime on the CPU, with bounds on memory and time.

    Args:
        bundle: A checked bundle.
        threads: Threads inside one forward pass; 0 leaves it to the runtime.

    Raises:
        BundleError: The graph holds what it must not (:mod:`duoscan.inference.graph_folding`) or cannot be loaded.
    """

    def __init__(self, bundle: Bundle, threads: int = 0) -> None:
        import onnxruntime

        graph = folded(bundle.graph, bundle.path)
        _bound_memory()
        self._path: Path = bundle.path
        self._classes = len(bundle.info.classes)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # every error is raised, and told to the user once
        # A spinning pool would take the cores from the decoder between two batches.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.use_env_allocators", "1")
        try:
            self._session = onnxruntime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"], disabled_optimizers=LEFT_OUT
            )
        except Exception as error:  # the runtime raises its own, unrelated types
            raise BundleError(f"{bundle.path}: ONNX Runtime cannot load the graph ({error})") from error
        given = {output.name for output in self._session.get_outputs()}
        if bundle.info.aggregation == ATTENTION_NAME and ATTENTION_NAME not in given:
            raise BundleError(f"{bundle.path}: joins images by attention, but its graph gives no score; export it anew")
        self._heads = {head.output: head for head in bundle.info.heads}
        self._check_heads(given)
        self._names = [*OUTPUT_NAMES, *({ATTENTION_NAME} & given), *self._heads]

    def _check_heads(self, given: set[str]) -> None:
        """Refuse a graph that gives other heads than its bundle names."""
        if lacking := sorted(set(self._heads) - given):
            raise BundleError(f"{self._path}: names {', '.join(lacking)}, which its graph lacks; export it anew")
        unknown = {name for name in given if name.startswith(OUTPUT_PREFIX)} - set(self._heads)
        if unknown:
            raise BundleError(f"{self._path}: its graph gives {', '.join(sorted(unknown))}, which it does not name")

    def run(self, images: NDArray[np.float32]) -> Outputs:
        """Answer images (N, C, H, W).

        Raises:
            BundleError: The graph fails, takes too long or too much memory, or gives arrays of other shapes.
        """
        found = self._answers(images)
        logits, activation = (found[name] for name in OUTPUT_NAMES)
        heads = {head.name: found[output] for output, head in self._heads.items()}
        return Outputs(logits, activation, found.get(ATTENTION_NAME), heads)

    def _answers(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Every output by its name, of the shape it must have; a batch that fails is run in halves."""
        try:
            found = dict(zip(self._names, self._forward(images), strict=True))
        except BundleError:
            raise
        except Exception as error:
            if len(images) == 1:
                raise BundleError(f"{self._path}: its graph fails on an image ({error})") from error
            middle = len(images) // 2
            halves = [self._answers(images[:middle]), self._answers(images[middle:])]
            found = {name: np.concatenate([half[name] for half in halves]) for name in self._names}
        self._check(found, len(images))
        return found

    def _forward(self, images: NDArray[np.float32]) -> Any:
        import onnxruntime

        options = onnxruntime.RunOptions()
        options.log_severity_level = 4
        seconds = len(images) * (_SECONDS_AN_IMAGE + images[0, 0].size / _PIXELS_A_SECOND)
        too_long = Timer(seconds, setattr, (options, "terminate", True))
        too_long.daemon = True
        too_long.start()
        try:
            return self._session.run(self._names, {INPUT_NAME: images}, options)
        except Exception as error:
            if options.terminate:
                msg = f"{self._path}: its graph takes more than {seconds:.0f} s for {len(images)} images"
                raise BundleError(msg) from error
            raise
        finally:
            too_long.cancel()

    def _check(self, found: Mapping[str, NDArray[np.float32]], count: int) -> None:
        logits, activation = (found[name] for name in OUTPUT_NAMES)
        widths = {ATTENTION_NAME: ()} | {output: (head.width,) for output, head in self._heads.items()}
        for name, width in widths.items():
            if name in found and np.shape(found[name]) != (count, *width):
                raise BundleError(f"{self._path}: its graph gives {name} {np.shape(found[name])} for {count} images")
        shapes = np.shape(logits), np.shape(activation)[:2], np.ndim(activation)
        if shapes != ((count, self._classes), (count, self._classes), 4):
            raise BundleError(
                f"{self._path}: its graph gives {np.shape(logits)} and {np.shape(activation)} for {count} images and "
                f"{self._classes} classes; export it anew with 'duoscan train'"
            )


@cache
def _bound_memory() -> None:
    """Give the process one bounded pool for all sessions."""
    import onnxruntime

    onnxruntime.create_and_register_allocator(
        onnxruntime.OrtMemoryInfo(
            "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
        ),
        # Grown as asked, not doubled: a doubled pool would meet its bound at half of it.
        onnxruntime.OrtArenaCfg({"max_mem": MEMORY_BYTES, "arena_extend_strategy": 1}),
    )
