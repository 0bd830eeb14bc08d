"""A yardstick: every recipe trained without every source in turn, and asked of what it was trained without.

RUN/
  cache/                 features and copies, which may be shared between runs (``--cache``)
  parts/…                one folder a training; see :mod:`duoscan.evaluation.yardstick.answers`
  views.json             who was lying and who was standing, stated or told from the picture
  yardstick.json, .csv   the figures; made anew from the tables each time

Whatever is finished is not done again, so a run that was killed is taken up by the same command.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from duoscan.errors import InputError, ManifestError
from duoscan.evaluation.yardstick.answers import (
    Part,
    has_answers,
    read_facts,
    write_answers,
    write_facts,
)
from duoscan.evaluation.yardstick.questions import can_be_asked, questions_of
from duoscan.inference.predictor import predict_manifest, unanswered
from duoscan.run_files import BUNDLE_NAME
from duoscan.terms import Split
from duoscan.training.data import usable_records
from duoscan.training.run import train
from duoscan.training.yardstick import features
from duoscan.training.yardstick.controls import add_controls
from duoscan.training.yardstick.regression import learn
from duoscan.training.yardstick.sides import shown_to, sides_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from duoscan.manifest.records import Manifest
    from duoscan.predictions import Prediction
    from duoscan.training.recipe import Recipe
    from duoscan.training.watcher import TrainingWatcher
    from duoscan.training.yardstick.cleaning import Cleaned
    from duoscan.training.yardstick.features import FeatureStore
    from duoscan.training.yardstick.sides import Sides

RUN_NAME = "run"
"""Folder of the training within a part's."""


@dataclass(frozen=True)
class Wish:
    """What is asked of a yardstick.

    Attributes:
        recipes: By name.
        seeds: Each trains every recipe once more, on another validation part.
        sources: To leave out; empty means all that a question can be asked of.
        folds: Source → into how many folds its patients are cut, each left out in turn.
        frozen: Learn a regression on frozen features of the recipe's backbone in place of training it.
        controls: Whether the negative controls are made.
    """

    recipes: Mapping[str, Recipe]
    seeds: tuple[int, ...] = (0,)
    sources: tuple[str, ...] = ()
    folds: Mapping[str, int] | None = None
    frozen: bool = False
    controls: bool = True

    @property
    def probes(self) -> tuple[str, ...]:
        """What features are needed of; the whole image also tells views."""
        if not self.controls:
            return (features.WHOLE,)
        return features.PASSES if self.frozen else (features.WHOLE, features.BORDERS)


def parts_of(wish: Wish, manifest: Manifest) -> list[Part]:
    """Every training that is needed, seeds last, so that a first look at all recipes and sources comes early.

    Args:
        wish: What is asked.
        manifest: Rows that may be used.

    Raises:
        InputError: A source that is to be left out is not there or no question can be asked of it, or none can.
    """
    able = {name: askable_sources(recipe, manifest) for name, recipe in wish.recipes.items()}
    known = set().union(*able.values())
    if missing := sorted({*wish.sources, *(wish.folds or {})} - known):
        there = ", ".join(sorted(known)) or "none"
        raise InputError(
            f"no question can be asked of {', '.join(missing)} left out: at least ten images of two classes that the "
            f"recipes tell apart are needed (these have them: {there})"
        )
    if not known:
        raise InputError("no source has ten images of two classes that the recipes tell apart; add others")
    wholes = [(source, 0, 0) for source in (wish.sources or (() if wish.folds else sorted(known)))]
    folded = [(source, fold, count) for source, count in (wish.folds or {}).items() for fold in range(1, count + 1)]
    return [
        Part(name, source, fold, folds, seed)
        for seed in wish.seeds
        for source, fold, folds in [*wholes, *folded]
        for name in wish.recipes
        if source in able[name]
    ]


def askable_sources(recipe: Recipe, manifest: Manifest) -> list[str]:
    """The sources that some question of the recipe can be asked of."""
    by_source: dict[str, list[Prediction]] = {}
    for one in shown_to(recipe, manifest.records):
        by_source.setdefault(one.source, []).append(replace(unanswered(one), label=recipe.class_of(one.label)))
    questions = questions_of(recipe.classes)
    return sorted(name for name, rows in by_source.items() if any(can_be_asked(one, rows) for one in questions))


