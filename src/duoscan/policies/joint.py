"""What a policy does to a population: its two phases together.

Paired patients, who had both examinations, are measured: :func:`joint_rates`. Where X-ray and CT come from different
patients, how their errors go together is not in the data. Then only bounds are certain (:func:`frechet_bounds`), and
a value is an assumption on the correlation (:func:`copula_rates`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from duoscan.errors import MissingExtraError
from duoscan.policies.policy import BoolArray, FloatArray, Outcome, Policy, apply_policy_to_all

if TYPE_CHECKING:
    from duoscan.policies.scores import PatientScores

PER_MISSED = 1000
PER_AVOIDED = 100


@dataclass(frozen=True)
class JointRates:
    """Figures of a policy at a prevalence; each a number, or shape (R,) for R resamples.

    Attributes:
        sensitivity: Share of the sick answered positive.
        specificity: Share of the well answered negative.
        missed: Share of the sick answered negative. With ``sensitivity`` it makes 1 where every sent patient has a CT.
        to_ct: Share of all patients sent to CT, at the prevalence.
        missed_per_1000: Sick patients answered negative among 1,000 patients.
        cts_avoided_per_100: Patients of 100 who need no CT; CT for all avoids none.
        ppv: Share of the sick among those answered positive; ``nan`` where nobody is.
        npv: Share of the well among those answered negative; ``nan`` where nobody is.
    """

    sensitivity: FloatArray
    specificity: FloatArray
    missed: FloatArray
    to_ct: FloatArray
    missed_per_1000: FloatArray
    cts_avoided_per_100: FloatArray
    ppv: FloatArray
    npv: FloatArray


def joint_rates(outcome: Outcome, sick: BoolArray, prevalence: float) -> JointRates:
    """Figures of paired patients of both classes, measured; R is 1.

    Args:
        outcome: What the policy says of N patients.
        sick: shape (N,).
        prevalence: Share of the sick where the policy is to be used, from 0 to 1.
    """
    columns = np.column_stack([outcome.positive, outcome.negative, outcome.to_ct])
    of_sick, of_well = (columns[chosen].mean(axis=0, keepdims=True) for chosen in (sick, ~sick))
    return rates_at(of_sick, of_well, prevalence)


def rates_at(of_sick: FloatArray, of_well: FloatArray, prevalence: float) -> JointRates:
    """Figures from the shares answered positive, answered negative and sent to CT, each shape (R, 3), at a prevalence.

    PPV and NPV by Bayes' theorem.
    """
    hit, missed, sick_ct = of_sick.T
    false_alarm, cleared, well_ct = of_well.T
    p, q = prevalence, 1.0 - prevalence
    to_ct = p * sick_ct + q * well_ct
    return JointRates(
        sensitivity=hit,
        specificity=cleared,
        missed=missed,
        to_ct=to_ct,
        missed_per_1000=PER_MISSED * p * missed,
        cts_avoided_per_100=PER_AVOIDED * (1.0 - to_ct),
        ppv=_shares(p * hit, p * hit + q * false_alarm),
        npv=_shares(q * cleared, q * cleared + p * missed),
    )


@dataclass(frozen=True)
class Margins:
    """One class of patients, X-ray and CT known apart; each shape (R,) for R resamples.

    Attributes:
        settled_positive: Share whom the X-ray alone makes positive.
        settled_negative: Share whom the X-ray alone lets leave.
        ct_positive: Share of the CT positive, among those with a CT.
    """

    settled_positive: FloatArray
    settled_negative: FloatArray
    ct_positive: FloatArray

    @property
    def to_ct(self) -> FloatArray:
        """Share whose CT decides."""
        return np.maximum(0.0, 1.0 - self.settled_positive - self.settled_negative)  # −1e-17 is no share


def margins(policy: Policy, patients: PatientScores, *, of_sick: bool, weights: FloatArray | None = None) -> Margins:
    """What X-ray and CT of possibly different patients tell of one class.

    Args:
        policy: Resolved.
        patients: With either score missing where that examination was not made.
        of_sick: The sick, or the well.
        weights: shape (R, N); how often each patient counts. Once each where ``None``, and then R is 1.
    """
    counted = np.ones((1, len(patients))) if weights is None else weights
    chosen = patients.sick == of_sick
    has_xray, has_ct = chosen & ~np.isnan(patients.xray), chosen & ~np.isnan(patients.ct)
    # What the rule says where the X-ray is there and the CT is not: settled, or sent.
    alone = apply_policy_to_all(policy, patients.xray, np.full(len(patients), np.nan))
    xrays = counted @ np.column_stack([alone.positive & has_xray, alone.negative & has_xray, has_xray]).astype(float)
    called = has_ct & (np.nan_to_num(patients.ct, nan=-1.0) >= policy.ct_threshold)
    cts = counted @ np.column_stack([called, has_ct]).astype(float)
    positive, negative = _shares(xrays[:, :2], xrays[:, 2:]).T
    ct_positive = _shares(cts[:, 0], cts[:, 1])
    return Margins(positive, negative, ct_positive)


def frechet_bounds(margin: Margins) -> tuple[FloatArray, FloatArray]:
    """The least and the largest share answered positive that the margins allow, each shape (R,).

    Sent to CT (share m) and CT positive (share c) meet in at least max(0, m + c − 1) and at most min(m, c) of the
    patients (Fréchet 1951), whatever the dependence.
    """
    m, c = margin.to_ct, margin.ct_positive
    least, most = np.maximum(0.0, m + c - 1.0), np.minimum(m, c)
    return margin.settled_positive + least, margin.settled_positive + most


def copula_positive(margin: Margins, correlation: float) -> FloatArray:
    """The share answered positive if latent X-ray and CT scores within the class have a Gaussian copula, shape (R,).

    The zone that goes to CT is an interval of X-ray ranks, just above those who leave; CT positive is the upper tail
    of CT ranks.

    Args:
        margin: Of one class.
        correlation: Of the latent scores, from −1 to 1; an assumption, not a measurement.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    low, high = margin.settled_negative, margin.settled_negative + margin.to_ct
    c = margin.ct_positive
    if correlation >= 1.0:  # the same rank in both: CT positive above rank 1 − c
        both = np.maximum(0.0, high - np.maximum(low, 1.0 - c))
    elif correlation <= -1.0:  # opposite ranks: CT positive below X-ray rank c
        both = np.maximum(0.0, np.minimum(high, c) - low)
    else:
        both = _normal_below(high, c, -correlation) - _normal_below(low, c, -correlation)
    return np.asarray(margin.settled_positive + both)


