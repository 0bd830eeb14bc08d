"""The table of a yardstick in a terminal; it fits 80 columns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from duoscan.evaluation.yardstick.answers import CONTROLS
from duoscan.evaluation.yardstick.document import CSV_NAME, JSON_NAME
from duoscan.evaluation.yardstick.figures import ALL_VIEWS
from duoscan.interfaces.cli.tables import echo, table_console

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from duoscan.evaluation.intervals import Estimate
    from duoscan.evaluation.yardstick.document import Table
    from duoscan.evaluation.yardstick.figures import Figure
    from duoscan.evaluation.yardstick.questions import Question

_VIEWS = ("AP", "PA")


def show(table: Table, run: Path) -> None:
    """Print what a person wants first: each recipe at each left-out source, then what it costs to go there."""
    own = [one for one in table.figures if one.view == ALL_VIEWS and not one.control]
    by_place = {(one.recipe, one.left_out, one.question, one.view, one.control): one for one in table.figures}
    for recipe in dict.fromkeys(one.recipe for one in own):
        rows = sorted((one for one in own if one.recipe == recipe), key=lambda one: (one.question, one.auroc.value))
        _skill(recipe, rows, by_place)
        _transfer(recipe, rows)
    for summary in table.summaries:
        echo(
            f"{summary.recipe}, {summary.question}: mean {summary.mean:.3f} over {summary.sources} sources, worst "
            f"{summary.worst} {summary.worst_auroc.spoken()}"
        )
    for one in table.differences:
        p_value = "–" if math.isnan(one.adjusted) else f"{one.adjusted:.3g}"
        echo(
            f"{one.recipe} less {one.against}, {one.left_out}, {one.question}: {one.auroc.spoken()}, p {p_value} (Holm)"
        )
    for spoken, why in table.facts.get("failed", {}).items():
        echo(f"not trained: {spoken}: {why.splitlines()[0]}", err=True)
    if missing := table.facts.get("missing"):
        echo(f"{len(missing)} trainings are not finished; the same command without --only-figures goes on", err=True)
    echo(f"Written to {run}: {JSON_NAME}, {CSV_NAME}")


def _skill(recipe: str, rows: list[Figure], by_place: Mapping[tuple[str, str, Question, str, str], Figure]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    shown = Table("left out", "question", "AUROC", "±", *_VIEWS, "border", "file", "erased", box=SIMPLE_HEAD)
    shown.title, shown.title_justify = f"{recipe}: AUROC; within a view; negative controls", "left"
    shown.padding = (0, 1, 0, 0)
    for one in rows:
        place = one.recipe, one.left_out, one.question
        cells = [by_place.get((*place, view, "")) for view in _VIEWS]
        cells += [by_place.get((*place, ALL_VIEWS, control)) for control in CONTROLS]
        spread = "" if one.spread is None else f"{one.spread:.2f}"
        values = ["" if cell is None else f"{cell.auroc.value:.2f}" for cell in cells]
        shown.add_row(one.left_out, one.question.value, _short(one.auroc), spread, *values)
    table_console().print(shown)


def _transfer(recipe: str, rows: list[Figure]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    shown = Table("left out", "question", "sensitivity", "specificity", "ECE", "slope", "images", box=SIMPLE_HEAD)
    shown.title, shown.title_justify = f"{recipe}: threshold of the validation part, and calibration, there", "left"
    shown.padding = (0, 1, 0, 0)
    for one in rows:
        cells = [_short(one.sensitivity), _short(one.specificity)]
        cells += ["" if each is None else f"{each.value:.2f}" for each in (one.ece, one.slope)]
        shown.add_row(one.left_out, one.question.value, *cells, f"{one.positive}+{one.negative}")
    table_console().print(shown)


def _short(estimate: Estimate | None) -> str:
    return "" if estimate is None else estimate.spoken(2)
