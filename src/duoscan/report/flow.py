"""Two-phase answers of ``duoscan screen --json``: the table, the way of the patients, and how right the answers are."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from duoscan.cases.screening import CaseAnswer, PhaseResult
from duoscan.errors import InputError
from duoscan.evaluation.intervals import Estimate, bootstrap
from duoscan.evaluation.metrics import Share
from duoscan.evaluation.policies.two_phase import TwoPhaseOutcome, two_phase_outcome
from duoscan.files import read_bytes
from duoscan.policies.rule import ABSENT, UNCERTAIN, Answer, PolicyKind, Step, after_xray
from duoscan.terms import POSITIVE, Decision, Finding, Split

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from duoscan.manifest.records import ImageRecord

_SAID_ONCE = re.compile(
    r" \[policy: [^\]]*\]$"
)  # the same for every patient; the page names policy and certificate once
_STATES = (*Decision, ABSENT, UNCERTAIN)
_DRAWN = (PolicyKind.CONFIRM_POSITIVES, PolicyKind.RULE_OUT)  # system 1's drawing shows these moves; others get a table


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Phase(_Read):
    state: str
    probability: float | None = Field(ge=0, le=1)

    @field_validator("state")
    @classmethod
    def _check_state(cls, state: str) -> str:
        if state not in _STATES:
            msg = f"state '{state}' is unknown; known are {', '.join(_STATES)}"
            raise ValueError(msg)
        return state

    def result(self) -> PhaseResult:
        return PhaseResult(self.state, self.probability)


class _Patient(_Read):
    patient_id: str
    answer: Answer
    reason: str
    need_ct: bool
    xray: _Phase
    ct: _Phase
    certificate: str = ""

    def case(self) -> CaseAnswer:
        reason = _SAID_ONCE.sub("", self.reason)
        return CaseAnswer(self.patient_id, self.answer, reason, self.need_ct, self.xray.result(), self.ct.result())


class PhaseModel(_Read):
    """What answered one phase."""

    name: str
    graph_sha256: str
    threshold: float


class Models(_Read):
    """What answered both."""

    xray: PhaseModel
    ct: PhaseModel

    def unknown_among(self, graphs: Collection[str]) -> list[str]:
        """The phases whose model is none of those with these hashes, e.g. because it was trained anew since."""
        phases = (("X-ray", self.xray), ("CT", self.ct))
        return [name for name, model in phases if model.graph_sha256 not in graphs]


class _Policy(_Read):
    kind: PolicyKind = PolicyKind.CONFIRM_POSITIVES
    name: str = ""


class _Document(_Read):
    models: Models
    policy: _Policy = _Policy()  # answers of versions before policies obeyed the default
    patients: list[_Patient] = Field(min_length=1)


@dataclass(frozen=True)
class Flow:
    """Screening answers, ready to be shown.

    Attributes:
        models: Both phases' models.
        kind: Of the policy that was obeyed.
        policy: Its name.
        certificate: What is promised of it, in words; empty where nothing is.
        cases: One a patient, without images.
        fingerprint: SHA-256 of the file.
        counts: Patients on each arrow of the diagram.
        ways: Patients by X-ray state: all of them, sent to CT, answered positive and answered negative.
        answers: Patients by answer.
        to_ct: Share of patients that the rule sends to CT.
        labels: Reference by patient, where a run of the report knows it.
        outcome: Answers against these references; ``None`` where there are none.
    """

    models: Models
    kind: PolicyKind
    policy: str
    certificate: str
    cases: tuple[CaseAnswer, ...]
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
        return self.kind in _DRAWN


def read_flow(path: Path, records: Mapping[str, Sequence[ImageRecord]], seed: int) -> Flow:
    """Read and count screening answers.

    Args:
        path: JSON of ``duoscan screen --json``.
        records: What manifests know of each patient, for the reference; only patients all of whose images are test
            images count, since a model may know the others.
        seed: Of the resamples.

    Raises:
        InputError: The file is missing or not such a document.
    """
    try:
        content = read_bytes(path)
        document = _Document.model_validate_json(content)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); name the file of 'duoscan screen --json'"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise InputError(
            f"{path}: not the answers of 'duoscan screen --json' ({where}: {first['msg']}); screen again with --json"
        ) from error
    kind = document.policy.kind
    cases = tuple(patient.case() for patient in document.patients)
    names = [case.patient_id for case in cases]
    labels = _labels(names, records)
    answered = Counter(case.answer for case in cases)
    return Flow(
        models=document.models,
        kind=kind,
        policy=document.policy.name or kind.value,
        certificate=document.patients[0].certificate,
        cases=cases,
        fingerprint=hashlib.sha256(content).hexdigest(),
        counts=count_arrows(cases, kind),
        ways=count_ways(cases, kind),
        answers={answer: answered[answer] for answer in Answer if answered[answer]},
        to_ct=bootstrap(Share(np.array([_goes_to_ct(case, kind) for case in cases])), names, seed=seed)["share"],
        labels=labels,
        outcome=two_phase_outcome(cases, labels) if labels else None,
    )


def count_arrows(cases: Sequence[CaseAnswer], kind: PolicyKind = PolicyKind.CONFIRM_POSITIVES) -> dict[str, int]:
    """Patients on each arrow of system 1's drawing; every patient leaves by exactly one end."""
    to_ct = [case for case in cases if _goes_to_ct(case, kind)]
    xray = Counter(case.xray.state for case in cases)
    ct = Counter(case.ct.state for case in to_ct)
    return {
        "all": len(cases),
        "xray_positive": xray[Decision.POSITIVE],
        "xray_negative": xray[Decision.NEGATIVE],
        "xray_none": xray[Decision.UNREADABLE] + xray[ABSENT],
        "asked": sum(case.xray.state == Decision.NEGATIVE and case.need_ct for case in cases),
        "left": len(cases) - len(to_ct),
        "to_ct": len(to_ct),
        "ct_positive": ct[Decision.POSITIVE],
        "ct_negative": ct[Decision.NEGATIVE],
        "ct_none": ct[Decision.UNREADABLE] + ct[ABSENT],
    }


def count_ways(cases: Sequence[CaseAnswer], kind: PolicyKind) -> dict[str, tuple[int, int, int, int]]:
    """By X-ray state: patients, those sent to CT, those answered positive, those answered negative."""
    ways = {}
    for state in _STATES:
        own = [case for case in cases if case.xray.state == state]
        if own:
            answers = Counter(case.answer for case in own)
            sent = sum(_goes_to_ct(case, kind) for case in own)
            ways[str(state)] = (len(own), sent, answers[Answer.POSITIVE], answers[Answer.NEGATIVE])
    return ways


def _goes_to_ct(case: CaseAnswer, kind: PolicyKind) -> bool:
    return after_xray(case.xray.state, need_ct=case.need_ct, kind=kind)[0] is Step.TO_CT


def _labels(names: Sequence[str], records: Mapping[str, Sequence[ImageRecord]]) -> dict[str, Finding]:
    labels: dict[str, Finding] = {}
    for name in names:
        own = records.get(name, ())
        found = {record.label for record in own if record.label is not None}
        if found and all(record.split is Split.TEST for record in own):
            labels[name] = POSITIVE if POSITIVE in found else min(found)
    return labels
