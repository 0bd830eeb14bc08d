"""A run: a folder that can be made again.

RUN/
  recipe.toml          the resolved recipe
  manifest.csv         the records it used
  environment.json     versions, processor, command
  checkpoint.pt        the last finished epoch
  history.csv          one line an epoch
  logs/                TensorBoard events
  predictions-val.csv  what the exported bundle says on validation
  aggregation.json     how the images of a study are joined, and what else was tried
  model.duoscan        the bundle
  evidence/001/        what ``duoscan audit --run`` found; a new folder each time, and all that comes after the bundle
  member-2/            checkpoint, history and logs of a second member, where the recipe asks for more than one
"""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import asdict, astuple, fields
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tomli_w
import torch

from duoscan.errors import InputError, RecipeError
from duoscan.evaluation.calibrators import choose_calibrator
from duoscan.files import make_folder, read_bytes, write_text
from duoscan.imaging.preprocess import normalise
from duoscan.inference.bundle import MAX_FINDER_BYTES, Bundle, BundleInfo, Provenance, write_bundle
from duoscan.inference.lung_network import open_finder
from duoscan.inference.shipped import shipped_finder
from duoscan.manifest.crossing import check_no_patient_crosses
from duoscan.manifest.summary import count_by
from duoscan.manifest.table import write_manifest
from duoscan.rows import csv_text
from duoscan.run_files import BUNDLE_NAME, CHECKPOINT, ENVIRONMENT, HISTORY, MANIFEST, MARKER, RECIPE
from duoscan.terms import Split
from duoscan.training.classifier import build_classifier
from duoscan.training.data import CROP_MARGIN, load_set
from duoscan.training.export import export_graph
from duoscan.training.further.add import further_heads
from duoscan.training.loop import EpochResult, Trainer
from duoscan.training.studies import pool_studies
from duoscan.training.watcher import TrainingWatcher
from duoscan.version import __version__

if TYPE_CHECKING:
    from duoscan.manifest.records import Manifest
    from duoscan.training.recipe import Recipe

PARITY_IMAGES = 16


def train(
    manifest: Manifest,
    recipe: Recipe,
    run: Path,
    watcher: TrainingWatcher | None = None,
    *,
    allow_crossing: bool = False,
) -> Bundle:
    """Train one phase and export its bundle; takes up a run that was cut off.

    Args:
        manifest: Records with splits.
        recipe: What to train.
        run: Folder of the run. An unfinished one with the same recipe and data is continued.
        watcher: Progress callbacks.
        allow_crossing: Train although a patient stands in two splits; only to show what that fault does.

    Raises:
        InputError: The folder holds a finished run, or one of another recipe or other data.
        ManifestError: The manifest lacks a class or split, holds unreadable images, or a patient crosses.
        TrainingError: The loss diverged or the exported graph disagrees with torch.
    """
    watcher = watcher or TrainingWatcher()
    if not allow_crossing:
        check_no_patient_crosses(manifest)
    contract = recipe.contract()
    used = manifest.where(modality=recipe.modality, sources=recipe.data.sources or None)
    _claim(run, recipe, used)
    larger = contract.model_copy(
        update={"height": round(contract.height * CROP_MARGIN), "width": round(contract.width * CROP_MARGIN)}
    )
    watcher.on_stage("reading images", len(used.where(split=Split.TRAIN)) + len(used.where(split=Split.VAL)))
    finder = read_finder(recipe)
    looks = None if finder is None else open_finder(finder, run / BUNDLE_NAME)
    training = load_set(manifest, recipe, Split.TRAIN, larger, looks, watcher.on_tick)
    validation = load_set(manifest, recipe, Split.VAL, contract, looks, watcher.on_tick)

    trainers = []
    for number in range(recipe.model.members):
        member = recipe.model_copy(update={"seed": recipe.seed + number})
        network, licence = build_classifier(member)
        folder = run / f"member-{number + 1}" if number else run
        make_folder(folder)
        if recipe.optimise.views:
            watcher.on_stage("taking views through the frozen layers", len(training) + len(validation))
        trainers.append(Trainer(network, member, training, validation, folder / CHECKPOINT, watcher.on_tick))
        trainers[-1].resume()
        _run_epochs(trainers[-1], folder, watcher)

    watcher.on_stage("exporting", 1)
    grey = validation.grey[:PARITY_IMAGES].astype(np.float32)
    images = np.stack([normalise(image, contract) for image in grey])
    graph, parity = export_graph([trainer.judged for trainer in trainers], images)
    provenance = Provenance(
        duoscan_version=__version__,
        recipe=recipe.model_dump(mode="json"),
        data_fingerprint=used.fingerprint(),
        data_summary=count_by(training.records),
        licences=tuple(sorted({licence, *(f"images: {r.license}" for r in training.records if r.license)} - {""})),
        metrics={
            f"member-{number}": asdict(trainer.progress.history[trainer.progress.best_epoch])
            for number, trainer in enumerate(trainers, start=1)
        },
        environment=environment(),
        parity=parity,
    )
    parts = manifest.replace(training.records), manifest.replace(validation.records)
    return _seal(run, recipe, parts, used, graph, finder, provenance, watcher)


