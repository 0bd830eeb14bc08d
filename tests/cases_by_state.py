"""Cases of which only the phases' states or probabilities matter."""

from __future__ import annotations

from duoscan.cases.case import CaseAnswer, ModelUsed, Screening, StudyAnswer
from duoscan.cases.decide import decided
from duoscan.imaging.contract import PreprocessingContract
from duoscan.policies.policy import Policy
from duoscan.policies.rule import PhaseState, PolicyKind, Step, after_xray, decide
from duoscan.reasons import Reason, ReasonCode
from duoscan.terms import Modality


def case_of(
    name: str,
    xray: PhaseState,
    ct: PhaseState = PhaseState.ABSENT,
    *,
    need_ct: bool = False,
    kind: PolicyKind = PolicyKind.CONFIRM_POSITIVES,
) -> CaseAnswer:
    """One study a phase that is there, in that state."""
    answer, why = decide(xray, ct, need_ct=need_ct, kind=kind)
    studies = tuple(
        StudyAnswer(modality, None, None, state, None, ())
        for modality, state in ((Modality.CXR, xray), (Modality.CT, ct))
        if state is not PhaseState.ABSENT
    )
    to_ct = after_xray(xray, need_ct=need_ct, kind=kind)[0] is Step.TO_CT
    return CaseAnswer(name, need_ct, to_ct, answer, (Reason(ReasonCode.RULE, why),), studies)


def model_of(modality: Modality, digest: str = "0" * 64) -> ModelUsed:
    """A model of that name and hash."""
    return ModelUsed("bright", digest, digest, digest, "0", PreprocessingContract(modality=modality))


def screening_of(phases: dict[str, tuple[float | None, float | None, bool]], policy: Policy) -> Screening:
    """Patients by the probabilities of X-ray and CT, -1 for an unreadable one, and whether CT is asked for."""
    cases = []
    for name, (xray, ct, need_ct) in phases.items():
        studies = [
            StudyAnswer(modality, None, None, PhaseState.UNREADABLE, None if value < 0 else value, ())
            for modality, value in ((Modality.CXR, xray), (Modality.CT, ct))
            if value is not None
        ]
        cases.append(decided(name, studies, (), policy, need_ct=need_ct))
    return Screening(tuple(cases), model_of(Modality.CXR), model_of(Modality.CT), policy, "0", "2026-01-01T00:00:00")
