"""Two-phase answers of ``duoscan screen --json``: the table, the way of the patients, and how right the answers are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from duoscan.cases.stored import read_screening
from duoscan.errors import InputError
from duoscan.evaluation.intervals import Estimate, bootstrap
from duoscan.evaluation.metrics import Share
from duoscan.evaluation.policies.two_phase import TwoPhaseOutcome, two_phase_outcome
from duoscan.evaluation.sample import units_word
from duoscan.files import file_sha256
from duoscan.policies.rule import Answer, PhaseState, PolicyKind
from duoscan.report.urgency import urgency
from duoscan.terms import POSITIVE, Finding, Split

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from duoscan.cases.case import CaseAnswer, Screening
    from duoscan.manifest.records import ImageRecord

_DRAWN = (PolicyKind.CONFIRM_POSITIVES, PolicyKind.RULE_OUT)  # system 1's drawing shows these moves; others get a table


class Mark(StrEnum):
    """How an answer stands to the reference, what a reader must see first at first."""

    MISSED = "missed"
    FALSE = "false alarm"
    UNANSWERED = "no answer"
    UNKNOWN = "not known"
    RIGHT = "right"


@dataclass(frozen=True)
class Answered:
    """A patient as the table shows one.

    Attributes:
        case: What screening says.
        label: The reference, where it is known.
        mark: How the two stand to each other.
    """

    case: CaseAnswer
    label: Finding | None
    mark: Mark


@dataclass(frozen=True)
class ScreeningFlow:
    """Screening answers, ready to be shown.

    Attributes:
        screening: Models, policy and one case a patient.
        fingerprint: SHA-256 of the file.
        counts: Patients on each arrow of the diagram.
        ways: Patients by X-ray state: all of them, sent to CT, answered positive and answered negative.
        answers: Patients by answer.
        to_ct: Share of patients that the rule sends to CT.
        labels: Reference by patient, where a run of the report knows it.
        outcome: Answers against these references; ``None`` where there are none.
    """

    screening: Screening
    fingerprint: str
    counts: dict[str, int]
    ways: dict[str, tuple[int, int, int, int]]
    answers: dict[str, int]
    to_ct: Estimate
    labels: dict[str, Finding]
    outcome: TwoPhaseOutcome | None

    @property
    def is_drawn(self) -> bool:
        """Whether system 1's drawing shows the policy's moves."""
        return self.screening.policy.kind in _DRAWN

    @cached_property
    def patients(self) -> tuple[Answered, ...]:
        """One a patient: the missed first, then false alarms, then those without an answer; the rest by urgency."""
        return tuple(
            sorted(
                (marked(case, self.labels.get(case.patient_id)) for case in self.screening),
                key=lambda one: (tuple(Mark).index(one.mark), urgency(one.case)),
            )
        )

    @property
    def units(self) -> str:
        """What the cases are: patients, or blocks that a manifest has in their place."""
        return units_word(case.patient_id for case in self.screening)

    @property
    def spoken_answers(self) -> str:
        """How many patients have which answer."""
        return ", ".join(f"{count} {answer}" for answer, count in self.answers.items())

    @property
    def spoken_marks(self) -> str:
        """How many answers are worth what; of those whose reference is not known, what they are."""
        counts = Counter(one.mark for one in self.patients)
        return (
            ", ".join(f"{counts[mark]} {mark}" for mark in Mark if counts[mark]) if self.labels else self.spoken_answers
        )

    def unknown_among(self, graphs: Collection[str]) -> list[str]:
        """The phases whose model is none of those with these hashes, e.g. because it was trained anew since."""
        phases = (("X-ray", self.screening.xray), ("CT", self.screening.ct))
        return [name for name, model in phases if model.graph_sha256 not in graphs]


def read_flow(path: Path, records: Mapping[str, Sequence[ImageRecord]], seed: int) -> ScreeningFlow:
    """Read and count screening answers.

    Args:
        path: JSON of ``duoscan screen --json``.
        records: What manifests know of each patient, for the reference; only patients all of whose images are test
            images count, since a model may know the others.
        seed: Of the resamples.

    Raises:
        InputError: The file is missing or not such a document.
    """
    screening = read_screening(path)
    cases = screening.cases
    if not cases:
        raise InputError(f"{path}: holds no patient; screen again with --json")
    names = [case.patient_id for case in cases]
    labels = _labels(names, records)
    return ScreeningFlow(
        screening=screening,
        fingerprint=file_sha256(path),
        counts=count_arrows(cases),
        ways=count_ways(cases),
        answers={str(answer): count for answer, count in screening.counts.items()},
        to_ct=bootstrap(Share(np.array([case.to_ct for case in cases])), names, seed=seed)["share"],
        labels=labels,
        outcome=two_phase_outcome(cases, labels) if labels else None,
    )


def marked(case: CaseAnswer, label: Finding | None) -> Answered:
    """A patient with what the answer is worth."""
    if label is None:
        return Answered(case, label, Mark.UNKNOWN)
    if case.answer not in {Answer.POSITIVE, Answer.NEGATIVE}:
        return Answered(case, label, Mark.UNANSWERED)
    is_covid, is_called = label is POSITIVE, case.answer is Answer.POSITIVE
    if is_covid != is_called:
        return Answered(case, label, Mark.MISSED if is_covid else Mark.FALSE)
    return Answered(case, label, Mark.RIGHT)


def count_arrows(cases: Sequence[CaseAnswer]) -> dict[str, int]:
    """Patients on each arrow of system 1's drawing; every patient leaves by exactly one end."""
    to_ct = [case for case in cases if case.to_ct]
    xray = Counter(case.xray.state for case in cases)
    ct = Counter(case.ct.state for case in to_ct)
    return {
        "all": len(cases),
        "xray_positive": xray[PhaseState.POSITIVE],
        "xray_negative": xray[PhaseState.NEGATIVE],
        "xray_none": xray[PhaseState.UNREADABLE] + xray[PhaseState.ABSENT],
        "asked": sum(case.xray.state == PhaseState.NEGATIVE and case.need_ct for case in cases),
        "left": len(cases) - len(to_ct),
        "to_ct": len(to_ct),
        "ct_positive": ct[PhaseState.POSITIVE],
        "ct_negative": ct[PhaseState.NEGATIVE],
        "ct_none": ct[PhaseState.UNREADABLE] + ct[PhaseState.ABSENT],
    }


def count_ways(cases: Sequence[CaseAnswer]) -> dict[str, tuple[int, int, int, int]]:
    """By X-ray state: patients, those sent to CT, those answered positive, those answered negative."""
    ways = {}
    for state in PhaseState:
        own = [case for case in cases if case.xray.state == state]
        if own:
            answers = Counter(case.answer for case in own)
            sent = sum(case.to_ct for case in own)
            ways[str(state)] = (len(own), sent, answers[Answer.POSITIVE], answers[Answer.NEGATIVE])
    return ways


def _labels(names: Sequence[str], records: Mapping[str, Sequence[ImageRecord]]) -> dict[str, Finding]:
    labels: dict[str, Finding] = {}
    for name in names:
        own = records.get(name, ())
        found = {record.label for record in own if record.label is not None}
        if found and all(record.split is Split.TEST for record in own):
            labels[name] = POSITIVE if POSITIVE in found else min(found)
    return labels
