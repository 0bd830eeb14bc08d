"""The questions a model is asked apart: a figure over a mixture of them hides which one it answers.

The score of a question is the conditional probability of its positive classes among the classes it is about, e.g.
p_covid / (p_covid + p_normal), so that what a model says of the classes that are not asked for does not count.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING

from duoscan.terms import POSITIVE, Decision, Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from duoscan.predictions import Prediction

LEAST = 10
"""Images of either side, and patients or blocks of either; of fewer a question is not asked."""


class Question(StrEnum):
    """What is to be told from what."""

    COVID_NORMAL = "covid-normal"
    COVID_PNEUMONIA = "covid-pneumonia"
    ANY_NONE = "any-none"
    COVID_OTHER = "covid-other"

    @property
    def sides(self) -> tuple[frozenset[Finding], frozenset[Finding]]:
        """The classes that are positive and those that are negative."""
        return _SIDES[self]

    @property
    def spoken(self) -> str:
        """For a person."""
        return _SPOKEN[self]


_SIDES = {
    Question.COVID_NORMAL: (frozenset({Finding.COVID}), frozenset({Finding.NORMAL})),
    Question.COVID_PNEUMONIA: (frozenset({Finding.COVID}), frozenset({Finding.PNEUMONIA})),
    Question.ANY_NONE: (frozenset({Finding.COVID, Finding.PNEUMONIA}), frozenset({Finding.NORMAL})),
    Question.COVID_OTHER: (frozenset({Finding.COVID}), frozenset({Finding.OTHER})),
}
_SPOKEN = {
    Question.COVID_NORMAL: "covid or normal",
    Question.COVID_PNEUMONIA: "covid or other pneumonia",
    Question.ANY_NONE: "any pneumonia or none",
    Question.COVID_OTHER: "covid or not",
}


def questions_of(classes: Iterable[Finding]) -> tuple[Question, ...]:
    """The questions that a model of these classes can answer; "any pneumonia" needs pneumonia as a class.

    >>> [str(one) for one in questions_of([Finding.COVID, Finding.OTHER])]
    ['covid-other']
    """
    known = frozenset(classes)
    return tuple(one for one in Question if frozenset.union(*one.sides) <= known)


def is_about(question: Question, label: Finding | None) -> bool:
    """Whether a row of this label has a part in the question."""
    return any(label in side for side in question.sides)


def can_be_asked(question: Question, rows: Sequence[Prediction]) -> bool:
    """Whether both sides have :data:`LEAST` images, of at least two patients each."""
    return all(are_enough([row.unit for row in rows if row.label in side]) for side in question.sides)


def are_enough(units: Sequence[str]) -> bool:
    """Whether the images of one side, each named by its patient, are enough."""
    return len(units) >= LEAST and len(set(units)) > 1


def asked(question: Question, rows: Iterable[Prediction]) -> list[Prediction]:
    """The answered rows of a question, as rows of a model with two classes.

    Args:
        question: What is asked.
        rows: Answers with ``probabilities`` of all the model's classes.

    Returns:
        The rows with the question's score as ``probability`` and with the label ``covid`` where positive, else
        ``other``; without a decision, which was taken on another scale.
    """
    positive, negative = question.sides
    found = []
    for row in rows:
        if is_about(question, row.label) and row.is_answered:
            up = sum(row.probabilities.get(one, 0.0) for one in positive)
            down = sum(row.probabilities.get(one, 0.0) for one in negative)
            # Where neither is possible at all, nothing is said for either.
            score = up / (up + down) if up + down > 0 else 0.5
            label = POSITIVE if row.label in positive else Finding.OTHER
            found.append(replace(row, probability=score, label=label, probabilities={}, calibrated=None, decision=None))
    return found


def decided(rows: Iterable[Prediction], threshold: float) -> list[Prediction]:
    """The rows with the decision that a threshold on the question's score gives."""
    return [
        replace(row, decision=Decision.POSITIVE if (row.probability or 0.0) >= threshold else Decision.NEGATIVE)
        for row in rows
    ]
