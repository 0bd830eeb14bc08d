"""How well the label can be told from characteristics alone, on patients the predictor has not seen.

Every image is scored by a predictor that was fitted without any image of its patient (five folds, grouped by
patient). Two things about such figures are easy to misread:

- Where there is nothing to tell and patients are few, the AUROC falls below 0.5 more often than above it, because
  a fold that is held out takes its own chance surplus of one class away from the training part. A value below 0.5
  means "nothing", never "the opposite".
- The interval resamples the patients that are scored, not those that the predictor was fitted on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.evaluation.intervals import DEFAULT_RESAMPLES, Estimate, bootstrap, unit_index
from duoscan.evaluation.metrics import Ranking
from duoscan.evaluation.paired_tests import holm
from duoscan.evaluation.sample_size import auroc_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from duoscan.evaluation.sample import BoolArray, FloatArray

CHANCE = 0.5
FOLDS = 5
MIN_PATIENTS = 5
"""Fewest patients of either class: one for each fold."""

_LEAF_SHARE = 0.02
_LEAF_PATIENTS = 3
_EXACT_PATIENTS = 25


@dataclass(frozen=True)
class Target:
    """What is to be told, of N images.

    Attributes:
        positive: shape (N,); which images are labelled covid.
        units: N keys of patients.
        seed: Of the folds, the predictors and the resamples.
    """

    positive: BoolArray
    units: tuple[str, ...]
    seed: int = 0

    def patients(self) -> tuple[int, int]:
        """How many patients have images labelled covid, and images that are not; one with both counts in both."""
        sides = [
            {unit for unit, is_positive in zip(self.units, self.positive, strict=True) if is_positive == side}
            for side in (True, False)
        ]
        return len(sides[0]), len(sides[1])


@dataclass(frozen=True)
class Predicted:
    """How well something tells the label.

    Attributes:
        title: What was given to the predictor.
        auroc: Out of fold, with its interval over patients.
        p: One-sided, from patients' mean scores (Mann and Whitney).
        p_holm: The same after Holm's correction within its family.
        scores: shape (N,); out of fold, larger means more likely covid.
    """

    title: str
    auroc: Estimate
    p: float
    p_holm: float
    scores: FloatArray

    def is_above(self, margin: float, alpha: float) -> bool:
        """Whether the interval lies above ``margin`` and the corrected p-value is below ``alpha``.

        Where no resample differs from a perfect 1 there is no interval, and the p-value alone decides.
        """
        low = self.auroc.value if self.auroc.low is None else self.auroc.low
        return bool(low > margin) and self.p_holm < alpha

    def to_json(self) -> dict[str, Any]:
        """As in files."""
        return {"title": self.title, "auroc": self.auroc.to_json(), "p": self.p, "p_holm": self.p_holm}


class GroupAuroc:
    """AUROC of fixed scores, as metric ``auroc``.

    Args:
        positive: shape (N,); which rows are positive.
        scores: shape (N,).
    """

    def __init__(self, positive: BoolArray, scores: FloatArray) -> None:
        self._ranking = Ranking(positive, scores)

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        """AUROC for weights of shape (R, N), shape (R,)."""
        return {"auroc": self._ranking.auroc_and_average_precision(weights)[0]}

    def denominators(self) -> dict[str, BoolArray]:
        """AUROC is no proportion of rows."""
        return {}


def predict_each(features: Mapping[str, FloatArray], target: Target) -> list[Predicted]:
    """How well each single characteristic tells the label, by a tree of depth 3; best first.

    A tree, and not the characteristic itself as score, because either direction and a middle range may tell the
    label, and because choosing a direction by the same images would flatter. All are one family of tests.

    Args:
        features: Title → shape (N, columns).
        target: At least :data:`MIN_PATIENTS` patients of each class.
    """
    from sklearn.tree import DecisionTreeClassifier

    def tree(share: float) -> Any:
        return DecisionTreeClassifier(max_depth=3, min_weight_fraction_leaf=share, random_state=target.seed)

    return sorted(_family(features, target, tree), key=lambda found: (-found.auroc.value, found.title))


def predict_together(groups: Mapping[str, Sequence[FloatArray]], target: Target) -> list[Predicted]:
    """How well groups of characteristics tell the label together, by gradient boosting of small trees.

    Args:
        groups: Title → the features of the group, each of shape (N, columns). They are one family of tests.
        target: At least :data:`MIN_PATIENTS` patients of each class.
    """
    from sklearn.ensemble import GradientBoostingClassifier

    def boosting(share: float) -> Any:
        return GradientBoostingClassifier(
            n_estimators=30, learning_rate=0.2, max_depth=2, min_weight_fraction_leaf=share, random_state=target.seed
        )

    return _family({title: np.hstack(parts) for title, parts in groups.items()}, target, boosting)


def auroc_among(chosen: BoolArray, scores: FloatArray, target: Target) -> Estimate:
    """AUROC of out-of-fold scores among some of the images, e.g. of one source.

    Args:
        chosen: shape (N,); which images.
        scores: shape (N,).
        target: Of all images.
    """
    units = [unit for unit, is_chosen in zip(target.units, chosen, strict=True) if is_chosen]
    return bootstrap(GroupAuroc(target.positive[chosen], scores[chosen]), units, seed=target.seed)["auroc"]


def _family(features: Mapping[str, FloatArray], target: Target, predictor: Callable[[float], Any]) -> list[Predicted]:
    folds = _folds(target)
    scores = {title: _out_of_fold(columns, target, folds, predictor) for title, columns in features.items()}
    p_values = {title: _patient_p(score, target) for title, score in scores.items()}
    corrected = holm(p_values)
    found = []
    for title, score in scores.items():
        metric = GroupAuroc(target.positive, score)
        auroc = bootstrap(metric, target.units, resamples=DEFAULT_RESAMPLES, seed=target.seed)["auroc"]
        found.append(Predicted(title, auroc, p_values[title], corrected[title], score))
    return found


def _folds(target: Target) -> list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Training and test rows of each fold; no patient is in both."""
    from sklearn.model_selection import StratifiedGroupKFold

    index, _ = unit_index(target.units)
    parts = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=target.seed)
    return list(parts.split(index, target.positive, index))


