"""What a bundle tells beside P(covid): further heads on the same pooled features, answered in the same forward pass.

A head is one more linear layer of the graph with an output of its own, ``head.<name>``. What it gives is an estimate
for research, shown beside the answer; no threshold, rule or policy reads it.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from duoscan.inference.calibrator import softmax
from duoscan.settings import Stated
from duoscan.terms import Probability

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

OUTPUT_PREFIX = "head."
"""Begins the name of a head's output in the graph, and of its columns in a predictions table."""

Readings = dict[str, float]
"""``name.category`` → probability; ``name``, ``name.low`` and ``name.high`` → score and its interval."""

HeadName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,15}$", description="in files and in the graph")]
Words = Annotated[
    str, Field(min_length=1, max_length=64, description="for a person; as long as a coded meaning may be")
]
MAX_CATEGORIES = 32


class _Head(Stated):
    name: HeadName
    title: Words
    images: int = Field(ge=1, description="images it was fitted on")
    patients: int = Field(ge=1, description="patients those show")
    sources: tuple[str, ...] = ()
    figures: dict[str, Any] = Field(default_factory=dict, description="by cross-validation over patients")

    @property
    def output(self) -> str:
        """Its output in the graph."""
        return f"{OUTPUT_PREFIX}{self.name}"


class CategoryHead(_Head):
    """Which of several categories an image shows; one logit each."""

    kind: Literal["categories"] = "categories"
    categories: tuple[Words, ...] = Field(min_length=2, max_length=MAX_CATEGORIES, description="in rising order")

    @model_validator(mode="after")
    def _check_distinct(self) -> CategoryHead:
        check_distinct(self.categories)
        return self

    @property
    def width(self) -> int:
        """Numbers an image."""
        return len(self.categories)

    @property
    def keys(self) -> tuple[str, ...]:
        """Of its readings, in the order of the categories."""
        return tuple(f"{self.name}.{key_of(category)}" for category in self.categories)

    def readings(self, values: NDArray[np.float32]) -> list[Readings]:
        """Of each image, from the output (N, K); empty where it is no number."""
        is_told = np.isfinite(values).all(axis=1, keepdims=True)
        chances = softmax(np.where(is_told, values, np.float32(0)))
        rows = [dict(zip(self.keys, map(float, row), strict=True)) for row in chances]
        return [row if told else {} for row, told in zip(rows, is_told.ravel(), strict=True)]


class ScoreHead(_Head):
    """A number on a scale that raters use, with an interval by split-conformal prediction."""

    kind: Literal["score"] = "score"
    least: float
    most: float
    half_width: float = Field(ge=0, description="of the interval, before it is cut to the scale")
    coverage: Probability = Field(description="share of new patients whose score the interval is to hold")

    @model_validator(mode="after")
    def _check_scale(self) -> ScoreHead:
        check_scale(self.least, self.most)
        return self

    @property
    def width(self) -> int:
        """Numbers an image."""
        return 1

    @property
    def keys(self) -> tuple[str, ...]:
        """Of its readings: score, lower and upper bound."""
        return self.name, f"{self.name}.low", f"{self.name}.high"

    def readings(self, values: NDArray[np.float32]) -> list[Readings]:
        """Of each image, from the output (N, 1); all three lie on the scale. Empty where it is no number."""
        scores = values[:, 0].astype(np.float64)
        bounds = (scores, scores - self.half_width, scores + self.half_width)
        columns = (np.clip(column, self.least, self.most).tolist() for column in bounds)
        rows = [dict(zip(self.keys, row, strict=True)) for row in zip(*columns, strict=True)]
        return [row if math.isfinite(value) else {} for row, value in zip(rows, scores, strict=True)]


Head = Annotated[CategoryHead | ScoreHead, Field(discriminator="kind")]


def key_of(category: str) -> str:
    """A category as part of a column's name.

    Example:
        >>> key_of("Negative for pneumonia")
        'negative_for_pneumonia'
    """
    return re.sub(r"[\W_]+", "_", category.casefold()).strip("_")


def middle(probabilities: Sequence[float]) -> int:
    """Place of the category in which half of the probability is reached, from the lowest on.

    Among ordered categories it is the one that is the least steps away on average; the likeliest may lie further off.

    Example:
        >>> middle([0.4, 0.0, 0.35, 0.25])
        2
    """
    return int(np.searchsorted(np.cumsum(probabilities), sum(probabilities) / 2))


def check_distinct(categories: Sequence[str]) -> None:
    """Refuse categories that could not be told apart in a table.

    Raises:
        ValueError: Two have one key, or one has none.
    """
    keys = [key_of(category) for category in categories]
    if not all(keys) or len(set(keys)) != len(keys):
        msg = f"categories need words of their own, found {list(categories)}"
        raise ValueError(msg)


def check_scale(least: float, most: float) -> None:
    """Refuse a scale without length.

    Raises:
        ValueError: It ends where it begins, or before.
    """
    if least >= most:
        msg = f"the scale goes from {least:g} to {most:g}; its end must be larger"
        raise ValueError(msg)


def check_names(names: Sequence[str]) -> None:
    """Refuse two heads of one name.

    Raises:
        ValueError: There are.
    """
    if len(set(names)) != len(names):
        msg = f"two heads have one name, found {list(names)}"
        raise ValueError(msg)


def joined(head: CategoryHead | ScoreHead, images: Sequence[Mapping[str, float]]) -> Readings:
    """Readings of a study: the mean over its images, which are looks at one patient at one time.

    A study's P(covid) may be that of one image; an estimate is not, since the highest of several errs upwards. The mean
    of the bounds is as wide as those of one image: its error is hardly larger, and how much smaller is not known.

    Args:
        head: Whose.
        images: Readings of each image; one without this head does not count.
    """
    told = [one for one in images if all(key in one for key in head.keys)]
    return {key: float(np.mean([one[key] for one in told])) for key in head.keys} if told else {}
