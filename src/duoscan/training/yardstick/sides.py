"""What one training of a yardstick learns from, and what it is asked of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from duoscan.manifest.splits import grouped_folds, split_by_patient
from duoscan.terms import Split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.evaluation.yardstick.answers import Part
    from duoscan.manifest.records import ImageRecord, Manifest
    from duoscan.training.recipe import Recipe
    from duoscan.training.yardstick.cleaning import Cleaned, Parted

VALIDATION_SHARE = 0.15
"""Of the training sources' images, by patient; early stopping, strengths and thresholds are chosen on it."""


@dataclass(frozen=True)
class Sides:
    """What a part learns from and what it is asked.

    Attributes:
        learned: Rows of the training sources in the splits train and val, dealt by patient.
        left_out: Rows to ask, of the recipe's classes and views.
        parted: How they came apart.
    """

    learned: Manifest
    left_out: Manifest
    parted: Parted


def sides_of(part: Part, recipe: Recipe, data: Cleaned) -> Sides:
    """Part the rows: what is left out, and of the rest a validation part by patient.

    Nothing on the training side depends on labels or pictures of the left-out side, except which images are gone since
    they are copies of it or of its patients.
    """
    own = data.manifest.where(modality=recipe.modality)
    asked_paths = {one.path for one in own if one.source == part.source}
    if part.fold:
        source = data.merged().where(modality=recipe.modality, sources=[part.source])
        fold = grouped_folds(source, part.folds, part.seed)[part.fold - 1]
        asked_paths = {one.path for one in fold.where(split=Split.TEST)}
    parted = data.parted(lambda one: one.path in asked_paths)
    usable = [one for one in parted.learned if one.label is not None]
    shares = {Split.TRAIN: 1 - VALIDATION_SHARE, Split.VAL: VALIDATION_SHARE}
    learned = split_by_patient(parted.learned.replace(usable), shares, part.seed)
    left_out = parted.left_out.replace(shown_to(recipe, parted.left_out.records))
    return Sides(learned, left_out, parted)


def shown_to(recipe: Recipe, records: Sequence[ImageRecord]) -> list[ImageRecord]:
    """The records of a recipe's modality, views and classes."""
    return [
        one
        for one in records
        if one.modality is recipe.modality
        and recipe.class_of(one.label) is not None
        and one.view not in recipe.data.exclude_views
    ]
