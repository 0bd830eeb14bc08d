"""Recipes against the first, on the same images of the same left-out source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from duoscan.evaluation.delong import delong_test
from duoscan.evaluation.paired_tests import holm
from duoscan.evaluation.yardstick.answers import WHOLE
from duoscan.evaluation.yardstick.figures import gathered, scored
from duoscan.evaluation.yardstick.questions import questions_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duoscan.evaluation.intervals import Estimate
    from duoscan.evaluation.yardstick.answers import PartAnswers
    from duoscan.evaluation.yardstick.figures import Scored, Stated
    from duoscan.evaluation.yardstick.questions import Question


@dataclass(frozen=True)
class Difference:
    """One recipe against the first.

    Attributes:
        recipe: Its name.
        against: Name of the first recipe.
        left_out: Where.
        question: Of what.
        auroc: Of the recipe less that of the first, each the mean over its seeds.
        p_value: Two-sided, DeLong by patient; ``nan`` where there is nothing to tell it from.
        adjusted: By Holm's method, for all recipes that are compared there.
    """

    recipe: str
    against: str
    left_out: str
    question: Question
    auroc: Estimate
    p_value: float
    adjusted: float

    def to_json(self) -> dict[str, Any]:
        """As in files; what is undefined is ``null``."""
        return {
            "recipe": self.recipe,
            "against": self.against,
            "left_out": self.left_out,
            "question": self.question.value,
            "auroc": self.auroc.to_json(),
            "p_value": self.p_value if self.p_value == self.p_value else None,
            "adjusted": self.adjusted if self.adjusted == self.adjusted else None,
        }


def differences(answers: Sequence[PartAnswers], recipes: Mapping[str, Stated]) -> list[Difference]:
    """Every recipe against the first, at each left-out source and for each question that both were asked.

    Args:
        answers: Tables of finished parts.
        recipes: In the order they were named.
    """
    if len(recipes) < 2:
        return []
    first, *others = recipes
    cells = gathered(answers)
    found = []
    for left_out in dict.fromkeys(one.part.left_out for one in answers):
        for question in questions_of(recipes[first].classes):
            rows = {
                name: own
                for name in (first, *others)
                if question in questions_of(recipes[name].classes)
                and (seeds := cells.get((name, left_out, WHOLE)))
                and (own := scored(seeds, question, recipes[name])) is not None
            }
            if first in rows:
                found += _against(first, rows, left_out, question)
    return found


def _against(first: str, rows: Mapping[str, Scored], left_out: str, question: Question) -> list[Difference]:
    tests = {}
    for name, own in rows.items():
        if name != first:
            shared = {row.path for row in own.rows[0]} & {row.path for row in rows[first].rows[0]}
            one, other = own.only(shared), rows[first].only(shared)
            tests[name] = delong_test(one.reference, one.scores, other.scores, one.units)
    adjusted = holm({name: test.p_value for name, test in tests.items()})
    return [
        Difference(name, first, left_out, question, test.difference, test.p_value, adjusted[name])
        for name, test in tests.items()
    ]
