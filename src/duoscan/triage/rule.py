"""System 1's two-phase rule as data and pure functions.

X-ray first. A positive X-ray goes to CT. A negative one leaves, unless the clinician asks for CT. The CT decides.
What the drawing leaves open is settled on the safe side: an image that cannot be answered is never a negative.
"""

from __future__ import annotations

from enum import StrEnum

from duoscan.terms import Decision


class Answer(StrEnum):
    """What is said of a patient."""

    NEGATIVE = "negative"
    CT_NEEDED = "CT needed"
    POSITIVE = "positive"
    UNREADABLE = "unreadable"


class Step(StrEnum):
    """Where a case stands."""

    WAITING = "waiting"
    TO_CT = "to CT"
    DONE = "done"


# State of one phase's study: its decision, or absent.
ABSENT = "absent"

# After phase 1: (X-ray state, clinician asks for CT) → the next step, the answer if the case ends, and why.
PHASE_1: dict[tuple[str, bool], tuple[Step, Answer | None, str]] = {
    (Decision.POSITIVE, False): (Step.TO_CT, None, "X-ray positive"),
    (Decision.POSITIVE, True): (Step.TO_CT, None, "X-ray positive, clinician asks for CT"),
    (Decision.NEGATIVE, False): (Step.DONE, Answer.NEGATIVE, "X-ray negative, no CT asked for"),
    (Decision.NEGATIVE, True): (Step.TO_CT, None, "X-ray negative, clinician asks for CT"),
    (Decision.UNREADABLE, False): (Step.TO_CT, None, "X-ray unreadable"),
    (Decision.UNREADABLE, True): (Step.TO_CT, None, "X-ray unreadable, clinician asks for CT"),
    (ABSENT, False): (Step.TO_CT, None, "no X-ray"),
    (ABSENT, True): (Step.TO_CT, None, "no X-ray, clinician asks for CT"),
}

# After phase 2: CT state → answer and why. Absent is settled by ``without_ct``.
PHASE_2: dict[str, tuple[Answer, str]] = {
    Decision.POSITIVE: (Answer.POSITIVE, "CT positive"),
    Decision.NEGATIVE: (Answer.NEGATIVE, "CT negative"),
    Decision.UNREADABLE: (Answer.UNREADABLE, "CT unreadable"),
}


def after_xray(xray: str, *, need_ct: bool) -> tuple[Step, Answer | None, str]:
    """Phase 1: whether the case ends or goes to CT.

    Args:
        xray: A :class:`Decision` value, or ``ABSENT``.
        need_ct: The clinician's answer to "need CT?".

    Example:
        >>> after_xray("negative", need_ct=False)[1]
        <Answer.NEGATIVE: 'negative'>
    """
    return PHASE_1[xray, need_ct]


def after_ct(xray: str, ct: str, *, need_ct: bool) -> tuple[Answer, str]:
    """Phase 2: the answer of a case that went to CT.

    Example:
        >>> after_ct("positive", "absent", need_ct=False)
        (<Answer.CT_NEEDED: 'CT needed'>, 'no CT yet')
    """
    if ct != ABSENT:
        return PHASE_2[ct]
    if xray in {Decision.UNREADABLE, ABSENT} and not need_ct:
        return Answer.UNREADABLE, "no CT"
    return Answer.CT_NEEDED, "no CT yet"


def decide(xray: str, ct: str, *, need_ct: bool) -> tuple[Answer, str]:
    """Both phases at once: the answer and its reason.

    Example:
        >>> decide("positive", "negative", need_ct=False)
        (<Answer.NEGATIVE: 'negative'>, 'X-ray positive; CT negative')
    """
    _, answer, why = after_xray(xray, need_ct=need_ct)
    if answer is not None:
        return answer, why
    answer, then = after_ct(xray, ct, need_ct=need_ct)
    return answer, f"{why}; {then}"
