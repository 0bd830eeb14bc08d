"""What a policy is worth: net benefit and expected cost.

Net benefit counts true positives and takes off the false positives, weighed by the odds of the threshold probability
p_t at which one would treat (Vickers and Elkin, Medical Decision Making 2006):

    NB = π · sensitivity − (1 − π) · FPR · p_t / (1 − p_t) − harm · share sent to CT

π is the prevalence, and ``harm`` what one CT costs in true positives: 0.01 means that 100 CTs are worth one found case.
The expected cost of a patient uses costs that the user states; none is shipped. Sensitivity, false-positive rate and
share sent to CT are taken within the sick and within the well, so that both hold at any prevalence. Both are weighted
sums of these four shares: :class:`Weights` says with which weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from duoscan.errors import InputError
from duoscan.policies.rule import PolicyKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from duoscan.policies.policy import BoolArray, Outcome


@dataclass(frozen=True)
class Costs:
    """What the user says things cost, all in one unit; relative costs do as well.

    Attributes:
        miss: A sick patient not answered positive.
        false_positive: A well patient answered positive.
        xray: An X-ray.
        ct: A CT.
    """

    miss: float
    false_positive: float
    xray: float
    ct: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0.0 <= value < np.inf:
                raise InputError(f"cost of {name.replace('_', ' ')} {value} is out of range; give 0 or more")


@dataclass(frozen=True)
class ClassShares:
    """A policy within the sick and within the well.

    Attributes:
        sensitivity: Share of the sick answered positive.
        false_positive_rate: Share of the well answered positive.
        sick_to_ct: Share of the sick sent to CT.
        well_to_ct: Share of the well sent to CT.
        xray: Share who have an X-ray: 0 under CT for all, otherwise 1.
    """

    sensitivity: float
    false_positive_rate: float
    sick_to_ct: float
    well_to_ct: float
    xray: float = 1.0

    def to_ct(self, prevalence: float) -> float:
        """Share of all patients sent to CT at a prevalence."""
        return prevalence * self.sick_to_ct + (1.0 - prevalence) * self.well_to_ct


@dataclass(frozen=True)
class Weights:
    """A worth as a weighted sum of the shares of a policy; attributes as in :class:`ClassShares`."""

    sensitivity: float
    false_positive_rate: float
    sick_to_ct: float
    well_to_ct: float
    constant: float = 0.0

    def of(self, shares: ClassShares) -> float:
        """The worth."""
        return (
            self.constant
            + self.sensitivity * shares.sensitivity
            + self.false_positive_rate * shares.false_positive_rate
            + self.sick_to_ct * shares.sick_to_ct
            + self.well_to_ct * shares.well_to_ct
        )


def class_shares(outcome: Outcome, sick: BoolArray, kind: PolicyKind) -> ClassShares:
    """The shares of paired patients, ``nan`` of a class that is not there.

    Args:
        outcome: What the policy says of N patients.
        sick: shape (N,).
        kind: Of the policy.
    """

    def share(of: BoolArray, among: BoolArray) -> float:
        return float(of[among].mean()) if among.any() else np.nan

    return ClassShares(
        share(outcome.positive, sick),
        share(outcome.positive, ~sick),
        share(outcome.to_ct, sick),
        share(outcome.to_ct, ~sick),
        xray_share(kind),
    )


def xray_share(kind: PolicyKind) -> float:
    """Share of patients whose X-ray a policy needs: none under CT for all, everyone's under the others."""
    return 0.0 if kind is PolicyKind.CT_FOR_ALL else 1.0


def net_benefit_weights(prevalence: float, threshold_probability: float, ct_harm: float = 0.0) -> Weights:
    """Net benefit in true positives a patient.

    Args:
        prevalence: Share of the sick, from 0 to 1.
        threshold_probability: P(covid) from which on one would treat.
        ct_harm: Harm of a CT in true positives.

    Raises:
        InputError: A share out of range, or a harm below 0.
    """
    odds = _odds(threshold_probability)
    if not 0.0 <= ct_harm < np.inf:
        raise InputError(f"harm of a CT {ct_harm} is out of range; give 0 or more, in true positives a CT")
    p = _share(prevalence)
    return Weights(p, -(1.0 - p) * odds, -ct_harm * p, -ct_harm * (1.0 - p))


def net_benefit(shares: ClassShares, prevalence: float, threshold_probability: float, ct_harm: float = 0.0) -> float:
    """Net benefit of a policy; arguments as in :func:`net_benefit_weights`."""
    return net_benefit_weights(prevalence, threshold_probability, ct_harm).of(shares)


def treat_all(prevalence: float, threshold_probability: float) -> float:
    """Net benefit of treating everyone unseen; that of treating no one is 0.

    Raises:
        InputError: A share out of range.
    """
    p = _share(prevalence)
    return p - (1.0 - p) * _odds(threshold_probability)


def cost_weights(prevalence: float, costs: Costs, xray: float = 1.0) -> Weights:
    """Expected cost of a patient in the unit of ``costs``.

    Args:
        prevalence: Share of the sick, from 0 to 1.
        costs: Of the user.
        xray: Share of patients who have an X-ray.

    Raises:
        InputError: The prevalence is no share.
    """
    p = _share(prevalence)
    return Weights(
        -p * costs.miss,
        (1.0 - p) * costs.false_positive,
        p * costs.ct,
        (1.0 - p) * costs.ct,
        p * costs.miss + xray * costs.xray,
    )


def expected_cost(shares: ClassShares, prevalence: float, costs: Costs) -> float:
    """Expected cost of a patient under a policy; arguments as in :func:`cost_weights`."""
    return cost_weights(prevalence, costs, shares.xray).of(shares)


def cheapest(
    policies: Mapping[str, ClassShares], prevalence: float, costs: Costs, target_sensitivity: float
) -> str | None:
    """The cheapest policy with at least the target sensitivity; ``None`` where none has it.

    Choose on calibration patients only. Of equally cheap ones, the more sensitive.

    Args:
        policies: By name.
        prevalence: Share of the sick.
        costs: Of the user.
        target_sensitivity: From 0 to 1.

    Raises:
        InputError: A share out of range.
    """
    target = _share(target_sensitivity)
    keeping = {name: each for name, each in policies.items() if each.sensitivity >= target}
    return min(
        keeping,
        key=lambda name: (expected_cost(keeping[name], prevalence, costs), -keeping[name].sensitivity),
        default=None,
    )


def _share(value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise InputError(f"{value} is no share; give a prevalence or sensitivity from 0 to 1")
    return value


def _odds(threshold_probability: float) -> float:
    if not 0.0 <= threshold_probability < 1.0:
        raise InputError(f"threshold probability {threshold_probability} is out of range; give 0 or more and below 1")
    return threshold_probability / (1.0 - threshold_probability)
