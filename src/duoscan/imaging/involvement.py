"""How much of the lung a CT shows filled: ground glass and consolidation, by Hounsfield units and shape.

A threshold alone finds the aerated lung and loses what is consolidated: that is as dense as the wall it lies against.
So lung is what is aerated; what lies within the ribs and is a little less dense than the patient's own soft tissue;
and what lies against the ribs behind or beside aerated lung. The middle of the chest and the fat before it, which are
as dense, are left out. Of that lung, involved is what is denser than the patient's own aerated lung over more than the
width of a vessel. What no rule here can tell from tissue is a whole lung that is consolidated, fluid beside the lung,
and collapse. Everything is measured in the grid of :mod:`duoscan.imaging.lung_selection`, relative to the body.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from duoscan.imaging.lung_selection import TISSUE_FROM_HU, lung_regions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]
    FloatArray = NDArray[np.float64]

INVOLVED_ABOVE_HU = 90.0
"""Above the patient's own aerated lung; ground glass begins where a tenth of the air is gone."""

NORMAL_SHARE = 0.005
"""Of healthy lung that is as dense over more than the width of a vessel: the roots of the lungs."""

LEAST_LUNG = 0.02
"""Of the body's area; a slice with less is not measured."""

MAX_SLICES = 48
"""Measured of a stack, evenly spread over it; more change nothing but the time."""

_BONE_FROM_HU = 140.0
_LESS_THAN_TISSUE_HU = 25.0
_FAT_HU = (-140.0, -50.0)
_AERATED_HU = (-900.0, -780.0)  # where the most frequent density of aerated lung lies
_BIN_HU = 10.0
_TISSUE_BIN_HU = 4.0
_ANGLES = 120
_LEAST_RIBS = _ANGLES // 4  # angles with bone; with fewer there is no rib cage to be seen
_RIB_GAP = 3  # angles to either side of bone to which the ribs are continued
_FARTHEST_BONE = 1.6  # of the usual distance from the middle; farther are arms and shoulder blades
_NEAREST_BONE = 0.25  # of the root of the body's area; nearer is no rib
_MIDDLE, _MIDDLE_BEHIND = 0.22, 0.12  # of half the chest's width: no consolidation is looked for so near the midline
_BEHIND = 0.45  # of the distance to the ribs, from which on the spine is all there is in the middle
_DEPTH = 0.45  # of the distance to the ribs, to which consolidation against them is filled in
_BEFORE = 0.1  # of it, to which this reaches before the middle, where ribs give way to cartilage
_LEAST_INSIDE = 8  # pixels of lung towards the middle, for what lies beyond to be lung too
_LEAST_IN_COLUMN = 3  # the same in a column
_LEAST_OF_LARGEST = (
    0.5  # of the largest slice's lung; near its base, liver and stomach lie where lung would be filled in
)
_BLURRED_ABOVE_HU = -500.0  # where the dome of the diaphragm is half in the slice
_GAP = 4  # pixels; twice as much between consolidated parts is consolidated too
_WIDTH = 3  # pixels to either side that have a say whether one is involved


@dataclass(frozen=True)
class Involvement:
    """What was measured.

    Attributes:
        share: Of the lung, from 0 to 1.
        slices: That show lung.
        lung: Area of the lung in all of them as a share of the bodies.
    """

    share: float
    slices: int
    lung: float


def measure_involvement(slices: Sequence[NDArray[np.float32]], weights: Sequence[float] = ()) -> Involvement | None:
    """Measure slices that follow one another, or one alone.

    Args:
        slices: Hounsfield units in the grid of :func:`~duoscan.imaging.lung_selection.reduced`, of one shape, lowest
            first.
        weights: How much of the lung each stands for; all alike where left out.

    Returns:
        ``None`` where no slice shows lung that can be measured.
    """
    regions = [lung_regions(one) for one in slices]
    seen = [found.lung.sum() >= LEAST_LUNG * found.body.sum() > 0 for found in regions]
    if not any(seen):
        return None
    tissue = _usual_tissue_hu(
        [one[found.body] for one, found, is_seen in zip(slices, regions, seen, strict=True) if is_seen]
    )
    most = max(int(found.lung.sum()) for found in regions)
    lungs = [
        _whole_lung(slices, place, regions[place].body, regions[place].lung, tissue, most) if seen[place] else None
        for place in range(len(slices))
    ]
    aerated = _usual_aerated_hu([one[found.lung] for one, found in zip(slices, regions, strict=True)])
    involved = total = bodies = 0.0
    for place, lung in enumerate(lungs):
        if lung is not None and lung.any():
            weight = weights[place] if len(weights) else 1.0
            involved += weight * _involved(slices[place], lung, aerated).sum()
            total += weight * lung.sum()
            bodies += weight * regions[place].body.sum()
    if not total:
        return None
    share = max(0.0, (involved / total - NORMAL_SHARE) / (1.0 - NORMAL_SHARE))
    return Involvement(float(share), int(sum(seen)), float(total / bodies))


