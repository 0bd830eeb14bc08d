"""Whether numbers can be the Hounsfield units of a body, and what lies beyond their scale; for every CT format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

AIR_HU = -1024.0
"""What lies outside the reconstructed circle is set to; the smallest value of 12-bit CT."""

# The extended scale for metal ends here; above are negative numbers that were read as unsigned, such as padding.
_MOST_HU = 30_710.0

# Every chest slice holds lung, airway or the air around the body; fat, the next darkest, ends near −150 HU.
_DARKEST_MUST_REACH_HU = -200.0
# From there to soft tissue it is at least this far; 8 bits without a slope are not enough.
_LEAST_SPAN_HU = 500.0
# The least share, beside padding, of what is neither air nor bone: a neck in a wide field of view has 0.045, a head
# whose intercept was applied twice 0.022.
_TISSUE_HU = (-200.0, 300.0)
_LEAST_TISSUE = 0.025
# The least share of soft tissue in what is no air: real slices have 0.8 and more, with a heart full of contrast less.
_LEAST_OF_DENSE = 0.4
_PLAUSIBLE_HU = (-4096.0, 4096.0)
_LEAST_PLAUSIBLE = 0.98


def is_beyond_scale(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Where values are padding though nothing declares it: not finite, or above any scale of CT.

    Args:
        values: After rescale, any shape.
    """
    return np.asarray(~(values <= _MOST_HU) | (values == -np.inf))


def clip_to_air(values: NDArray[Any], padding: NDArray[np.bool_]) -> NDArray[np.float32]:
    """HU with air for padding and for whatever is darker than air.

    Args:
        values: HU, any shape.
        padding: Where no body was measured, same shape.
    """
    clipped: NDArray[np.float32] = np.maximum(values, AIR_HU, dtype=np.float32)
    clipped[padding] = AIR_HU
    return clipped


def why_not_hu(values: NDArray[Any], padding: NDArray[np.bool_]) -> str | None:
    """Why values are no HU of a body: masks, greys, normalised values, a rescale that was lost or applied twice.

    Args:
        values: After rescale: a slice, or a sample of a volume.
        padding: What is known not to be measured. A lowest value below air counts as padding too.

    Returns:
        What is found, to be followed by what to do; ``None`` where they may be HU.
    """
    hidden = padding | is_beyond_scale(values)
    seen = values[~hidden] if hidden.any() else values.ravel()
    lowest = seen.min(initial=np.inf)
    if lowest < AIR_HU:
        seen = seen[seen > lowest]
    if not seen.size:
        return "its values are nothing but padding"
    plausible, tissue = _share(seen, *_PLAUSIBLE_HU), _share(seen, *_TISSUE_HU)
    is_soft = tissue >= max(_LEAST_TISSUE, _LEAST_OF_DENSE * _share(seen, _TISSUE_HU[0], np.inf))
    low, high = seen.min(), seen.max()
    has_air = low <= _DARKEST_MUST_REACH_HU and high - low >= _LEAST_SPAN_HU
    if plausible >= _LEAST_PLAUSIBLE and is_soft and has_air:
        return None
    return f"its values run from {low:g} to {high:g}, no Hounsfield units of a body"


def _share(values: NDArray[Any], low: float, high: float) -> float:
    return np.count_nonzero((values >= low) & (values <= high)) / values.size
