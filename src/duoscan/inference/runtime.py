"""What runs a graph. ONNX Runtime now; another runtime is another small class with the same method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from duoscan.errors import BundleError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from duoscan.inference.bundle import Bundle

INPUT_NAME = "images"
OUTPUT_NAMES = ("logits", "activation")


class Runtime(Protocol):
    """Runs one forward pass."""

    def run(self, images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Images (N, C, H, W) → logits (N, K) and class-activation maps (N, K, h, w)."""
        ...


class OnnxRuntime:
    """ONNX Runtime on the CPU.

    Args:
        bundle: A checked bundle.
        threads: Threads inside one forward pass; 0 leaves it to the runtime.
    """

    def __init__(self, bundle: Bundle, threads: int = 0) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # A spinning pool would take the cores from the decoder between two batches.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(bundle.graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime raises its own, unrelated types
            raise BundleError(f"{bundle.path}: ONNX Runtime cannot load the graph ({error})") from error

    def run(self, images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Images (N, C, H, W) → logits (N, K) and class-activation maps (N, K, h, w)."""
        logits, activation = self._session.run(OUTPUT_NAMES, {INPUT_NAME: images})
        return logits, activation
