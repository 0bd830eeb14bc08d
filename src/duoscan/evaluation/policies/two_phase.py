"""Two-phase answers against the reference standard: what the flow as a whole does to patients."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.evaluation.intervals import DEFAULT_RESAMPLES, Estimate, bootstrap
from duoscan.evaluation.metrics import Share
from duoscan.policies.rule import Answer
from duoscan.terms import POSITIVE, Finding

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duoscan.cases.case import CaseAnswer


@dataclass(frozen=True)
class TwoPhaseOutcome:
    """What became of the patients.

    Attributes:
        counts: (reference label, answer) → patients.
        sensitivity: Share of the covid patients answered positive.
        missed: Share of the covid patients answered negative.
        specificity: Share of the others answered negative.
        to_ct: Share of all patients whom the rule sent to CT.
    """

    counts: dict[tuple[Finding, Answer], int]
    sensitivity: Estimate | None
    missed: Estimate | None
    specificity: Estimate | None
    to_ct: Estimate | None

    def rows(self) -> list[list[str]]:
        """One row per label: the label, patients, and the count of each answer."""
        labels = [label for label in Finding if any(key[0] is label for key in self.counts)]
        table = []
        for label in labels:
            counts = [self.counts.get((label, answer), 0) for answer in Answer]
            table.append([label.value, str(sum(counts)), *map(str, counts)])
        return table

    def to_json(self) -> dict[str, Any]:
        """As in files."""
        estimates = ("sensitivity", "missed", "specificity", "to_ct")
        measured = {name: getattr(self, name) for name in estimates}
        return {
            "counts": {f"{label}/{answer}": count for (label, answer), count in sorted(self.counts.items())},
            **{name: estimate.to_json() if estimate else None for name, estimate in measured.items()},
        }


def two_phase_outcome(
    answers: Sequence[CaseAnswer], labels: Mapping[str, Finding], *, resamples: int = DEFAULT_RESAMPLES
) -> TwoPhaseOutcome:
    """Compare answers with the reference standard, patient by patient.

    An answer "CT needed" or "unreadable" is neither a hit nor a miss: it lowers sensitivity and specificity alike.

    Args:
        answers: What screening said; patients without a label are left out.
        labels: Patient → reference label.
        resamples: Bootstrap resamples of patients.
    """
    cases = [case for case in answers if case.patient_id in labels]
    covid = np.array([labels[case.patient_id] is POSITIVE for case in cases], dtype=bool)
    answer = np.array([case.answer for case in cases], dtype=object)
    to_ct = np.array([case.to_ct for case in cases], dtype=bool)

    def share(of: np.ndarray[Any, np.dtype[np.bool_]], among: np.ndarray[Any, np.dtype[np.bool_]]) -> Estimate | None:
        chosen = np.flatnonzero(among)
        if not len(chosen):
            return None
        return bootstrap(Share(of[chosen]), [cases[i].patient_id for i in chosen], resamples=resamples)["share"]

    return TwoPhaseOutcome(
        counts=dict(Counter((labels[case.patient_id], case.answer) for case in cases)),
        sensitivity=share(answer == Answer.POSITIVE, covid),
        missed=share(answer == Answer.NEGATIVE, covid),
        specificity=share(answer == Answer.NEGATIVE, ~covid),
        to_ct=share(to_ct, np.ones(len(cases), dtype=bool)),
    )
