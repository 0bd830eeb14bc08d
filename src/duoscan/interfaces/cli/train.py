"""``duoscan train``."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from duoscan.errors import InputError, MissingExtraError
from duoscan.evaluation.intervals import spoken_interval
from duoscan.interfaces.cli.ledger_options import book_beside, ledger_options
from duoscan.interfaces.cli.paths import OUT_FOLDER
from duoscan.interfaces.cli.tables import echo, table_console
from duoscan.manifest.table import read_manifest
from duoscan.terms import Modality, Split

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from duoscan.audit.ledger import Book, Look
    from duoscan.manifest.records import Manifest
    from duoscan.training.loop import EpochResult
    from duoscan.training.recipe import Recipe
    from duoscan.training.watcher import TrainingWatcher

DEFAULT_RECIPE = "compact"


@click.command("train")
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option(
    "--recipe", default=DEFAULT_RECIPE, show_default=True, help="A TOML file, or a built-in: compact, seed1, seed2."
)
@click.option("--run", "run_dir", required=True, type=OUT_FOLDER, help="Run folder.")
@click.option("--modality", type=click.Choice([kind.value for kind in Modality]), help="If the manifest holds both.")
@click.option(
    "--backbone", help="Folder of weights, hub id, monai:Name, timm:name or plain:small; as --set model.backbone=…"
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one entry of the recipe.")
@click.option("--folds", type=click.IntRange(3), help="Cross-validate by patient instead of using the splits.")
@click.option("--seed", type=click.IntRange(0), help="As --set seed=…")
@ledger_options
def train_command(
    manifest: Path,
    *,
    recipe: str,
    run_dir: Path,
    modality: str | None,
    backbone: str | None,
    overrides: tuple[str, ...],
    folds: int | None,
    seed: int | None,
    ledger: Path | None,
    new_test_set: bool,
) -> None:
    """Train one phase and export its bundle; a run that was cut off is taken up where it stood.

    With --folds the manifest's test rows are answered with the others, which is a use of that test set and counted.
    """
    table = read_manifest(manifest)
    extra = backbone_changes(backbone)
    extra += [f"seed={seed}"] if seed is not None else []
    resolved = resolve_recipe(recipe, table, modality, [*overrides, *extra])
    from duoscan.training.crossval import cross_validate
    from duoscan.training.run import train
    from duoscan.training.studies import CHOICE_NAME

    book = book_beside(manifest, ledger, replaces=new_test_set)
    look = look_of_recipe(table, resolved, book) if folds else None
    with training_progress() as watcher:
        if folds:
            path = cross_validate(table, resolved, run_dir, folds, watcher)
            show_count(look)
            echo(f"{path}: predictions on every fold's test part; see 'duoscan evaluate {path}'")
            return
        bundle = train(table, resolved, run_dir, watcher)
    echo(
        f"{bundle.path}: {bundle.info.name}, P(covid) at or above {bundle.info.threshold:.3f} is positive "
        f"({bundle.info.default_point}, chosen on validation); parity with torch {bundle.info.provenance.parity:.1e}"
    )
    show_choice(json.loads((run_dir / CHOICE_NAME).read_text(encoding="utf-8")))


def backbone_changes(backbone: str | None) -> list[str]:
    """What ``--backbone`` changes of a recipe; a plain network has no trained weights to start from or to freeze."""
    if not backbone:
        return []
    from_scratch = ["model.pretrained=false", "model.freeze=[]"] if is_plain(backbone) else []
    return [f"model.backbone={backbone}", *from_scratch]


def is_plain(backbone: str) -> bool:
    """Whether a backbone comes without trained weights."""
    return backbone.startswith("plain:")


def resolve_recipe(name: str, manifest: Manifest, modality: str | None, overrides: Sequence[str]) -> Recipe:
    """A recipe by file or name; ``compact`` and the like stand for one recipe a modality.

    Raises:
        MissingExtraError: Training is not installed.
        InputError: The modality is needed and neither given nor plain from the manifest.
        RecipeError: See :func:`duoscan.training.recipe.read_recipe`.
    """
    check_can_train()
    from duoscan.training.recipe import builtin_recipes, read_recipe

    if f"{name}-ct" in builtin_recipes():
        kind = Modality(modality or _only_modality(manifest))
        name = f"{name}-{'xray' if kind is Modality.CXR else 'ct'}"
    return read_recipe(name, overrides)


def look_of_recipe(manifest: Manifest, recipe: Recipe, book: Book) -> Look | None:
    """The use of the manifest's test rows that measuring models of this recipe will be; ``None`` where it has none.

    It is asked for before the training, so that a changed test set is refused before hours are spent.

    Raises:
        InputError: The test set is not the one that is locked.
    """
    sources = sorted(recipe.data.sources)
    tested = manifest.where(split=Split.TEST, modality=recipe.modality, sources=sources or None)
    if not len(tested):
        return None
    digest = hashlib.sha256(recipe.model_dump_json().encode()).hexdigest()
    return book.look_at_images(tested, digest, ", ".join([recipe.modality, *sources]))


def show_count(look: Look | None) -> None:
    """Write a use down, now that its rows are measured, and say so."""
    if look is not None:
        echo(f"{look.count().spoken}.")


def check_can_train() -> None:
    """Refuse where training is not installed; called before torch is loaded.

    Raises:
        MissingExtraError: A package of the extra is not there.
    """
    for package in ("torch", "transformers", "monai", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError("train", "training")
    # Read once, when torch loads: threads that spin while they wait take the cores from whoever shares the machine.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")


def show_choice(document: dict[str, Any]) -> None:
    """What ``aggregation.json`` says, as a table of candidates and two sentences."""
    from rich.table import Table

    table = Table("images joined by", "log loss", "added to the best", "Brier score", "AUROC", title_justify="left")
    table.title = "Validation patients, the study's probability calibrated on others of them"
    for one in document["candidates"]:
        cells = [_spoken(one[name]) for name in ("log_loss", "added_loss", "brier_score", "auroc")]
        table.add_row(one["name"] + (" ← chosen" if one["name"] == document["chosen"] else ""), *cells)
    console = table_console()
    if document["candidates"]:
        console.print(table)
    echo(f"Images of a study are joined by {document['chosen'] or 'the default'}: {document['reason']}")
    echo(f"Calibration of the study: {document['calibrator']['reason']}")


def _spoken(estimate: dict[str, Any]) -> str:
    return spoken_interval(estimate["value"], estimate["low"], estimate["high"])


def _only_modality(manifest: Manifest) -> str:
    kinds = sorted({record.modality for record in manifest})
    if len(kinds) != 1:
        raise InputError(f"the manifest holds {' and '.join(kinds) or 'nothing'}; say which with --modality")
    return kinds[0]


@contextmanager
def training_progress() -> Iterator[TrainingWatcher]:
    """Progress bars on the screen, one a stage, and a line for each epoch."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from duoscan.training.watcher import TrainingWatcher

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as progress:

        def on_stage(name: str, total: int) -> None:
            for task in progress.task_ids:
                progress.remove_task(task)
            progress.add_task(name, total=total)

        def on_tick() -> None:
            progress.advance(progress.task_ids[-1])

        def on_epoch(result: EpochResult) -> None:
            progress.console.print(
                f"epoch {result.epoch + 1:3d}  train loss {result.train_loss:.4f}  val loss {result.val_loss:.4f}  "
                f"val accuracy {result.val_accuracy:.3f}  val AUROC {result.val_auroc:.4f}",
                highlight=False,
                soft_wrap=True,
            )

        yield TrainingWatcher(on_stage, on_tick, on_epoch)
