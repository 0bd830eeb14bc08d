"""How a policy answers paired patients, counted within the sick and within the well, and what follows with limits.

Each patient counts once, so limits are in closed form (:mod:`duoscan.evaluation.proportions`). The interactive page
counts and joins them by the same formulas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from duoscan.evaluation.intervals import Estimate
from duoscan.evaluation.proportions import Proportion, Term, correlation, predictive_limits, sum_limits
from duoscan.policies.joint import PER_AVOIDED, PER_MISSED, joint_rates
from duoscan.policies.policy import apply_policy_to_all
from duoscan.policies.rule import PolicyKind
from duoscan.policies.worth import ClassShares, Weights, class_shares

if TYPE_CHECKING:
    from duoscan.policies.policy import BoolArray, Outcome, Policy
    from duoscan.policies.scores import PatientScores

_CT_ALWAYS = {PolicyKind.CT_FOR_ALL: 1.0, PolicyKind.XRAY_ONLY: 0.0}
_BY_DEFINITION = "by the policy's definition"


@dataclass(frozen=True)
class AnsweredClass:
    """Patients of one class under a policy.

    Attributes:
        patients: All of them.
        positive: Answered positive.
        to_ct: Sent to CT.
        positive_at_ct: Both.
        ct_always: Share sent to CT by the policy's definition; ``None`` where it depends on the patient.
    """

    patients: int
    positive: int
    to_ct: int
    positive_at_ct: int
    ct_always: float | None = None

    @property
    def positives(self) -> Proportion:
        """Share answered positive."""
        return Proportion.of(self.positive, self.patients)

    @property
    def negatives(self) -> Proportion:
        """Share answered negative; paired patients are one or the other."""
        return Proportion.of(self.patients - self.positive, self.patients)

    @property
    def sent(self) -> Proportion:
        """Share sent to CT."""
        if self.ct_always is not None:
            return Proportion.known(self.ct_always)
        return Proportion.of(self.to_ct, self.patients)

    @property
    def correlation(self) -> float:
        """Between being answered positive and being sent to CT."""
        return correlation(self.positive_at_ct, self.positive, self.to_ct, self.patients)


@dataclass(frozen=True)
class Answered:
    """Paired patients under a policy.

    Attributes:
        outcome: What it says of each.
        truth: shape (N,); who is sick.
        shares: Within either class.
        sick: Counts.
        well: Counts.
    """

    outcome: Outcome
    truth: BoolArray
    shares: ClassShares
    sick: AnsweredClass
    well: AnsweredClass

    def worth(self, weights: Weights) -> Estimate:
        """A weighted sum of the policy's shares, e.g. its net benefit."""
        value = weights.of(self.shares)
        below, above = sum_limits(
            [
                _group(self.sick, weights.sensitivity, weights.sick_to_ct),
                _group(self.well, weights.false_positive_rate, weights.well_to_ct),
            ]
        )
        return self._estimate(value, value - below, value + above)

    def figures(self, prevalence: float | None = None) -> dict[str, Estimate]:
        """What the operating table shows, by name.

        Args:
            prevalence: Where the policy is to be used, taken as known. ``None`` for that of these patients, which is
                then as uncertain as the rest: shares of all of them are proportions of all of them.
        """
        if prevalence is None:
            return self._pooled()
        p, q = prevalence, 1.0 - prevalence
        rates = {name: float(value[0]) for name, value in vars(joint_rates(self.outcome, self.truth, p)).items()}
        sum_of = self.worth(Weights(0.0, 0.0, p, q))
        low, high = max(0.0, sum_of.low or 0.0), min(1.0, 1.0 if sum_of.high is None else sum_of.high)
        missed = self.sick.negatives
        figures = self._shares(Proportion(rates["to_ct"], low, high), missed, PER_MISSED * p)
        figures["ppv"] = self._predictive(rates["ppv"], Term(p, self.sick.positives), Term(q, self.well.positives))
        figures["npv"] = self._predictive(rates["npv"], Term(q, self.well.negatives), Term(p, missed))
        return figures

    def _pooled(self) -> dict[str, Estimate]:
        """At the prevalence of these patients."""
        sick, well, everyone = self.sick, self.well, len(self.truth)
        at_ct = sick.sent if sick.ct_always is not None else Proportion.of(sick.to_ct + well.to_ct, everyone)
        figures = self._shares(at_ct, Proportion.of(sick.patients - sick.positive, everyone), PER_MISSED)
        called = sick.positive + well.positive
        for name, right, of in (
            ("ppv", sick.positive, called),
            ("npv", well.patients - well.positive, everyone - called),
        ):
            found = Proportion.of(right, of)
            figures[name] = self._estimate(found.value, *found.limits, size=of) if of else self._nobody()
        return figures

    def _shares(self, at_ct: Proportion, missed: Proportion, per_missed: float) -> dict[str, Estimate]:
        """All but the predictive values.

        Args:
            at_ct: Share of all patients sent to CT.
            missed: Share missed, of the sick or of all.
            per_missed: What makes that a number of 1,000 patients.
        """
        found, cleared = self.sick.positives, self.well.negatives
        note = "" if self.sick.ct_always is None else _BY_DEFINITION
        return {
            "sensitivity": self._estimate(found.value, *found.limits, size=self.sick.patients),
            "specificity": self._estimate(cleared.value, *cleared.limits, size=self.well.patients),
            "to_ct": self._estimate(at_ct.value, *at_ct.limits, note=note),
            "missed_per_1000": self._estimate(*(per_missed * end for end in vars(missed).values())),
            "cts_avoided_per_100": self._estimate(
                *(PER_AVOIDED * (1.0 - end) for end in (at_ct.value, at_ct.high, at_ct.low)), note=note
            ),
        }

    def _predictive(self, value: float, right: Term, wrong: Term) -> Estimate:
        if right.share.value == wrong.share.value == 0.0:
            return self._nobody()
        return self._estimate(value, *predictive_limits(right, wrong))

    def _nobody(self) -> Estimate:
        everyone = len(self.truth)
        return Estimate(math.nan, None, None, everyone, everyone, note="nobody is answered so")

    def _estimate(self, value: float, low: float, high: float, *, size: int | None = None, note: str = "") -> Estimate:
        of = len(self.truth) if size is None else size
        # By closed forms value and ends may differ in the last bit where they are the same number.
        return Estimate(value, min(low, value), max(high, value), of, of, note=note)


def answered(policy: Policy, paired: PatientScores) -> Answered:
    """Count what a policy says of patients of both classes who all have both examinations."""
    outcome = apply_policy_to_all(policy, paired.xray, paired.ct)
    always = _CT_ALWAYS.get(policy.kind)
    sick, well = (
        AnsweredClass(
            int(chosen.sum()),
            int((outcome.positive & chosen).sum()),
            int((outcome.to_ct & chosen).sum()),
            int((outcome.positive & outcome.to_ct & chosen).sum()),
            always,
        )
        for chosen in (paired.sick, ~paired.sick)
    )
    return Answered(outcome, paired.sick, class_shares(outcome, paired.sick, policy.kind), sick, well)


def _group(counted: AnsweredClass, of_positive: float, of_sent: float) -> tuple[Term, Term, float]:
    return Term(of_positive, counted.positives), Term(of_sent, counted.sent), counted.correlation
