"""The quick model of a yardstick: a penalised multinomial logistic regression on features that are given.

Within a class every source weighs alike, as the classes do among each other, so that a large source does not become the
class. The strength of the penalty is chosen on the validation part of the training sources.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.evaluation.delong import delong_auroc
from duoscan.evaluation.yardstick.questions import asked, can_be_asked, questions_of
from duoscan.inference.predictor import unanswered
from duoscan.reasons import Reason, ReasonCode
from duoscan.terms import POSITIVE, Split
from duoscan.training.data import usable_records

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from duoscan.manifest.records import ImageRecord, Manifest
    from duoscan.predictions import Prediction
    from duoscan.terms import Finding
    from duoscan.training.recipe import Recipe

    Features = Callable[[Sequence[ImageRecord]], NDArray[np.float32]]

_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)  # C of the regression; smaller is smoother
_MOST_STEPS = 2000


@dataclass(frozen=True)
class Learned:
    """A fitted regression.

    Attributes:
        model: Of scikit-learn.
        recipe: Whose classes.
        validation: What it says of the validation part.
    """

    model: Any
    recipe: Recipe
    validation: list[Prediction]

    def answers(self, records: Sequence[ImageRecord], features: NDArray[np.float32]) -> list[Prediction]:
        """Answers with a probability of every class, labelled as the recipe's classes; ``features`` are (N, D)."""
        return _answers(self.model, records, self.recipe, features)


def learn(learned: Manifest, recipe: Recipe, features: Features) -> Learned:
    """Fit on the training part, choose on validation.

    Args:
        learned: Rows of the training sources, in the splits train and val.
        recipe: Whose classes.
        features: Records → (N, D).

    Raises:
        ManifestError: A class has no image in a part.
    """
    pairs = usable_records(learned, recipe, Split.TRAIN)
    val = [record for record, _ in usable_records(learned, recipe, Split.VAL)]
    inputs, of_val = features([record for record, _ in pairs]), features(val)
    known = np.asarray(np.isfinite(inputs).all(axis=1))
    pairs = [pair for pair, is_known in zip(pairs, known, strict=True) if is_known]
    targets = np.array([recipe.classes.index(target) for _, target in pairs])
    weights = _weights([(record.source, target) for record, target in pairs])
    tried = []
    for strength in _STRENGTHS:
        model = _fit(inputs[known], targets, weights, strength)
        tried.append(Learned(model, recipe, _answers(model, val, recipe, of_val)))
    return max(tried, key=lambda one: _skill(one.validation, recipe))


def _weights(cells: Sequence[tuple[str, Finding]]) -> NDArray[np.float64]:
    """Of each row, with mean 1, by its source and class."""
    sizes = Counter(cells)
    sources = Counter(target for _, target in sizes)
    weights = np.array([1 / (sources[target] * sizes[source, target]) for source, target in cells])
    return np.asarray(weights / weights.mean())


def _fit(inputs: NDArray[np.float32], targets: NDArray[np.int64], weights: NDArray[np.float64], strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=_MOST_STEPS))
    return model.fit(inputs, targets, logisticregression__sample_weight=weights)


def _answers(
    model: Any, records: Sequence[ImageRecord], recipe: Recipe, features: NDArray[np.float32]
) -> list[Prediction]:
    """One row a record, in order; one whose features are ``nan`` shows no lungs and has no answer."""
    known = np.asarray(np.isfinite(features).all(axis=1))
    rows = iter(model.predict_proba(features[known]) if known.any() else ())
    found = []
    for record, is_known in zip(records, known, strict=True):
        answer = replace(unanswered(record), label=recipe.class_of(record.label))
        if is_known:
            shares = dict(zip(recipe.classes, map(float, next(rows)), strict=True))
            answer = replace(answer, decision=None, probability=shares[POSITIVE], probabilities=shares)
        else:
            answer = replace(answer, reason=Reason(ReasonCode.NO_LUNG, "no lungs were found"))
        found.append(answer)
    return found


def _skill(rows: Sequence[Prediction], recipe: Recipe) -> float:
    """Mean AUROC over the questions that the validation part can be asked."""
    areas = []
    for question in questions_of(recipe.classes):
        if can_be_asked(question, rows):
            own = asked(question, rows)
            reference = np.array([one.label is POSITIVE for one in own])
            score = np.array([one.probability for one in own], dtype=np.float64)
            areas.append(delong_auroc(reference, score, [one.unit for one in own]).value)
    return float(np.mean(areas)) if areas else 0.0
