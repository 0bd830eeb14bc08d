"""What every runtime does: images in, logits and activation maps out."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


class Outputs(NamedTuple):
    """What one forward pass gives.

    Attributes:
        logits: shape (N, K).
        activation: Class-activation maps, shape (N, K, h, w).
        attention: Score by which attention weighs each image in its study, shape (N,); ``None`` where the graph was
            not trained to give one.
        heads: Output of each further head by its name, shape (N, its width).
    """

    logits: NDArray[np.float32]
    activation: NDArray[np.float32]
    attention: NDArray[np.float32] | None = None
    heads: Mapping[str, NDArray[np.float32]] = MappingProxyType({})


class Runtime(Protocol):
    """Runs one forward pass; one object may be asked by several threads at once."""

    def run(self, images: NDArray[np.float32]) -> Outputs:
        """Answer images (N, C, H, W).

        Raises:
            BundleError: The graph fails, takes too long or too much memory, or gives arrays of other shapes.
        """
        ...
