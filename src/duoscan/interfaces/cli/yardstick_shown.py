"""The table of a yardstick in a terminal; it fits 80 columns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from duoscan.evaluation.yardstick.answers import CONTROLS
from duoscan.evaluation.yardstick.document import CSV_NAME, JSON_NAME
from duoscan.evaluation.yardstick.questions import Question
from duoscan.interfaces.cli.tables import echo, table_console

if TYPE_CHECKING:
    from pathlib import Path

    from duoscan.evaluation.intervals import Estimate
    from duoscan.evaluation.yardstick.document import Table
    from duoscan.evaluation.yardstick.figures import Figure

PAGE_NAME = "yardstick.html"
_VIEWS = ("AP", "PA")
_SHORT = {
    Question.COVID_NORMAL: "covid/normal",
    Question.COVID_PNEUMONIA: "covid/pneum.",
    Question.ANY_NONE: "any/none",
    Question.COVID_OTHER: "covid/other",
}


def show(table: Table, run: Path) -> None:
    """Print what a person wants first: each recipe at each left-out source, then what it costs to go there."""
    for recipe in table.facts["recipes"]:
        rows = [one for one in table.whole if one.recipe == recipe]
        if rows:
            _skill(table, recipe, rows)
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
    echo(f"Written to {run}: {PAGE_NAME}, {JSON_NAME}, {CSV_NAME}")


def _skill(table: Table, recipe: str, rows: list[Figure]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    views = [view for view in _VIEWS if any(table.beside(one, view=view) for one in rows)]
    shown = Table("left out", "question", "AUROC", "±", *views, "edge", "file", "erased", box=SIMPLE_HEAD)
    shown.title, shown.title_justify = f"{recipe}: AUROC; within a view; negative controls", "left"
    shown.padding = (0, 1, 0, 0)
    for one in rows:
        cells = [table.beside(one, view=view) for view in views]
        cells += [table.beside(one, control=control) for control in CONTROLS]
        spread = "" if one.spread is None else f"{one.spread:.2f}"
        values = ["" if cell is None else _digits(cell.auroc) for cell in cells]
        shown.add_row(one.left_out, _SHORT[one.question], _short(one.auroc), spread, *values)
    table_console().print(shown)


def _transfer(recipe: str, rows: list[Figure]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    shown = Table("left out", "question", "sensitivity", "specificity", "ECE", "slope", "n", box=SIMPLE_HEAD)
    shown.title, shown.title_justify = f"{recipe}: threshold of the validation part, and calibration, there", "left"
    shown.padding = (0, 1, 0, 0)
    for one in rows:
        cells = [_short(one.sensitivity), _short(one.specificity)]
        cells += ["" if each is None else _digits(each) for each in (one.ece, one.slope)]
        shown.add_row(one.left_out, _SHORT[one.question], *cells, f"{one.positive}+{one.negative}")
    table_console().print(shown)


def _digits(estimate: Estimate) -> str:
    return "–" if math.isnan(estimate.value) else f"{estimate.value:.2f}"


def _short(estimate: Estimate | None) -> str:
    return "" if estimate is None else estimate.spoken(2)
