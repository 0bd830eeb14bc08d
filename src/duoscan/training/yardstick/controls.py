"""Negative controls at what was left out: how far one comes there without looking at any lung.

* borders: a regression on frozen features of the outer tenth of each side, as far as the recipe's input shows it,
  learned where the recipe learned.
* facts of the file: a regression on size, aspect, format and compression, and on the histogram of grey.
* lungs erased: the recipe's own model, asked of the left-out images with their lungs flattened to the mean of the rest.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from duoscan.errors import ImageError
from duoscan.evaluation.yardstick.answers import (
    BORDERS,
    ERASED,
    FACTS,
    has_answers,
    read_facts,
    write_answers,
    write_facts,
)
from duoscan.formats.reader import read_image
from duoscan.inference.bundle import read_bundle
from duoscan.inference.predictor import ImageFile, Predictor, unanswered
from duoscan.run_files import BUNDLE_NAME
from duoscan.training.yardstick import features
from duoscan.training.yardstick.regression import learn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from duoscan.manifest.records import ImageRecord
    from duoscan.predictions import Prediction
    from duoscan.training.recipe import Recipe
    from duoscan.training.yardstick.features import Eraser, FeatureStore
    from duoscan.training.yardstick.sides import Sides


def add_controls(folder: Path, recipe: Recipe, sides: Sides, store: FeatureStore, run: Path | None) -> None:
    """Make the tables of every control that a part lacks.

    Args:
        folder: Of the part.
        recipe: With the part's seed.
        sides: What it learned from and was asked.
        store: Features of the rows.
        run: Folder of its training; ``None`` where a regression on frozen features was learned.
    """
    left_out = sides.left_out.records
    if not has_answers(folder, BORDERS):
        frozen = store.of(recipe)
        model, validation = learn(sides.learned, recipe, lambda records: frozen.of(records, features.BORDERS))
        write_answers(folder, validation, model.answers(left_out, frozen.of(left_out, features.BORDERS)), BORDERS)
    if not has_answers(folder, FACTS):

        def facts(records: Sequence[ImageRecord]) -> NDArray[np.float32]:
            histogram = store.of(recipe).of(records, features.HISTOGRAM)
            return np.concatenate([store.facts().of(records, features.FACTS), histogram], axis=1)

        model, validation = learn(sides.learned, recipe, facts)
        write_answers(folder, validation, model.answers(left_out, facts(left_out)), FACTS)
    if not has_answers(folder, ERASED):
        # What is frozen was computed of all rows at once, so that the lungs of all were erased in one way.
        eraser = features.eraser_for(store.manifest.records if run is None else left_out, recipe)
        rows = _frozen_erased(sides, recipe, store) if run is None else _asked_erased(run, recipe, sides, eraser)
        write_facts(folder, read_facts(folder) | {"lungs_erased": eraser.how})
        write_answers(folder, (), rows, ERASED)


def _frozen_erased(sides: Sides, recipe: Recipe, store: FeatureStore) -> list[Prediction]:
    frozen, left_out = store.of(recipe), sides.left_out.records
    model, _ = learn(sides.learned, recipe, lambda records: frozen.of(records, features.WHOLE))
    return model.answers(left_out, frozen.of(left_out, features.ERASED))


def _asked_erased(run: Path, recipe: Recipe, sides: Sides, eraser: Eraser) -> list[Prediction]:
    predictor, left_out = Predictor(read_bundle(run / BUNDLE_NAME), check_quality=False), sides.left_out

    def files() -> Iterator[ImageFile]:
        for record in left_out:
            file = ImageFile(left_out.file(record), unanswered(record))
            try:
                changed, looked = eraser(left_out, record, read_image(file.path))
            except ImageError as error:
                yield file.failed(error)
            else:
                yield replace(file, pixels=changed, finder=looked if predictor.finder else None)

    return [replace(one.row, label=recipe.class_of(one.row.label)) for one in predictor.predict(files())]
