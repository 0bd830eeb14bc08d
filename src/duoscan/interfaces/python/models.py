"""Training from Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duoscan.errors import InputError
from duoscan.interfaces.cli.train import check_can_train, resolve_recipe
from duoscan.interfaces.python.data import manifest_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from duoscan.inference.bundle import Bundle
    from duoscan.interfaces.python.tables import AnyTable
    from duoscan.manifest.records import Manifest


def train(
    manifest: Manifest | AnyTable,
    run: str | Path,
    *,
    recipe: str = "compact",
    modality: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Bundle:
    """Train one phase and export its bundle; a run that was cut off is taken up where it stood.

    Args:
        manifest: Rows with splits.
        run: Folder of the run.
        recipe: A TOML file, or a built-in one.
        modality: ``cxr`` or ``ct``, where the manifest holds both.
        settings: Key of the recipe, as ``optimise.epochs`` → value.

    Raises:
        MissingExtraError: The extra [train] is not installed.
        InputError: The run is finished or another's, or the modality is not plain.
        RecipeError: No such recipe, or a wrong key or value.
        ManifestError: A class or a split is missing, or a patient stands in two.
    """
    check_can_train()
    from duoscan.training.run import train as train_run

    rows = manifest_of(manifest)
    kinds = sorted({row.modality for row in rows})
    if modality is None and len(kinds) != 1:
        raise InputError(f"the manifest holds {' and '.join(kinds) or 'nothing'}; say which with modality=…")
    # Text, numbers, truth and lists are written alike in JSON and TOML.
    overrides = [f"{key}={json.dumps(value, default=str)}" for key, value in (settings or {}).items()]
    return train_run(rows, resolve_recipe(recipe, rows, modality, overrides), Path(run))
