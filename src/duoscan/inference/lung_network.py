"""The small network that says where lung is: the second graph of a bundle whose contract shows the lungs' view."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from duoscan.errors import BundleError
from duoscan.imaging.lung_view import FINDER_SIDE
from duoscan.inference.graph_names import LUNGS_NAME
from duoscan.inference.runtimes.guarded_session import GuardedSession

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from duoscan.imaging.lung_view import LungFinder
    from duoscan.inference.bundle import Bundle

_KEPT = 4


class LungNetwork:
    """A lung finder (:class:`~duoscan.imaging.lung_view.LungFinder`) from a graph.

    Args:
        graph: Serialised ONNX: grey (N, 1, FINDER_SIDE, FINDER_SIDE) → probability of lung, of the same shape.
        path: Of its bundle, for messages.

    Raises:
        BundleError: The graph holds what it must not, or cannot be loaded.
    """

    def __init__(self, graph: bytes, path: Path) -> None:
        self._path = path
        self._session = GuardedSession(graph, path, threads=1)  # many pictures are looked at side by side

    def __call__(self, grey: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability of lung at each place, shape (FINDER_SIDE, FINDER_SIDE).

        Raises:
            BundleError: The graph fails, or gives something else.
        """
        shape = (1, 1, FINDER_SIDE, FINDER_SIDE)
        try:
            (found,) = self._session.run([LUNGS_NAME], np.ascontiguousarray(grey, np.float32).reshape(shape))
        except BundleError:
            raise
        except Exception as error:  # the runtime raises its own, unrelated types
            raise BundleError(f"{self._path}: its lung finder fails on an image ({error})") from error
        if np.shape(found) != shape:
            raise BundleError(f"{self._path}: its lung finder gives {np.shape(found)} in place of {shape}")
        return np.asarray(found[0, 0], np.float32)


def finder_of(bundle: Bundle) -> LungFinder | None:
    """The lung finder of a bundle; ``None`` where its contract shows the whole image.

    Raises:
        BundleError: The graph holds what it must not, or cannot be loaded.
    """
    return None if bundle.finder is None else open_finder(bundle.finder, bundle.path)


def open_finder(graph: bytes, path: Path) -> LungFinder:
    """The lung finder of a graph, loaded now or earlier in this process.

    Raises:
        BundleError: The graph holds what it must not, or cannot be loaded.
    """
    return _opened(os.getpid(), graph, path)  # no session survives a fork


@lru_cache(_KEPT)
def _opened(_process: int, graph: bytes, path: Path) -> LungNetwork:
    return LungNetwork(graph, path)
