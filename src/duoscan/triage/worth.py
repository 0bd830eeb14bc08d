"""What a policy is worth: net benefit and expected cost.

Net benefit counts true positives and takes off the false positives, weighed by the odds of the threshold probability
p_t at which one would treat (Vickers and Elkin, Medical Decision Making 2006):

    NB = π · sensitivity − (1 − π) · FPR · p_t / (1 − p_t) − harm · share sent to CT

π is the prevalence, and ``harm`` what one CT costs in true positives: 0.01 means that 100 CTs are worth one found case.
The expected cost of a patient uses costs that the user states; none is shipped. Sensitivity, false-positive rate and
share sent to CT are taken within the sick and within the well, so that both hold at any prevalence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from duoscan.errors import InputError
from duoscan.triage.rule import PolicyKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from duoscan.triage.policy import BoolArray, FloatArray, Outcome


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
    """A policy within the sick and within the well; each shape (R,) for R resamples.

    Attributes:
        sensitivity: Share of the sick answered positive.
        false_positive_rate: Share of the well answered positive.
        sick_to_ct: Share of the sick sent to CT.
        well_to_ct: Share of the well sent to CT.
        xray: Share who have an X-ray: 0 under CT for all, otherwise 1.
    """

    sensitivity: FloatArray
    false_positive_rate: FloatArray
    sick_to_ct: FloatArray
    well_to_ct: FloatArray
    xray: float = 1.0

    def to_ct(self, prevalence: float) -> FloatArray:
        """Share of all patients sent to CT at a prevalence, shape (R,)."""
        return prevalence * self.sick_to_ct + (1.0 - prevalence) * self.well_to_ct


def class_shares(outcome: Outcome, sick: BoolArray, kind: PolicyKind, weights: FloatArray | None = None) -> ClassShares:
    """The shares of paired patients.

    Args:
        outcome: What the policy says of N patients.
        sick: shape (N,).
        kind: Of the policy.
        weights: shape (R, N); how often each patient counts. Once each where ``None``, and then R is 1.
    """
    counted = np.ones((1, len(sick))) if weights is None else weights

    def share(of: BoolArray, among: BoolArray) -> FloatArray:
        total = counted @ among.astype(np.float64)
        out = np.full(total.shape, np.nan)
        np.divide(counted @ (of & among).astype(np.float64), total, out=out, where=total > 0)
        return out

    return ClassShares(
        share(outcome.positive, sick),
        share(outcome.positive, ~sick),
        share(outcome.to_ct, sick),
        share(outcome.to_ct, ~sick),
        0.0 if kind is PolicyKind.CT_FOR_ALL else 1.0,
    )


def net_benefit(
    shares: ClassShares, prevalence: float, threshold_probability: float, ct_harm: float = 0.0
) -> FloatArray:
    """Net benefit in true positives a patient, shape (R,).

    Args:
        shares: Of the policy.
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
    found, wrong = p * shares.sensitivity, (1.0 - p) * shares.false_positive_rate
    return np.asarray(found - wrong * odds - ct_harm * shares.to_ct(p))


def treat_all(prevalence: float, threshold_probability: float) -> float:
    """Net benefit of treating everyone unseen; that of treating no one is 0.

    Raises:
        InputError: A share out of range.
    """
    p = _share(prevalence)
    return p - (1.0 - p) * _odds(threshold_probability)


def decision_curves(
    policies: Mapping[str, ClassShares], prevalence: float, threshold_probabilities: FloatArray, ct_harm: float = 0.0
) -> dict[str, FloatArray]:
    """Name → net benefit over the threshold probabilities, shape (T,), with ``treat all`` and ``treat none``.

    Args:
        policies: With R = 1.
        prevalence: Share of the sick.
        threshold_probabilities: shape (T,).
        ct_harm: As in :func:`net_benefit`.

    Raises:
        InputError: A share out of range, or a harm below 0.
    """
    curves = {
        name: np.array([net_benefit(each, prevalence, float(t), ct_harm)[0] for t in threshold_probabilities])
        for name, each in policies.items()
    }
    curves["treat all"] = np.array([treat_all(prevalence, float(t)) for t in threshold_probabilities])
    curves["treat none"] = np.zeros(len(threshold_probabilities))
    return curves


def expected_cost(shares: ClassShares, prevalence: float, costs: Costs) -> FloatArray:
    """Expected cost of a patient in the unit of ``costs``, shape (R,).

    Raises:
        InputError: The prevalence is no share.
    """
    p = _share(prevalence)
    errors = p * (1.0 - shares.sensitivity) * costs.miss + (1.0 - p) * shares.false_positive_rate * costs.false_positive
    return np.asarray(errors + shares.xray * costs.xray + shares.to_ct(p) * costs.ct)


def cheapest(
    policies: Mapping[str, ClassShares], prevalence: float, costs: Costs, target_sensitivity: float
) -> str | None:
    """The cheapest policy with at least the target sensitivity; ``None`` where none has it.

    Choose on calibration patients only. Of equally cheap ones, the more sensitive.

    Args:
        policies: With R = 1.
        prevalence: Share of the sick.
        costs: Of the user.
        target_sensitivity: From 0 to 1.

    Raises:
        InputError: A share out of range.
    """
    target = _share(target_sensitivity)
    keeping = {name: each for name, each in policies.items() if each.sensitivity[0] >= target}
    return min(
        keeping,
        key=lambda name: (float(expected_cost(keeping[name], prevalence, costs)[0]), -keeping[name].sensitivity[0]),
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
