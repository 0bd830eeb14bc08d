"""What is told of a study beside its answer: estimates for research, which decide nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from duoscan.inference.heads import CategoryHead, joined, middle
from duoscan.reasons import Reason
from duoscan.terms import Probability

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.inference.heads import Head
    from duoscan.predictions import Prediction

_CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False)

ESTIMATE = "a research estimate"
"""Stands beside every one."""


@dataclass(frozen=True, config=_CONFIG)
class CategoryEstimate:
    """Which of several categories a study shows.

    Attributes:
        name: Of the head that says so.
        title: What is told, in words.
        categories: Words of each category → its probability, in rising order.
        method: How it was found.
    """

    name: str
    title: str
    categories: dict[str, Probability]
    method: str

    @property
    def middle(self) -> str:
        """The category in which half of the probability is reached."""
        return list(self.categories)[middle(list(self.categories.values()))]

    @property
    def spoken(self) -> str:
        """For a person."""
        chances = ", ".join(f"{category} {chance:.2f}" for category, chance in self.categories.items())
        method = f", {self.method}" if self.method else ""
        return f"{self.title}: {self.middle} (P of {chances}), {ESTIMATE}{method}"


@dataclass(frozen=True, config=_CONFIG)
class ScoreEstimate:
    """A number on a scale, with an interval where one is known.

    Attributes:
        name: Of what says so.
        title: What is told, in words.
        value: From ``least`` to ``most``; ``None`` where it could not be measured.
        least: Beginning of the scale.
        most: End of the scale.
        method: How it was found.
        low: Lower bound of the interval; ``None`` where there is none.
        high: Upper bound.
        coverage: Share of patients whose number the interval is to hold.
        reason: Why there is no value.
    """

    name: str
    title: str
    value: float | None
    least: float
    most: float
    method: str = ""
    low: float | None = None
    high: float | None = None
    coverage: Probability | None = None
    reason: Reason | None = None

    @property
    def is_share(self) -> bool:
        """Whether it is a part of a whole, which is told in percent."""
        return (self.least, self.most) == (0.0, 1.0)

    @property
    def spoken(self) -> str:
        """For a person."""
        if self.value is None:
            return f"{self.title}: not measured, {self.reason.text if self.reason else 'no reason given'}"
        number = self._said(self.value) + (" %" if self.is_share else f" of {self.most:g}")
        within = ""
        if self.low is not None and self.high is not None and self.coverage is not None:
            bounds = f"{self._said(self.low)} to {self._said(self.high)}"
            within = f" ({100 * self.coverage:.0f} % interval {bounds})"
        return f"{self.title}: {number}{within}, {ESTIMATE}{', ' if self.method else ''}{self.method}"

    def _said(self, number: float) -> str:
        return f"{100 * number:.0f}" if self.is_share else f"{number:.1f}"


Estimate = CategoryEstimate | ScoreEstimate


def estimates_of(heads: Sequence[Head], rows: Sequence[Prediction]) -> tuple[Estimate, ...]:
    """What further heads say of a study, from its answered images; a head that none of them has is left out."""
    told: list[Estimate] = []
    for head in heads:
        images = [row.heads for row in rows if all(key in row.heads for key in head.keys)]
        readings = joined(head, images)
        method = "" if len(images) == 1 else f"mean of {len(images)} images"
        if not readings:
            continue
        values = [readings[key] for key in head.keys]
        if isinstance(head, CategoryHead):
            categories = dict(zip(head.categories, values, strict=True))
            told.append(CategoryEstimate(head.name, head.title, categories, method))
        else:
            value, low, high = values
            told.append(
                ScoreEstimate(head.name, head.title, value, head.least, head.most, method, low, high, head.coverage)
            )
    return tuple(told)