def _usual_tissue_hu(values: Sequence[NDArray[np.float32]]) -> float:
    """The most frequent density of soft tissue."""
    return _most_frequent(np.concatenate(values), 0.0, 100.0, _TISSUE_BIN_HU, 3)


def _usual_aerated_hu(values: Sequence[NDArray[np.float32]]) -> float:
    """The most frequent density of aerated lung; it depends on how deep the breath was."""
    return float(np.clip(_most_frequent(np.concatenate(values), -1000.0, -600.0, _BIN_HU, 5), *_AERATED_HU))


def _most_frequent(values: NDArray[np.float32], low: float, high: float, step: float, smooth: int) -> float:
    counts, edges = np.histogram(values, np.arange(low, high + step / 2, step))
    place = int(np.argmax(np.convolve(counts, np.ones(smooth), "same")))
    return float(edges[place] + step / 2)


def _whole_lung(
    slices: Sequence[NDArray[np.float32]], place: int, body: Mask, aerated: Mask, tissue_hu: float, most: int
) -> Mask:
    """The aerated lung of one slice with what is consolidated."""
    values = slices[place]
    aerated = aerated & ~_dome(slices, place, tissue_hu - _LESS_THAN_TISSUE_HU)
    if not aerated.any():
        return aerated
    around = slices[max(0, place - 1) : place + 2]
    chest = _Chest.around(aerated, body, np.any([one > _BONE_FROM_HU for one in around], axis=0))
    if chest is None:
        return aerated
    inside = chest.inside & ~chest.middle & ~_dome(slices, place, tissue_hu - _LESS_THAN_TISSUE_HU)
    smooth = _box_sum(values, 1) / 9.0
    dense = inside & ~aerated & (smooth > TISSUE_FROM_HU) & (smooth < tissue_hu - _LESS_THAN_TISSUE_HU)
    before = chest.behind < 0
    is_base = (aerated | dense & ~before).sum() <= _LEAST_OF_LARGEST * most
    fat = (smooth > _FAT_HU[0]) & (smooth < _FAT_HU[1])
    dense &= ~(before & (is_base | _opened(fat, 1)))
    lung = aerated | _opened(dense, 2)
    if not is_base:
        lung |= _opened(inside & ~lung & (values < _BONE_FROM_HU) & chest.against_the_ribs(lung), 1)
    consolidated = lung & ~aerated
    gaps = _eroded(_dilated(consolidated, _GAP), _GAP)
    return lung | (gaps & inside & (values < _BONE_FROM_HU))


def _dome(slices: Sequence[NDArray[np.float32]], place: int, dense_hu: float) -> Mask:
    """Where a slice is half lung and half what lies under it: aerated above, dense below, in between itself."""
    values = slices[place]
    if not 0 < place < len(slices) - 1:
        return np.zeros(values.shape, np.bool_)
    above, below = slices[place + 1] <= TISSUE_FROM_HU, _box_sum(slices[place - 1], 1) / 9.0 > dense_hu
    return _opened(above & below & (values > _BLURRED_ABOVE_HU), 1)


