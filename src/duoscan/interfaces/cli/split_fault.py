"""``duoscan split-fault``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from duoscan.files import write_text
from duoscan.interfaces.cli.ledger_options import book_beside, ledger_options
from duoscan.interfaces.cli.paths import OUT_FOLDER
from duoscan.interfaces.cli.tables import table_console
from duoscan.interfaces.cli.train import backbone_changes, look_of_recipe, resolve_recipe, show_count, training_progress
from duoscan.manifest.table import read_manifest

if TYPE_CHECKING:
    from duoscan.evaluation.intervals import Estimate


@click.command("split-fault")
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("--recipe", default="compact", show_default=True, help="A TOML file or a built-in.")
@click.option("--run", "folder", required=True, type=OUT_FOLDER, help="Run folder.")
@click.option("--modality", type=click.Choice(["cxr", "ct"]), help="If the manifest holds both.")
@click.option("--backbone", help="As of duoscan train.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one entry of the recipe.")
@ledger_options
def split_fault_command(
    manifest: Path,
    *,
    recipe: str,
    folder: Path,
    modality: str | None,
    backbone: str | None,
    overrides: tuple[str, ...],
    ledger: Path | None,
    new_test_set: bool,
) -> None:
    """Show what a random split by image adds to a figure, against the manifest's split by patient.

    The same recipe is trained twice. Numbers of the split by image are never results.
    Measuring on the test part is a use of it and counted as one.
    """
    from rich.table import Table

    table = read_manifest(manifest)
    resolved = resolve_recipe(recipe, table, modality, [*overrides, *backbone_changes(backbone)])
    look = look_of_recipe(table, resolved, book_beside(manifest, ledger, replaces=new_test_set))
    from duoscan.evaluation.sample import units_word
    from duoscan.training.split_fault import show_split_fault

    with training_progress() as watcher:
        fault = show_split_fault(table, resolved, folder, watcher)
    show_count(look)
    write_text(folder / "split-fault.json", json.dumps(fault.to_json(), indent=1) + "\n")
    shown = Table("metric", "by patient (honest)", "by image (faulty)", "the fault adds")
    for name, added in fault.added.items():
        shown.add_row(name, *map(_text, (fault.by_patient.metrics[name], fault.by_image.metrics[name], added)))
    console = table_console()
    console.print(shown)
    units = units_word(record.unit for record in table)
    console.print(f"{fault.shared_units} {units} stand on both sides of the faulty split; written to {folder}")


def _text(estimate: Estimate) -> str:
    return estimate.spoken()
