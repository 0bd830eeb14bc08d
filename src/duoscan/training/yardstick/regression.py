"""The quick model of a yardstick: a penalised multinomial logistic regression on features that are given.

It learns as the recipe does: images weigh as the recipe draws them, and each is told apart from the classes that the
recipe compares it with, so that contrasts within a site can be tried in minutes. The strength of the penalty is chosen
on the validation part of the training sources.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from duoscan.evaluation.delong import delong_auroc
from duoscan.evaluation.yardstick.questions import asked, can_be_asked, questions_of
from duoscan.inference.calibrator import softmax
from duoscan.inference.predictor import unanswered
from duoscan.reasons import Reason, ReasonCode
from duoscan.terms import POSITIVE, Split
from duoscan.training.data import TrainingSet, compared_classes, sampling_weights, usable_records

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from duoscan.manifest.records import ImageRecord, Manifest
    from duoscan.predictions import Prediction
    from duoscan.training.recipe import Recipe

    Features = Callable[[Sequence[ImageRecord]], NDArray[np.float32]]
    Floats = NDArray[np.float64]

_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)  # of the loss against the penalty; smaller is smoother
_MOST_STEPS = 300
_DONE = 1e-6


@dataclass(frozen=True)
class Learned:
    """A fitted regression.

    Attributes:
        mean: (D,), of the features it learned from.
        scale: (D,), their standard deviation.
        weights: (K, D).
        bias: (K,).
        recipe: Whose K classes.
    """

    mean: Floats
    scale: Floats
    weights: Floats
    bias: Floats
    recipe: Recipe

    def answers(self, records: Sequence[ImageRecord], features: NDArray[np.float32]) -> list[Prediction]:
        """One row a record, in order, labelled as the recipe's classes.

        Args:
            records: N records.
            features: (N, D); a record whose features are ``nan`` shows no lungs and has no answer.
        """
        logits = ((features - self.mean) / self.scale) @ self.weights.T + self.bias
        shares = softmax(logits.astype(np.float32))
        found = []
        for record, row in zip(records, shares, strict=True):
            answer = replace(unanswered(record), label=self.recipe.class_of(record.label))
            if np.isnan(row).any():
                answer = replace(answer, reason=Reason(ReasonCode.NO_LUNG, "no lungs were found"))
            else:
                by_class = dict(zip(self.recipe.classes, map(float, row), strict=True))
                answer = replace(answer, decision=None, probability=by_class[POSITIVE], probabilities=by_class)
            found.append(answer)
        return found


def learn(learned: Manifest, recipe: Recipe, features: Features) -> tuple[Learned, list[Prediction]]:
    """Fit on the training part, choose on validation.

    Args:
        learned: Rows of the training sources, in the splits train and val.
        recipe: Whose classes, contrasts and balance.
        features: Records → (N, D).

    Returns:
        The regression, and what it says of the validation part.

    Raises:
        ManifestError: A class has no image in a part.
    """
    pairs = usable_records(learned, recipe, Split.TRAIN)
    val = [record for record, _ in usable_records(learned, recipe, Split.VAL)]
    inputs, of_val = features([record for record, _ in pairs]), features(val)
    known = np.asarray(np.isfinite(inputs).all(axis=1))
    pairs = [pair for pair, is_known in zip(pairs, known, strict=True) if is_known]
    targets = np.array([recipe.classes.index(target) for _, target in pairs])
    records = tuple(record for record, _ in pairs)
    compared = compared_classes(pairs, recipe)
    shown = TrainingSet(np.empty((len(pairs), 0, 0), np.float16), targets, records, compared)
    drawn = sampling_weights(shown, recipe.data.balance) * len(pairs)
    tried = []
    for strength in _STRENGTHS:
        model = fit(inputs[known], targets, compared, drawn, strength, recipe)
        tried.append((model, model.answers(val, of_val)))
    return max(tried, key=lambda one: _skill(one[1], recipe))


def fit(
    inputs: NDArray[np.float32],
    targets: NDArray[np.int64],
    compared: NDArray[np.bool_],
    drawn: Floats,
    strength: float,
    recipe: Recipe,
) -> Learned:
    """The weights that make strength · Σ drawn · cross-entropy + |weights|² / 2 least, over standardised features.

    Args:
        inputs: (N, D).
        targets: (N,), index of the class, each among its image's compared classes.
        compared: (N, K); classes whose logits count for an image.
        drawn: (N,); how often each image is seen.
        strength: C, as in scikit-learn, whose objective this is where all classes are compared.
        recipe: Whose K classes.
    """
    mean, scale = inputs.mean(axis=0, dtype=np.float64), inputs.std(axis=0, dtype=np.float64)
    scale[scale == 0] = 1
    rows = torch.from_numpy((inputs - mean) / scale)
    weights = torch.zeros(len(recipe.classes), inputs.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(len(recipe.classes), dtype=torch.float64, requires_grad=True)
    wanted, counted, hidden = torch.from_numpy(targets), torch.from_numpy(drawn), torch.from_numpy(~compared)
    search = torch.optim.LBFGS(
        [weights, bias],
        max_iter=_MOST_STEPS,
        tolerance_grad=_DONE,
        tolerance_change=_DONE**2,
        line_search_fn="strong_wolfe",
    )

    def loss() -> float:
        search.zero_grad()
        logits = functional.linear(rows, weights, bias).masked_fill(hidden, -torch.inf)
        misfit = counted @ functional.cross_entropy(logits, wanted, reduction="none")
        # Over N, so that the steps are of one size whatever the number of images.
        total = (strength * misfit + weights.square().sum() / 2) / (strength * len(rows))
        total.backward()  # type: ignore[no-untyped-call]
        return float(total.detach())

    search.step(loss)  # type: ignore[no-untyped-call]
    return Learned(mean, scale, weights.detach().numpy(), bias.detach().numpy(), recipe)


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