def read_finder(recipe: Recipe) -> bytes | None:
    """The lung finder's graph that a recipe names, or the shipped one; ``None`` where it shows the whole image.

    Raises:
        RecipeError: The file cannot be read.
    """
    section = recipe.input
    if section.lungs == "none":
        return None
    path = Path(section.finder) if section.finder else shipped_finder(recipe.modality)
    try:
        return read_bytes(path, limit=MAX_FINDER_BYTES)
    except (OSError, InputError) as error:
        raise RecipeError(
            f"input.finder: {path} cannot be read ({error}); name an ONNX file that finds lungs"
        ) from error


def _claim(run: Path, recipe: Recipe, manifest: Manifest) -> None:
    """Make the folder, or see that it holds the same, unfinished work."""
    identity = {"recipe": recipe.model_dump(mode="json"), "data_fingerprint": manifest.fingerprint()}
    marker = run / MARKER  # written first, so that a run killed while its folder is made is still known
    if (run / BUNDLE_NAME).exists():
        raise InputError(f"{run}: holds a finished run, and runs are never edited; name another folder with --run")
    if marker.exists():
        if json.loads(marker.read_text(encoding="utf-8")) != identity:
            raise InputError(f"{run}: holds a run of another recipe or other data; name another folder with --run")
    elif run.exists() and any(run.iterdir()):
        raise InputError(f"{run}: is not empty and not a run; name another folder with --run")
    else:
        write_text(marker, json.dumps(identity, indent=1))
    if (run / CHECKPOINT).exists():
        return
    write_text(run / RECIPE, tomli_w.dumps(_without_none(recipe.model_dump(mode="json"))))
    write_manifest(manifest, run / MANIFEST)
    write_text(run / ENVIRONMENT, json.dumps(environment() | {"command": " ".join(sys.argv)}, indent=1))


def _run_epochs(trainer: Trainer, run: Path, watcher: TrainingWatcher) -> None:
    from torch.utils.tensorboard import SummaryWriter

    epochs_left = trainer.section.epochs - trainer.progress.next_epoch
    watcher.on_stage("training", epochs_left * trainer.steps_per_epoch)
    # purge_step drops what a killed run logged for an epoch that is now repeated.
    with SummaryWriter(run / "logs", purge_step=trainer.progress.next_epoch) as log:
        for result in trainer.run(watcher.on_tick):
            for name, value in asdict(result).items():
                log.add_scalar(name, value, result.epoch)
            write_text(run / HISTORY, _history_csv(trainer.progress.history))
            watcher.on_epoch(result)


def _seal(
    run: Path,
    recipe: Recipe,
    parts: tuple[Manifest, Manifest],
    used: Manifest,
    graph: bytes,
    finder: bytes | None,
    provenance: Provenance,
    watcher: TrainingWatcher,
) -> Bundle:
    """Write the bundle; all else is chosen on what the exported graph itself says on validation."""
    info = BundleInfo(
        name=recipe.name,
        classes=recipe.classes,
        contract=recipe.contract(),
        operating_points={"argmax": 1 / 2},
        default_point="argmax",
        provenance=provenance,
    )
    pooled = pool_studies(Bundle(info, graph, run / BUNDLE_NAME, finder), *parts, recipe, watcher)
    pooled.write(run)
    decided = pooled.info(info, recipe) | {"calibration": choose_calibrator(pooled.rows).calibration}
    sealed = info.model_copy(update=decided)
    # Last, so that they change nothing that was chosen before.
    pooled_bundle = Bundle(sealed, pooled.graph, run / BUNDLE_NAME, finder)
    graph, heads = further_heads(pooled_bundle, used, recipe.heads, recipe.seed, watcher)
    return write_bundle(run / BUNDLE_NAME, sealed.model_copy(update={"heads": heads}), graph, finder)


def environment() -> dict[str, str]:
    """Versions and processor, for provenance; no host or user name."""
    packages = ("torch", "transformers", "monai", "numpy", "pillow", "onnxruntime")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": str(torch.get_num_threads()),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    } | {name: metadata.version(name) for name in packages}


def _history_csv(history: list[EpochResult]) -> str:
    return csv_text([entry.name for entry in fields(EpochResult)], map(astuple, history))


def _without_none(table: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None
    }
