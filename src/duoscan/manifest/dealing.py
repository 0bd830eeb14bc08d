"""Dealing units of unequal size out to parts so that every stratum gets its share in every part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Stratum = tuple[str, ...]

# Shares such as 0.7 are not exact in binary: a part that lacks this little less than a unit has room for it.
_TOLERANCE = 1e-9


def deal(
    units: Mapping[str, Mapping[Stratum, int]], shares: Sequence[float], seed: int, taken: Mapping[str, int]
) -> dict[str, int]:
    """Assign each unit, whole, to one part.

    Greedy: units are shuffled, then taken largest first, because small ones can fill what is left. Each goes,
    among the parts that still have room for it in all its strata, to the one that lacks the largest fraction
    of its target, so that large and small units are spread over all parts alike; where none has room, to the
    part that lacks the most images. Ties are broken by the seed. The order of ``units`` changes nothing.

    Args:
        units: Unit → stratum → number of images.
        shares: Share of each part, summing to 1; a part of share 0 gets nothing but what is in ``taken``.
        seed: Of the shuffle and the ties.
        taken: Units that have a part already; they count towards its target.

    Returns:
        Unit → index of its part.
    """
    if not units:
        return {}
    images = _images_by_stratum(units)
    target = np.sum(list(images.values()), axis=0)[:, None] * np.asarray(shares)  # strata × parts
    lacking = target.copy()
    for unit, part in taken.items():
        lacking[:, part] -= images[unit]
    generator = np.random.default_rng(seed)
    free = [unit for unit in images if unit not in taken]
    shuffled = [free[place] for place in generator.permutation(len(free))]
    part_of = dict(taken)
    for unit in sorted(shuffled, key=lambda unit: -int(images[unit].sum())):
        strata = np.flatnonzero(images[unit])
        # A random order of the parts, of which the first of equals wins, breaks ties.
        parts = generator.permutation(np.flatnonzero(shares))
        cells = np.ix_(strata, parts)
        part = int(parts[_best(images[unit][strata], lacking[cells], target[cells])])
        lacking[:, part] -= images[unit]
        part_of[unit] = part
    return part_of


def _images_by_stratum(units: Mapping[str, Mapping[Stratum, int]]) -> dict[str, NDArray[np.int64]]:
    """One vector a unit: its images in each stratum; units and strata sorted."""
    row = {stratum: place for place, stratum in enumerate(sorted({s for held in units.values() for s in held}))}
    images = {}
    for unit in sorted(units):
        images[unit] = np.zeros(len(row), dtype=np.int64)
        for stratum, count in units[unit].items():
            images[unit][row[stratum]] = count
    return images


def _best(images: NDArray[np.int64], lacking: NDArray[np.float64], target: NDArray[np.float64]) -> int:
    """Column of the part a unit goes to; ``lacking`` and ``target`` are the unit's strata × parts."""
    has_room = (lacking >= images[:, None] - _TOLERANCE).all(axis=0)
    if has_room.any():
        return int(np.argmax(np.where(has_room, images @ (lacking / target), -np.inf)))
    return int(np.argmax(images @ lacking))
