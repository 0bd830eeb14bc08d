"""A policy: which moves the two phases make, at which thresholds, and what is promised of it.

As a TOML file:

    kind = "rule-out"
    xray_threshold = 0.071   # below it the X-ray is negative; left out, the bundle's operating point
    ct_threshold = 0.42      # below it the CT is negative; left out, the bundle's operating point

Three zones have a second X-ray threshold, ``xray_rule_in``, from which on the X-ray alone is enough. A certified
policy has a table ``[certificate]``, which only ``duoscan triage`` writes. Thresholds apply to one probability a
patient, as ``inference/aggregate.py`` sums up the images, and a probability at a threshold counts as above it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from duoscan.errors import InputError
from duoscan.notebook import shown
from duoscan.policies.rule import Answer, PhaseState, PolicyKind, Step, after_xray, decide
from duoscan.settings import Stated, read_toml
from duoscan.terms import Probability

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

_Kind = TypeVar("_Kind", bound="PolicyDraft")

XRAY_STATES = (PhaseState.NEGATIVE, PhaseState.UNCERTAIN, PhaseState.POSITIVE, PhaseState.ABSENT)
CT_STATES = (PhaseState.NEGATIVE, PhaseState.POSITIVE, PhaseState.ABSENT)
_ANSWERS = tuple(Answer)

# What a person reads of each kind; ``need CT?`` answered with yes leads to CT under every one of them.
DESCRIPTIONS: dict[PolicyKind, str] = {
    PolicyKind.CONFIRM_POSITIVES: "X-ray positive → CT decides; X-ray negative leaves",
    PolicyKind.RULE_OUT: "X-ray below a low threshold leaves; the rest → CT decides",
    PolicyKind.THREE_ZONES: "X-ray low leaves; middle → CT decides; high is treated as positive",
    PolicyKind.EITHER_POSITIVE: "X-ray positive is positive; the rest → CT decides",
    PolicyKind.CT_FOR_ALL: "everyone → CT decides",
    PolicyKind.XRAY_ONLY: "X-ray decides",
}


class Certificate(Stated):
    """What is promised of a policy, by which method, and on what it rests.

    It ends with its ground: moves, thresholds, model graphs, ways to join a study's images, or calibration data other
    than those named here void it. Its hashes of models are those of ``Bundle.study_digest``.
    """

    method: Literal["exact", "split-conformal"]
    covers: Literal["leaving at X-ray", "leaving at X-ray or CT"] = Field(
        description="which of the ways out are counted as missing a sick patient"
    )
    kind: PolicyKind = Field(description="moves that were certified")
    alpha: float = Field(gt=0, lt=1, description="largest share of the sick who leave")
    delta: float | None = Field(default=None, gt=0, lt=1, description="chance that the promise is broken; exact only")
    positives: int = Field(ge=1, description="sick calibration patients")
    missed: int = Field(ge=0, description="of them, those who leave at the certified thresholds")
    xray_threshold: Probability
    ct_threshold: Probability | None = Field(default=None, description="where leaving at CT is covered")
    xray_rule_in: Probability | None = Field(default=None, description="the same; three zones only")
    calibration_fingerprint: str = Field(description="SHA-256 of the calibration patients and their probabilities")
    xray_graph_sha256: str = ""
    ct_graph_sha256: str = ""
    date: str = Field(description="ISO 8601, the day of certification")
    promise: str = Field(description="in words")

    @property
    def extent(self) -> str:
        """How much of the policy is certified, in a few words: at X-ray only, what the CT lets go is outside."""
        is_whole = self.covers != "leaving at X-ray" or self.kind is PolicyKind.XRAY_ONLY
        return "whole policy certified" if is_whole else "X-ray exit certified"

    @property
    def spoken(self) -> str:
        """One line for a person."""
        confidence = "on average" if self.delta is None else f"{1 - self.delta:.0%} confidence"
        return (
            f"{self.method}: at most {self.alpha:.3g} of the sick are missed by {self.covers} ({confidence}), "
            f"{self.positives} sick patients, {self.date}"
        )

    def _repr_html_(self) -> str:
        rows = [(field.description or name, getattr(self, name)) for name, field in type(self).model_fields.items()]
        return shown(f"{self.kind}, {self.extent}", ("what", "is"), rows, (self.promise,))


class PolicyDraft(Stated):
    """A policy as a file or a bundle states it: a threshold left out is the bundle's operating point for studies."""

    kind: PolicyKind
    xray_threshold: Probability | None = None
    xray_rule_in: Probability | None = None
    ct_threshold: Probability | None = None
    certificate: Certificate | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.kind is PolicyKind.THREE_ZONES) != (self.xray_rule_in is not None):
            msg = f"xray_rule_in belongs to kind '{PolicyKind.THREE_ZONES}', which needs it, and to no other"
            raise ValueError(msg)
        low, high = self.xray_threshold, self.xray_rule_in
        if low is not None and high is not None and low > high:
            msg = f"xray_threshold {low} lies above xray_rule_in {high}; it must not"
            raise ValueError(msg)
        if self.certificate and not _covers(self.certificate, self):
            msg = (
                "the certificate names other moves or thresholds than the policy; certify anew or remove [certificate]"
            )
            raise ValueError(msg)
        return self

    def _repr_html_(self) -> str:
        points = ("xray_threshold", "xray_rule_in", "ct_threshold")
        rows = [(name.replace("_", " "), point) for name in points if (point := getattr(self, name)) is not None]
        promise = self.certificate.promise if self.certificate else "Nothing is promised of it."
        return shown(self.name, ("what", "is"), rows, (DESCRIPTIONS[self.kind], promise))

    @property
    def name(self) -> str:
        """Kind and certification in a few words, as every answer states them."""
        return f"{self.kind}, {self.certificate.extent if self.certificate else 'uncertified'}"

    def resolved(self, xray_threshold: float, ct_threshold: float) -> Policy:
        """The policy with these thresholds where it has none of its own.

        Raises:
            InputError: The X-ray threshold lies above the policy's ``xray_rule_in``.
        """
        low = xray_threshold if self.xray_threshold is None else self.xray_threshold
        if self.xray_rule_in is not None and low > self.xray_rule_in:
            raise InputError(f"X-ray threshold {low} lies above xray_rule_in {self.xray_rule_in}; state both")
        high = ct_threshold if self.ct_threshold is None else self.ct_threshold
        return Policy.model_validate({**dict(self), "xray_threshold": low, "ct_threshold": high})

    def with_thresholds(self, xray_threshold: float | None, ct_threshold: float | None) -> Self:
        """The same with other thresholds where given; a certificate that does not cover them is left behind."""
        changes = {
            name: value
            for name, value in (("xray_threshold", xray_threshold), ("ct_threshold", ct_threshold))
            if value is not None
        }
        moved = _stated(type(self), self.model_dump(exclude={"certificate"}) | changes, "thresholds")
        kept = self.certificate and _covers(self.certificate, moved)
        return moved.model_copy(update={"certificate": self.certificate if kept else None})


