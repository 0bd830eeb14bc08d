"""Images of a CT study, each with where it lies; what tells that is the same for all slices of a volume."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from duoscan.formats.dicom.geometry import Plane

_ANGLE = 0.02  # by which the direction cosines of one stack may differ

SAME_PLACE_MM = 0.01
"""Two slices nearer than this along the normal are one place."""


@dataclass(frozen=True)
class SeriesImage:
    """What is known of one image before its pixels are read.

    Attributes:
        name: How it is named in answers; breaks ties.
        plane: Where it lies.
        series_id: SeriesInstanceUID.
        frame_of_reference: FrameOfReferenceUID.
        size: Rows and columns.
        number: InstanceNumber, or the number of the frame: the order where positions are missing; 0 where unknown.
        series_number: SeriesNumber.
        description: SeriesDescription.
        set_aside: Why the image by itself is not answered (a localiser, a reformat, …); ``None`` where it may be.
        date: StudyDate; two days are two scans, whatever else is alike.
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
    date: str | None = None


@dataclass(frozen=True)
class Slice:
    """An image with its place along the normal.

    Attributes:
        place: Its place in the sequence that is assembled.
        image: What is known of it.
        height_mm: Where it lies; ``None`` where nothing says it.
        told_by: What the height is from; heights from two of these have two zeros.
    """

    place: int
    image: SeriesImage
    height_mm: float | None
    told_by: str | None


Part = tuple[list[Slice], str]
"""Images that belong together, and what there is to say of that."""

_POSITION = "position"

# The first that tells two slices of a series apart is believed.
_SOURCES: dict[str, Callable[[Plane], float | None]] = {
    _POSITION: lambda plane: plane.height_mm,
    "position without orientation": lambda plane: plane.position_mm[2] if plane.position_mm and not plane.row else None,
    "SliceLocation": lambda plane: plane.location_mm,
}


def located(images: Sequence[SeriesImage]) -> list[Slice]:
    """Where each image of a study lies.

    Positions are believed as soon as any series of the study shows two places. Exporters may lose all of them, or write
    the same one into every file; SliceLocation then takes their place, and where that tells nothing either, there are
    no heights and InstanceNumber is the order. A series that shows one place in a study that shows more does show one
    place, as when the arrival of contrast medium is watched.
    """
    groups: dict[Hashable, list[SeriesImage]] = defaultdict(list)
    for image in images:
        if image.set_aside is None:
            groups[_group(image)].append(image)
    # Series of one image each, into which a scan may be torn, are looked at together.
    singles = [image for group in groups.values() if len(group) == 1 for image in group]
    series = [group for group in groups.values() if len(group) > 1] + ([singles] if singles else [])
    are_believed = any(_tells_apart(_POSITION, group) for group in series)
    told = {
        _group(image): source
        for group in series
        for source in [_source(group, are_positions_believed=are_believed)]
        for image in group
    }
    return [
        Slice(place, image, _SOURCES[source](image.plane) if source else None, source)
        for place, image in enumerate(images)
        for source in [told[_group(image)] if image.set_aside is None else _POSITION]
    ]


def _group(image: SeriesImage) -> Hashable:
    return image.series_id, image.plane.height_mm is None


def _source(images: list[SeriesImage], *, are_positions_believed: bool) -> str | None:
    """What says where the images of a series lie; ``None`` where only their numbers do."""
    are_known = all(image.plane.height_mm is not None for image in images)
    if are_known and (are_positions_believed or len(images) == 1):
        return _POSITION
    if (found := next((source for source in _SOURCES if _tells_apart(source, images)), None)) is not None:
        return found
    # Copies of one slice have one number too.
    return _POSITION if are_known and len({image.number for image in images}) == 1 else None


def _tells_apart(source: str, images: list[SeriesImage]) -> bool:
    """Whether it is known of all images and differs between two of them."""
    values = [_SOURCES[source](image.plane) for image in images]
    known = [value for value in values if value is not None]
    return len(known) == len(values) > 1 and max(known) - min(known) > SAME_PLACE_MM


def is_parallel(one: Plane, other: Plane) -> bool:
    """Whether two images lie in one direction; those that do not say it are alike too."""
    if one.row is None or other.row is None or one.column is None or other.column is None:
        return one.row is other.row
    pairs = itertools.chain(zip(one.row, other.row, strict=True), zip(one.column, other.column, strict=True))
    return max(abs(a - b) for a, b in pairs) <= _ANGLE