def usable(manifest: Manifest, recipes: Iterable[Recipe]) -> Manifest:
    """The rows that some recipe has a class for.

    Raises:
        InputError: The recipes are of two modalities, or no row is left.
    """
    recipes = list(recipes)
    modalities = sorted({recipe.modality for recipe in recipes})
    if len(modalities) > 1:
        raise InputError(f"recipes of {' and '.join(modalities)}; measure one modality at a time")
    kept = [
        one
        for one in manifest.where(modality=modalities[0])
        if any(recipe.class_of(one.label) is not None or recipe.trains_as(one) is not None for recipe in recipes)
    ]
    if not kept:
        raise InputError(f"no {modalities[0]} row has a label that the recipes know; look at modality and label")
    return manifest.replace(kept)


def answer_parts(
    wish: Wish,
    parts: Sequence[Part],
    data: Cleaned,
    run: Path,
    store: FeatureStore,
    watcher: TrainingWatcher,
    on_answered: Callable[[Part, Manifest], None] = lambda _part, _rows: None,
) -> dict[Part, str]:
    """Make the tables of every part that lacks them.

    Args:
        wish: What is asked.
        parts: Of :func:`parts_of`.
        data: Rows that may be used.
        run: Folder of the yardstick.
        store: Features of these rows.
        watcher: Progress callbacks.
        on_answered: Called with a part and the rows it was asked, once they are answered, now or before.

    Returns:
        Parts that cannot be trained, and why: without what is left out a class has no image.

    Raises:
        InputError: A part's folder holds a training of another recipe or other data.
        ManifestError: Images cannot be read.
    """
    failed = {}
    for part in parts:
        recipe = wish.recipes[part.recipe].model_copy(update={"seed": part.seed})
        sides = sides_of(part, recipe, data)
        try:
            for split in (Split.TRAIN, Split.VAL):
                usable_records(sides.learned, recipe, split)
        except ManifestError as error:
            failed[part] = str(error)
            continue
        folder = part.folder(run)
        _claim(folder, part, recipe, sides, is_frozen=wish.frozen)
        if not has_answers(folder):
            answer = _frozen_answers if wish.frozen else _trained_answers
            write_answers(folder, *answer(sides, recipe, folder, store, watcher))
        on_answered(part, sides.left_out)
        if wish.controls and part.seed == wish.seeds[0]:
            add_controls(folder, recipe, sides, store, None if wish.frozen else folder / RUN_NAME)
    return failed


def _claim(folder: Path, part: Part, recipe: Recipe, sides: Sides, *, is_frozen: bool) -> None:
    """See that the folder is empty or holds this very training, and say what it learns from."""
    stated = {
        "recipe": recipe.model_dump(mode="json"),
        "learned": sides.learned.fingerprint(),
        "left_out": sides.left_out.fingerprint(),
        "frozen": is_frozen,
    }
    identity = hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()
    held = read_facts(folder)
    if held and held.get("identity") != identity:
        raise InputError(f"{folder}: holds {part.spoken} with other settings or data; name another folder with --run")
    if not held:
        parted = sides.parted
        counts = {
            "trained_on": len(sides.learned.where(split=Split.TRAIN)),
            "chosen_on": len(sides.learned.where(split=Split.VAL)),
            "asked": len(sides.left_out),
            "copies_removed_from_training": parted.copies_of_training,
            "copies_removed_from_left_out": parted.copies_of_left_out,
            "removed_since_patient_is_left_out": parted.shared,
        }
        write_facts(folder, {"part": part.spoken, "identity": identity} | counts)


def _trained_answers(
    sides: Sides, recipe: Recipe, folder: Path, _store: FeatureStore, watcher: TrainingWatcher
) -> tuple[list[Prediction], list[Prediction]]:
    run = folder / RUN_NAME
    if not (run / BUNDLE_NAME).exists():
        train(sides.learned, recipe, run, watcher)
    val = sides.learned.replace([record for record, _ in usable_records(sides.learned, recipe, Split.VAL)])
    watcher.on_stage("asking what was left out", len(val) + len(sides.left_out))
    tables = (predict_manifest(run / BUNDLE_NAME, rows, on_image=watcher.on_tick) for rows in (val, sides.left_out))
    answered, left_out = ([replace(row, label=recipe.class_of(row.label)) for row in rows] for rows in tables)
    return answered, left_out


def _frozen_answers(
    sides: Sides, recipe: Recipe, _folder: Path, store: FeatureStore, _watcher: TrainingWatcher
) -> tuple[list[Prediction], list[Prediction]]:
    frozen = store.of(recipe)
    model, validation = learn(sides.learned, recipe, lambda records: frozen.of(records, features.WHOLE))
    left_out = sides.left_out.records
    return validation, model.answers(left_out, frozen.of(left_out, features.WHOLE))
