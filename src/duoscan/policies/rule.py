"""The two-phase rules as data and pure functions: where a case goes, and what is said of it.

System 1's rule, "confirm positives", is the default. X-ray first. A positive X-ray goes to CT. A negative one
leaves, unless the clinician asks for CT. The CT decides. The other kinds of policy change single moves of it.
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


class PolicyKind(StrEnum):
    """Which moves a policy makes; thresholds are no part of it."""

    CONFIRM_POSITIVES = "confirm-positives"
    RULE_OUT = "rule-out"
    THREE_ZONES = "three-zones"
    EITHER_POSITIVE = "either-positive"
    CT_FOR_ALL = "ct-for-all"
    XRAY_ONLY = "xray-only"


# State of one phase's study: its decision, or absent; under three zones an X-ray may also be uncertain.
ABSENT = "absent"
UNCERTAIN = "uncertain"

Move = tuple[Step, Answer | None, str]

# After phase 1: (X-ray state, clinician asks for CT) → the next step, the answer if the case ends, and why.
PHASE_1: dict[tuple[str, bool], Move] = {
    (Decision.POSITIVE, False): (Step.TO_CT, None, "X-ray positive"),
    (Decision.POSITIVE, True): (Step.TO_CT, None, "X-ray positive, clinician asks for CT"),
    (Decision.NEGATIVE, False): (Step.DONE, Answer.NEGATIVE, "X-ray negative, no CT asked for"),
    (Decision.NEGATIVE, True): (Step.TO_CT, None, "X-ray negative, clinician asks for CT"),
    (Decision.UNREADABLE, False): (Step.TO_CT, None, "X-ray unreadable"),
    (Decision.UNREADABLE, True): (Step.TO_CT, None, "X-ray unreadable, clinician asks for CT"),
    (ABSENT, False): (Step.TO_CT, None, "no X-ray"),
    (ABSENT, True): (Step.TO_CT, None, "no X-ray, clinician asks for CT"),
}

_X_RAY_ALONE: dict[tuple[str, bool], Move] = {
    (Decision.POSITIVE, False): (Step.DONE, Answer.POSITIVE, "X-ray positive, no CT asked for"),
}

# The same for every kind. A clinician who asks for CT gets it under each of them.
PHASE_1_OF: dict[PolicyKind, dict[tuple[str, bool], Move]] = {
    PolicyKind.CONFIRM_POSITIVES: PHASE_1,
    # The moves of confirm positives; what differs is the threshold, which lies where few of the sick leave.
    PolicyKind.RULE_OUT: PHASE_1
    | {
        (Decision.POSITIVE, False): (Step.TO_CT, None, "X-ray does not rule out"),
        (Decision.NEGATIVE, False): (Step.DONE, Answer.NEGATIVE, "X-ray rules out, no CT asked for"),
    },
    PolicyKind.THREE_ZONES: PHASE_1
    | _X_RAY_ALONE
    | {
        (UNCERTAIN, False): (Step.TO_CT, None, "X-ray uncertain"),
        (UNCERTAIN, True): (Step.TO_CT, None, "X-ray uncertain, clinician asks for CT"),
    },
    PolicyKind.EITHER_POSITIVE: PHASE_1
    | _X_RAY_ALONE
    | {(Decision.NEGATIVE, False): (Step.TO_CT, None, "X-ray negative, CT for a second look")},
    PolicyKind.CT_FOR_ALL: PHASE_1 | {(Decision.NEGATIVE, False): (Step.TO_CT, None, "X-ray negative, CT for all")},
    PolicyKind.XRAY_ONLY: PHASE_1
    | _X_RAY_ALONE
    | {
        (Decision.UNREADABLE, False): (Step.DONE, Answer.UNREADABLE, "X-ray unreadable, no CT asked for"),
        (ABSENT, False): (Step.DONE, Answer.UNREADABLE, "no X-ray, no CT asked for"),
    },
}

# After phase 2: CT state → answer and why. Absent is settled by ``after_ct``.
PHASE_2: dict[str, tuple[Answer, str]] = {
    Decision.POSITIVE: (Answer.POSITIVE, "CT positive"),
    Decision.NEGATIVE: (Answer.NEGATIVE, "CT negative"),
    Decision.UNREADABLE: (Answer.UNREADABLE, "CT unreadable"),
}

# Where an X-ray that went to CT all the same is not overruled by it: (kind, X-ray state) → answer and why.
STANDS: dict[tuple[PolicyKind, str], tuple[Answer, str]] = {
    (PolicyKind.EITHER_POSITIVE, Decision.POSITIVE): (Answer.POSITIVE, "either positive is enough"),
}


def after_xray(
    xray: str, *, need_ct: bool, kind: PolicyKind = PolicyKind.CONFIRM_POSITIVES
) -> tuple[Step, Answer | None, str]:
    """Phase 1: whether the case ends or goes to CT.

    Args:
        xray: A :class:`Decision` value, or ``ABSENT``, or, under three zones, ``UNCERTAIN``.
        need_ct: The clinician's answer to "need CT?".
        kind: Which policy's moves.

    Example:
        >>> after_xray("negative", need_ct=False)[1]
        <Answer.NEGATIVE: 'negative'>
    """
    return PHASE_1_OF[kind][xray, need_ct]


def after_ct(
    xray: str, ct: str, *, need_ct: bool, kind: PolicyKind = PolicyKind.CONFIRM_POSITIVES
) -> tuple[Answer, str]:
    """Phase 2: the answer of a case that went to CT.

    Example:
        >>> after_ct("positive", "absent", need_ct=False)
        (<Answer.CT_NEEDED: 'CT needed'>, 'no CT yet')
    """
    if ct != ABSENT:
        if (kind, xray) in STANDS:
            answer, why = STANDS[kind, xray]
            return answer, f"{PHASE_2[ct][1]}, {why}"
        return PHASE_2[ct]
    if xray in {Decision.UNREADABLE, ABSENT} and not need_ct and kind is not PolicyKind.CT_FOR_ALL:
        return Answer.UNREADABLE, "no CT"
    return Answer.CT_NEEDED, "no CT yet"


def decide(xray: str, ct: str, *, need_ct: bool, kind: PolicyKind = PolicyKind.CONFIRM_POSITIVES) -> tuple[Answer, str]:
    """Both phases at once: the answer and its reason.

    Example:
        >>> decide("positive", "negative", need_ct=False)
        (<Answer.NEGATIVE: 'negative'>, 'X-ray positive; CT negative')
    """
    _, answer, why = after_xray(xray, need_ct=need_ct, kind=kind)
    if answer is not None:
        return answer, why
    answer, then = after_ct(xray, ct, need_ct=need_ct, kind=kind)
    return answer, f"{why}; {then}"
