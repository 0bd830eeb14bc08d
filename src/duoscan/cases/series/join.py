"""Stacks of like geometry whose positions do not overlap are one scan, whatever identifiers and texts say.

Anonymisers and archives give every slice a series or frame of reference of its own, halve a scan, or write thickness
and kernel a little differently from slice to slice. Two scans or two reconstructions of the same place must stay two:
there positions repeat, or lie between each other without need.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from duoscan.cases.series.kernels import is_sharp
from duoscan.cases.series.slices import SAME_PLACE_MM, is_parallel

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from numpy.typing import NDArray

    from duoscan.cases.series.slices import Part, SeriesImage, Slice

    Numbers = NDArray[np.float64]

_SPACING = 0.01  # share by which pixel spacings of one scan may differ
_THICKNESS = 1.5  # times
_NEAREST = 0.75  # of a usual step, between two slices of one scan
_FARTHEST = 3.0  # usual steps between two halves
_FARTHEST_MM = 15.0, 60.0  # at least and at most
_OFF_GRID = 0.05  # of a distance, or so many mm, for rounded positions
_OFF_GRID_MM = 0.1
_COVERED = 1.05  # thicknesses between two slices that leave nothing out
_CLOSED = 1.25  # thicknesses between neighbours of a scan without gaps
_MOST_TRIED = 16  # scans; a study has few, however torn

# From what differs least to what differs most; the first that two parts share brings them together.
_LEVELS: tuple[Callable[[SeriesImage], Hashable], ...] = (
    lambda one: (one.series_id, one.frame_of_reference, one.plane.acquisition, one.plane.phase, one.plane.image_type),
    lambda one: (one.plane.kernel, _thickness(one), one.plane.acquisition, one.plane.phase, one.plane.image_type),
    lambda one: (one.plane.kernel, _thickness(one)),
    lambda _: None,
)


def joined(parts: Sequence[Part]) -> list[Part]:
    """Join the parts of each scan; what is none stays as it is.

    Args:
        parts: Of one study, each a volume by all that its files say.
    """
    scans = [_Scan.of(part) for part in parts]
    for level in _LEVELS:
        groups: dict[Hashable, list[_Scan]] = defaultdict(list)
        for scan in scans:
            first = scan.first
            groups[(level(first), first.size, first.date, first.set_aside, scan.slices[0].told_by)].append(scan)
        scans = [scan for group in groups.values() for scan in _joined(group)]
    return [(scan.slices, scan.note) for scan in scans]


@dataclass
class _Scan:
    """Slices that are one scan, as far as is known.

    Attributes:
        slices: In any order.
        note: What there is to say of them.
        heights_mm: Lowest first; NaN where they are not known.
        numbers: InstanceNumber of each height; 0 where unknown.
        series: Series and frame of reference of each.
    """

    slices: list[Slice]
    note: str
    heights_mm: Numbers
    numbers: Numbers
    series: set[Hashable]

    @classmethod
    def of(cls, part: Part) -> _Scan:
        slices = sorted(part[0], key=lambda one: (one.height_mm or 0.0, one.image.name))
        return cls(
            slices,
            part[1],
            np.array([one.height_mm for one in slices], np.float64),
            np.array([one.image.number for one in slices], np.float64),
            {(one.image.series_id, one.image.frame_of_reference) for one in slices},
        )

    @property
    def first(self) -> SeriesImage:
        return self.slices[0].image

    @property
    def step_mm(self) -> float | None:
        return _usual(self.heights_mm)

    def take(self, other: _Scan) -> None:
        """Become one with another."""
        self.slices += other.slices
        self.series |= other.series
        self.note = self.note or other.note
        heights = np.concatenate([self.heights_mm, other.heights_mm])
        order = np.argsort(heights, kind="stable")
        self.heights_mm = heights[order]
        self.numbers = np.concatenate([self.numbers, other.numbers])[order]


def _joined(scans: list[_Scan]) -> list[_Scan]:
    if len(scans) == 1 or scans[0].first.set_aside is not None:
        return scans
    test = _Test(scans)
    found: list[_Scan] = []
    for scan in sorted(scans, key=lambda scan: (float(np.nan_to_num(scan.heights_mm[0])), scan.first.name)):
        own = next((other for other in found[-_MOST_TRIED:] if test.is_one_scan(other, scan)), None)
        if own is None:
            found.append(scan)
        else:
            own.take(scan)
    return found


class _Test:
    """Whether two of these are one scan."""

    def __init__(self, scans: Sequence[_Scan]) -> None:
        numbers = np.concatenate([scan.numbers for scan in scans])
        self._has_numbers = bool(numbers.min() > 0 and numbers.min() < numbers.max())
        self._grid_mm = _usual(np.unique(np.concatenate([scan.heights_mm for scan in scans])))

    def is_one_scan(self, one: _Scan, other: _Scan) -> bool:
        if not _is_alike(one.first, other.first):
            return False
        is_one_series = len(one.series | other.series) == 1
        if one.slices[0].told_by is None:
            is_torn = len(one.series | other.series) == len(one.slices) + len(other.slices)
            return self._has_numbers and _are_distinct(one, other) and (is_one_series or is_torn)
        heights = np.concatenate([one.heights_mm, other.heights_mm])
        order = np.argsort(heights, kind="stable")
        steps = np.diff(heights[order])
        changes = np.diff((order >= len(one.heights_mm)).astype(int)) != 0
        nearest = float(steps[changes].min())
        if nearest <= SAME_PLACE_MM:
            return False
        are_two = steps > SAME_PLACE_MM  # and no copies within one of them
        steps, rises = steps[are_two], np.diff(np.concatenate([one.numbers, other.numbers])[order])[are_two]
        is_numbered = self._has_numbers and bool((rises > 0).all() or (rises < 0).all())
        if changes.sum() == 1:
            farthest = np.clip(_FARTHEST * (self._grid_mm or 0.0), *_FARTHEST_MM)
            is_near = is_one_series or nearest <= farthest
            return is_near and (is_numbered or self._are_halves(one, other, nearest))
        usual = _usual(heights[order]) or 0.0
        if is_one_series and nearest >= _NEAREST * usual:
            return True
        # Other scans may lie between the places of these two.
        grid = next((grid for grid in (self._grid_mm or usual, usual) if _is_regular(steps, grid)), None)
        return grid is not None and (is_numbered or _fill_each_other(one, other, grid))

    def _are_halves(self, one: _Scan, other: _Scan, gap_mm: float) -> bool:
        """Whether one that lies beyond the other may go on where that ends."""
        known = [scan.step_mm for scan in (one, other) if scan.step_mm is not None]
        if known and gap_mm < _NEAREST * min(known):
            return False
        return len(known) == 2 or not self._has_numbers or _are_distinct(one, other)


def _is_regular(steps_mm: Numbers, grid_mm: float) -> bool:
    """Whether all slices lie on one grid, with places of it left out or not."""
    off = np.abs(steps_mm - grid_mm * np.maximum(1.0, np.round(steps_mm / grid_mm)))
    return bool((off <= np.maximum(_OFF_GRID * steps_mm, _OFF_GRID_MM)).all())


def _fill_each_other(one: _Scan, other: _Scan, grid_mm: float) -> bool:
    """Whether each lies where the other leaves tissue out, and together they leave out none."""
    thickness = one.first.plane.thickness_mm
    if thickness is not None and grid_mm > _CLOSED * thickness:
        return False
    return _leaves_out(one, other.heights_mm) and _leaves_out(other, one.heights_mm)


def _leaves_out(scan: _Scan, heights_mm: Numbers) -> bool:
    """Whether a scan shows no tissue at these heights, as far as they lie within it."""
    covered = scan.first.plane.thickness_mm or scan.step_mm
    above = np.searchsorted(scan.heights_mm, heights_mm)
    within = above[(above > 0) & (above < len(scan.heights_mm))]
    return covered is None or bool((scan.heights_mm[within] - scan.heights_mm[within - 1] > _COVERED * covered).all())


def _is_alike(one: SeriesImage, other: SeriesImage) -> bool:
    """Whether two images are of one grid and one kind of reconstruction, but for rounding and wording."""
    thicknesses = [image.plane.thickness_mm for image in (one, other) if image.plane.thickness_mm is not None]
    if thicknesses and max(thicknesses) > _THICKNESS * min(thicknesses):
        return False
    if len({is_sharp(image.plane.kernel, image.description) for image in (one, other)}) > 1:
        return False
    return _is_one_grid(one.plane.spacing_mm, other.plane.spacing_mm) and is_parallel(one.plane, other.plane)


def _is_one_grid(one: tuple[float, float] | None, other: tuple[float, float] | None) -> bool:
    if one is None or other is None:
        return one is other
    return all(abs(a - b) <= _SPACING * a for a, b in zip(one, other, strict=True))


def _are_distinct(one: _Scan, other: _Scan) -> bool:
    return not np.isin(other.numbers, one.numbers).any()


def _thickness(image: SeriesImage) -> float | None:
    return None if image.plane.thickness_mm is None else round(image.plane.thickness_mm, 1)


def _usual(heights_mm: Numbers) -> float | None:
    """The middle step, of two the shorter, since holes only lengthen steps; copies of a slice are none."""
    steps = np.diff(heights_mm)
    steps = steps[steps > SAME_PLACE_MM]
    return float(np.quantile(steps, 0.5, method="lower")) if len(steps) else None
