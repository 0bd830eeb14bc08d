"""What was answered of a patient's studies → the decision, now or again under another request, threshold or policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from duoscan.cases.case import CaseAnswer, PhaseResult, Screening, StudyAnswer
from duoscan.cases.find import unmatched_patients
from duoscan.policies.policy import ct_state, xray_state
from duoscan.policies.rule import PhaseState, Step, after_xray, decide
from duoscan.reasons import Reason, ReasonCode
from duoscan.terms import ANSWERS, Decision, Modality

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from duoscan.policies.policy import Policy
    from duoscan.predictions import Prediction


def decided(
    patient_id: str,
    studies: Iterable[StudyAnswer],
    others: Sequence[Prediction],
    policy: Policy,
    *,
    need_ct: bool,
    notes: tuple[Reason, ...] = (),
) -> CaseAnswer:
    """One patient's answer.

    Args:
        patient_id: Whose.
        studies: Answered, or with the reason why not; their states are those of ``policy`` afterwards.
        others: Images that belong to neither phase.
        policy: To obey.
        need_ct: Whether the clinician asks for CT.
        notes: What is known of the files beside their answers.
    """
    stated = tuple(_under(policy, study) for study in studies)
    xray, ct = (
        PhaseResult(tuple(study for study in stated if study.modality is modality)).state
        for modality in (Modality.CXR, Modality.CT)
    )
    answer, why = decide(xray, ct, need_ct=need_ct, kind=policy.kind)
    case = CaseAnswer(
        patient_id=patient_id,
        need_ct=need_ct,
        to_ct=sends_to_ct(policy, xray, need_ct=need_ct),
        answer=answer,
        reasons=(Reason(ReasonCode.RULE, why),),
        studies=stated,
        others=tuple(others),
        notes=notes,
        policy=policy.name,
        certificate=policy.certificate.spoken if policy.certificate else "",
    )
    return replace(case, reasons=(*case.reasons, *_remarks(case), *notes))


def decide_again(
    screening: Screening, *, policy: Policy | None = None, need_ct: Collection[str] | bool | None = None
) -> Screening:
    """The same answers under another policy or request; no model is run.

    A patient who is now sent to a CT that was not read before is answered "CT needed", with that reason.

    Args:
        screening: As stored.
        policy: To obey; the stored one where ``None``.
        need_ct: Patients for whom the clinician asks for CT, ``True`` for all; as stored where ``None``.
    """
    obeyed = policy or screening.policy
    cases = tuple(
        decided(
            case.patient_id,
            case.studies,
            case.others,
            obeyed,
            need_ct=case.need_ct if need_ct is None else asks_for_ct(need_ct, case.patient_id),
            notes=case.notes,
        )
        for case in screening.cases
    )
    typed = () if need_ct is None or isinstance(need_ct, bool) else need_ct
    unmatched = unmatched_patients(typed, {case.patient_id for case in cases})
    told = tuple(dict.fromkeys((*screening.unmatched, *unmatched)))
    return replace(screening, cases=cases, policy=obeyed, unmatched=told)


def asks_for_ct(need_ct: Collection[str] | bool, patient_id: str) -> bool:
    """Whether the clinician asks for CT for a patient; a mapping holds the answer for each."""
    if isinstance(need_ct, bool):
        return need_ct
    return patient_id in need_ct and (not isinstance(need_ct, Mapping) or bool(need_ct[patient_id]))


def sends_to_ct(policy: Policy, xray: PhaseState, *, need_ct: bool) -> bool:
    """Whether phase 1 sends the case to CT."""
    return after_xray(xray, need_ct=need_ct, kind=policy.kind)[0] is Step.TO_CT


def _under(policy: Policy, study: StudyAnswer) -> StudyAnswer:
    """The study with its state, and that of each image, at the thresholds of a policy."""
    if study.probability is None:
        return study
    is_xray = study.modality is Modality.CXR
    threshold = policy.xray_threshold if is_xray else policy.ct_threshold
    images = tuple(_at(threshold, row) for row in study.images)
    return replace(study, state=(xray_state if is_xray else ct_state)(policy, study.probability), images=images)


def _at(threshold: float, row: Prediction) -> Prediction:
    if row.decision not in ANSWERS or row.probability is None:
        return row
    return replace(row, decision=Decision.POSITIVE if row.probability >= threshold else Decision.NEGATIVE)


def _remarks(case: CaseAnswer) -> Iterator[Reason]:
    """What a person should know beside the rule's reason."""
    if case.ct.state is PhaseState.NOT_READ:
        yield Reason(ReasonCode.NOT_READ, f"CT images not read: {len(case.ct.images)}")
    if len(case.ct.studies) > 1 and case.ct.probability is not None:
        yield Reason(ReasonCode.SEVERAL_STUDIES, f"the most suspicious of {len(case.ct.studies)} CT studies counts")
    missing = sum(series.missing for study in case.ct.studies for series in study.series if series.is_used)
    if missing:
        yield Reason(ReasonCode.POSITIONS_MISSING, f"positions missing in the CT series that was answered: {missing}")
    if failed := case.unreadable:
        yield _first_of(ReasonCode.IMAGES_UNREADABLE, "unreadable", failed)
    if aside := case.set_aside:
        without = [study for study in case.studies if study.state is PhaseState.UNREADABLE]
        if without or case.others:
            yield _first_of(ReasonCode.IMAGES_SET_ASIDE, "set aside", aside)
        else:
            yield Reason(ReasonCode.IMAGES_SET_ASIDE, f"images set aside: {len(aside)}")


def _first_of(code: ReasonCode, what: str, rows: Sequence[Prediction]) -> Reason:
    first = rows[0]
    more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    return Reason(code, f"{what}: {first.reason.text if first.reason else 'no reason given'}{more}", first.path)
