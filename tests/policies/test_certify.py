"""Certified thresholds: the promise itself, by simulation, and its parts by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.stats import beta, binomtest

from certified_cohorts import SHAPES, true_miss_rate, within_monte_carlo
from duoscan.errors import InputError
from duoscan.policies.certify import (
    Models,
    Promise,
    allowed_misses,
    certify,
    check_certificate,
    conformal_threshold,
    exact_threshold,
    positives_needed,
    scope_of,
)
from duoscan.policies.policy import Policy, apply_policy_to_all
from duoscan.policies.rule import PolicyKind
from duoscan.policies.scores import PatientScores

MODELS = Models("x" * 64, "c" * 64)


def cohort(seed: int = 0, sick: int = 100, well: int = 100) -> PatientScores:
    """Paired patients; the sick score higher in both."""
    rng = np.random.default_rng(seed)
    truth = np.arange(sick + well) < sick
    xray, ct = (np.where(truth, rng.beta(4, 2, len(truth)), rng.beta(2, 4, len(truth))) for _ in range(2))
    return PatientScores(tuple(f"p{i}" for i in range(len(truth))), truth, xray, ct)


def rule_out(ct_threshold: float = 0.1) -> Policy:
    return Policy(kind=PolicyKind.RULE_OUT, xray_threshold=0.5, ct_threshold=ct_threshold)


# (1 − α)ⁿ ≤ δ: 0.95⁵⁸ = 0.0510 and 0.95⁵⁹ = 0.0485; 0.98¹⁴⁹ = 0.0493; 0.99²⁹⁹ = 0.0495.
@pytest.mark.parametrize(("alpha", "needed"), [(0.05, 59), (0.02, 149), (0.01, 299)])
def test_how_many_are_needed(alpha: float, needed: int) -> None:
    assert positives_needed(alpha, 0.05) == needed
    assert (1 - alpha) ** needed <= 0.05 < (1 - alpha) ** (needed - 1)
    scores = np.linspace(0.1, 0.9, needed)
    assert exact_threshold(scores, alpha, 0.05) == 0.1  # no miss is allowed, so nobody may lie below
    with pytest.raises(InputError, match=f"needs {needed} sick calibration patients; there are 9, so {needed - 9} are"):
        exact_threshold(scores[:9], alpha, 0.05)


# On paper (1 − α)ⁿ is δ, and in floats it lies above or below.
@pytest.mark.parametrize(("alpha", "positives", "delta"), [(0.1, 2, 0.81), (0.2, 3, 0.512), (0.3, 4, 0.2401)])
def test_enough_on_paper_is_enough_in_floats(alpha: float, positives: int, delta: float) -> None:
    assert positives_needed(alpha, delta) == positives
    assert allowed_misses(positives, alpha, delta) == 0
    assert exact_threshold(np.linspace(0.1, 0.9, positives), alpha, delta) == 0.1


@given(alpha=st.floats(0.005, 0.5), delta=st.floats(0.001, 0.9))
def test_what_is_needed_allows_at_least_no_miss(alpha: float, delta: float) -> None:
    assert allowed_misses(positives_needed(alpha, delta), alpha, delta) >= 0


@given(alpha=st.integers(1, 40).map(lambda percent: percent / 100), positives=st.integers(2, 60))
def test_what_is_needed_allows_no_miss_where_delta_is_rounded(alpha: float, positives: int) -> None:
    delta = round((1 - alpha) ** positives, 12)
    assume(delta > 0.0)
    assert allowed_misses(positives_needed(alpha, delta), alpha, delta) >= 0


def test_how_many_conformal_needs() -> None:
    # ⌊α (n + 1)⌋ ≥ 1: 0.05 · 20 = 1. Floats make 0.07 · 100 more than 7, and 1/0.1 − 1 is 9.
    assert [positives_needed(alpha, None) for alpha in (0.05, 0.1, 0.01, 0.3)] == [19, 9, 99, 3]
    with pytest.raises(InputError, match="needs 19 sick calibration patients; there are 18, so 1 are missing"):
        conformal_threshold(np.linspace(0, 1, 18), 0.05)


def test_conformal_by_hand() -> None:
    # n = 39, α = 0.1: ⌊0.1 · 40⌋ = 4, so t is the fourth smallest score.
    scores = np.arange(39)[::-1] / 100
    assert conformal_threshold(scores, 0.1) == 0.03
    # n = 99, α = 0.07: 0.07 · 100 is 7.000000000000001 in floats, 0.29 · 100 is 28.999999999999996; both are whole.
    assert conformal_threshold(np.arange(99) / 100, 0.07) == 0.06
    assert conformal_threshold(np.arange(99) / 100, 0.29) == 0.28


def test_exact_by_hand() -> None:
    # n = 93, α = 0.05: P(Bin = 0) = 0.95⁹³ = 0.00848; P(Bin = 1) = 93 · 0.05 · 0.95⁹² = 0.04151; together 0.04998.
    # At n = 92 they are 0.00892 + 0.04322 = 0.05215. So 93 is the first n that allows one miss.
    assert [allowed_misses(n, 0.05, 0.05) for n in (58, 59, 92, 93)] == [-1, 0, 0, 1]
    scores = np.array([0.3, 0.2, 0.1, *np.full(90, 0.9)])
    assert exact_threshold(scores, 0.05, 0.05) == 0.2  # one lies below


@given(n=st.integers(1, 400), alpha=st.floats(0.005, 0.5), delta=st.sampled_from([0.01, 0.05, 0.1]))
def test_it_is_clopper_and_pearsons_limit(n: int, alpha: float, delta: float) -> None:
    k = allowed_misses(n, alpha, delta)
    if k >= 0:
        limit = binomtest(k, n).proportion_ci(1 - 2 * delta, "exact").high
        assert limit <= alpha + 1e-6
        assert limit == pytest.approx(beta.ppf(1 - delta, k + 1, n - k))
    if k + 1 < n:
        assert beta.ppf(1 - delta, k + 2, n - k - 1) > alpha - 1e-9


@given(
    scores=st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.9]), min_size=60, max_size=120),
    alpha=st.sampled_from([0.05, 0.1]),
)
def test_it_is_the_last_step_of_the_sequence(scores: list[float], alpha: float) -> None:
    """Fixed-sequence testing spelled out on every threshold at which anything changes, ties and all."""
    drawn = np.array(scores)
    passed = 0.0
    for t in np.unique(drawn):
        below = int(np.sum(drawn < t))
        if binomtest(below, len(drawn), alpha, alternative="less").pvalue > 0.05:
            break
        passed = float(t)
    assert exact_threshold(drawn, alpha, 0.05) == passed


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("alpha", [0.05, 0.1])
def test_coverage(shape: str, alpha: float) -> None:
    """2,000 cohorts of random size each; the true miss rate is known from the score's distribution."""
    exact = true_miss_rate("exact", shape, alpha, cohorts=2000, seed=1)
    assert within_monte_carlo(exact > alpha, 0.05)
    assert keeps_on_average(true_miss_rate("split-conformal", shape, alpha, cohorts=2000, seed=1), alpha)