def copula_rates(sick: Margins, well: Margins, prevalence: float, correlation: float) -> JointRates:
    """Figures under an assumed correlation within each class; see :func:`copula_positive`."""
    return rates_at(_filled(sick, correlation), _filled(well, correlation), prevalence)


def bounded_rates(sick: Margins, well: Margins, prevalence: float) -> tuple[JointRates, JointRates]:
    """The worst and the best that the margins allow: fewest hits with most false alarms, and the reverse."""
    (sick_low, sick_high), (well_low, well_high) = frechet_bounds(sick), frechet_bounds(well)
    worst = rates_at(_split(sick, sick_low), _split(well, well_high), prevalence)
    best = rates_at(_split(sick, sick_high), _split(well, well_low), prevalence)
    return worst, best


def _filled(margin: Margins, correlation: float) -> FloatArray:
    return _split(margin, copula_positive(margin, correlation))


def _split(margin: Margins, positive: FloatArray) -> FloatArray:
    """Shares positive, negative and to CT, shape (R, 3); with every CT there, who is not positive is negative."""
    return np.column_stack([positive, 1.0 - positive, margin.to_ct])


def _normal_below(first: FloatArray, second: FloatArray, correlation: float) -> FloatArray:
    """P(U < first, V < second) for ranks U, V with a Gaussian copula."""
    try:
        from scipy.stats import multivariate_normal, norm
    except ImportError as error:
        raise MissingExtraError("evaluate", "sweeping the correlation of X-ray and CT") from error
    spread = [[1.0, correlation], [correlation, 1.0]]
    pairs = zip(norm.ppf(np.clip(first, 1e-12, 1 - 1e-12)), norm.ppf(np.clip(second, 1e-12, 1 - 1e-12)), strict=True)
    return np.array([multivariate_normal.cdf(pair, cov=spread) for pair in pairs], dtype=np.float64)


def _shares(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Elementwise quotient, ``nan`` where there is nothing to divide by."""
    out = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out
