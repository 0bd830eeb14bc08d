"""Thresholds with a guarantee: at most α of the sick leave.

The calibration patients' scores are one number a patient, never one a slice: slices of a patient are alike, and a
guarantee that counts them as independent would be false.

**Exact.** A sick patient leaves when the score lies below t, so the miss rate R(t) grows with t. "R(t) > α" is
tested for rising t by the binomial tail P(Bin(n, α) ≤ k(t)), k(t) the sick below t, each at level δ, and the first
test that fails ends the sequence (Learn then Test with fixed-sequence testing: Angelopoulos, Bates, Candès, Jordan
and Lei, arXiv:2110.01052, 2021). It is the Clopper–Pearson upper limit of the miss rate held against α (Biometrika
1934). The sequence runs over all real thresholds, so it needs no grid; k(t) never falls, so its last passed test is
the (k* + 1)-th smallest score, k* the most misses that pass. With ties fewer than k* lie below that score: the
promise then holds with room to spare. The promise is for this one calibration: it is broken for at most δ of them.

**Split-conformal.** t is the ⌊α (n + 1)⌋-th smallest score of the sick (label-conditional split-conformal: Vovk,
Machine Learning 2013). The chance that the next sick patient leaves is at most α on average over calibrations; for
the calibration at hand it may lie above. It needs fewer patients and promises less.

Both look at the sick only, so neither depends on how common the disease is. Both hold for sick patients like those
of the calibration; another hospital, scanner or wave of the disease is outside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import numpy as np

from duoscan.errors import InputError, MissingExtraError
from duoscan.policies.policy import Certificate, Policy, apply_policy_to_all
from duoscan.policies.rule import PolicyKind

if TYPE_CHECKING:
    from duoscan.policies.policy import FloatArray
    from duoscan.policies.scores import PatientScores

Method = Literal["exact", "split-conformal"]
Scope = Literal["xray", "joint", "union"]
Wish = Literal["auto", "xray", "joint", "union"]

# Policies whose only way out at X-ray is a score below the X-ray threshold.
CERTIFIABLE = (PolicyKind.CONFIRM_POSITIVES, PolicyKind.RULE_OUT, PolicyKind.THREE_ZONES, PolicyKind.XRAY_ONLY)
CT_CHOSEN_HERE = (
    "no joint promise: the CT threshold was chosen on the calibration patients themselves; state it with "
    "--ct-threshold, certify on other patients with --calibration, or take --scope union"
)
_ROUNDING = 1e-9  # α (n + 1) is often whole on paper and not in floats, and (1 − α)ⁿ may be δ


@dataclass(frozen=True)
class Promise:
    """What is wanted of a certificate.

    Attributes:
        alpha: Largest share of the sick that may leave.
        delta: Chance that the promise is broken; of no meaning to split-conformal.
        method: How it is made.
        scope: Ways out that count: ``xray`` leaving at X-ray; ``joint`` leaving at X-ray or CT, certified on paired
            patients with the CT threshold as it is given; ``union`` the same with both thresholds certified, α and
            δ halved between the two (Bonferroni), which needs no pairs; ``auto`` see :func:`scope_of`.
        ct_chosen_here: Whether the CT threshold was chosen on the calibration patients. No joint promise can be made
            then: it would be broken in more than δ of calibrations, since the threshold suits these very patients.
        caveat: What weakens it here, added to its words.
    """

    alpha: float
    delta: float = 0.05
    method: Method = "exact"
    scope: Wish = "xray"
    ct_chosen_here: bool = False
    caveat: str = ""

    def __post_init__(self) -> None:
        for name, value in (("miss rate", self.alpha), ("1 − confidence", self.delta)):
            if not 0.0 < value < 1.0:
                raise InputError(f"{name} {value} is out of range; give one above 0 and below 1")


@dataclass(frozen=True)
class Models:
    """What makes the certified probabilities, graph and aggregation (``Bundle.study_digest``); empty without models."""

    xray: str = ""
    ct: str = ""


NO_MODELS = Models()


def positives_needed(alpha: float, delta: float | None) -> int:
    """The fewest sick patients with which anything can be certified.

    Exact: with none of n missed, (1 − α)ⁿ must be at most δ. Split-conformal (``delta`` is ``None``): α (n + 1) must
    reach 1.

    Example:
        >>> [positives_needed(alpha, 0.05) for alpha in (0.05, 0.02, 0.01)]
        [59, 149, 299]
        >>> positives_needed(0.05, None)
        19
    """
    if delta is None:
        return math.ceil(1 / alpha - 1 - _ROUNDING)
    return math.ceil((math.log(delta) + _ROUNDING / 2) / math.log1p(-alpha))


def allowed_misses(positives: int, alpha: float, delta: float) -> int:
    """k*: the most misses among ``positives`` with which a miss rate of α is excluded at level δ; −1 if none.

    It is the largest k with P(Bin(n, α) ≤ k) ≤ δ, the same as a Clopper–Pearson upper limit of at most α.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    try:
        from scipy.stats import binom
    except ImportError as error:
        raise MissingExtraError("evaluate", "certifying a threshold") from error
    tail = binom.cdf(np.arange(positives + 1), positives, alpha)
    return int(np.searchsorted(tail, delta * (1.0 + _ROUNDING), side="right")) - 1