def keeps_on_average(rates: NDArray[np.float64], alpha: float) -> bool:
    """Whether the mean is at most α, three standard errors aside."""
    return bool(rates.mean() <= alpha + 3 * rates.std() / np.sqrt(len(rates)))


@pytest.mark.parametrize("shape", ["continuous", "prevalence shift"])
def test_a_broken_rule_fails_the_check_of_the_average(shape: str) -> None:
    """Two ranks late is 2 / (n + 1) too many, about 0.007 of 275 sick patients; ties leave that much room."""
    assert not keeps_on_average(true_miss_rate("two ranks late", shape, 0.1, cohorts=2000, seed=1), 0.1)


@pytest.mark.parametrize("shape", ["continuous", "prevalence shift"])
def test_broken_rules_fail_the_same_check(shape: str) -> None:
    """The empirical quantile promises nothing: about half of the cohorts exceed α, ten times δ."""
    assert not within_monte_carlo(true_miss_rate("empirical", shape, 0.05, cohorts=2000, seed=1) > 0.05, 0.05)
    per_slice = true_miss_rate("per slice", shape, 0.05, cohorts=2000, seed=1)
    assert not within_monte_carlo(per_slice > 0.05, 0.05)


def test_a_rule_that_leans_on_prevalence_fails_when_it_shifts() -> None:
    """Misses counted among everyone hold the promise where half are sick, as assumed, and only there."""
    kept = true_miss_rate("among everyone", "continuous", 0.05, cohorts=2000, seed=1)
    shifted = true_miss_rate("among everyone", "prevalence shift", 0.05, cohorts=2000, seed=1)
    assert within_monte_carlo(kept > 0.05, 0.05)
    assert not within_monte_carlo(shifted > 0.05, 0.05)


