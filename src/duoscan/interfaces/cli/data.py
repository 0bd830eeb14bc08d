"""``duoscan data``: the public data sets duoscan can read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from duoscan.errors import InputError
from duoscan.interfaces.cli.import_options import show_lines
from duoscan.interfaces.cli.tables import echo, table_console
from duoscan.manifest.sources import SOURCES, check_source, detect
from duoscan.terms import Finding

if TYPE_CHECKING:
    from duoscan.manifest.sources import SourceCheck, SourceInfo


@click.group("data")
def data_command() -> None:
    """Public data sets: what is known of them, and whether a download is whole.

    Nothing is downloaded; get a set from its own page, under its own terms.
    """


@data_command.command("list")
def list_command() -> None:
    """What is known of each set: counts, licence, where to get it, what to cite."""
    for source in SOURCES.values():
        echo("\n".join(_lines_about(source.info)) + "\n")


@data_command.command("check")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--source", help="Which set it is, where the layout alone does not say it.")
@click.pass_context
def check_command(ctx: click.Context, folder: Path, source: str | None) -> None:
    """Read the set in FOLDER and compare it with what is known: found, missing, extra.

    \b
    Exit code: 0 it is whole; 1 it differs, which is shown; 2 it is no known set.
    """
    if source is not None and source not in SOURCES:
        raise InputError(f"--source {source}: no known set; use one of {', '.join(SOURCES)}")
    check = check_source(SOURCES[source] if source else detect(folder), folder)
    echo("\n".join(_lines_about(check.info)) + "\n")
    _show_counts(check)
    show_lines("missing", check.imported.absent)
    show_lines("extra", check.imported.skipped)
    echo(f"read it with: duoscan import {folder} --source {check.info.name} --out manifest.csv")
    if not check.is_complete:
        echo(f"it differs from {check.info.counted}", err=True)
        ctx.exit(1)


def _lines_about(info: SourceInfo) -> list[str]:
    kinds = " and ".join(modality.spoken for modality in info.modalities)
    counts = ", ".join(f"{count} {label}" for label, count in info.expected.items()) or "not fixed"
    return [
        f"{info.name}: {info.title} ({kinds})",
        f"  images   {counts} ({info.counted})",
        f"  licence  {info.licence}",
        f"  where    {info.where}",
        f"  layout   {info.layout}",
        f"  cite     {info.citation}",
        f"  caution  {info.caution}",
    ]


def _show_counts(check: SourceCheck) -> None:
    from rich.table import Table

    table = Table("label", "known", "found", "difference")
    for label in (*Finding, None):
        found, known = check.found.get(label, 0), check.info.expected.get(label, 0) if label else 0
        if not found and not known:
            continue
        compared = (str(known), str(found), f"{found - known:+d}") if check.info.expected else ("–", str(found), "–")
        table.add_row(label or "no label", *compared)
    table_console().print(table)