def exact_threshold(scores: FloatArray, alpha: float, delta: float) -> float:
    """The largest t with P(score < t | sick) at most α, with confidence 1 − δ.

    Args:
        scores: shape (n,); one a sick calibration patient. ``-inf`` for one missed at every threshold, ``inf`` for
            one missed at none.
        alpha: Largest share of the sick below t.
        delta: Chance over calibrations that more lie below.

    Raises:
        InputError: Too few sick patients; says how many are missing. Or too many are missed at every threshold.
    """
    _check_enough(len(scores), positives_needed(alpha, delta), alpha, delta)
    return _order_statistic(scores, allowed_misses(len(scores), alpha, delta) + 1, alpha)


def conformal_threshold(scores: FloatArray, alpha: float) -> float:
    """The largest t below which the next sick patient lies with chance at most α, averaged over calibrations.

    Args:
        scores: As in :func:`exact_threshold`.
        alpha: That chance.

    Raises:
        InputError: Too few sick patients; says how many are missing. Or too many are missed at every threshold.
    """
    _check_enough(len(scores), positives_needed(alpha, None), alpha, None)
    return _order_statistic(scores, math.floor(alpha * (len(scores) + 1) + _ROUNDING), alpha)


def certify(policy: Policy, patients: PatientScores, promise: Promise, models: Models = NO_MODELS) -> Policy:
    """The policy with the largest X-ray threshold that keeps the promise, and its certificate.

    Args:
        policy: Resolved; its X-ray threshold is replaced, and under ``union`` its CT threshold too. Under ``joint``
            ``xray_rule_in`` of three zones must not have been chosen on the sick of ``patients``.
        patients: Calibration patients; those without what the scope needs are left out.
        promise: What is wanted.
        models: What made the probabilities.

    Raises:
        InputError: The kind cannot be certified, there are too few sick patients, or a joint promise is asked for
            with a CT threshold that was chosen on them.
    """
    if policy.kind not in CERTIFIABLE:
        known = ", ".join(CERTIFIABLE)
        raise InputError(f"'{policy.kind}' has no X-ray threshold below which patients leave; certify one of {known}")
    scope = scope_of(policy, patients, promise)
    if scope == "joint" and promise.ct_chosen_here:
        raise InputError(CT_CHOSEN_HERE)
    union = scope == "union"
    alpha, delta = (promise.alpha / 2, promise.delta / 2) if union else (promise.alpha, promise.delta)
    ct_threshold = policy.ct_threshold
    if union:
        ct_scores = patients.ct[patients.sick & ~np.isnan(patients.ct)]
        ct_threshold = _threshold(ct_scores, alpha, delta, promise.method)
    scores = leaving_scores(policy, patients, scope)
    low = min(_threshold(scores, alpha, delta, promise.method), 1.0)
    rule_in = None if policy.xray_rule_in is None else max(low, policy.xray_rule_in)
    moved = {"xray_threshold": low, "xray_rule_in": rule_in, "ct_threshold": ct_threshold, "certificate": None}
    certified = policy.model_copy(update=moved)
    made = replace(promise, scope=scope)
    return certified.model_copy(update={"certificate": _certificate(certified, patients, scores, made, models)})


def scope_of(policy: Policy, patients: PatientScores, promise: Promise) -> Scope:
    """The scope of a promise; where it is ``auto``, the whole policy if the sick patients are enough for that.

    ``joint``, else ``union``, else ``xray``. It goes by numbers of patients alone: a scope chosen by their scores,
    because the other was refused, would break one of two promises twice as often.

    Args:
        policy: To be certified.
        patients: Calibration patients.
        promise: What is wanted.
    """
    if policy.kind is PolicyKind.XRAY_ONLY:
        return "xray"  # there is no other way out
    if promise.scope != "auto":
        return promise.scope
    has_xray, has_ct = (patients.sick & ~np.isnan(scores) for scores in (patients.xray, patients.ct))
    alpha, delta = promise.alpha, None if promise.method == "split-conformal" else promise.delta
    if not promise.ct_chosen_here and np.sum(has_xray & has_ct) >= positives_needed(alpha, delta):
        return "joint"
    of_each = min(np.sum(has_xray), np.sum(has_ct))
    return "union" if of_each >= positives_needed(alpha / 2, delta and delta / 2) else "xray"


