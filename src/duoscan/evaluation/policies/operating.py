"""The operating table: every policy at thresholds of the calibration patients, measured on the test patients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import InputError
from duoscan.evaluation.intervals import DEFAULT_RESAMPLES
from duoscan.evaluation.policies.measured import PolicyBounds, PolicyFigures, bound_policy, measure_policy
from duoscan.evaluation.thresholds import sensitivity_threshold
from duoscan.policies.certify import NO_MODELS, Models, Promise, certify, check_certificate
from duoscan.policies.policy import DESCRIPTIONS, Policy, PolicyDraft
from duoscan.policies.rule import PolicyKind

if TYPE_CHECKING:
    from duoscan.policies.scores import PatientScores

# Their X-ray threshold comes from the miss rate that is promised; the others keep the operating point.
CERTIFIED_KINDS = (PolicyKind.RULE_OUT, PolicyKind.THREE_ZONES)
# Three zones treat as positive from the score that so few of the well calibration patients reach.
RULE_IN_FALSE_ALARMS = 0.02
DEFAULT_MARGIN = 0.05


@dataclass(frozen=True)
class Setting:
    """What all policies of a table share.

    Attributes:
        xray_threshold: Operating point of phase 1.
        ct_threshold: Operating point of phase 2.
        promise: What the certified policies shall keep.
        models: What made the probabilities.
        prevalence: At which figures hold; that of the patients measured where ``None``.
        resamples: Bootstrap resamples of patients.
        seed: Of all chance.
        margin: Of sensitivity and of specificity, what a policy may lose against CT for all and still be chosen.
        miss_rate_asked: Whether the user asked for the promise; then only policies that keep it are chosen.
    """

    xray_threshold: float
    ct_threshold: float
    promise: Promise
    models: Models = NO_MODELS
    prevalence: float | None = None
    resamples: int = DEFAULT_RESAMPLES
    seed: int = 0
    margin: float = DEFAULT_MARGIN
    miss_rate_asked: bool = False

    def __post_init__(self) -> None:
        if not 0.0 < self.margin < 1.0:
            raise InputError(f"margin {self.margin} is out of range; give a share above 0 and below 1, e.g. 0.05")


@dataclass(frozen=True)
class Offer:
    """One policy of the table.

    Attributes:
        policy: With thresholds, certified where that was possible.
        refusal: Why it is not certified; empty where it is, or where its kind promises nothing.
        calibration: On the patients its thresholds come from; for the choice, not for a report.
        test: On patients that took no part.
    """

    policy: Policy
    refusal: str
    calibration: PolicyFigures | PolicyBounds
    test: PolicyFigures | PolicyBounds

    @property
    def missed_at_most(self) -> float | None:
        """Upper end of the interval of the share of the sick whom both phases together miss, on the test patients."""
        found = self.test.figures if isinstance(self.test, PolicyFigures) else self.test.low
        caught = found["sensitivity"].low
        return None if caught is None else 1.0 - caught

    def to_json(self) -> dict[str, Any]:
        """As in ``triage.json``."""
        return {
            "kind": self.policy.kind.value,
            "name": self.policy.name,
            "missed_at_most": self.missed_at_most,
            "description": DESCRIPTIONS[self.policy.kind],
            "policy": self.policy.model_dump(mode="json"),
            "refusal": self.refusal,
            "calibration": self.calibration.to_json(),
            "test": self.test.to_json(),
        }


def operating_table(
    calibration: PatientScores, test: PatientScores, setting: Setting, given: PolicyDraft | None = None
) -> list[Offer]:
    """Every kind of policy, and the given one.

    Args:
        calibration: Patients on whom thresholds are chosen and certified.
        test: Patients on whom the result is measured.
        setting: What all share.
        given: A policy of the user's; it stands last.

    Raises:
        InputError: A group lacks sick or well patients, or the given policy's certificate has expired.
    """
    candidates = candidate_policies(calibration, setting)
    if given is not None:
        if given.certificate:
            check_certificate(given.certificate, setting.models, calibration)
        candidates.append((given.resolved(setting.xray_threshold, setting.ct_threshold), ""))
    return [
        Offer(policy, refusal, _figures(policy, calibration, setting), _figures(policy, test, setting))
        for policy, refusal in candidates
    ]


def candidate_policies(calibration: PatientScores, setting: Setting) -> list[tuple[Policy, str]]:
    """Each kind with its thresholds, and why it could not be certified where it should be.

    Rule-out and three zones get the certified X-ray threshold. Where it is refused they get the one that is expected
    to keep the miss rate on average, at best, which promises nothing.
    """
    base = {"xray_threshold": setting.xray_threshold, "ct_threshold": setting.ct_threshold}
    plain = {kind: Policy(kind=kind, **base) for kind in PolicyKind if kind is not PolicyKind.THREE_ZONES}
    # On the well alone, so that the sick, on whom the promise is made, have no part in it.
    rule_in = rule_in_threshold(calibration)
    zones = Policy(
        kind=PolicyKind.THREE_ZONES, xray_threshold=0.0, xray_rule_in=rule_in, ct_threshold=setting.ct_threshold
    )
    return [
        (plain[PolicyKind.CONFIRM_POSITIVES], ""),
        _certified(plain[PolicyKind.RULE_OUT], calibration, setting),
        _certified(zones, calibration, setting),
        (plain[PolicyKind.EITHER_POSITIVE], ""),
        (plain[PolicyKind.CT_FOR_ALL], ""),
        (plain[PolicyKind.XRAY_ONLY], ""),
    ]


def _figures(policy: Policy, patients: PatientScores, setting: Setting) -> PolicyFigures | PolicyBounds:
    if is_paired(patients):
        return measure_policy(policy, patients, prevalence=setting.prevalence)
    return bound_policy(policy, patients, prevalence=setting.prevalence, resamples=setting.resamples, seed=setting.seed)


def is_paired(patients: PatientScores) -> bool:
    """Whether patients with both examinations are there, sick and well; then nothing needs to be assumed."""
    paired = patients.sick[patients.is_paired]
    return bool(paired.any() and not paired.all())


def _certified(policy: Policy, calibration: PatientScores, setting: Setting) -> tuple[Policy, str]:
    try:
        return certify(policy, calibration, setting.promise, setting.models), ""
    except InputError as error:
        refusal = str(error)
    known = ~np.isnan(calibration.xray)
    low = sensitivity_threshold(calibration.sick[known], calibration.xray[known], 1.0 - setting.promise.alpha)
    rule_in = None if policy.xray_rule_in is None else max(low, policy.xray_rule_in)
    return policy.model_copy(update={"xray_threshold": low, "xray_rule_in": rule_in}), refusal


def rule_in_threshold(calibration: PatientScores) -> float:
    """The lowest X-ray threshold that at most ``RULE_IN_FALSE_ALARMS`` of the well calibration patients reach.

    Raises:
        InputError: None of them has an X-ray answer.
    """
    well = calibration.xray[~calibration.sick]
    known = np.sort(well[~np.isnan(well)])
    if not len(known):
        raise InputError("no well calibration patient has an X-ray answer; both classes are needed")
    allowed = int(RULE_IN_FALSE_ALARMS * len(known))
    return min(float(np.nextafter(known[len(known) - 1 - allowed], 2.0)), 1.0)
