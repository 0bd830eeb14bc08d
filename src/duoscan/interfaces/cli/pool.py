"""``duoscan pool``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from duoscan.errors import InputError
from duoscan.evaluation.aggregation import AUTO
from duoscan.files import make_folder
from duoscan.interfaces.cli.paths import OUT_FOLDER
from duoscan.interfaces.cli.tables import echo
from duoscan.interfaces.cli.train import check_can_train, show_choice, training_progress
from duoscan.manifest.crossing import check_no_patient_crosses
from duoscan.manifest.table import read_manifest
from duoscan.settings import validated
from duoscan.terms import Split

if TYPE_CHECKING:
    from duoscan.inference.bundle import Bundle
    from duoscan.training.recipe import Recipe


@click.command("pool")
@click.argument("target", type=click.Path(exists=True, path_type=Path))
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", required=True, type=OUT_FOLDER, help="Folder to write to.")
@click.option(
    "--aggregation", default=AUTO, show_default=True, help="Or max, mean, top-K, noisy-or, attention: taken as asked."
)
@click.option("--seed", type=click.IntRange(0), help="Of all chance; the recipe's if left.")
def pool_command(target: Path, manifest: Path, *, out: Path, aggregation: str, seed: int | None) -> None:
    """Choose how the images of a study are joined, for a network that is trained already.

    TARGET is a run folder or a bundle, MANIFEST the images it was trained with: the train part trains attention, the
    val part chooses, sets the study's operating points and calibrates the study's probability. The test part is not
    read.

    \b
    Writes into --out: model.duoscan, a copy of the bundle that joins images this way (without policy and verdict,
    which spoke of the old way), aggregation.json with every candidate, and predictions-val.csv.
    """
    check_can_train()
    from duoscan.inference.bundle import read_bundle, write_changed
    from duoscan.run_files import BUNDLE_NAME
    from duoscan.training.data import usable_records
    from duoscan.training.studies import pool_studies

    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out}: the folder is not empty; name another one")
    bundle = read_bundle(target)
    recipe = _recipe(bundle, aggregation, seed)
    table = read_manifest(manifest)
    check_no_patient_crosses(table)
    training, validation = (
        table.replace([record for record, _ in usable_records(table, recipe, part)])
        for part in (Split.TRAIN, Split.VAL)
    )
    with training_progress() as watcher:
        pooled = pool_studies(bundle, training, validation, recipe, watcher)
    make_folder(out)
    pooled.write(out)
    fields = pooled.info(bundle.info, recipe) | {"policy": None, "verdict": None}
    written = write_changed(bundle, out / BUNDLE_NAME, fields, pooled.graph)
    show_choice(pooled.choice.to_json())
    used = table.where(modality=recipe.modality, sources=recipe.data.sources or None)
    if used.fingerprint() != bundle.info.provenance.data_fingerprint:
        echo("Note: this is not the manifest the network was trained with; mind that patients may cross.")
    echo(f"{written.path}: a study is positive at or above {written.info.study_threshold:.3f}")


def _recipe(bundle: Bundle, aggregation: str, seed: int | None) -> Recipe:
    """The recipe the bundle was trained by, with other wishes for studies."""
    from duoscan.training.recipe import Recipe

    stated: dict[str, Any] = dict(bundle.info.provenance.recipe) | {"study": {"aggregation": aggregation}}
    return validated(Recipe, stated | ({} if seed is None else {"seed": seed}), bundle.path, InputError)