def check_certificate(
    certificate: Certificate, models: Models | None = None, patients: PatientScores | None = None
) -> None:
    """Refuse a certificate whose ground is not the one at hand.

    Args:
        certificate: To be relied on.
        models: The models that answer now; not checked where ``None``.
        patients: The calibration patients as they are now; not checked where ``None``.

    Raises:
        InputError: A model graph or the calibration data is another than the certificate names.
    """
    again = "certify anew with 'duoscan triage', or remove [certificate] and say that the policy is uncertified"
    pairs = [("X-ray", certificate.xray_graph_sha256, models.xray)] if models else []
    if models and certificate.ct_threshold is not None:  # else nothing is promised of the CT, and any model will do
        pairs.append(("CT", certificate.ct_graph_sha256, models.ct))
    for phase, stated, found in pairs:
        if stated != found:
            raise InputError(
                f"the certificate of {certificate.date} was made for the {phase} model {stated[:12] or 'unknown'}, "
                f"not for {found[:12] or 'unknown'}; it has expired: {again}"
            )
    data = certificate.calibration_fingerprint if patients is None else patients.fingerprint()
    if data != certificate.calibration_fingerprint:
        raise InputError(
            f"the certificate of {certificate.date} rests on calibration data "
            f"{certificate.calibration_fingerprint[:12]}, not on {data[:12]}; it has expired: {again}"
        )


def leaving_scores(policy: Policy, patients: PatientScores, scope: Scope) -> FloatArray:
    """Per sick patient, the X-ray threshold up to which the patient does not leave; ``-inf`` if the CT lets go.

    Where the X-ray lets nobody leave, a sick patient answered negative is one whom the CT misses.
    """
    known = patients.sick if scope == "joint" else patients.sick & ~np.isnan(patients.xray)
    if scope == "joint":
        known = known & ~np.isnan(patients.xray) & ~np.isnan(patients.ct)
    scores = patients.xray[known]
    if scope != "joint" or policy.kind is PolicyKind.XRAY_ONLY:
        return scores
    nobody_leaves = policy.model_copy(update={"xray_threshold": 0.0, "certificate": None})
    at_ct = apply_policy_to_all(nobody_leaves, scores, patients.ct[known]).negative
    return np.where(at_ct, -np.inf, scores)


def _threshold(scores: FloatArray, alpha: float, delta: float, method: Method) -> float:
    return exact_threshold(scores, alpha, delta) if method == "exact" else conformal_threshold(scores, alpha)


def _order_statistic(scores: FloatArray, rank: int, alpha: float) -> float:
    """The ``rank``-th smallest score, counted from 1."""
    found = float(np.partition(scores, rank - 1)[rank - 1])
    if found == -np.inf:
        raise InputError(
            f"no threshold can be certified: the CT alone misses {int(np.sum(scores == -np.inf))} of {len(scores)} "
            f"sick calibration patients, which is too many for a miss rate of {alpha:.3g}; lower the CT threshold "
            "or certify leaving at X-ray only, with --scope xray"
        )
    return found


def _check_enough(positives: int, needed: int, alpha: float, delta: float | None) -> None:
    if positives < needed:
        confidence = "on average" if delta is None else f"with confidence {1 - delta:.4g}"
        raise InputError(
            f"a miss rate of at most {alpha:.4g} {confidence} needs {needed} sick calibration patients; there are "
            f"{positives}, so {needed - positives} are missing. Add patients or accept a higher miss rate"
        )


def _certificate(
    policy: Policy, patients: PatientScores, scores: FloatArray, promise: Promise, models: Models
) -> Certificate:
    exact = promise.method == "exact"
    low = policy.xray_threshold
    both_phases = promise.scope != "xray"
    return Certificate(
        method=promise.method,
        covers="leaving at X-ray or CT" if both_phases else "leaving at X-ray",
        kind=policy.kind,
        alpha=promise.alpha,
        delta=promise.delta if exact else None,
        positives=len(scores),
        missed=int(np.sum(scores < low)),
        xray_threshold=low,
        ct_threshold=policy.ct_threshold if both_phases else None,
        xray_rule_in=policy.xray_rule_in if both_phases else None,
        calibration_fingerprint=patients.fingerprint(),
        xray_graph_sha256=models.xray,
        ct_graph_sha256=models.ct if both_phases else "",
        date=datetime.now(UTC).date().isoformat(),
        promise=promise_in_words(promise, both_phases=both_phases),
    )


def promise_in_words(promise: Promise, *, both_phases: bool) -> str:
    """What is promised, of whom, and what is not."""
    where = "at X-ray or CT" if both_phases else "at X-ray"
    if promise.method == "exact":
        what = (
            f"At most {promise.alpha:.3g} of the sick leave {where}, with confidence {1 - promise.delta:.4g} over the "
            "draw of the calibration patients, of those for whom no certificate is issued too (exact binomial)."
        )
    else:
        what = (
            f"The next sick patient leaves {where} with a chance of at most {promise.alpha:.3g}, averaged over "
            "calibrations; of this calibration alone nothing is promised (split-conformal)."
        )
    how = {
        "xray": "",
        "joint": " Certified for both phases together on paired patients, the CT threshold given beforehand.",
        "union": " Certified for each phase with half of the miss rate and half of the remaining doubt (union bound).",
    }[promise.scope if both_phases else "xray"]
    return (
        f"{what}{how} It holds for sick patients drawn like those of the calibration, at the first study listed of "
        "each, who took no part in training or choosing the models, and does not depend on prevalence. A CT the "
        "clinician asks for is outside it." + (f" {promise.caveat}" if promise.caveat else "")
    )
