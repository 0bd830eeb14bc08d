"""The table of a yardstick as files: ``yardstick.json`` holds all, ``yardstick.csv`` one line a figure."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import InputError
from duoscan.evaluation.yardstick.answers import WHOLE
from duoscan.evaluation.yardstick.figures import ALL_VIEWS
from duoscan.files import parse_json, read_bytes, write_text
from duoscan.rows import csv_text
from duoscan.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from duoscan.evaluation.intervals import Estimate
    from duoscan.evaluation.yardstick.differences import Difference
    from duoscan.evaluation.yardstick.figures import Figure
    from duoscan.evaluation.yardstick.questions import Question

FORMAT, VERSION = "duoscan-yardstick", 1
JSON_NAME, CSV_NAME = "yardstick.json", "yardstick.csv"
_ESTIMATES = ("auroc", "sensitivity", "specificity", "ece", "slope", "retained")


@dataclass(frozen=True)
class Summary:
    """One recipe and question over all sources that were left out whole.

    Attributes:
        recipe: Its name.
        question: What was asked.
        mean: Mean AUROC over these sources, each weighing alike.
        worst: Which source has the lowest.
        worst_auroc: It.
        sources: How many.
    """

    recipe: str
    question: Question
    mean: float
    worst: str
    worst_auroc: Estimate
    sources: int

    def to_json(self) -> dict[str, Any]:
        """As in files."""
        return {
            "recipe": self.recipe,
            "question": self.question.value,
            "mean_auroc": self.mean,
            "worst_source": self.worst,
            "worst_auroc": self.worst_auroc.to_json(),
            "sources": self.sources,
        }


@dataclass(frozen=True)
class Table:
    """All that a yardstick says.

    Attributes:
        figures: One line each.
        differences: Between recipes.
        facts: What it was made of: command, recipes, data, views, parts, uses.
    """

    figures: Sequence[Figure]
    differences: Sequence[Difference]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def whole(self) -> list[Figure]:
        """Of the recipes themselves over all views; the worst first."""
        own = [one for one in self.figures if one.view == ALL_VIEWS and not one.control]
        return sorted(own, key=lambda one: one.auroc.value)

    def beside(self, figure: Figure, *, view: str = ALL_VIEWS, control: str = WHOLE) -> Figure | None:
        """The same recipe, source and question in another view or of a control; ``None`` where it was not measured."""
        wanted = figure.recipe, figure.left_out, figure.question, view, control
        return next(
            (one for one in self.figures if (one.recipe, one.left_out, one.question, one.view, one.control) == wanted),
            None,
        )

    @property
    def summaries(self) -> list[Summary]:
        """By recipe and question; the worst first."""
        groups: dict[tuple[str, Question], list[Figure]] = {}
        for one in self.figures:
            if one.view == ALL_VIEWS and not one.control and not one.folds:
                groups.setdefault((one.recipe, one.question), []).append(one)
        found = []
        for (recipe, question), own in groups.items():
            worst = min(own, key=lambda one: one.auroc.value)
            mean = float(np.mean([one.auroc.value for one in own]))
            found.append(Summary(recipe, question, mean, worst.left_out, worst.auroc, len(own)))
        return sorted(found, key=lambda one: (one.question, one.worst_auroc.value))

    def to_json(self) -> dict[str, Any]:
        """As in ``yardstick.json``."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "duoscan_version": __version__,
            **self.facts,
            "summary": [one.to_json() for one in self.summaries],
            "figures": [one.to_json() for one in self.figures],
            "differences": [one.to_json() for one in self.differences],
        }


def write_table(table: Table, folder: Path) -> None:
    """Write ``yardstick.csv`` and, last, ``yardstick.json``; each whole or not at all."""
    write_text(folder / CSV_NAME, csv_text(*_as_csv(table.figures)))
    text = json.dumps(table.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(folder / JSON_NAME, text + "\n")


def read_document(folder: Path) -> dict[str, Any]:
    """Read ``yardstick.json``.

    Raises:
        InputError: It is missing, damaged or of another version.
    """
    path = folder / JSON_NAME
    try:
        stated = parse_json(read_bytes(path))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); make it with: duoscan yardstick") from error
    if not isinstance(stated, dict) or (stated.get("format"), stated.get("version")) != (FORMAT, VERSION):
        raise InputError(f"{path}: no {FORMAT} of version {VERSION}; make it with: duoscan yardstick")
    return stated


def _as_csv(figures: Iterable[Figure]) -> tuple[list[str], list[list[object]]]:
    columns = ["recipe", "left_out", "question", "view", "control", "seeds", "positive_images", "negative_images"]
    columns += ["patients", "unanswered_images", "spread", "ece_by_chance"]
    columns += [f"{name}{end}" for name in _ESTIMATES for end in ("", "_low", "_high")]
    rows: list[list[object]] = []
    for one in figures:
        row: list[object] = [one.recipe, one.left_out, one.question.value, one.view, one.control, len(one.seeds)]
        row += [one.positive, one.negative, one.auroc.units, one.unanswered, one.spread, one.ece_by_chance]
        for name in _ESTIMATES:
            estimate: Estimate | None = getattr(one, name)
            row += [None] * 3 if estimate is None else [_known(estimate.value), estimate.low, estimate.high]
        rows.append(row)
    return columns, rows


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
