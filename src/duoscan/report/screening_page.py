"""What ``duoscan screen`` said of a batch as one HTML file: who needs to be looked at first, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from duoscan.evaluation.sample import units_word
from duoscan.policies.rule import Answer
from duoscan.report.environment import environment
from duoscan.report.urgency import urgency
from duoscan.terms import NOTICE, Decision, Modality
from duoscan.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from duoscan.cases.case import CaseAnswer, Screening

MOST_OPEN = 40
"""Rows of an answer that stand open; of a longer table the rest unfolds."""

_FIRST = (Answer.POSITIVE, Answer.CT_NEEDED, Answer.UNREADABLE, Answer.NEGATIVE)
_WHAT = {
    Answer.POSITIVE: "Signs of COVID-19, says the phase that decides; a person reads these first.",
    Answer.CT_NEEDED: "The X-ray, or the clinician, asks for a CT, and none was given.",
    Answer.UNREADABLE: "Nothing could be answered; never to be taken for negative.",
    Answer.NEGATIVE: "No signs found; an infection is not ruled out.",
}


@dataclass(frozen=True)
class Group:
    """The patients of one answer.

    Attributes:
        answer: Theirs.
        meaning: What it means, in one sentence.
        cases: The most urgent first.
    """

    answer: Answer
    meaning: str
    cases: tuple[CaseAnswer, ...]


def build_screening_page(screening: Screening, command: str, heatmaps: Mapping[str, str]) -> str:
    """Write the page.

    Equal screenings give equal text: date and versions are those of the screening.

    Args:
        screening: As stored.
        command: What was typed.
        heatmaps: Overlays as data URIs by the name of their image; shown are those of the images that carry an answer.
    """
    groups = [
        Group(answer, _WHAT[answer], tuple(sorted((c for c in screening if c.answer is answer), key=urgency)))
        for answer in _FIRST
    ]
    page = environment(MOST_OPEN=MOST_OPEN, NOTICE=NOTICE, Modality=Modality, carried=_carried, left_out=_left_out)
    return page.get_template("screening.html").render(
        screening=screening,
        groups=[group for group in groups if group.cases],
        units=units_word(case.patient_id for case in screening),
        triage=None,
        heatmaps=heatmaps,
        command=command,
        version=__version__,
    )


def _carried(case: CaseAnswer, heatmaps: Mapping[str, str]) -> list[tuple[str, str]]:
    """Phase and overlay of the first image that carries each study's answer."""
    return [
        (study.modality.spoken, heatmaps[study.carrying[0]])
        for study in case.studies
        if study.carrying and study.carrying[0] in heatmaps
    ]


def _left_out(case: CaseAnswer) -> list[tuple[str, str]]:
    """Images that could not be answered, and why."""
    rows = (row for row in case.images if row.decision is Decision.UNREADABLE)
    return [(row.path, row.reason.spoken if row.reason else "") for row in rows]