@dataclass(frozen=True)
class _Chest:
    """One slice in polar coordinates about the middle of the lungs.

    Attributes:
        radius: Distance of each pixel from the middle, shape (H, W).
        angle: Which of ``_ANGLES`` directions it lies in, shape (H, W).
        reach: Distance of the ribs' inner side in each direction.
        behind: Distance behind the middle, towards the spine, shape (H, W).
        inside: What lies within the ribs, shape (H, W).
        middle: What is too near the midline to tell consolidation from fat and vessels, shape (H, W).
    """

    radius: FloatArray
    angle: NDArray[np.int64]
    reach: FloatArray
    behind: FloatArray
    inside: Mask
    middle: Mask

    @classmethod
    def around(cls, aerated: Mask, body: Mask, bone: Mask) -> _Chest | None:
        """``None`` where too little of a rib cage is seen."""
        rows, columns = np.nonzero(aerated)
        y, x = np.indices(aerated.shape, dtype=np.float64)
        y -= (rows.min() + rows.max()) / 2
        x -= (columns.min() + columns.max()) / 2
        radius = np.hypot(y, x)
        angle = (np.arctan2(y, x) / (2 * np.pi) * _ANGLES % _ANGLES).astype(np.int64) % _ANGLES
        reached = np.zeros(_ANGLES)
        np.maximum.at(reached, angle[aerated], radius[aerated])
        ribs = np.full(_ANGLES, np.inf)
        bone = bone & body & (radius >= reached[angle] - 1) & (radius > _NEAREST_BONE * np.sqrt(body.sum()))
        np.minimum.at(ribs, angle[bone], radius[bone])
        is_seen = np.isfinite(ribs)
        if is_seen.sum() < _LEAST_RIBS:
            return None
        usual = np.median(np.maximum(ribs, reached)[is_seen])
        is_seen &= ribs < _FARTHEST_BONE * usual
        reach = np.where(
            _around(is_seen, _RIB_GAP).any(0),
            np.maximum(_continued(ribs, is_seen) - 1, reached),
            _around(reached, 2).max(0),
        )
        inside = (radius <= reach[angle]) & body
        behind = y if y[bone].mean() > 0 else -y
        off = np.abs(x + (columns.min() + columns.max()) / 2 - np.nonzero(body)[1].mean())
        low, high = np.quantile(np.nonzero(inside)[1], (0.01, 0.99))
        share = np.where(behind > _BEHIND * reach[angle], _MIDDLE_BEHIND, _MIDDLE)
        return cls(radius, angle, reach, behind, inside, off < share * (high - low) / 2)

    def against_the_ribs(self, lung: Mask) -> Mask:
        """What lies against the ribs, beside or behind the middle, with lung towards the middle or before it."""
        outermost = np.zeros(_ANGLES)
        np.maximum.at(outermost, self.angle[lung], self.radius[lung])
        lung_inside = np.bincount(self.angle[lung], minlength=_ANGLES)
        beyond = (self.radius > outermost[self.angle]) & (lung_inside[self.angle] > _LEAST_INSIDE)
        rearmost = np.where(lung, self.behind, -np.inf).max(0)
        behind = (self.behind > rearmost[None]) & (lung.sum(0) > _LEAST_IN_COLUMN)[None]
        near = self.radius > (1 - _DEPTH) * self.reach[self.angle]
        is_behind = self.behind > -_BEFORE * float(np.median(self.reach))
        return np.asarray(near & is_behind & (beyond | behind))


def _continued(ribs: FloatArray, is_seen: NDArray[np.bool_]) -> FloatArray:
    """The inner side of the ribs all round, from where bone is seen: their lower envelope, smoothed."""
    seen = np.flatnonzero(is_seen)
    turns = np.concatenate([seen - _ANGLES, seen, seen + _ANGLES])
    reach = np.interp(np.arange(_ANGLES), turns, np.tile(ribs[seen], 3))
    return np.asarray(_around(_around(reach, 2).min(0), 2).mean(0))


def _around(values: NDArray[np.generic], steps: int) -> NDArray[np.generic]:
    """Values by direction with those of so many directions to either side, shape (2 · steps + 1, directions)."""
    return np.stack([np.roll(values, step) for step in range(-steps, steps + 1)])


def _involved(values: NDArray[np.float32], lung: Mask, aerated_hu: float) -> Mask:
    """What is denser than aerated lung in most of its surroundings; the rim, half wall, has no say."""
    core = _eroded(lung, 1)
    dense = core & (values > aerated_hu + INVOLVED_ABOVE_HU)
    return lung & (2 * _box_sum(dense, _WIDTH) > np.maximum(_box_sum(core, _WIDTH), 1))


def _opened(mask: Mask, radius: int) -> Mask:
    """What is at least ``2 · radius + 1`` wide, with the rest of the mask that touches it."""
    return mask & _dilated(_dilated(_eroded(mask, radius), radius), 1)


def _eroded(mask: Mask, radius: int) -> Mask:
    return _ranked(mask, ImageFilter.MinFilter(2 * radius + 1))


def _dilated(mask: Mask, radius: int) -> Mask:
    return _ranked(mask, ImageFilter.MaxFilter(2 * radius + 1))


def _ranked(mask: Mask, rank: ImageFilter.RankFilter) -> Mask:
    return np.asarray(Image.fromarray(mask.view(np.uint8)).filter(rank)) > 0


def _box_sum(values: NDArray[np.generic], radius: int) -> FloatArray:
    """Sums over squares of ``2 · radius + 1`` pixels a side; beyond the border the outermost pixels are repeated."""
    side = 2 * radius + 1
    sums = np.pad(np.pad(values.astype(np.float64), radius, mode="edge").cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    return np.asarray(sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side])
