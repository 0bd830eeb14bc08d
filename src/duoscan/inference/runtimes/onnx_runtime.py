"""ONNX Runtime on the CPU, with bounds on memory and time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from duoscan.errors import BundleError
from duoscan.inference.graph_names import ATTENTION_NAME, OUTPUT_NAMES
from duoscan.inference.heads import OUTPUT_PREFIX
from duoscan.inference.runtimes.guarded_session import GuardedSession
from duoscan.inference.runtimes.runtime import Outputs

if TYPE_CHECKING:
    from collections.abc import Mapping
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
            found = dict(zip(self._names, self._session.run(self._names, images), strict=True))
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
