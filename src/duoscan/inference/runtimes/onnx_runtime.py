"""ONNX Runtime on the CPU, with bounds on memory and time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from duoscan.errors import BundleError
from duoscan.inference.graph_names import ATTENTION_NAME, OUTPUT_NAMES
from duoscan.inference.runtimes.guarded_session import GuardedSession
from duoscan.inference.runtimes.runtime import Outputs

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from duoscan.inference.bundle import Bundle


class OnnxRuntime:
    """ONNX Runtime on the CPU, with bounds on memory and time.

    Args:
        bundle: A checked bundle.
        threads: Threads inside one forward pass; 0 leaves it to the runtime.

    Raises:
        BundleError: The graph holds what it must not (:mod:`duoscan.inference.graph_folding`) or cannot be loaded.
    """

    def __init__(self, bundle: Bundle, threads: int = 0) -> None:
        self._path: Path = bundle.path
        self._classes = len(bundle.info.classes)
        self._session = GuardedSession(bundle.graph, bundle.path, threads)
        given = self._session.outputs
        if bundle.info.aggregation == ATTENTION_NAME and ATTENTION_NAME not in given:
            raise BundleError(f"{bundle.path}: joins images by attention, but its graph gives no score; export it anew")
        self._names = [*OUTPUT_NAMES, *({ATTENTION_NAME} & given)]

    def run(self, images: NDArray[np.float32]) -> Outputs:
        """Answer images (N, C, H, W).

        Raises:
            BundleError: The graph fails, takes too long or too much memory, or gives arrays of other shapes.
        """
        try:
            outputs = Outputs(*self._session.run(self._names, images))
        except BundleError:
            raise
        except Exception as error:
            if len(images) == 1:
                raise BundleError(f"{self._path}: its graph fails on an image ({error})") from error
            middle = len(images) // 2
            halves = [self.run(images[:middle]), self.run(images[middle:])]
            outputs = Outputs(*(np.concatenate(parts) for parts in zip(*halves, strict=True) if parts[0] is not None))
        self._check(outputs, len(images))
        return outputs

    def _check(self, outputs: Outputs, count: int) -> None:
        logits, activation, attention = outputs
        if attention is not None and np.shape(attention) != (count,):
            raise BundleError(f"{self._path}: its graph gives attention {np.shape(attention)} for {count} images")
        shapes = np.shape(logits), np.shape(activation)[:2], np.ndim(activation)
        if shapes != ((count, self._classes), (count, self._classes), 4):
            raise BundleError(
                f"{self._path}: its graph gives {np.shape(logits)} and {np.shape(activation)} for {count} images and "
                f"{self._classes} classes; export it anew with 'duoscan train'"
            )
