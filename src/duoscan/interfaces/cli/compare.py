"""``duoscan compare``."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from duoscan.errors import InputError
from duoscan.evaluation.comparison import Side
from duoscan.evaluation.differences import JUDGED
from duoscan.evaluation.intervals import DEFAULT_RESAMPLES, check_resamples
from duoscan.evaluation.metrics import METRIC_NAMES
from duoscan.evaluation.side_by_side import SideBySide, side_by_side
from duoscan.evidence.aligned import aligned
from duoscan.evidence.subject import Ask, Subject, named_apart, read_subject
from duoscan.evidence.verdicts import counted, evaluated
from duoscan.files import write_text
from duoscan.interfaces.cli.ledger_options import book_beside, command_line, ledger_options
from duoscan.interfaces.cli.pages import check_can_write_pages
from duoscan.interfaces.cli.paths import OUT_FILE
from duoscan.interfaces.cli.progress import stages
from duoscan.interfaces.cli.table_options import TableWords, show_read, table_options
from duoscan.interfaces.cli.tables import echo, table_console
from duoscan.manifest.table import read_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from duoscan.evaluation.comparison import Comparison

_MISSING = "–"
_PAGE, _DOCUMENT = ".html", ".json"


@click.command("compare")
@click.argument("targets", nargs=-1, required=True, metavar="RUN|TABLE...", type=click.Path(path_type=Path))
@click.option(
    "--manifest",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Images that runs and bundles shall answer in place of their own test images.",
)
@click.option("--only-shared", is_flag=True, help="Compare on the images that all of them answered.")
@click.option("--out", type=OUT_FILE, help="Write it as .html or .json.")
@click.option("--resamples", default=DEFAULT_RESAMPLES, show_default=True, help="Bootstrap resamples of patients.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the resamples.")
@ledger_options
@table_options
def compare_command(
    targets: tuple[Path, ...],
    *,
    manifest: Path | None,
    only_shared: bool,
    out: Path | None,
    resamples: int,
    seed: int,
    ledger: Path | None,
    new_test_set: bool,
    words: TableWords,
) -> None:
    """Several models side by side: each against the first.

    Each RUN or TABLE is a run folder or bundle, or a predictions table of any model. TABLE#COLUMN names the column of
    probabilities, so that one table may hold several models.

    The same images are found by path or file name, the same patients by id; then differences and tests are paired
    (DeLong's of the AUROC, McNemar's of sensitivity and specificity), and Holm's method adjusts all tests together.
    A table without labels takes those of the first. Looking at a test set is a use of it and counted as one.
    """
    check_resamples(resamples)
    if len(targets) < 2:
        raise click.UsageError("name two or more to compare")
    if out is not None:
        _check_out(out)
    ask = Ask(
        images=None if manifest is None else read_manifest(manifest),
        path=manifest or Path(),
        reading=words.reading,
        stated=words.stated,
        seed=seed,
        book_at=partial(book_beside, ledger=ledger, replaces=new_test_set),
    )
    subjects = _read(targets, ask)
    show_read(subjects)
    subjects, said = aligned(subjects, only_shared=only_shared)
    evaluations = [evaluated(subject, resamples=resamples, seed=seed) for subject in subjects]
    subjects = [counted(subject) for subject in subjects]
    found = side_by_side(
        [Side(one.name, evaluation, one.predictions) for one, evaluation in zip(subjects, evaluations, strict=True)]
    )
    _show(found, said)
    for subject in subjects:
        if subject.count is not None:
            echo(f"{subject.name}: {subject.count.spoken}.")
    if out is not None:
        write_text(out, _text(found, said, out))
        echo(f"Written to {out}")


def _check_out(out: Path) -> None:
    if out.suffix not in {_PAGE, _DOCUMENT}:
        raise click.UsageError(f"--out {out}: a comparison is written as {_PAGE} or {_DOCUMENT}; name the file so")
    if out.suffix == _PAGE:
        check_can_write_pages("duoscan compare --out")


def _read(targets: Sequence[Path], ask: Ask) -> list[Subject]:
    with stages() as (on_stage, on_image):
        ask = replace(ask, on_stage=on_stage, on_image=on_image)
        return named_apart([_read_one(target, ask) for target in targets], targets)


def _read_one(target: Path, ask: Ask) -> Subject:
    """A target, or a column of a table as ``TABLE#COLUMN``."""
    table, mark, column = str(target).rpartition("#")
    if not mark or target.exists():
        return read_subject(target, ask)
    if not Path(table).is_file():
        raise InputError(f"{table}: no such table; before '#' name a predictions table, after it a column")
    columns = {**ask.reading.columns, "probability": column}
    found = read_subject(Path(table), replace(ask, reading=replace(ask.reading, columns=columns)))
    return replace(found, name=column)


def _show(found: SideBySide, said: Sequence[str]) -> None:
    echo("\n".join(said))
    console = table_console()
    console.print(_measured(found))
    console.print(_apart(found))
    for one in found.comparisons:
        if one.caveat:
            echo(f"Note: {one.caveat}")
    if found.test_note:
        echo(f"Note: {found.test_note}")


def _measured(found: SideBySide) -> Table:
    from rich.table import Table

    table = Table("model", "images", *JUDGED, title="Each alone", title_justify="left")
    for side in found.sides:
        overall = side.evaluation.overall
        table.add_row(
            side.name, f"{overall.images} of {overall.people}", *(overall.metrics[name].spoken() for name in JUDGED)
        )
    return table


def _apart(found: SideBySide) -> Table:
    from rich.table import Table

    title = f"{found.sides[0].name} less each other one; intervals hold together for the three of a model"
    table = Table("less", "metric", "difference", "test", "p", "p, Holm", title=title, title_justify="left")
    for comparison in found.comparisons:
        for name in JUDGED:
            table.add_row(comparison.names[1], METRIC_NAMES[name], *_cells(comparison, name))
    return table


def _cells(comparison: Comparison, name: str) -> tuple[str, ...]:
    joint = next(row.joint for row in comparison.rows if row.metric == name)
    test = next((test for test in comparison.tests if test.metric == name), None)
    difference = joint.spoken() if joint else _MISSING
    if test is None:
        return (difference, "not the same images" if not comparison.tests else _MISSING, _MISSING, _MISSING)
    return (difference, test.method, _chance(test.p_value), _chance(test.adjusted))


def _chance(value: float) -> str:
    if value != value:  # noqa: PLR0124 - nan
        return _MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _text(found: SideBySide, said: Sequence[str], out: Path) -> str:
    if out.suffix == _DOCUMENT:
        document = {**found.to_json(), "remarks": list(said), "command": command_line()}
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    from duoscan.report.compare_page import build_compare_page

    return build_compare_page(found, said, command_line())
