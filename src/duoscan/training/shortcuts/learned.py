"""What can be told from features: logistic regression, chosen on validation, and what it scores on other rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from duoscan.evaluation.metrics import Ranking
from duoscan.terms import POSITIVE, Split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.evaluation.sample import BoolArray, FloatArray
    from duoscan.manifest.records import ImageRecord
    from duoscan.terms import Finding

Features = NDArray[np.float32]

_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)  # C of the regression; smaller is smoother
FOLDS = 5


class LearnedAuroc:
    """AUROC alone."""

    def __init__(self, reference: BoolArray, score: FloatArray) -> None:
        self._ranking = Ranking(reference, score)

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        """AUROC for weights of shape (R, N)."""
        return {"auroc": self._ranking.auroc_and_average_precision(weights)[0]}

    def denominators(self) -> dict[str, BoolArray]:
        """AUROC is no proportion of rows."""
        return {}


def reference_of(records: Sequence[ImageRecord]) -> BoolArray:
    """Which records are covid."""
    return np.array([record.label is POSITIVE for record in records])


def dealt_anew(records: Sequence[ImageRecord], seed: int) -> tuple[ImageRecord, ...]:
    """The records with labels dealt out anew among the patients of each split; a patient's images get one label."""
    rng = np.random.default_rng(seed)
    dealt: dict[tuple[Split | None, str], Finding | None] = {}
    for split in dict.fromkeys(record.split for record in records):
        part = [record for record in records if record.split is split]
        labels = {record.unit: record.label for record in part}
        labels |= {record.unit: record.label for record in part if record.label is POSITIVE}  # one covid image suffices
        known = list(labels.values())
        places = rng.permutation(len(known))
        dealt |= {(split, unit): known[place] for unit, place in zip(labels, places, strict=True)}
    return tuple(record.model_copy(update={"label": dealt[record.split, record.unit]}) for record in records)


def learn_by_split(features: Features, records: Sequence[ImageRecord], reference: BoolArray) -> FloatArray:
    """Fit on the training part, choose the strength on validation, score the test part.

    Args:
        features: (N, D).
        records: N records with splits.
        reference: (N,); what is learned, which may be dealt out anew.

    Returns:
        Scores of the test rows, in order.
    """
    part = {split: np.array([record.split is split for record in records]) for split in Split}
    train, val, test = part[Split.TRAIN], part[Split.VAL], part[Split.TEST]
    models = [_fit(features[train], reference[train], strength) for strength in _STRENGTHS]
    skill = [_auroc(reference[val], _score(model, features[val])) for model in models]
    return _score(models[int(np.argmax(skill))], features[test])


def learn_by_folds(
    features: Features, reference: BoolArray, groups: Sequence[str], seed: int, strength: float = 1e-2
) -> FloatArray:
    """Out-of-fold scores of all rows; rows of one group are always in one fold.

    Args:
        features: (N, D).
        reference: (N,).
        groups: N keys; one a row gives the split by image.
        seed: Of the folds.
        strength: Of the regression; fixed, since no part is left to choose it on.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    scores = np.zeros(len(reference))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for train, test in folds.split(features, reference, np.asarray(groups)):
        scores[test] = _score(_fit(features[train], reference[train], strength), features[test])
    return scores


def learn_across(train: Features, reference: BoolArray, test: Features, strength: float = 1e-2) -> FloatArray:
    """Fit on one set, score another."""
    return _score(_fit(train, reference, strength), test)


def _fit(features: Features, reference: BoolArray, strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000, class_weight="balanced"))
    return model.fit(features, reference)


def _score(model: Any, features: Features) -> FloatArray:
    return np.asarray(model.decision_function(features), np.float64)


def _auroc(reference: BoolArray, score: FloatArray) -> float:
    return float(LearnedAuroc(reference, score)(np.ones((1, len(score))))["auroc"][0])
