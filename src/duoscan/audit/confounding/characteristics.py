"""The characteristics of images that are tried as predictors of the label, and what each could rightly carry."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from duoscan.audit.confounding.facts import FileFacts, read_facts
from duoscan.audit.small_grey import small_grey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from duoscan.evaluation.sample import FloatArray
    from duoscan.manifest.records import ImageRecord

SIDE = 64
_FRAME = 4
_CORNER = 8
_DARK = 0.05
_MOST_LEVELS = 12
_RARE = "other"


class Role(StrEnum):
    """Why a characteristic is looked at; only the first two can raise an alarm."""

    FILE = "file"
    """Where and how the image was made, stored and published; it cannot show a disease."""

    BORDER = "border"
    """Corners and frame of the picture, where no lung is: marks, collimation, cropping."""

    CONTENT = "content"
    """The picture as a whole; disease changes it too, so it is shown and never judged."""


@dataclass(frozen=True)
class Observed:
    """What is known of one readable image.

    Attributes:
        record: Its row of the manifest.
        facts: Of its file.
        pixels: Statistic → value, of a small grey copy.
    """

    record: ImageRecord
    facts: FileFacts
    pixels: dict[str, float]


@dataclass(frozen=True)
class Characteristic:
    """One predictor over N images.

    Attributes:
        title: As a person reads it.
        role: Whether it may rightly go with the label.
        values: N values: all numbers or all words, ``None`` where unknown.
    """

    title: str
    role: Role
    values: tuple[float | str | None, ...]

    @property
    def is_numeric(self) -> bool:
        """Whether values are numbers."""
        return not any(isinstance(value, str) for value in self.values)

    def columns(self) -> FloatArray:
        """As features for trees, shape (N, columns): a number with the unknown below all, or one column a word."""
        if self.is_numeric:
            numbers = np.array([np.nan if value is None else value for value in self.values], dtype=np.float64)
            return np.where(np.isnan(numbers), np.nanmin(numbers) - 1, numbers)[:, None]
        words = [_RARE if value is None else str(value) for value in self.values]
        levels, counts = np.unique(words, return_counts=True)
        common = levels[np.argsort(-counts, kind="stable")][:_MOST_LEVELS]
        return np.array([[word == level for level in common] for word in words], dtype=np.float64)


_CORNERS = {
    "upper left": (slice(None, _CORNER), slice(None, _CORNER)),
    "upper right": (slice(None, _CORNER), slice(-_CORNER, None)),
    "lower left": (slice(-_CORNER, None), slice(None, _CORNER)),
    "lower right": (slice(-_CORNER, None), slice(-_CORNER, None)),
}
_MEAN, _SPREAD = "mean grey", "spread of grey"
_FACTS: dict[str, Callable[[FileFacts], float | str | None]] = {
    "width": lambda facts: facts.width,
    "height": lambda facts: facts.height,
    "aspect ratio": lambda facts: facts.width / facts.height if facts.height else None,
    "file format": lambda facts: facts.file_format,
    "published file type": lambda facts: facts.published_suffix,
    "bit depth": lambda facts: facts.bit_depth,
    "colour mode": lambda facts: facts.colour_mode,
    "JPEG quality": lambda facts: facts.jpeg_quality,
    "view": lambda facts: facts.view,
    "manufacturer": lambda facts: facts.manufacturer,
    "transfer syntax": lambda facts: facts.transfer_syntax,
    "age": lambda facts: facts.age_years,
    "sex": lambda facts: facts.sex,
}


def observe(record: ImageRecord, path: Path) -> Observed:
    """Read one image's facts and statistics.

    Raises:
        ImageError: It cannot be read.
    """
    return Observed(record, read_facts(record, path), pixel_statistics(small_grey(path, SIDE)))


def pixel_statistics(grey: NDArray[np.float32]) -> dict[str, float]:
    """Statistics of a small grey copy in [0, 1], shape (64, 64).

    A corner's mark is its brightest point above the corner's own median, so that neither exposure nor the
    lungs enter. The frame is the outer sixteenth of each side.
    """
    frame = np.ones(grey.shape, dtype=np.bool_)
    frame[_FRAME:-_FRAME, _FRAME:-_FRAME] = False
    found = {}
    for name, place in _CORNERS.items():
        corner = grey[place]
        found[f"bright mark, {name} corner"] = float(corner.max() - np.median(corner))
        found[f"grey of the {name} corner"] = float(corner.mean())
    found["grey of the frame"] = float(grey[frame].mean())
    found["spread of grey in the frame"] = float(grey[frame].std())
    found["black share of the frame"] = float((grey[frame] < _DARK).mean())
    found[_MEAN], found[_SPREAD] = float(grey.mean()), float(grey.std())
    return found


def characteristics_of(images: Sequence[Observed]) -> tuple[list[Characteristic], list[str]]:
    """What differs between the images, and the titles of what is the same in all or nowhere stated."""
    found = [Characteristic("source", Role.FILE, tuple(image.record.source for image in images))]
    found += [
        Characteristic(title, Role.FILE, tuple(read(image.facts) for image in images)) for title, read in _FACTS.items()
    ]
    found.append(Characteristic("bytes per pixel", Role.CONTENT, tuple(_bytes_per_pixel(image) for image in images)))
    for title in images[0].pixels if images else ():
        role = Role.CONTENT if title in {_MEAN, _SPREAD} else Role.BORDER
        found.append(Characteristic(title, role, tuple(image.pixels[title] for image in images)))
    constant = [one.title for one in found if len(set(one.values)) < 2]
    return [one for one in found if one.title not in constant], constant


def _bytes_per_pixel(image: Observed) -> float | None:
    pixels = image.facts.width * image.facts.height
    return image.facts.size_bytes / pixels if pixels else None
