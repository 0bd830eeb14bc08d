"""One ONNX graph from elsewhere, loaded and run on the CPU with bounds on memory and time."""

from __future__ import annotations

from functools import cache
from threading import Timer
from typing import TYPE_CHECKING, Any

from duoscan.errors import BundleError
from duoscan.inference.graph_folding import folded
from duoscan.inference.graph_names import INPUT_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

MEMORY_BYTES = 768 * 2**20
"""What all graphs of a process may take together; a batch that needs more is run in halves."""

LEFT_OUT = ("ConstantFolding",)
"""Of the runtime's optimisations: it works out whatever does not depend on the images, however long that takes."""

_SECONDS_AN_IMAGE = 4.0
_PIXELS_A_SECOND = 10_000
"""Of input; a large transformer on two cores answers 100,000 in a second."""


class GuardedSession:
    """A session that holds what it should: checked before it is loaded, bounded while it runs.

    Args:
        graph: Serialised ONNX model.
        path: Of its bundle, for messages.
        threads: Threads inside one forward pass; 0 leaves it to the runtime.

    Raises:
        BundleError: The graph holds what it must not (:mod:`duoscan.inference.graph_folding`) or cannot be loaded.
    """

    def __init__(self, graph: bytes, path: Path, threads: int) -> None:
        import onnxruntime

        checked = folded(graph, path)
        _bound_memory()
        self._path = path
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # every error is raised, and told to the user once
        # A spinning pool would take the cores from the decoder between two batches.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.use_env_allocators", "1")
        try:
            self._session = onnxruntime.InferenceSession(
                checked, options, providers=["CPUExecutionProvider"], disabled_optimizers=LEFT_OUT
            )
        except Exception as error:  # the runtime raises its own, unrelated types
            raise BundleError(f"{path}: ONNX Runtime cannot load the graph ({error})") from error
        self.outputs = {output.name for output in self._session.get_outputs()}

    def run(self, names: Sequence[str], images: NDArray[np.float32]) -> Any:
        """The outputs of these names for images (N, C, H, W).

        Raises:
            BundleError: It takes too long.
            Exception: Whatever the runtime raises.
        """
        import onnxruntime

        options = onnxruntime.RunOptions()
        options.log_severity_level = 4
        seconds = len(images) * (_SECONDS_AN_IMAGE + images[0, 0].size / _PIXELS_A_SECOND)
        too_long = Timer(seconds, setattr, (options, "terminate", True))
        too_long.daemon = True
        too_long.start()
        try:
            return self._session.run(list(names), {INPUT_NAME: images}, options)
        except Exception as error:
            if options.terminate:
                msg = f"{self._path}: its graph takes more than {seconds:.0f} s for {len(images)} images"
                raise BundleError(msg) from error
            raise
        finally:
            too_long.cancel()


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