def _out_of_fold(
    columns: FloatArray,
    target: Target,
    folds: Sequence[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]],
    predictor: Callable[[float], Any],
) -> FloatArray:
    """Scores (N,), each by a predictor that saw none of the patient's images; a patient weighs 1 however many."""
    index, _ = unit_index(target.units)
    weight = 1.0 / np.bincount(index)[index]
    scores = np.zeros(len(index))
    for train, test in folds:
        labels = target.positive[train]
        if labels.all() or not labels.any():
            continue
        patients = len(np.unique(index[train]))
        share = min(0.5, max(_LEAF_SHARE, _LEAF_PATIENTS / patients))
        model = predictor(share).fit(columns[train], labels, sample_weight=weight[train])
        # A fold that trained on more positives scores all its rows higher; that is no knowledge of them.
        base = float(np.average(labels, weights=weight[train]))
        scores[test] = model.predict_proba(columns[test])[:, 1] - base
    return scores


def smallest_seen(sick: int, well: int, alpha: float, power: float = 0.8) -> float:
    """AUROC from which Mann and Whitney's test finds a score in ``power`` of all samples; 1 where hardly ever.

    For scores that are known beforehand; of scores that are learned out of fold less is found.

    Args:
        sick: Patients with covid.
        well: Patients without.
        alpha: One-sided level.
        power: From 0 to 1.
    """
    by_chance = NormalDist().inv_cdf(1.0 - alpha) * math.sqrt((sick + well + 1) / (12 * sick * well))
    beyond = NormalDist().inv_cdf(power)
    areas = (float(area) for area in np.linspace(CHANCE, 1.0, 501))
    return next((one for one in areas if one - CHANCE >= by_chance + beyond * auroc_error(one, sick, well)), 1.0)


def _patient_p(scores: FloatArray, target: Target) -> float:
    """Whether patients with covid score higher; their mean scores are compared, so images are no trials."""
    from scipy.stats import mannwhitneyu

    sides = []
    for side in (True, False):
        rows = target.positive == side
        index, count = unit_index([unit for unit, chosen in zip(target.units, rows, strict=True) if chosen])
        sides.append(np.bincount(index, scores[rows], count) / np.bincount(index, minlength=count))
    # The exact distribution knows no ties, which makes it a little strict; the normal one is off for so few patients.
    method = "exact" if max(map(len, sides)) <= _EXACT_PATIENTS else "asymptotic"
    p = float(mannwhitneyu(*sides, alternative="greater", method=method).pvalue)
    return 1.0 if math.isnan(p) else p
