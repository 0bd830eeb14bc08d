"""``duoscan shortcuts``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from duoscan.audit.storage import Shortcuts, rows_fingerprint, write_shortcuts
from duoscan.errors import InputError
from duoscan.interfaces.cli.chosen import chosen, kept_option
from duoscan.interfaces.cli.ledger_options import book_beside, ledger_options
from duoscan.interfaces.cli.paths import OUT_FOLDER
from duoscan.interfaces.cli.tables import table_console
from duoscan.interfaces.cli.train import backbone_changes, is_plain, resolve_recipe, show_count, training_progress
from duoscan.manifest.table import read_manifest
from duoscan.terms import Split

if TYPE_CHECKING:
    from duoscan.audit.result import AuditResult
    from duoscan.manifest.records import Manifest
    from duoscan.training.recipe import Recipe

RESULT_NAME = "shortcuts.json"


@click.command("shortcuts")
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("--recipe", default="compact", show_default=True, help="A TOML file or a built-in.")
@click.option("--run", "folder", required=True, type=OUT_FOLDER, help="Folder.")
@click.option("--modality", type=click.Choice(["cxr", "ct"]), help="If the manifest holds both.")
@kept_option("--sources")
@click.option("--backbone", help="As of duoscan train.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one entry of the recipe.")
@click.option("--full", is_flag=True, help="Train the whole recipe on each probe: hours in place of minutes.")
@click.option("--seed", default=0, show_default=True, help="Of folds, resamples and random labels.")
@ledger_options
def shortcuts_command(
    manifest: Path,
    *,
    recipe: str,
    folder: Path,
    modality: str | None,
    sources: tuple[str, ...],
    backbone: str | None,
    overrides: tuple[str, ...],
    full: bool,
    seed: int,
    ledger: Path | None,
    new_test_set: bool,
) -> None:
    """Learn the classes from what should carry no sign of disease, and say how much of the skill is left.

    Shown are the whole image, its border, the lungs alone and the image without them (where masks are known), an 8 × 8
    thumbnail, a grey histogram, and a control with random labels; also what a split by image adds, and what another
    source leaves. A frozen backbone with a logistic regression learns unless --full is given.

    Measuring on the test part is a use of it and counted as one, though not as a model tried.
    """
    table = chosen(read_manifest(manifest, check_patients=False), "--sources", sources, "source")
    resolved = resolve_recipe(recipe, table, modality, [*overrides, *backbone_changes(backbone)])
    if not full and is_plain(resolved.model.backbone) and not resolved.model.start:
        raise InputError(
            f"'{resolved.model.backbone}' has no trained weights, and a frozen backbone needs them; name another with "
            "--backbone, take a run's own with --set model.start=RUN, or add --full"
        )
    table = table.where(modality=resolved.modality)
    tested = table.where(split=Split.TEST)
    kind = ", ".join([resolved.modality, *sorted(sources)])
    book = book_beside(manifest, ledger, replaces=new_test_set)
    look = book.look_at_images(tested, "", kind) if len(tested) else None
    table = table.replace([record for record in table if record.label is not None])
    result = _full(table, resolved, folder, seed) if full else _quick(table, resolved, folder, seed)
    show_count(look)
    write_shortcuts(Shortcuts(resolved.modality, result, rows_fingerprint(table)), folder / RESULT_NAME)
    console = table_console()
    for one in result.tables:
        console.print(_shown(one))
    console.print(f"{result.title}: {result.level}")
    for reason in result.reasons:
        console.print(f"- {reason}")
    console.print(f"Written to {folder / RESULT_NAME}; give it to duoscan audit with --shortcuts")


def _quick(table: Manifest, recipe: Recipe, folder: Path, seed: int) -> AuditResult:
    from duoscan.training.shortcuts.audit import audit_shortcuts, quick_scores
    from duoscan.training.shortcuts.features import probe_features

    with click.progressbar(length=len(table), label="Reading images", file=sys.stderr) as bar:
        start = Path(recipe.model.start) if recipe.model.start else None
        features = probe_features(
            table, recipe.contract(), recipe.model.backbone, folder, lambda: bar.update(1), start=start
        )
    return audit_shortcuts(quick_scores(features, seed), features, seed=seed)


def _full(table: Manifest, recipe: Recipe, folder: Path, seed: int) -> AuditResult:
    from duoscan.training.shortcuts.audit import audit_shortcuts
    from duoscan.training.shortcuts.full import full_scores

    with training_progress() as watcher:
        return audit_shortcuts(full_scores(table, recipe, folder, seed=seed, watcher=watcher), seed=seed)


def _shown(table: Any) -> Any:
    from rich.table import Table

    shown = Table(*table.columns, title=table.title, title_justify="left")
    for row in table.rows:
        shown.add_row(*row)
    return shown