def test_conformal_is_not_an_exact_promise() -> None:
    """It keeps α on average and breaks it in far more than δ of the cohorts; hence the two wordings."""
    rates = true_miss_rate("split-conformal", "continuous", 0.05, cohorts=2000, seed=1)
    assert np.mean(rates > 0.05) > 0.2


def test_a_certified_policy_keeps_its_promise_on_its_calibration() -> None:
    patients = cohort()
    for kind in (PolicyKind.RULE_OUT, PolicyKind.XRAY_ONLY, PolicyKind.CONFIRM_POSITIVES):
        policy = certify(rule_out().model_copy(update={"kind": kind}), patients, Promise(0.05), MODELS)
        certificate = policy.certificate
        assert certificate is not None
        left = patients.sick & (patients.xray < (policy.xray_threshold or 0))
        # n = 100: P(Bin(100, .05) ≤ 1) = 0.0371 ≤ 0.05 < P(≤ 2) = 0.1183, so one may leave.
        assert left.sum() == certificate.missed == 1
        assert (certificate.positives, certificate.alpha, certificate.delta) == (100, 0.05, 0.05)
        assert "confidence 0.95" in certificate.promise
        assert certificate.ct_graph_sha256 == ""
        assert certificate.calibration_fingerprint == patients.fingerprint()


def test_no_calibration_patients_are_not_those_of_a_certificate() -> None:
    patients = cohort()
    certificate = certify(rule_out(), patients, Promise(0.05), MODELS).certificate
    assert certificate
    check_certificate(certificate, MODELS, patients)
    with pytest.raises(InputError, match="it has expired"):
        check_certificate(certificate, MODELS, patients.where(np.zeros(len(patients), dtype=bool)))


def test_the_joint_rule_counts_what_the_ct_lets_go() -> None:
    patients = cohort()
    third = float(np.sort(patients.ct[patients.sick])[2])  # the CT lets two of the sick go
    policy = certify(rule_out(ct_threshold=third), patients, Promise(0.1, scope="joint"), MODELS)
    gone = patients.sick & apply_policy_to_all(policy, patients.xray, patients.ct).negative
    # P(Bin(100, .1) ≤ 4) = 0.0237 ≤ 0.05 < P(≤ 5) = 0.0576: four may leave, some of them at CT.
    assert policy.certificate
    assert gone.sum() == policy.certificate.missed == 4
    assert (gone & (patients.xray >= (policy.xray_threshold or 0))).any()
    assert policy.certificate.covers == "leaving at X-ray or CT"
    assert policy.certificate.ct_graph_sha256 == MODELS.ct
    with pytest.raises(InputError, match="the CT alone misses"):
        certify(rule_out(ct_threshold=0.9), patients, Promise(0.1, scope="joint"), MODELS)


def test_three_zones_jointly() -> None:
    patients = cohort()
    zones = Policy(kind=PolicyKind.THREE_ZONES, xray_threshold=0.5, xray_rule_in=0.7, ct_threshold=0.3)
    policy = certify(zones, patients, Promise(0.1, scope="joint"), MODELS)
    gone = patients.sick & apply_policy_to_all(policy, patients.xray, patients.ct).negative
    assert policy.certificate
    # Those above 0.7 are positive whatever their CT, so fewer are lost there than under rule-out.
    assert gone.sum() <= 4
    assert (policy.xray_threshold or 1) <= (policy.xray_rule_in or 0)


def test_a_joint_certificate_is_of_its_moves_and_its_rule_in() -> None:
    """Sending to CT whom the X-ray had settled lets the CT miss more of the sick."""
    zones = Policy(kind=PolicyKind.THREE_ZONES, xray_threshold=0.5, xray_rule_in=0.7, ct_threshold=0.3)
    stated = certify(zones, cohort(), Promise(0.1, scope="joint"), MODELS).model_dump()
    assert Policy.model_validate(stated).certificate
    for change in ({"xray_rule_in": 0.9}, {"kind": PolicyKind.RULE_OUT, "xray_rule_in": None}):
        with pytest.raises(ValidationError, match="other moves or thresholds"):
            Policy.model_validate(stated | change)
    at_xray = certify(zones, cohort(), Promise(0.1), MODELS).model_dump()
    assert Policy.model_validate(at_xray | {"xray_rule_in": 0.9}).certificate, "nobody else leaves at X-ray"


