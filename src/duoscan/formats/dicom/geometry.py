"""Where the images of a DICOM file lie in the patient, frame by frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.formats.dicom.numbers import stated_value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom import Dataset

Vector = tuple[float, float, float]

MAX_FRAMES = 4096
"""Most frames of one file; a whole-body CT of half-millimetre slices has fewer."""

# cos 37°: a tilted gantry (up to 30°) is still axial, a reformat between two planes is not.
_PLANE_COSINE = 0.8

# Functional groups (PS3.3 C.7.6.16.2) and what is read of each; a plain image holds the same at its top.
_GROUPS = {
    "PlanePositionSequence": ("ImagePositionPatient", "SliceLocation"),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "CTReconstructionSequence": ("ConvolutionKernel",),
    "CTImageFrameTypeSequence": ("FrameType",),
    "FrameContentSequence": ("FrameAcquisitionNumber", "TemporalPositionIndex"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),
}

PLAIN_NAMES = {
    "FrameType": "ImageType",
    "FrameAcquisitionNumber": "AcquisitionNumber",
    "TemporalPositionIndex": "TemporalPositionIdentifier",
}
"""What the top of a plain image calls differently."""


@dataclass(frozen=True)
class Plane:
    """Where one image lies, and how it was made; ``None`` where the file does not say or contradicts itself.

    Attributes:
        position_mm: ImagePositionPatient (0020,0032), centre of the first pixel in patient coordinates.
        row: Direction in which a row runs, a unit vector, of ImageOrientationPatient (0020,0037).
        column: Direction in which a column runs.
        spacing_mm: PixelSpacing (0028,0030): between rows, between columns.
        thickness_mm: SliceThickness (0018,0050).
        kernel: ConvolutionKernel (0018,1210) as written.
        acquisition: AcquisitionNumber (0020,0012).
        phase: Temporal position, of a series that shows the same place at several times.
        image_type: ImageType (0008,0008) or FrameType (0008,9007), values joined by a backslash.
        location_mm: SliceLocation (0020,1041), of a zero of its own; asked only where positions say nothing.
    """

    position_mm: Vector | None = None
    row: Vector | None = None
    column: Vector | None = None
    spacing_mm: tuple[float, float] | None = None
    thickness_mm: float | None = None
    kernel: str | None = None
    acquisition: str | None = None
    phase: str | None = None
    image_type: str | None = None
    location_mm: float | None = None

    @cached_property
    def normal(self) -> Vector | None:
        """Unit vector across the image, towards the head where the slice is axial (PS3.3 C.7.6.2.1.1)."""
        if self.row is None or self.column is None:
            return None
        normal = np.cross(self.row, self.column)
        if normal[2] < 0:
            normal = -normal
        x, y, z = (float(value) for value in normal / np.linalg.norm(normal))
        return x, y, z

    @cached_property
    def height_mm(self) -> float | None:
        """Where the image lies along its normal."""
        if self.normal is None or self.position_mm is None:
            return None
        return math.fsum(a * b for a, b in zip(self.normal, self.position_mm, strict=True))

    @property
    def name(self) -> str | None:
        """``axial``, ``coronal``, ``sagittal`` or ``oblique``, by the normal."""
        if self.normal is None:
            return None
        along = [abs(value) for value in self.normal]
        largest = max(along)
        return ("sagittal", "coronal", "axial")[along.index(largest)] if largest >= _PLANE_COSINE else "oblique"


def planes_of(dataset: Dataset) -> tuple[Plane, ...]:
    """One plane for each frame of an open data set; call it inside ``dicom_errors``.

    A multi-frame object may hold the attributes for all frames (SharedFunctionalGroupsSequence) or for each
    (PerFrameFunctionalGroupsSequence); the frame's own go first (PS3.3 C.7.6.16).
    """
    return tuple(_plane(frame_view(dataset, number)) for number in range(1, frame_count(dataset) + 1))


def frame_count(dataset: Dataset) -> int:
    """NumberOfFrames (0028,0008), 1 where it is absent."""
    return max(1, int(dataset.get("NumberOfFrames") or 1))


def frame_view(dataset: Dataset, number: int) -> dict[str, Any]:
    """What holds for one frame, by the keywords that a plain image has at its top.

    Args:
        dataset: An open data set.
        number: Of the frame, from 1.
    """
    found: dict[str, Any] = {}
    for groups in _groups(dataset, number):
        for sequence, keywords in _GROUPS.items():
            items = groups.get(sequence)
            if items:
                found |= {
                    keyword: stated_value(items[0], keyword)
                    for keyword in keywords
                    if keyword not in found and keyword in items[0]
                }
    for keywords in _GROUPS.values():
        for keyword in keywords:
            plain = PLAIN_NAMES.get(keyword, keyword)
            if keyword not in found and plain in dataset:
                found[keyword] = stated_value(dataset, plain)
    return found


def _groups(dataset: Dataset, number: int) -> Iterator[Dataset]:
    """Functional groups of a frame, its own first."""
    own = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    if number <= len(own):
        yield own[number - 1]
    shared = dataset.get("SharedFunctionalGroupsSequence") or ()
    yield from shared[:1]


def _plane(view: dict[str, Any]) -> Plane:
    row, column = _directions(_numbers(view.get("ImageOrientationPatient"), 6))
    position, spacing = _numbers(view.get("ImagePositionPatient"), 3), _numbers(view.get("PixelSpacing"), 2)
    thickness, location = _numbers(view.get("SliceThickness"), 1), _numbers(view.get("SliceLocation"), 1)
    return Plane(
        position_mm=None if position is None else (position[0], position[1], position[2]),
        row=row,
        column=column,
        spacing_mm=(spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None,
        thickness_mm=thickness[0] if thickness and thickness[0] > 0 else None,
        kernel=_text(view.get("ConvolutionKernel")),
        acquisition=_text(view.get("FrameAcquisitionNumber")),
        phase=_text(view.get("TemporalPositionIndex")),
        image_type=_text(view.get("FrameType")),
        location_mm=location[0] if location else None,
    )


def _numbers(value: Any, count: int) -> list[float] | None:
    """So many finite numbers, or ``None``."""
    if value is None or value == "":
        return None
    values = [value] if isinstance(value, (int, float, str)) else list(value)
    try:
        numbers = [float(one) for one in values]
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(math.isfinite(one) for one in numbers) else None


def _directions(cosines: list[float] | None) -> tuple[Vector | None, Vector | None]:
    """The two unit vectors of an orientation; ``None`` for both where they are no right angle apart."""
    if cosines is None:
        return None, None
    row, column = np.array(cosines[:3]), np.array(cosines[3:])
    lengths = float(np.linalg.norm(row)), float(np.linalg.norm(column))
    if min(lengths) < 0.9 or max(lengths) > 1.1 or abs(float(row @ column)) > 0.1:
        return None, None
    (a, b, c), (d, e, f) = (row / lengths[0]).tolist(), (column / lengths[1]).tolist()
    return (a, b, c), (d, e, f)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    parts = [value] if isinstance(value, (str, int, float)) or not hasattr(value, "__iter__") else list(value)
    return "\\".join(str(part).strip(" \0") for part in parts) or None
