"""Rows of images → patients, one probability a phase."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from duoscan.inference.aggregate import study_probability
from duoscan.terms import POSITIVE, Modality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.policies.policy import BoolArray, FloatArray
    from duoscan.predictions import Prediction


@dataclass(frozen=True)
class PatientScores:
    """N labelled patients, one probability a phase.

    Attributes:
        names: N patients.
        sick: shape (N,); whether the reference says covid.
        xray: shape (N,); P(covid) of the first X-ray study, ``nan`` where none is there or it cannot be read.
        ct: shape (N,); the same of CT.
    """

    names: tuple[str, ...]
    sick: BoolArray
    xray: FloatArray
    ct: FloatArray

    def __len__(self) -> int:
        return len(self.names)

    @property
    def is_paired(self) -> BoolArray:
        """Who has both, shape (N,)."""
        return ~np.isnan(self.xray) & ~np.isnan(self.ct)

    def where(self, chosen: BoolArray) -> PatientScores:
        """The chosen patients, shape (N,)."""
        names = tuple(name for name, keep in zip(self.names, chosen, strict=True) if keep)
        return PatientScores(names, self.sick[chosen], self.xray[chosen], self.ct[chosen])

    def fingerprint(self) -> str:
        """SHA-256 of names, labels and probabilities; what a certificate rests on."""
        return _fingerprint(
            [
                (name, bool(sick), *(None if np.isnan(p) else float(p) for p in (xray, ct)))  # type: ignore[misc]
                for name, sick, xray, ct in zip(self.names, self.sick, self.xray, self.ct, strict=True)
            ]
        )


def patient_scores(predictions: Sequence[Prediction]) -> PatientScores:
    """Images of both modalities → patients; those without any label are left out.

    A patient is sick where any image is labelled covid. Of a patient with several studies of one modality the first
    one listed counts, because triage has one before it decides: the highest of several would promise what a patient
    at the first visit does not get.

    Args:
        predictions: Rows that state their modality; images of one patient carry one ``patient_id``, and studies stand
            in the order in which they were made.
    """
    images: dict[str, dict[Modality, list[Prediction]]] = {}
    sick: dict[str, bool] = {}
    for row in predictions:
        if row.label is None:
            continue
        sick[row.unit] = sick.get(row.unit, False) or row.label is POSITIVE
        of = images.setdefault(row.unit, {})
        if row.modality is not None:
            of.setdefault(row.modality, []).append(row)
    names = sorted(images)

    def scores(modality: Modality) -> FloatArray:
        return np.array([_first_study(modality, images[name].get(modality, [])) for name in names], dtype=np.float64)

    truth = np.array([sick[name] for name in names], dtype=bool)
    return PatientScores(tuple(names), truth, scores(Modality.CXR), scores(Modality.CT))


def several_studies(predictions: Sequence[Prediction], modality: Modality) -> int:
    """How many labelled patients have more than one study of a modality."""
    studies: dict[str, set[str | None]] = {}
    for row in predictions:
        if row.label is not None and row.modality is modality:
            studies.setdefault(row.unit, set()).add(row.study_id)
    return sum(len(of) > 1 for of in studies.values())


def _first_study(modality: Modality, rows: Sequence[Prediction]) -> float:
    """P(covid) of the first study listed; ``nan`` where none is there or none of its images has an answer."""
    answered = [row for row in rows if row.study_id == rows[0].study_id and row.probability is not None]
    return study_probability(modality, answered) if answered else np.nan


def _fingerprint(rows: list[tuple[str, bool, float | None, float | None]]) -> str:
    """SHA-256 of calibration patients (name, sick, X-ray and CT probability); their order does not matter."""
    return hashlib.sha256(json.dumps(sorted(rows, key=lambda row: row[0])).encode()).hexdigest()
