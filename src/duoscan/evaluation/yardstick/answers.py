"""What a yardstick has on disk, part by part: which model, trained without what, said what.

A part is one training. Its folder is RUN/parts/RECIPE/LEFT-OUT/seed-S, with fold-K before the seed where folds of
patients of a source are left out, and holds

  validation.csv     answers on the validation part of the training sources
  left-out.csv       answers on what was left out
  borders-*.csv, …   the same two tables of each negative control, where it was made
  part.json          how many images were learned from, chosen on and asked, and which were set aside before

Labels in the tables are the classes that the recipe trains them as.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from duoscan.files import parse_json, read_bytes, safe_name, write_text
from duoscan.predictions import read_predictions, write_predictions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from duoscan.predictions import Prediction

WHOLE, BORDERS, FACTS, ERASED = "", "borders", "file-facts", "lungs-erased"
CONTROLS = (BORDERS, FACTS, ERASED)
CONTROL_NAMES = {
    WHOLE: "the recipe itself",
    BORDERS: "outer tenth of each side only",
    FACTS: "facts of the file only",
    ERASED: "lungs erased when asked",
}
_PARTS, _PART_NAME, _LEFT_OUT, _VAL = "parts", "part.json", "left-out.csv", "validation.csv"


@dataclass(frozen=True, order=True)
class Part:
    """One training of a yardstick.

    Attributes:
        recipe: Its name.
        source: Which source is left out, or of which patients are.
        fold: Number of the fold of patients that is left out, from 1; 0 where the whole source is.
        folds: How many folds there are; 0 where the whole source is left out.
        seed: Of the training and of its validation part.
    """

    recipe: str
    source: str
    fold: int
    folds: int
    seed: int

    @property
    def left_out(self) -> str:
        """What this part and its folds are figures of, for a person."""
        return f"{self.source} ({self.folds} folds)" if self.folds else self.source

    @property
    def spoken(self) -> str:
        """For a person."""
        fold = f", fold {self.fold}" if self.fold else ""
        return f"{self.recipe} without {self.source}{fold}, seed {self.seed}"

    def folder(self, run: Path) -> Path:
        """Where its tables lie."""
        place = run / _PARTS / safe_name(self.recipe) / safe_name(self.source)
        return (place / f"fold-{self.fold}-of-{self.folds}" if self.fold else place) / f"seed-{self.seed}"


@dataclass(frozen=True)
class PartAnswers:
    """Two tables of one part.

    Attributes:
        part: Which.
        control: What was shown to the model: one of :data:`CONTROLS`, or :data:`WHOLE`.
        validation: Answers on the training sources' validation part; of ``lungs-erased`` those of the whole images.
        left_out: Answers on what was left out.
    """

    part: Part
    control: str
    validation: list[Prediction]
    left_out: list[Prediction]


def tables_of(folder: Path, control: str = WHOLE) -> tuple[Path, Path]:
    """Where the two tables of a part lie: validation, left out."""
    prefix = f"{control}-" if control else ""
    # The model that is asked without lungs is the recipe's own, so its validation part is too.
    return folder / (_VAL if control == ERASED else prefix + _VAL), folder / (prefix + _LEFT_OUT)


def has_answers(folder: Path, control: str = WHOLE) -> bool:
    """Whether a part, or a control of it, is finished."""
    return all(path.exists() for path in tables_of(folder, control))


def write_answers(
    folder: Path, validation: Sequence[Prediction], left_out: Sequence[Prediction], control: str = WHOLE
) -> None:
    """Write both tables, each whole or not at all; that of the left-out rows last."""
    val_path, left_path = tables_of(folder, control)
    if control != ERASED:
        write_predictions(validation, val_path)
    write_predictions(left_out, left_path)


def write_facts(folder: Path, facts: dict[str, Any]) -> None:
    """Write ``part.json``."""
    write_text(folder / _PART_NAME, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


def read_facts(folder: Path) -> dict[str, Any]:
    """Read ``part.json``; empty where there is none.

    Raises:
        ValueError: It is no JSON object.
    """
    path = folder / _PART_NAME
    return dict(parse_json(read_bytes(path))) if path.exists() else {}


def read_answers(run: Path, parts: Sequence[Part]) -> list[PartAnswers]:
    """The tables of those parts and controls that are finished.

    Raises:
        PredictionsError: A table was damaged.
    """
    found = []
    for part in parts:
        folder = part.folder(run)
        for control in (WHOLE, *CONTROLS):
            if has_answers(folder, control):
                val_path, left_path = tables_of(folder, control)
                found.append(PartAnswers(part, control, read_predictions(val_path), read_predictions(left_path)))
    return found
