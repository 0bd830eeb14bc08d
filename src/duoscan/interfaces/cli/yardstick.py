"""``duoscan yardstick``."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from duoscan.audit.ledger import read_uses
from duoscan.errors import InputError
from duoscan.files import parse_json, read_bytes, write_text
from duoscan.interfaces.cli.ledger_options import book_beside, command_line
from duoscan.interfaces.cli.paths import OUT_FILE, OUT_FOLDER
from duoscan.interfaces.cli.report import check_can_write_pages
from duoscan.interfaces.cli.train import backbone_changes, resolve_recipe, training_progress
from duoscan.interfaces.cli.yardstick_shown import PAGE_NAME, show
from duoscan.manifest.joining import joined
from duoscan.manifest.splits import MIN_FOLDS
from duoscan.manifest.table import read_manifest
from duoscan.terms import Modality

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from duoscan.audit.ledger import Book
    from duoscan.evaluation.yardstick.answers import Part
    from duoscan.evaluation.yardstick.document import Table
    from duoscan.manifest.records import Manifest
    from duoscan.training.recipe import Recipe
    from duoscan.training.yardstick.cleaning import Cleaned
    from duoscan.training.yardstick.run import Wish
    from duoscan.training.yardstick.views import Views

USES_NAME = "uses.json"


@click.command("yardstick")
@click.argument("manifests", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--recipe", "names", multiple=True, default=("compact",), show_default=True, help="A TOML file or a built-in."
)
@click.option("--run", "run", required=True, type=OUT_FOLDER, help="Folder; what is finished in it stays.")
@click.option("--modality", type=click.Choice([kind.value for kind in Modality]), help="If the manifests hold both.")
@click.option("--backbone", help="As of duoscan train.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one entry of every recipe.")
@click.option("--seeds", default="0", show_default=True, help="Train with each of these: 0,1,2.")
@click.option("--leave-out", multiple=True, metavar="SOURCE", help="Leave out these alone, each in turn.")
@click.option(
    "--folds",
    multiple=True,
    metavar="SOURCE=K",
    help="Leave out a K-th of its patients, each in turn; whole sources then only with --leave-out.",
)
@click.option("--frozen", is_flag=True, help="Learn on frozen features of the backbone: minutes in place of hours.")
@click.option("--no-controls", is_flag=True, help="Make no negative controls.")
@click.option("--only-figures", is_flag=True, help="Train nothing; figures of what the folder holds.")
@click.option("--cache", type=OUT_FOLDER, help="Folder of features and copies; RUN/cache if left out.")
@click.option("--ledger", type=OUT_FILE, help="Where looks are counted; beside the first manifest if left out.")
def yardstick_command(
    manifests: tuple[Path, ...],
    *,
    names: tuple[str, ...],
    run: Path,
    modality: str | None,
    backbone: str | None,
    overrides: tuple[str, ...],
    seeds: str,
    leave_out: tuple[str, ...],
    folds: tuple[str, ...],
    frozen: bool,
    no_controls: bool,
    only_figures: bool,
    cache: Path | None,
    ledger: Path | None,
) -> None:
    """Train recipes without each source in turn, and ask them of what they were trained without.

    MANIFESTS are joined; rows that they call test are never opened. Copies of what is left out, and its patients, are
    taken from the training side first. Thresholds and early stopping use a part of the training sources alone.
    """
    check_can_write_pages("duoscan yardstick")
    table = joined([read_manifest(path, check_patients=False) for path in manifests])
    recipes = _recipes(names, table, modality, [*overrides, *backbone_changes(backbone)])
    from duoscan.training.yardstick.cleaning import cleaned
    from duoscan.training.yardstick.features import FeatureStore
    from duoscan.training.yardstick.run import Wish, answer_parts, parts_of, usable
    from duoscan.training.yardstick.views import views_of

    wish = Wish(recipes, _seeds(seeds), leave_out, _folds(folds), frozen=frozen, controls=not no_controls)
    cache = cache or run / "cache"
    with training_progress() as watcher:
        rows = usable(table, recipes.values())
        watcher.on_stage("looking for copies", len(rows))
        data = cleaned(rows, cache, watcher.on_tick)
        parts = parts_of(wish, data.manifest)
        store = FeatureStore(data.manifest, cache, watcher, wish.probes)
        failed: dict[Part, str] = {}
        if not only_figures:
            count = _counting(run, recipes, book_beside(manifests[0], ledger, replaces=False))
            failed = answer_parts(wish, parts, data, run, store, watcher, count)
        first = next(iter(recipes.values()))
        views = views_of(data.manifest, None if only_figures else lambda: store.of(first), run)
        watcher.on_stage("figures", 1)
        made = _table(run, wish, parts, data, views, failed)
    show(made, run)


def _recipes(names: Sequence[str], table: Manifest, modality: str | None, changes: Sequence[str]) -> dict[str, Recipe]:
    """The recipes by name.

    Raises:
        InputError: Two have one name, which is that of a folder.
    """
    recipes: dict[str, Recipe] = {}
    for name in names:
        recipe = resolve_recipe(name, table, modality, changes)
        if recipe.name in recipes:
            raise InputError(f"two recipes are called '{recipe.name}'; give each a name of its own in its first lines")
        recipes[recipe.name] = recipe
    return recipes


def _seeds(text: str) -> tuple[int, ...]:
    found = [one.strip() for one in text.split(",") if one.strip()]
    if not found or not all(one.isdecimal() for one in found):
        raise click.BadParameter(f"'{text}' is no list of numbers from 0; write 0,1,2", param_hint="--seeds")
    return tuple(dict.fromkeys(map(int, found)))


def _folds(texts: Sequence[str]) -> dict[str, int]:
    found = {}
    for text in texts:
        source, _, count = text.rpartition("=")
        if not source or not count.isdecimal() or int(count) < MIN_FOLDS:
            raise click.BadParameter(
                f"'{text}' is not of the form SOURCE=K with K at least {MIN_FOLDS}", param_hint="--folds"
            )
        found[source] = int(count)
    return found


def _counting(run: Path, recipes: Mapping[str, Recipe], book: Book) -> Callable[[Part, Manifest], None]:
    """Count a look at what was left out, once for each recipe: it may be chosen by what is seen there.

    Raises:
        InputError: The ledger is damaged; said before the work.
    """
    read_uses(book.path)

    def count(part: Part, rows: Manifest) -> None:
        uses = _looks(run)
        own = uses.setdefault(part.left_out, {})
        if part.recipe not in own and len(rows):
            recipe = recipes[part.recipe]
            model = hashlib.sha256(recipe.model_dump_json().encode()).hexdigest()
            kind = f"yardstick, {recipe.modality}, {part.left_out}"
            own[part.recipe] = book.look_at_images(rows, model, kind, locks=False).count().spoken
            write_text(run / USES_NAME, json.dumps(uses, indent=1, ensure_ascii=False) + "\n")

    return count


def _looks(run: Path) -> dict[str, dict[str, str]]:
    """What the ledger said of each look of this run: left out → recipe → words."""
    path = run / USES_NAME
    return dict(parse_json(read_bytes(path))) if path.exists() else {}


def _table(
    run: Path, wish: Wish, parts: Sequence[Part], data: Cleaned, views: Views, failed: Mapping[Part, str]
) -> Table:
    """Measure what is there and write it."""
    from duoscan.evaluation.yardstick.answers import has_answers, read_answers, read_facts
    from duoscan.evaluation.yardstick.differences import differences
    from duoscan.evaluation.yardstick.document import Table, write_table
    from duoscan.evaluation.yardstick.figures import Stated, measure
    from duoscan.report.yardstick_page import build_yardstick_page

    stated = {
        name: Stated(recipe.classes, recipe.operating.default, recipe.operating.sensitivity)
        for name, recipe in wish.recipes.items()
    }
    answers = read_answers(run, parts)
    facts: dict[str, Any] = {
        "command": command_line(),
        "frozen": wish.frozen,
        "recipes": {name: recipe.model_dump(mode="json") for name, recipe in wish.recipes.items()},
        "data": data.to_json(),
        "views": {key: value for key, value in views.to_json().items() if key != "by_path"},
        "parts": {part.spoken: read_facts(part.folder(run)) for part in parts if has_answers(part.folder(run))},
        "missing": [part.spoken for part in parts if not has_answers(part.folder(run)) and part not in failed],
        "failed": {part.spoken: why for part, why in failed.items()},
        "uses": _looks(run),
    }
    table = Table(measure(answers, stated, views.by_path), differences(answers, stated), facts)
    write_text(run / PAGE_NAME, build_yardstick_page(table))
    write_table(table, run)
    return table
