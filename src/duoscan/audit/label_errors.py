"""Audit: which reference labels look wrong, image by image, to a model that did not learn from them.

Confident learning (Northcutt, Jiang and Chuang, Journal of Artificial Intelligence Research 2021) as cleanlab does it:
from the images that the model gives the other class with at least the confidence usual there, it estimates how many
labels of each class are wrong, and names as many, those farthest over. A threshold a class, so it needs no calibration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.audit.result import AuditResult, AuditTable, Level, not_run
from duoscan.errors import MissingExtraError
from duoscan.evaluation.sample import measurable
from duoscan.terms import POSITIVE, Split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.predictions import Prediction

NAME, TITLE = "label-errors", "Reference labels doubted by the model"
FEWEST = 10
"""Images of each class; what is usual among fewer is not known."""

MOST_DOUBTED = 0.05
"""Share of the labels beyond which figures move with them."""


@dataclass(frozen=True)
class Doubt:
    """A label that looks wrong.

    Attributes:
        row: The image.
        confidence: The model's probability of the stated label; the lower, the more doubtful.
    """

    row: Prediction
    confidence: float

    @property
    def stated(self) -> str:
        """The label, as the figures count it."""
        return POSITIVE if self.row.label is POSITIVE else f"not {POSITIVE}"

    def cells(self) -> tuple[str, ...]:
        """A row of the table."""
        row = self.row
        return (row.path, row.patient_id or "–", row.source or "–", str(row.label), f"{row.probability:.3f}")

    def to_json(self) -> dict[str, Any]:
        """As in ``audit.json``."""
        row = self.row
        return {
            "path": row.path,
            "patient_id": row.patient_id,
            "source": row.source,
            "split": row.split,
            "label": row.label,
            "probability": row.probability,
            "confidence": self.confidence,
        }


def audit_labels(rows: Sequence[Prediction]) -> AuditResult:
    """List the labels that the model doubts, the most doubtful first.

    ``warn`` where they are more than 5 % of all, ``pass`` where fewer, ``not run`` where a class has fewer than 10
    images. It never fails a number: what the model doubts may be its own error, which only a look at the image tells.

    Args:
        rows: Answered rows of one modality; those of the training part are left out, since a model believes what it
            has learned.

    Raises:
        MissingExtraError: cleanlab is not installed.
    """
    kept = [row for row in measurable(rows) if row.split is not Split.TRAIN]
    covid = sum(row.label is POSITIVE for row in kept)
    if min(covid, len(kept) - covid) < FEWEST:
        found = f"{covid} covid images and {len(kept) - covid} others were answered"
        return not_run(NAME, TITLE, f"{found}; what is usual in a class needs {FEWEST} of either")
    doubts = find_doubts(kept)
    share = len(doubts) / len(kept)
    said = f"{len(doubts)} of {len(kept)} labels ({share:.1%}) are doubted by the model"
    advice = "look at these images; never drop them unseen, since the model's own errors are among them"
    is_many = share > MOST_DOUBTED
    reason = f"{said}: {advice}" if doubts else said
    columns = ("image", "patient", "source", "label", "P(covid)")
    return AuditResult(
        NAME,
        TITLE,
        Level.WARN if is_many else Level.PASS,
        (reason,),
        {"images": len(kept), "doubted": [doubt.to_json() for doubt in doubts]},
        (AuditTable("Labels to look at, the most doubtful first", columns, tuple(one.cells() for one in doubts)),)
        if doubts
        else (),
    )


def find_doubts(rows: Sequence[Prediction]) -> list[Doubt]:
    """The labels that confident learning doubts, the most doubtful first.

    Args:
        rows: With label and probability, of both classes.

    Raises:
        MissingExtraError: cleanlab is not installed.
    """
    try:
        from cleanlab.filter import find_label_issues
    except ImportError as error:
        raise MissingExtraError("labels", "looking for wrong labels") from error
    stated = np.array([int(row.label is POSITIVE) for row in rows])  # (N,)
    covid = np.array([row.probability for row in rows], dtype=np.float64)  # (N,)
    places = find_label_issues(
        stated,
        np.stack([1.0 - covid, covid], axis=1),  # (N, 2)
        return_indices_ranked_by="self_confidence",
        filter_by="prune_by_noise_rate",
        n_jobs=1,
    )
    confidence = np.where(stated == 1, covid, 1.0 - covid)
    return [Doubt(rows[place], float(confidence[place])) for place in places]
