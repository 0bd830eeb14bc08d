"""The two-phase rules as data and pure functions: where a case goes, and what is said of it.

System 1's rule, "confirm positives", is the default. X-ray first. A positive X-ray goes to CT. A negative one
leaves, unless the clinician asks for CT. The CT decides. The other kinds of policy change single moves of it.
What the drawing leaves open is settled on the safe side: an image that cannot be answered is never a negative.
"""

from __future__ import annotations

from enum import StrEnum


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


class PhaseState(StrEnum):
    """Where one phase of a patient stands; only under three zones an X-ray may be uncertain."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    UNCERTAIN = "uncertain"
    UNREADABLE = "unreadable"
    NOT_READ = "not read"
    ABSENT = "absent"


Move = tuple[Step, Answer | None, str]

# After phase 1: (X-ray state, clinician asks for CT) → the next step, the answer if the case ends, and why.
PHASE_1: dict[tuple[PhaseState, bool], Move] = {
    (PhaseState.POSITIVE, False): (Step.TO_CT, None, "X-ray positive"),
    (PhaseState.POSITIVE, True): (Step.TO_CT, None, "X-ray positive, clinician asks for CT"),
    (PhaseState.NEGATIVE, False): (Step.DONE, Answer.NEGATIVE, "X-ray negative, no CT asked for"),
    (PhaseState.NEGATIVE, True): (Step.TO_CT, None, "X-ray negative, clinician asks for CT"),
    (PhaseState.UNREADABLE, False): (Step.TO_CT, None, "X-ray unreadable"),
    (PhaseState.UNREADABLE, True): (Step.TO_CT, None, "X-ray unreadable, clinician asks for CT"),
    (PhaseState.ABSENT, False): (Step.TO_CT, None, "no X-ray"),
    (PhaseState.ABSENT, True): (Step.TO_CT, None, "no X-ray, clinician asks for CT"),
}

_X_RAY_ALONE: dict[tuple[PhaseState, bool], Move] = {
    (PhaseState.POSITIVE, False): (Step.DONE, Answer.POSITIVE, "X-ray positive, no CT asked for"),
}

# The same for every kind. A clinician who asks for CT gets it under each of them.
PHASE_1_OF: dict[PolicyKind, dict[tuple[PhaseState, bool], Move]] = {
    PolicyKind.CONFIRM_POSITIVES: PHASE_1,
    # The moves of confirm positives; what differs is the threshold, which lies where few of the sick leave.
    PolicyKind.RULE_OUT: PHASE_1
    | {
        (PhaseState.POSITIVE, False): (Step.TO_CT, None, "X-ray does not rule out"),
        (PhaseState.NEGATIVE, False): (Step.DONE, Answer.NEGATIVE, "X-ray rules out, no CT asked for"),
    },
    PolicyKind.THREE_ZONES: PHASE_1
    | _X_RAY_ALONE
    | {
        (PhaseState.UNCERTAIN, False): (Step.TO_CT, None, "X-ray uncertain"),
        (PhaseState.UNCERTAIN, True): (Step.TO_CT, None, "X-ray uncertain, clinician asks for CT"),
    },
    PolicyKind.EITHER_POSITIVE: PHASE_1
    | _X_RAY_ALONE
    | {(PhaseState.NEGATIVE, False): (Step.TO_CT, None, "X-ray negative, CT for a second look")},
    PolicyKind.CT_FOR_ALL: PHASE_1 | {(PhaseState.NEGATIVE, False): (Step.TO_CT, None, "X-ray negative, CT for all")},
    PolicyKind.XRAY_ONLY: PHASE_1
    | _X_RAY_ALONE
    | {
        (PhaseState.UNREADABLE, False): (Step.DONE, Answer.UNREADABLE, "X-ray unreadable, no CT asked for"),
        (PhaseState.ABSENT, False): (Step.DONE, Answer.UNREADABLE, "no X-ray, no CT asked for"),
    },
}

# A stored case that is decided again may be sent to a CT that is there and was not read.
_UNREAD = "the CT was not read, screen the patient again"

# After phase 2: CT state → answer and why. Absent and not read are settled by ``after_ct``.
PHASE_2: dict[PhaseState, tuple[Answer, str]] = {
    PhaseState.POSITIVE: (Answer.POSITIVE, "CT positive"),
    PhaseState.NEGATIVE: (Answer.NEGATIVE, "CT negative"),
    PhaseState.UNREADABLE: (Answer.UNREADABLE, "CT unreadable"),
}

# Where an X-ray that went to CT all the same is not overruled by it: (kind, X-ray state) → answer and why.
STANDS: dict[tuple[PolicyKind, PhaseState], tuple[Answer, str]] = {
    (PolicyKind.EITHER_POSITIVE, PhaseState.POSITIVE): (Answer.POSITIVE, "either positive is enough"),
}


def after_xray(
    xray: PhaseState, *, need_ct: bool, kind: PolicyKind = PolicyKind.CONFIRM_POSITIVES
) -> tuple[Step, Answer | None, str]:
    """Phase 1: whether the case ends or goes to CT.

    Args:
        xray: A :class:`Decision` value, or ``ABSENT``, or, under three zones, ``UNCERTAIN``.
        need_ct: The clinician's answer to "need CT?".
        kind: Which policy's moves.

    Example:
        >>> after_xray(PhaseState.NEGATIVE, need_ct=False)[1]
        <Answer.NEGATIVE: 'negative'>
    """
    return PHASE_1_OF[kind][xray, need_ct]


def after_ct(
    xray: PhaseState, ct: PhaseState, *, need_ct: bool, kind: PolicyKind = PolicyKind.CONFIRM_POSITIVES
) -> tuple[Answer, str]:
    """Phase 2: the answer of a case that went to CT.

    Example:
        >>> after_ct(PhaseState.POSITIVE, PhaseState.ABSENT, need_ct=False)
        (<Answer.CT_NEEDED: 'CT needed'>, 'no CT yet')
    """
    if ct not in {PhaseState.ABSENT, PhaseState.NOT_READ}:
        if (kind, xray) in STANDS:
            answer, why = STANDS[kind, xray]
            return answer, f"{PHASE_2[ct][1]}, {why}"
        return PHASE_2[ct]
    if xray in {PhaseState.UNREADABLE, PhaseState.ABSENT} and not need_ct and kind is not PolicyKind.CT_FOR_ALL:
        return Answer.UNREADABLE, "no CT" if ct is PhaseState.ABSENT else _UNREAD
    return Answer.CT_NEEDED, "no CT yet" if ct is PhaseState.ABSENT else _UNREAD


def decide(
    xray: PhaseState, ct: PhaseState, *, need_ct: bool, kind: PolicyKind = PolicyKind.CONFIRM_POSITIVES
) -> tuple[Answer, str]:
    """Both phases at once: the answer and its reason.

    Example:
        >>> decide(PhaseState.POSITIVE, PhaseState.NEGATIVE, need_ct=False)
        (<Answer.NEGATIVE: 'negative'>, 'X-ray positive; CT negative')
    """
    _, answer, why = after_xray(xray, need_ct=need_ct, kind=kind)
    if answer is not None:
        return answer, why
    answer, then = after_ct(xray, ct, need_ct=need_ct, kind=kind)
    return answer, f"{why}; {then}"
