"""In which order patients are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.policies.rule import Answer

if TYPE_CHECKING:
    from duoscan.cases.case import CaseAnswer

_ORDER = (Answer.POSITIVE, Answer.CT_NEEDED, Answer.UNREADABLE, Answer.NEGATIVE)


def urgency(case: CaseAnswer) -> tuple[int, float, str]:
    """Key that sorts the most urgent first.

    Positive, then CT needed, then unreadable, whom somebody must look at, then negative; within each the greater
    P(covid) first, that of the CT where there is one.
    """
    known = case.xray.probability if case.ct.probability is None else case.ct.probability
    return _ORDER.index(case.answer), -(known or 0.0), case.patient_id