class Policy(PolicyDraft):
    """The decision: its moves and its thresholds."""

    xray_threshold: Probability
    ct_threshold: Probability


DEFAULT_POLICY = PolicyDraft(kind=PolicyKind.CONFIRM_POSITIVES)


def _covers(certificate: Certificate, policy: PolicyDraft) -> bool:
    if (certificate.kind, certificate.xray_threshold) != (policy.kind, policy.xray_threshold):
        return False
    # Who is read by CT, and may be let go there, depends on the rule-in threshold too.
    named = certificate.ct_threshold, certificate.xray_rule_in
    return certificate.ct_threshold is None or named == (policy.ct_threshold, policy.xray_rule_in)


@dataclass(frozen=True)
class Outcome:
    """What a policy says of N patients; each of the first four is shape (N,) and exactly one of them is true.

    Attributes:
        positive: Answered positive.
        negative: Answered negative: the patient leaves.
        ct_needed: Sent to CT, and no CT is there.
        unreadable: Nothing can be answered.
        to_ct: shape (N,); sent to CT, whether or not one is there.
    """

    positive: BoolArray
    negative: BoolArray
    ct_needed: BoolArray
    unreadable: BoolArray
    to_ct: BoolArray


def xray_state(policy: Policy, probability: float | None) -> PhaseState:
    """State of phase 1 for one study probability; absent without one."""
    return XRAY_STATES[int(_xray_codes(policy, _array(probability))[0])]


def ct_state(policy: Policy, probability: float | None) -> PhaseState:
    """State of phase 2 for one study probability; absent without one."""
    return CT_STATES[int(_ct_codes(policy, _array(probability))[0])]


def apply_policy(
    policy: Policy, xray_probability: float | None, ct_probability: float | None, *, need_ct: bool
) -> tuple[Answer, Step]:
    """One patient: the answer, and where phase 1 sent the case.

    Args:
        policy: What to obey.
        xray_probability: P(covid) of the X-ray study; ``None`` where there is none.
        ct_probability: P(covid) of the CT study; ``None`` where there is none.
        need_ct: The clinician's answer to "need CT?".

    Example:
        >>> policy = Policy(kind="rule-out", xray_threshold=0.1, ct_threshold=0.5)
        >>> apply_policy(policy, 0.05, None, need_ct=False)
        (<Answer.NEGATIVE: 'negative'>, <Step.DONE: 'done'>)
    """
    xray, ct = xray_state(policy, xray_probability), ct_state(policy, ct_probability)
    step, _, _ = after_xray(xray, need_ct=need_ct, kind=policy.kind)
    return decide(xray, ct, need_ct=need_ct, kind=policy.kind)[0], step


