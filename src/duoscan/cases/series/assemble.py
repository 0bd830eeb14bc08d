"""Which images of a study form one stack of slices, and in what order they lie.

A SeriesInstanceUID is a promise that scanners and archives break: one series may hold a scout, two reconstructions
or two acquisitions of the same place, one scan may be torn into many series, and files come in any order. So images
are put together by what makes them one volume, and sorted along their normal (PS3.3 C.7.6.2.1.1), never by name or
InstanceNumber where positions are known.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from duoscan.cases.series.join import joined
from duoscan.cases.series.slices import SAME_PLACE_MM, is_parallel, located
from duoscan.reasons import Reason, ReasonCode

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

    from duoscan.cases.series.slices import Part, SeriesImage, Slice
    from duoscan.formats.dicom.geometry import Plane

_GAP = 1.5
"""A step longer than so many usual steps leaves positions out."""


@dataclass(frozen=True)
class Stack:
    """Images that form one volume.

    Attributes:
        images: Places in the sequence that was assembled, lowest first; each position once.
        heights_mm: Where each lies along the normal; empty where positions are not known.
        repeats: Place of an image that lies where another does → place of that other.
        first: The lowest image, for what all have in common.
        note: Why it was separated from others of its series; empty where it was not.
        remarks: What a person should know where it is answered: that it was torn, or tells no positions.
    """

    images: tuple[int, ...]
    heights_mm: tuple[float, ...]
    repeats: dict[int, int]
    first: SeriesImage
    note: str = ""
    remarks: tuple[Reason, ...] = ()

    @property
    def step_mm(self) -> float | None:
        """Usual distance of two neighbours: the middle one, of two the shorter, since holes only lengthen steps."""
        steps = [b - a for a, b in itertools.pairwise(self.heights_mm)]
        return statistics.median_low(steps) if steps else None

    @property
    def missing(self) -> int:
        """Positions that are left out between the lowest and the highest slice."""
        usual = self.step_mm
        if not usual:
            return 0
        steps = [b - a for a, b in itertools.pairwise(self.heights_mm)]
        return sum(round(step / usual) - 1 for step in steps if step > _GAP * usual)

    @property
    def extent_mm(self) -> float:
        """From the lowest to the highest slice, 0 where positions are not known."""
        return self.heights_mm[-1] - self.heights_mm[0] if self.heights_mm else 0.0


def assemble(images: Sequence[SeriesImage]) -> list[Stack]:
    """Put the images of one study into stacks.

    First what shares series, frame of reference, orientation, pixel spacing, size, thickness and kernel. Where
    positions then repeat, and the acquisition number, the time or the image type tells the copies apart, each of these
    is a stack of its own. Then stacks of like geometry whose positions do not overlap are joined: one scan, torn by
    identifiers or texts; see :mod:`duoscan.cases.series.join`.

    Args:
        images: In any order; the answer does not depend on it.

    Returns:
        Stacks in the order of series number and name; every image is in ``images`` or ``repeats`` of exactly one.
    """
    slices = located(images)
    alike: dict[Hashable, list[list[Slice]]] = defaultdict(list)
    for one in sorted(slices, key=lambda one: one.image.name):
        groups = alike[_key(one)]
        # Directions are compared, not rounded: a hair's breadth must not tear a stack apart.
        own = next((group for group in groups if is_parallel(group[0].image.plane, one.image.plane)), None)
        if own is None:
            groups.append(own := [])
        own.append(one)
    parts = [part for groups in alike.values() for group in groups for part in _separated(group)]
    stacks = [_stack(group, note) for group, note in joined(parts)]
    return sorted(stacks, key=lambda stack: (_order(stack.first.series_number), stack.first.name))


def _order(number: int | None) -> float:
    return math.inf if number is None else number


def _key(one: Slice) -> Hashable:
    """What is the same, letter by letter and within rounding, in all slices of one volume."""
    image, plane = one.image, one.image.plane
    return (
        image.series_id,
        image.frame_of_reference,
        image.date,
        image.size,
        image.set_aside,
        plane.kernel,
        None if plane.spacing_mm is None else tuple(round(value, 3) for value in plane.spacing_mm),
        None if plane.thickness_mm is None else round(plane.thickness_mm, 1),
        one.told_by,
    )


_ORDER = {
    "position without orientation": "slices without an orientation; sorted along the table",
    "SliceLocation": "slices whose positions are lacking or all the same; sorted by SliceLocation",
    None: "slices whose positions are lacking or all the same; sorted by InstanceNumber",
}

_DISTINCTIONS: dict[str, Callable[[Plane], Hashable]] = {
    "acquisition": lambda plane: plane.acquisition,
    "time": lambda plane: plane.phase,
    "image type": lambda plane: plane.image_type,
}


def _separated(group: list[Slice]) -> Iterable[Part]:
    """The group, or its parts where they show the same place several times.

    A number that rises from slice to slice, as step-and-shoot scanners write it, separates nothing: positions do not
    repeat there.
    """
    repeated = _repeated(group)
    for name, value in _DISTINCTIONS.items():
        parts: dict[Hashable, list[Slice]] = defaultdict(list)
        for one in group:
            parts[value(one.image.plane)].append(one)
        if repeated and len(parts) > 1 and sum(map(_repeated, parts.values())) <= repeated / 2:
            note = f"one of {len(parts)} reconstructions in one series, told apart by {name}"
            return [(part, note) for part in parts.values()]
    return [(group, "")]


def _repeated(group: Iterable[Slice]) -> int:
    """Images beyond the first at each place."""
    places = Counter(round(one.height_mm / SAME_PLACE_MM / 2) for one in group if one.height_mm is not None)
    return sum(count - 1 for count in places.values())


def _stack(group: list[Slice], note: str) -> Stack:
    heights = [one.height_mm for one in group if one.height_mm is not None]
    remarks = tuple(_remarks(group))
    if len(heights) < len(group):
        ordered = sorted(group, key=lambda one: (one.image.number, one.image.name))
        return Stack(tuple(one.place for one in ordered), (), {}, ordered[0].image, note, remarks)
    kept: list[tuple[float, Slice]] = []
    repeats: dict[int, int] = {}
    for height, one in sorted(zip(heights, group, strict=True), key=lambda pair: (pair[0], pair[1].image.name)):
        if kept and height - kept[-1][0] <= SAME_PLACE_MM:
            repeats[one.place] = kept[-1][1].place
        else:
            kept.append((height, one))
    places, known = tuple(one.place for _, one in kept), tuple(height for height, _ in kept)
    return Stack(places, known, repeats, kept[0][1].image, note, remarks)


def _remarks(group: list[Slice]) -> Iterator[Reason]:
    """What a person should know of slices that are answered as one scan."""
    series = len({one.image.series_id for one in group})
    frames = len({one.image.frame_of_reference for one in group})
    if max(series, frames) > 1:
        torn = f"{series} series" if series > 1 else f"{frames} frames of reference"
        yield Reason(ReasonCode.IDENTITY, f"one CT scan by its positions, in {torn}")
    if len(group) > 1 and group[0].told_by in _ORDER:
        yield Reason(ReasonCode.POSITIONS_MISSING, _ORDER[group[0].told_by])
