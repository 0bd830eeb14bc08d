"""Answers of invented recipes at an invented source, for figures of a yardstick."""

from __future__ import annotations

import numpy as np

from duoscan.evaluation.yardstick.answers import WHOLE, Part, PartAnswers
from duoscan.evaluation.yardstick.figures import Stated
from duoscan.predictions import Prediction
from duoscan.terms import Finding, Modality

CLASSES = (Finding.COVID, Finding.PNEUMONIA, Finding.NORMAL)
STATED = Stated(CLASSES, "youden", 0.95)
COVID, PNEUMONIA, NORMAL = CLASSES


def row(path: str, label: Finding, probabilities: tuple[float, float, float], patient: str | None = None) -> Prediction:
    shares = dict(zip(CLASSES, probabilities, strict=True))
    return Prediction(path, patient, Modality.CXR, shares[COVID], None, label=label, probabilities=shares)


def answers(seed: int, skill: float, *, prefix: str = "x", rows: int = 90) -> list[Prediction]:
    """Rows of which a model tells the classes as well as ``skill``; two images a patient."""
    rng, labels = np.random.default_rng(seed), [CLASSES[n % 3] for n in range(rows)]
    logits = rng.normal(size=(rows, 3)) + skill * np.array([[label is one for one in CLASSES] for label in labels])
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return [
        row(f"{prefix}{n:03d}", label, tuple(map(float, shares[n])), f"p{n // 6}-{n % 3}")  # type: ignore[arg-type]
        for n, label in enumerate(labels)
    ]


def made(recipe: str, seed: int, skill: float, *, control: str = WHOLE, fold: int = 0, folds: int = 0) -> PartAnswers:
    number = sum(map(ord, recipe)) + seed
    own = answers(number + 50 * fold, skill, prefix=f"f{fold}-")
    return PartAnswers(Part(recipe, "far", fold, folds, seed), control, answers(number + 1, skill, prefix="v"), own)