def apply_policy_to_all(
    policy: Policy, xray_probability: FloatArray, ct_probability: FloatArray, need_ct: BoolArray | None = None
) -> Outcome:
    """Many patients at once, by the same tables as :func:`apply_policy`.

    Args:
        policy: What to obey.
        xray_probability: shape (N,); ``nan`` where there is no X-ray answer.
        ct_probability: shape (N,); ``nan`` where there is no CT answer.
        need_ct: shape (N,); the clinician's answers; nobody asks where ``None``.
    """
    asked = np.zeros(len(xray_probability), dtype=np.int64) if need_ct is None else need_ct.astype(np.int64)
    answers, sent = _lookup(policy.kind)
    xray, ct = _xray_codes(policy, xray_probability), _ct_codes(policy, ct_probability)
    said = answers[xray, ct, asked]
    chosen = {answer: said == code for code, answer in enumerate(_ANSWERS)}
    return Outcome(
        positive=chosen[Answer.POSITIVE],
        negative=chosen[Answer.NEGATIVE],
        ct_needed=chosen[Answer.CT_NEEDED],
        unreadable=chosen[Answer.UNREADABLE],
        to_ct=sent[xray, asked],
    )


def read_policy(path: Path) -> PolicyDraft:
    """A policy from a TOML file.

    Raises:
        InputError: No such file, not TOML, an unknown key or a wrong value.
    """
    return parse_policy(read_toml(path, InputError), str(path))


def named_policy(name_or_path: str) -> PolicyDraft:
    """A kind with the bundles' operating points, or a policy file.

    Raises:
        InputError: Neither, or the file holds no policy.
    """
    if name_or_path in set(PolicyKind) - {PolicyKind.THREE_ZONES}:
        return PolicyDraft(kind=PolicyKind(name_or_path))
    path = Path(name_or_path)
    if not path.is_file():
        known = ", ".join(kind for kind in PolicyKind if kind is not PolicyKind.THREE_ZONES)
        raise InputError(f"policy '{name_or_path}': no such file and no kind that needs no file; those are {known}")
    return read_policy(path)


def parse_policy(table: dict[str, Any], where: str) -> PolicyDraft:
    """A policy from the keys and values of a file or a bundle.

    Raises:
        InputError: An unknown key or a wrong value; every one is named, with ``where`` they stand.
    """
    return _stated(PolicyDraft, table, where)


def _stated(kind: type[_Kind], table: dict[str, Any], where: str) -> _Kind:
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, entry['loc'])) or 'policy'}: {entry['msg']}" for entry in error.errors()]
        raise InputError("\n".join([f"{where}: not a policy, {len(lines)} wrong entries", *lines])) from error


def policy_toml(policy: PolicyDraft) -> str:
    """The policy as a TOML file that :func:`read_policy` reads back as it was."""
    table = policy.model_dump(mode="json", exclude_none=True)
    certificate = table.pop("certificate", None)
    # Text as JSON and numbers by repr are TOML values as they stand.
    lines = [f"# {DESCRIPTIONS[policy.kind]}", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    if certificate:
        lines += ["", "[certificate]", *(f"{key} = {json.dumps(value)}" for key, value in certificate.items())]
    return "\n".join(lines) + "\n"


def _array(probability: float | None) -> FloatArray:
    return np.array([np.nan if probability is None else probability])


def _xray_codes(policy: Policy, probability: FloatArray) -> IntArray:
    """Index into ``XRAY_STATES``, shape (N,)."""
    low = policy.xray_threshold
    high = low if policy.xray_rule_in is None else policy.xray_rule_in
    codes = (probability >= low).astype(np.int64) + (probability >= high)
    return np.where(np.isnan(probability), XRAY_STATES.index(PhaseState.ABSENT), codes)


def _ct_codes(policy: Policy, probability: FloatArray) -> IntArray:
    """Index into ``CT_STATES``, shape (N,)."""
    above = (probability >= policy.ct_threshold).astype(np.int64)
    return np.where(np.isnan(probability), CT_STATES.index(PhaseState.ABSENT), above)


def _lookup(kind: PolicyKind) -> tuple[IntArray, BoolArray]:
    """The rule as arrays: answers by (X-ray, CT, asked) and whether sent to CT by (X-ray, asked)."""
    # Only three zones know an uncertain X-ray; under the others no code leads there.
    known = [
        state if state is not PhaseState.UNCERTAIN or kind is PolicyKind.THREE_ZONES else PhaseState.POSITIVE
        for state in XRAY_STATES
    ]
    answers = [
        [[_ANSWERS.index(decide(xray, ct, need_ct=asked, kind=kind)[0]) for asked in (False, True)] for ct in CT_STATES]
        for xray in known
    ]
    sent = [[after_xray(xray, need_ct=asked, kind=kind)[0] is Step.TO_CT for asked in (False, True)] for xray in known]
    return np.array(answers, dtype=np.int64), np.array(sent, dtype=bool)
