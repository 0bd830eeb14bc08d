"""The rows of a predictions table that can be measured, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from duoscan.errors import PredictionsError
from duoscan.manifest.blocks import is_block
from duoscan.predictions import IMAGE
from duoscan.terms import POSITIVE, Decision

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from duoscan.predictions import Prediction

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """N images with a reference and an answer.

    Attributes:
        reference: shape (N,); whether the reference label is ``covid``.
        probability: shape (N,); P(covid).
        called: shape (N,); whether the image is called positive at the operating point.
        units: N keys of patients; what is resampled.
    """

    reference: BoolArray
    probability: FloatArray
    called: BoolArray
    units: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.units)

    @property
    def patients(self) -> int:
        """How many different units the images show: patients, or what stands for them."""
        return len(set(self.units))


def named_patients(units: Iterable[str]) -> set[str]:
    """The units that are patients: neither blocks of consecutive images nor images without a patient."""
    return {unit for unit in units if not unit.startswith(IMAGE) and not is_block(unit)}


def units_word(units: Iterable[str]) -> str:
    """What was counted as patients: ``patients``, or ``blocks`` or ``images`` where nobody is named, or several."""
    counts = _counted(units)
    return " and ".join(name for name, count in counts.items() if count) or "patients"


def spoken_units(units: Iterable[str]) -> str:
    """How many of what was counted as patients: ``95 patients``, or ``50 blocks and 3 images in place of patients``."""
    counts = _counted(units)
    patients = counts.pop("patients")
    stand_ins = " and ".join(f"{count} {name}" for name, count in counts.items() if count)
    if not stand_ins:
        return f"{patients} patients"
    return f"{patients} patients, and {stand_ins} in their place" if patients else f"{stand_ins} in place of patients"


def _counted(units: Iterable[str]) -> dict[str, int]:
    distinct = set(units)
    patients = len(named_patients(distinct))
    images = sum(unit.startswith(IMAGE) for unit in distinct)
    return {"patients": patients, "blocks": len(distinct) - patients - images, "images": images}


def measurable(predictions: Sequence[Prediction]) -> list[Prediction]:
    """The rows that have both a reference label and an answer, in order."""
    return [row for row in predictions if row.label is not None and row.probability is not None]


def sample_of(predictions: Sequence[Prediction], threshold: float | None) -> Sample:
    """Arrays of the measurable rows.

    Args:
        predictions: Rows of any model.
        threshold: A probability at or above it is called positive; ``None`` takes the table's own decisions.

    Raises:
        PredictionsError: No row can be measured.
    """
    rows = measurable(predictions)
    check_measurable(rows, predictions)
    probability = np.array([row.probability for row in rows], dtype=np.float64)
    decided = np.array([row.decision == Decision.POSITIVE for row in rows])
    return Sample(
        reference=np.array([row.label == POSITIVE for row in rows]),
        probability=probability,
        called=decided if threshold is None else probability >= threshold,
        units=tuple(row.unit for row in rows),
    )


def check_measurable(rows: Sequence[Prediction], predictions: Sequence[Prediction]) -> None:
    """Refuse a table in which nothing can be measured.

    Args:
        rows: Its measurable rows.
        predictions: All its rows.

    Raises:
        PredictionsError: There is no measurable row.
    """
    if not rows:
        labelled = sum(row.label is not None for row in predictions)
        if predictions and not labelled:
            msg = (
                f"nothing to evaluate: none of {len(predictions)} rows has a label; fill in the column 'label', or say "
                "what the table calls it with --column label=THEIRS"
            )
            raise PredictionsError(msg)
        msg = (
            f"nothing to evaluate: of {len(predictions)} rows {labelled} have a label and none of those an answer; "
            "fill in the columns 'label' and 'probability'"
        )
        raise PredictionsError(msg)
