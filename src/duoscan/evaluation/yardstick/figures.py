"""Figures at what was left out: of each recipe, source, question, view and control.

Seeds are averaged: the AUROC's interval is that of the mean over seeds and says how far patients would move it, the
spread beside it how far another training would. Other figures are means over seeds, and so are the ends of their
intervals, which is no narrower than the interval of the mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.evaluation.binary import measure_binary
from duoscan.evaluation.calibration import measure_calibration
from duoscan.evaluation.delong import CHANCE, delong_auroc
from duoscan.evaluation.intervals import Estimate, bootstrap
from duoscan.evaluation.retained import LEAST_SKILL, Retained
from duoscan.evaluation.sample import sample_of
from duoscan.evaluation.thresholds import sensitivity_threshold, youden_threshold
from duoscan.evaluation.yardstick.answers import WHOLE
from duoscan.evaluation.yardstick.questions import are_enough, asked, can_be_asked, decided, questions_of
from duoscan.terms import POSITIVE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duoscan.evaluation.sample import BoolArray, FloatArray
    from duoscan.evaluation.yardstick.answers import PartAnswers
    from duoscan.evaluation.yardstick.questions import Question
    from duoscan.predictions import Prediction
    from duoscan.terms import Finding

ALL_VIEWS = "all"
RESAMPLES = 400
"""Of what needs them beside the AUROC; a table has hundreds of figures."""

MOST_RETAINED = 0.3
"""Of the skill, that a negative control may keep."""

Cell = tuple[str, str, str]
"""Recipe, what is left out, control."""


@dataclass(frozen=True)
class Stated:
    """What a figure must know of a recipe.

    Attributes:
        classes: Of its model.
        operating: ``argmax``, ``youden`` or ``sensitivity``: how its threshold is chosen on validation.
        sensitivity: What the last aims at.
    """

    classes: tuple[Finding, ...]
    operating: str
    sensitivity: float

    def threshold(self, rows: Sequence[Prediction]) -> float:
        """The threshold that validation rows of a question give."""
        sample = sample_of(rows, None)
        if self.operating == "youden":
            return youden_threshold(sample.reference, sample.probability)
        if self.operating == "sensitivity":
            return sensitivity_threshold(sample.reference, sample.probability, self.sensitivity, sample.units)
        return 1 / 2


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        recipe: Its name.
        left_out: The source, and into how many folds its patients were cut.
        folds: How many; 0 where the whole source was left out.
        question: What was asked.
        view: ``AP`` or ``PA``; :data:`ALL_VIEWS` for all rows.
        control: One of :data:`duoscan.evaluation.yardstick.answers.CONTROLS`; empty for the recipe itself.
        seeds: Of the trainings that are averaged.
        auroc: Mean over seeds.
        by_seed: AUROC of each seed.
        positive: Images on the positive side.
        negative: Images on the other.
        unanswered: Images without an answer, left out of the figures.
        sensitivity: At the threshold that validation gave; ``None`` where it could give none.
        specificity: Likewise.
        ece: Expected calibration error of the question's score.
        ece_by_chance: What a perfectly calibrated model would show.
        slope: Of calibration.
        retained: Share of the recipe's skill that a control keeps; ``None`` where the recipe has no skill.
    """

    recipe: str
    left_out: str
    folds: int
    question: Question
    view: str
    control: str
    seeds: tuple[int, ...]
    auroc: Estimate
    by_seed: tuple[float, ...]
    positive: int
    negative: int
    unanswered: int
    sensitivity: Estimate | None = None
    specificity: Estimate | None = None
    ece: Estimate | None = None
    ece_by_chance: float | None = None
    slope: Estimate | None = None
    retained: Estimate | None = None

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds; ``None`` for one."""
        return float(np.std(self.by_seed, ddof=1)) if len(self.by_seed) > 1 else None

    @property
    def is_at_chance(self) -> bool:
        """Of a control: whether its interval covers 0.5, or it keeps less than :data:`MOST_RETAINED` of the skill."""
        low, high = self.auroc.low, self.auroc.high
        if low is not None and high is not None and low <= CHANCE <= high:
            return True
        return self.retained is not None and self.retained.value < MOST_RETAINED

    def to_json(self) -> dict[str, Any]:
        """As in files; what is undefined is ``null``."""
        estimates = ("sensitivity", "specificity", "ece", "slope", "retained")
        stated: dict[str, Any] = {name: getattr(self, name) for name in estimates}
        return {
            "recipe": self.recipe,
            "left_out": self.left_out,
            "question": self.question.value,
            "view": self.view,
            "control": self.control or None,
            "seeds": list(self.seeds),
            "auroc": self.auroc.to_json(),
            "auroc_by_seed": list(self.by_seed),
            "spread": self.spread,
            "positive_images": self.positive,
            "negative_images": self.negative,
            "unanswered_images": self.unanswered,
            **{name: None if one is None else one.to_json() for name, one in stated.items()},
            "ece_by_chance": self.ece_by_chance,
            "at_chance": self.is_at_chance if self.control else None,
        }


@dataclass(frozen=True)
class Scored:
    """Rows of one question, the same ones for every seed.

    Attributes:
        seeds: K seeds.
        rows: K lists of N rows, in the order of their paths.
        unanswered: Images that some seed does not answer.
    """

    seeds: tuple[int, ...]
    rows: tuple[list[Prediction], ...]
    unanswered: int

    @property
    def reference(self) -> BoolArray:
        """Which rows are positive, shape (N,)."""
        return np.array([row.label is POSITIVE for row in self.rows[0]], dtype=np.bool_)

    @property
    def scores(self) -> FloatArray:
        """P(positive) by seed, shape (K, N)."""
        return np.array([[row.probability for row in rows] for rows in self.rows], dtype=np.float64)

    @property
    def units(self) -> list[str]:
        """Patients of the N rows."""
        return [row.unit for row in self.rows[0]]

    def only(self, paths: set[str]) -> Scored:
        """The rows of some images."""
        kept = tuple([row for row in rows if row.path in paths] for rows in self.rows)
        return Scored(self.seeds, kept, self.unanswered)


def gathered(answers: Sequence[PartAnswers]) -> dict[Cell, dict[int, list[PartAnswers]]]:
    """Parts by cell and seed; a seed of which a fold is missing is left out."""
    found: dict[Cell, dict[int, list[PartAnswers]]] = {}
    for one in answers:
        cell = one.part.recipe, one.part.left_out, one.control
        found.setdefault(cell, {}).setdefault(one.part.seed, []).append(one)
    whole = {
        cell: {seed: parts for seed, parts in seeds.items() if len(parts) == max(1, parts[0].part.folds)}
        for cell, seeds in found.items()
    }
    return {cell: seeds for cell, seeds in whole.items() if seeds}


def scored(seeds: Mapping[int, Sequence[PartAnswers]], question: Question, stated: Stated) -> Scored | None:
    """The rows of a question that every seed answers, with decisions where validation gave a threshold.

    Returns:
        ``None`` where too few are there to ask the question.
    """
    by_seed: list[dict[str, Prediction]] = []
    everything: set[str] = set()
    for _, parts in sorted(seeds.items()):
        own: dict[str, Prediction] = {}
        for one in parts:
            rows = asked(question, one.left_out)
            if can_be_asked(question, [row for row in one.validation if row.is_answered]):
                rows = decided(rows, stated.threshold(asked(question, one.validation)))
            own |= {row.path: row for row in rows}
            sides = frozenset.union(*question.sides)
            everything |= {row.path for row in one.left_out if row.label in sides}
        by_seed.append(own)
    shared = sorted(set.intersection(*map(set, by_seed)))
    aligned = tuple([own[path] for path in shared] for own in by_seed)
    found = Scored(tuple(sorted(seeds)), aligned, len(everything) - len(shared))
    return found if _is_enough(found) else None


def measure(
    answers: Sequence[PartAnswers], recipes: Mapping[str, Stated], views: Mapping[str, str], *, seed: int = 0
) -> list[Figure]:
    """Every figure that the answers give.

    Args:
        answers: Tables of finished parts.
        recipes: What is known of each.
        views: Path → ``AP`` or ``PA``; images that are not in it belong to no view.
        seed: Of resamples.
    """
    cells = gathered(answers)
    figures = []
    for (recipe, left_out, control), seeds in cells.items():
        whole_seeds = cells.get((recipe, left_out, WHOLE), {})
        for question in questions_of(recipes[recipe].classes):
            found = scored(seeds, question, recipes[recipe])
            whole = scored(whole_seeds, question, recipes[recipe]) if control and whole_seeds else None
            if found is None:
                continue
            for view, rows in _by_view(found, views):
                figure = Figure(
                    recipe,
                    left_out,
                    next(iter(seeds.values()))[0].part.folds,
                    question,
                    view,
                    control,
                    rows.seeds,
                    delong_auroc(rows.reference, rows.scores, rows.units),
                    tuple(delong_auroc(rows.reference, score, rows.units).value for score in rows.scores),
                    int(rows.reference.sum()),
                    int((~rows.reference).sum()),
                    found.unanswered if view == ALL_VIEWS else 0,
                )
                more = _of_control(rows, whole, seed) if control else _of_recipe(rows, seed)
                figures.append(replace(figure, **more))
    return figures


def _by_view(found: Scored, views: Mapping[str, str]) -> list[tuple[str, Scored]]:
    parts = [(ALL_VIEWS, found)]
    for view in sorted(set(views.values())):
        rows = found.only({path for path, own in views.items() if own == view})
        if _is_enough(rows):
            parts.append((view, rows))
    return parts


def _is_enough(found: Scored) -> bool:
    return are_enough([row.unit for row in found.rows[0] if row.label is POSITIVE]) and are_enough(
        [row.unit for row in found.rows[0] if row.label is not POSITIVE]
    )


def _of_recipe(found: Scored, seed: int) -> dict[str, Any]:
    """Threshold transfer and calibration, averaged over seeds."""
    more: dict[str, Any] = {}
    samples = [sample_of(rows, None) for rows in found.rows]
    if all(row.decision is not None for rows in found.rows for row in rows):
        binary = [measure_binary(one, resamples=RESAMPLES, seed=seed) for one in samples]
        more |= {name: averaged([one[name] for one in binary]) for name in ("sensitivity", "specificity")}
    calibrations = [measure_calibration(one, resamples=RESAMPLES, seed=seed) for one in samples]
    more |= {name: averaged([one.metrics[name] for one in calibrations]) for name in ("ece", "slope")}
    return more | {"ece_by_chance": float(np.mean([one.ece_by_chance for one in calibrations]))}


def _of_control(found: Scored, whole: Scored | None, seed: int) -> dict[str, Any]:
    """Retained skill, against the recipe's model of the same seed on the same images."""
    if whole is None or not set(found.seeds) & set(whole.seeds):
        return {}
    shared = {row.path for row in found.rows[0]} & {row.path for row in whole.rows[0]}
    control, recipe = found.only(shared), whole.only(shared)
    place = next(one for one in control.seeds if one in recipe.seeds)
    probe = control.scores[control.seeds.index(place)]
    score = recipe.scores[recipe.seeds.index(place)]
    if delong_auroc(recipe.reference, score, recipe.units).value < LEAST_SKILL:
        return {}
    retained = Retained(recipe.reference, probe, score)
    return {"retained": bootstrap(retained, recipe.units, resamples=RESAMPLES, seed=seed)["retained"]}


def averaged(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of estimates of the same rows; its ends are the means of their ends."""
    if len(estimates) == 1:
        return estimates[0]
    lows, highs = [one.low for one in estimates], [one.high for one in estimates]
    return replace(
        estimates[0],
        value=float(np.mean([one.value for one in estimates])),
        low=None if None in lows else float(np.mean([one for one in lows if one is not None])),
        high=None if None in highs else float(np.mean([one for one in highs if one is not None])),
        dropped=0,
        note="mean over seeds",
    )
