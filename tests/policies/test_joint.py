"""What a policy does to a population: by hand, and against simulation where the pairs are not known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoscan.policies.joint import (
    Margins,
    bounded_rates,
    copula_positive,
    copula_rates,
    frechet_bounds,
    joint_rates,
    margins,
    rates_at,
)
from duoscan.policies.policy import Policy, apply_policy_to_all
from duoscan.policies.rule import PolicyKind
from duoscan.policies.scores import PatientScores, patient_scores, several_studies
from duoscan.predictions import Prediction
from duoscan.terms import Finding, Modality

NAN = float("nan")


def policy_of(kind: PolicyKind) -> Policy:
    return Policy(
        kind=kind,
        xray_threshold=0.3,
        xray_rule_in=0.8 if kind is PolicyKind.THREE_ZONES else None,
        ct_threshold=0.5,
    )


# Four sick and six well: (X-ray, CT).
SICK = [(0.9, 0.9), (0.5, 0.9), (0.1, 0.9), (0.5, 0.2)]
WELL = [(0.1, 0.1), (0.1, 0.9), (0.2, 0.1), (0.5, 0.1), (0.5, 0.6), (0.9, 0.1)]


def patients() -> PatientScores:
    xray, ct = np.array(SICK + WELL).T
    return PatientScores(tuple(f"p{i}" for i in range(10)), np.arange(10) < 4, xray, ct)


# By hand from the lists above. Sick answered positive, sick answered negative, well negative, well positive, sick to
# CT, well to CT.
BY_HAND = {
    PolicyKind.RULE_OUT: (2, 2, 5, 1, 3, 3),
    PolicyKind.THREE_ZONES: (2, 2, 4, 2, 2, 2),
    PolicyKind.EITHER_POSITIVE: (4, 0, 2, 4, 1, 3),
    PolicyKind.CT_FOR_ALL: (3, 1, 4, 2, 4, 6),
    PolicyKind.XRAY_ONLY: (3, 1, 3, 3, 0, 0),
}


@pytest.mark.parametrize("kind", BY_HAND)
def test_measured_by_hand(kind: PolicyKind) -> None:
    hit, missed, cleared, alarm, sick_ct, well_ct = BY_HAND[kind]
    group = patients()
    rates = joint_rates(apply_policy_to_all(policy_of(kind), group.xray, group.ct), group.sick, 0.1)
    share_ct = 0.1 * sick_ct / 4 + 0.9 * well_ct / 6
    expected = {
        "sensitivity": hit / 4,
        "specificity": cleared / 6,
        "missed": missed / 4,
        "to_ct": share_ct,
        "missed_per_1000": 100 * missed / 4,  # 100 of 1,000 are sick
        "cts_avoided_per_100": 100 * (1 - share_ct),
        "ppv": 100 * hit / 4 / (100 * hit / 4 + 900 * alarm / 6),
        "npv": 900 * cleared / 6 / (900 * cleared / 6 + 100 * missed / 4),
    }
    assert {name: float(value[0]) for name, value in vars(rates).items()} == pytest.approx(expected)


def test_a_resample_is_a_weight() -> None:
    group = patients()
    drawn = np.array([0, 0, 2, 2, 4, 8, 8])  # by index
    weights = np.bincount(drawn, minlength=10)[None, :].astype(float)
    part = PatientScores(tuple(map(str, range(7))), group.sick[drawn], group.xray[drawn], group.ct[drawn])
    for of_sick in (True, False):
        again = margins(policy_of(PolicyKind.RULE_OUT), part, of_sick=of_sick)
        weighed = margins(policy_of(PolicyKind.RULE_OUT), group, of_sick=of_sick, weights=weights)
        for name, value in vars(again).items():
            assert vars(weighed)[name] == pytest.approx(value), name


def test_what_is_undefined_is_not_zero() -> None:
    nobody = rates_at(np.array([[0.0, 1.0, 0.0]]), np.array([[0.0, 1.0, 0.0]]), 0.1)
    assert np.isnan(nobody.ppv).all()
    assert nobody.npv == pytest.approx(0.9)


def test_bounds_by_hand() -> None:
    # Rule-out, the sick: X-ray sends 3 of 4 (m = 0.75), CT positive 3 of 4 (c = 0.75).
    # At least 0.75 + 0.75 − 1 = 0.5 meet, at most 0.75; the pairs measured gave 2 of 4.
    margin = margins(policy_of(PolicyKind.RULE_OUT), patients(), of_sick=True)
    low, high = frechet_bounds(margin)
    assert (float(low[0]), float(high[0])) == (0.5, 0.75)
    # Three zones, the sick: 1 of 4 settled positive, 2 of 4 sent; CT positive 0.75: 0.25 + (0.25 to 0.5).
    low, high = frechet_bounds(margins(policy_of(PolicyKind.THREE_ZONES), patients(), of_sick=True))
    assert (float(low[0]), float(high[0])) == (0.5, 0.75)


@given(
    kind=st.sampled_from(PolicyKind),
    scores=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans()), min_size=2, max_size=30),
    seed=st.integers(0, 99),
)
def test_whatever_the_pairs_they_lie_within(
    kind: PolicyKind, scores: list[tuple[float, float, bool]], seed: int
) -> None:
    """Shuffle who had which CT within a class: the margins stay, and the measured rates stay within the bounds."""
    sick = np.array([*(row[2] for row in scores), True, False])
    xray, ct = (np.array([*(row[i] for row in scores), 0.5, 0.5]) for i in (0, 1))
    rng = np.random.default_rng(seed)
    shuffled = ct.copy()
    for of_sick in (True, False):
        where = np.flatnonzero(sick == of_sick)
        shuffled[where] = ct[rng.permutation(where)]
    policy = policy_of(kind)
    apart = PatientScores(
        tuple(map(str, range(2 * len(sick)))),
        np.concatenate([sick, sick]),
        np.concatenate([xray, np.full(len(sick), NAN)]),
        np.concatenate([np.full(len(sick), NAN), ct]),
    )
    of_sick, of_well = (margins(policy, apart, of_sick=which) for which in (True, False))
    worst, best = bounded_rates(of_sick, of_well, 0.2)
    found = joint_rates(apply_policy_to_all(policy, xray, shuffled), sick, 0.2)
    for name in ("sensitivity", "specificity", "to_ct", "npv"):
        low, value, high = (float(vars(rates)[name][0]) for rates in (worst, found, best))
        if not np.isnan([low, value, high]).any():
            assert low - 1e-9 <= value <= high + 1e-9, name
    assert worst.missed >= found.missed - 1e-9
    for rho in (-1.0, 0.0, 1.0):
        assumed = copula_rates(of_sick, of_well, 0.2, rho)
        assert worst.sensitivity - 1e-7 <= assumed.sensitivity <= best.sensitivity + 1e-7


def one(*values: float) -> Margins:
    return Margins(*(np.array([value]) for value in values))


def test_the_copula_by_hand() -> None:
    margin = one(0.1, 0.3, 0.7)  # settled positive 0.1, leaving 0.3, so 0.6 are sent; CT positive 0.7
    # Independent: 0.1 + 0.6 · 0.7. Same rank: CT positive above rank 0.3, sent from 0.3 to 0.9, so all of them.
    # Opposite: CT positive below X-ray rank 0.7, sent from 0.3, so 0.4 of them.
    for rho, expected in ((0.0, 0.52), (1.0, 0.7), (-1.0, 0.5)):
        assert copula_positive(margin, rho)[0] == pytest.approx(expected, abs=1e-6)
    # Two medians at correlation ρ: P(both above) = 1/4 + asin(ρ) / 2π (Sheppard 1899); ρ = 0.5 gives 1/3.
    assert copula_positive(one(0.0, 0.5, 0.5), 0.5)[0] == pytest.approx(1 / 3, abs=1e-6)
    near = [float(copula_positive(margin, rho)[0]) for rho in (-0.999, 0.999)]
    assert near == pytest.approx([0.5, 0.7], abs=0.02)


def test_the_copula_against_simulation() -> None:
    rho, rng = 0.6, np.random.default_rng(0)
    first, noise = rng.standard_normal((2, 200_000))
    second = rho * first + np.sqrt(1 - rho**2) * noise
    # Leave below rank 0.2, settled above 0.9, CT positive above rank 0.4.
    edges, cut = np.quantile(first, [0.2, 0.9]), np.quantile(second, 0.4)
    sent = (first >= edges[0]) & (first < edges[1])
    found = np.mean((first >= edges[1]) | (sent & (second >= cut)))
    assert copula_positive(one(0.1, 0.2, 0.6), rho)[0] == pytest.approx(found, abs=0.003)


def row(patient: str, modality: Modality, probability: float | None, label: Finding | None) -> Prediction:
    return Prediction(f"{patient}/{probability}", patient, modality, probability, "", label=label)


def test_of_several_studies_the_first_counts() -> None:
    """Triage has one X-ray before it decides; the highest of three lets fewer leave than the first visit does."""
    rows = [
        replace(row("a", modality, p, Finding.COVID), study_id=study)
        for modality in (Modality.CXR, Modality.CT)
        for study, p in (("one", 0.2), ("two", 0.9), ("one", 0.3))
    ]
    group = patient_scores(rows)
    assert group.xray.tolist() == [0.3]
    assert group.ct.tolist() == [pytest.approx(0.25)]
    assert [several_studies(rows, modality) for modality in (Modality.CXR, Modality.CT)] == [1, 1]
    # A first study that cannot be read is no reason to take the second: such a patient goes to CT.
    unread = [replace(each, probability=None) if each.study_id == "one" else each for each in rows]
    assert np.isnan(patient_scores(unread).xray).all()


def test_patients_from_images() -> None:
    covid, normal = Finding.COVID, Finding.NORMAL
    rows = [
        *(row("a", Modality.CT, p, covid) for p in (0.1, 0.9, 0.6, 0.3)),  # mean of the three largest: 0.6
        *(row("a", Modality.CXR, p, covid) for p in (0.2, 0.4)),  # the largest
        row("b", Modality.CXR, None, normal),
        row("b", Modality.CT, 0.3, normal),
        row("c", Modality.CXR, 0.7, None),  # no label: nothing to measure it against
    ]
    group = patient_scores(rows)
    assert group.names == ("a", "b")
    assert group.sick.tolist() == [True, False]
    np.testing.assert_allclose(group.xray, [0.4, NAN])
    np.testing.assert_allclose(group.ct, [0.6, 0.3])
    assert group.is_paired.tolist() == [True, False]
    assert group.where(group.is_paired).names == ("a",)
    assert patient_scores(rows[::-1]).fingerprint() == group.fingerprint()
