"""Which images of a study form one stack of slices, and in what order they lie.

A SeriesInstanceUID is a promise that scanners and archives break: one series may hold a scout, two reconstructions
or two acquisitions of the same place, and files come in any order. So images are put together by what makes them one
volume, and sorted along their normal (PS3.3 C.7.6.2.1.1), never by name or InstanceNumber where positions are known.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from duoscan.formats.dicom.geometry import Plane

_ANGLE = 0.02  # by which the direction cosines of one stack may differ

SAME_PLACE_MM = 0.01
"""Two slices nearer than this along the normal are one place."""

_GAP = 1.5
"""A step longer than so many usual steps leaves positions out."""


@dataclass(frozen=True)
class SeriesImage:
    """What is known of one image before its pixels are read.

    Attributes:
        name: How it is named in answers; breaks ties.
        plane: Where it lies.
        series_id: SeriesInstanceUID.
        frame_of_reference: FrameOfReferenceUID.
        size: Rows and columns.
        number: InstanceNumber, or the number of the frame: the order where positions are missing.
        series_number: SeriesNumber.
        description: SeriesDescription.
        set_aside: Why the image by itself is not answered (a localiser, a reformat, …); ``None`` where it may be.
    """

    name: str
    plane: Plane
    series_id: str | None = None
    frame_of_reference: str | None = None
    size: tuple[int, int] = (0, 0)
    number: int = 0
    series_number: int | None = None
    description: str | None = None
    set_aside: str | None = None


@dataclass(frozen=True)
class Stack:
    """Images that form one volume.

    Attributes:
        images: Places in the sequence that was assembled, lowest first; each position once.
        heights_mm: Where each lies along the normal; empty where positions are not known.
        repeats: Place of an image that lies where another does → place of that other.
        first: The lowest image, for what all have in common.
        note: Why it was separated from others of its series; empty where it was not.
    """

    images: tuple[int, ...]
    heights_mm: tuple[float, ...]
    repeats: dict[int, int]
    first: SeriesImage
    note: str = ""

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

    Images of one stack share series, frame of reference, orientation, pixel spacing, size, thickness and kernel.
    Where positions then repeat, and the acquisition number, the time or the image type tells the copies apart, each
    of these becomes a stack of its own.

    Args:
        images: In any order; the answer does not depend on it.

    Returns:
        Stacks in the order of series number and name; every image is in ``images`` or ``repeats`` of exactly one.
    """
    alike: dict[Hashable, list[list[int]]] = defaultdict(list)
    for place in sorted(range(len(images)), key=lambda one: images[one].name):
        groups = alike[_key(images[place])]
        # Directions are compared, not rounded: a hair's breadth must not tear a stack apart.
        own = next((group for group in groups if _parallel(images[group[0]].plane, images[place].plane)), None)
        if own is None:
            groups.append(own := [])
        own.append(place)
    parts = [part for groups in alike.values() for group in groups for part in _separated(group, images)]
    stacks = [_stack(group, images, note) for group, note in parts]
    return sorted(stacks, key=lambda stack: (_order(stack.first.series_number), stack.first.name))


def _order(number: int | None) -> float:
    return math.inf if number is None else number


def _key(image: SeriesImage) -> Hashable:
    """What is the same, letter by letter and within rounding, in all slices of one volume."""
    plane = image.plane
    return (
        image.series_id,
        image.frame_of_reference,
        image.size,
        image.set_aside,
        plane.kernel,
        None if plane.spacing_mm is None else tuple(round(value, 3) for value in plane.spacing_mm),
        None if plane.thickness_mm is None else round(plane.thickness_mm, 1),
        plane.height_mm is None,
    )


def _parallel(one: Plane, other: Plane) -> bool:
    if one.row is None or other.row is None or one.column is None or other.column is None:
        return one.row is other.row
    pairs = itertools.chain(zip(one.row, other.row, strict=True), zip(one.column, other.column, strict=True))
    return max(abs(a - b) for a, b in pairs) <= _ANGLE


_DISTINCTIONS: dict[str, Callable[[SeriesImage], Hashable]] = {
    "acquisition": lambda image: image.plane.acquisition,
    "time": lambda image: image.plane.phase,
    "image type": lambda image: image.plane.image_type,
}


def _separated(group: list[int], images: Sequence[SeriesImage]) -> Iterable[tuple[list[int], str]]:
    """The group, or its parts where they show the same place several times.

    A number that rises from slice to slice, as step-and-shoot scanners write it, separates nothing: positions do not
    repeat there.
    """
    repeated = _repeated(group, images)
    for name, told_by in _DISTINCTIONS.items():
        parts: dict[Hashable, list[int]] = defaultdict(list)
        for place in group:
            parts[told_by(images[place])].append(place)
        if repeated and len(parts) > 1 and sum(_repeated(part, images) for part in parts.values()) <= repeated / 2:
            note = f"one of {len(parts)} reconstructions in one series, told apart by {name}"
            return [(part, note) for part in parts.values()]
    return [(group, "")]


def _repeated(group: Iterable[int], images: Sequence[SeriesImage]) -> int:
    """Images beyond the first at each place."""
    heights = [images[place].plane.height_mm for place in group]
    places = Counter(round(height / SAME_PLACE_MM / 2) for height in heights if height is not None)
    return sum(count - 1 for count in places.values())


def _stack(group: list[int], images: Sequence[SeriesImage], note: str) -> Stack:
    heights = {place: images[place].plane.height_mm for place in group}
    if any(height is None for height in heights.values()):
        ordered = sorted(group, key=lambda place: (images[place].number, images[place].name))
        return Stack(tuple(ordered), (), {}, images[ordered[0]], note)
    ordered = sorted(group, key=lambda place: (heights[place], images[place].name))
    kept: list[int] = []
    repeats: dict[int, int] = {}
    for place in ordered:
        if kept and _distance(images[kept[-1]].plane, images[place].plane) <= SAME_PLACE_MM:
            repeats[place] = kept[-1]
        else:
            kept.append(place)
    known = tuple(float(heights[place] or 0.0) for place in kept)
    return Stack(tuple(kept), known, repeats, images[kept[0]], note)


def _distance(one: Plane, other: Plane) -> float:
    return abs((one.height_mm or 0.0) - (other.height_mm or 0.0))