def test_the_union_bound_needs_no_pairs_and_more_patients() -> None:
    paired = cohort(sick=300, well=300)
    xray_of_some, ct_of_others = paired.xray.copy(), paired.ct.copy()
    even = np.arange(600) % 2 == 0
    xray_of_some[~even], ct_of_others[even] = np.nan, np.nan
    unpaired = PatientScores(paired.names, paired.sick, xray_of_some, ct_of_others)
    policy = certify(rule_out(), unpaired, Promise(0.05, scope="union"), MODELS)
    # Each phase at α = 0.025, δ = 0.025 on its 150 sick: 0.975¹⁴⁶ = 0.0248, so 146 are needed and none may leave.
    assert positives_needed(0.025, 0.025) == 146
    assert policy.xray_threshold == np.nanmin(xray_of_some[paired.sick])
    assert policy.ct_threshold == np.nanmin(ct_of_others[paired.sick])
    assert policy.certificate
    assert "union bound" in policy.certificate.promise
    with pytest.raises(InputError, match="needs 146 sick calibration patients; there are 50"):
        certify(rule_out(), cohort(sick=50), Promise(0.05, scope="union"), MODELS)


def test_a_threshold_chosen_on_the_same_patients_gives_no_joint_promise() -> None:
    with pytest.raises(InputError, match="was chosen on the calibration patients themselves"):
        certify(rule_out(), cohort(), Promise(0.1, scope="joint", ct_chosen_here=True), MODELS)
    assert certify(rule_out(), cohort(), Promise(0.1, ct_chosen_here=True), MODELS).certificate, "X-ray alone"


def test_left_to_the_numbers_both_phases_are_certified_where_the_sick_are_enough() -> None:
    # α = δ = 0.05 needs 59 sick with both; where the CT threshold was chosen here, 146 at half of each.
    for sick, chosen_here, scope in (
        (58, False, "xray"), (59, False, "joint"), (59, True, "xray"), (145, True, "xray"), (146, True, "union"),
    ):  # fmt: skip
        promise = Promise(0.05, scope="auto", ct_chosen_here=chosen_here)
        assert scope_of(rule_out(), cohort(sick=sick), promise) == scope, (sick, chosen_here)
    only = rule_out().model_copy(update={"kind": PolicyKind.XRAY_ONLY})
    assert scope_of(only, cohort(), Promise(0.05, scope="auto")) == "xray"
    # 19 with both at X-ray and CT for an average of 5 %, 39 of each for half of it.
    conformal = Promise(0.05, method="split-conformal", scope="auto")
    assert [scope_of(rule_out(), cohort(sick=sick), conformal) for sick in (18, 19)] == ["xray", "joint"]


def test_what_cannot_be_certified() -> None:
    for kind in (PolicyKind.CT_FOR_ALL, PolicyKind.EITHER_POSITIVE):
        with pytest.raises(InputError, match="no X-ray threshold below which patients leave"):
            certify(rule_out().model_copy(update={"kind": kind}), cohort(), Promise(0.05), MODELS)
    with pytest.raises(InputError, match="out of range"):
        Promise(0.0)
    with pytest.raises(InputError, match="there are 40, so 19 are missing"):
        certify(rule_out(), cohort(sick=40), Promise(0.05), MODELS)


def test_it_expires_with_its_ground() -> None:
    patients = cohort()
    certificate = certify(rule_out(), patients, Promise(0.1, scope="joint"), MODELS).certificate
    assert certificate
    check_certificate(certificate, MODELS, patients)
    order = np.random.default_rng(0).permutation(len(patients))
    shuffled = PatientScores(
        tuple(patients.names[i] for i in order), patients.sick[order], patients.xray[order], patients.ct[order]
    )
    check_certificate(certificate, MODELS, shuffled)
    changed = patients.ct.copy()
    changed[3] = np.nextafter(changed[3], 1)
    with pytest.raises(InputError, match="rests on calibration data"):
        check_certificate(certificate, MODELS, PatientScores(patients.names, patients.sick, patients.xray, changed))
    for models in (Models("y" * 64, MODELS.ct), Models(MODELS.xray, "d" * 64)):
        with pytest.raises(InputError, match="it has expired"):
            check_certificate(certificate, models, patients)
    at_xray = certify(rule_out(), patients, Promise(0.1), MODELS).certificate
    assert at_xray
    check_certificate(at_xray, Models(MODELS.xray, "another CT model"), patients)
