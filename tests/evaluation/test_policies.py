"""Policies with intervals, the choice among them, and X-ray against CT on equal terms."""

from __future__ import annotations

import numpy as np
import pytest

from duoscan.errors import InputError
from duoscan.evaluation.intervals import TAIL
from duoscan.evaluation.policies.choice import choose
from duoscan.evaluation.policies.document import scores_from_json, scores_json
from duoscan.evaluation.policies.measured import FIGURES, PolicyFigures, bound_policy, measure_policy
from duoscan.evaluation.policies.modalities import Dose, benefits_and_drawbacks, compare_modalities
from duoscan.evaluation.policies.operating import Setting, candidate_policies, operating_table
from duoscan.policies.certify import Models, Promise
from duoscan.policies.policy import Policy
from duoscan.policies.rule import PolicyKind
from duoscan.policies.scores import PatientScores

RESAMPLES = 200


def cohort(seed: int = 0, sick: int = 80, well: int = 120) -> PatientScores:
    """Paired patients whose CT tells the sick apart better than their X-ray."""
    rng = np.random.default_rng(seed)
    truth = np.arange(sick + well) < sick
    xray = np.where(truth, rng.beta(4, 2, len(truth)), rng.beta(2, 4, len(truth)))
    ct = np.where(truth, rng.beta(9, 2, len(truth)), rng.beta(2, 9, len(truth)))
    return PatientScores(tuple(f"p{i}" for i in range(len(truth))), truth, xray, ct)


def apart(group: PatientScores, share: float = 0.5, seed: int = 0) -> PatientScores:
    """The same scores, of patients who had either an X-ray or a CT."""
    has_xray = np.random.default_rng(seed).random(len(group)) < share
    return PatientScores(
        group.names, group.sick, np.where(has_xray, group.xray, np.nan), np.where(has_xray, np.nan, group.ct)
    )


def policy_of(kind: PolicyKind, low: float = 0.3) -> Policy:
    rule_in = 0.8 if kind is PolicyKind.THREE_ZONES else None
    return Policy(kind=kind, xray_threshold=low, xray_rule_in=rule_in, ct_threshold=0.5)


@pytest.mark.parametrize("kind", PolicyKind)
def test_every_figure_lies_in_its_interval(kind: PolicyKind) -> None:
    found = measure_policy(policy_of(kind), cohort(), prevalence=0.1)
    assert set(found.figures) == set(FIGURES)
    for name, estimate in found.figures.items():
        assert estimate.low is not None, name
        assert estimate.high is not None
        assert estimate.low <= estimate.value <= estimate.high


def test_nobody_missed_is_not_certainty() -> None:
    # Everyone to a CT that is always right: no one of 80 missed. Upper bound 1 − 0.025^(1/80) = 0.0451 of the sick,
    # and of 1,000 patients 100 are sick: 4.51.
    group = cohort()
    perfect = PatientScores(group.names, group.sick, group.xray, group.sick.astype(float))
    figures = measure_policy(policy_of(PolicyKind.CT_FOR_ALL), perfect, prevalence=0.1).figures
    missed = figures["missed_per_1000"]
    assert (missed.value, missed.low) == (0.0, 0.0)
    assert missed.high == pytest.approx(100 * (1 - TAIL ** (1 / 80)))
    assert missed.high == pytest.approx(4.51, abs=0.01)
    assert (figures["to_ct"].low, figures["to_ct"].high) == (1.0, 1.0)
    assert figures["to_ct"].note == "by the policy's definition"
    assert figures["cts_avoided_per_100"].value == 0.0


def test_no_false_alarm_is_not_certainty() -> None:
    # CT for all and always right, at prevalence 0.1: of 120 well patients none is called positive, so up to
    # 1 − 0.025^(1/120) = 0.0303 might be. PPV is at least 0.1 / (0.1 + 0.9 · 0.0303) = 0.786. Of 80 sick up to 0.0451
    # might be missed: NPV is at least 0.9 / (0.9 + 0.1 · 0.0451) = 0.995.
    group = cohort()
    perfect = PatientScores(group.names, group.sick, group.xray, group.sick.astype(float))
    figures = measure_policy(policy_of(PolicyKind.CT_FOR_ALL), perfect, prevalence=0.1).figures
    assert (figures["ppv"].value, figures["ppv"].high) == (1.0, 1.0)
    assert figures["ppv"].low == pytest.approx(0.786, abs=0.001)
    assert figures["npv"].low == pytest.approx(0.995, abs=0.001)


def test_patients_with_one_examination_are_left_out() -> None:
    group = cohort()
    ct = group.ct.copy()
    ct[::4] = np.nan
    found = measure_policy(policy_of(PolicyKind.RULE_OUT), PatientScores(group.names, group.sick, group.xray, ct))
    assert (found.patients, found.sick) == (150, 60)
    assert found.prevalence == 60 / 150
    with pytest.raises(InputError, match="both sick and well"):
        measure_policy(policy_of(PolicyKind.RULE_OUT), apart(group))
    with pytest.raises(InputError, match="prevalence 10"):
        measure_policy(policy_of(PolicyKind.RULE_OUT), group, prevalence=10)


@pytest.mark.parametrize("kind", PolicyKind)
def test_bounds_hold_the_measured_figures(kind: PolicyKind) -> None:
    """The same patients with their pairs known and unknown."""
    group = cohort()
    doubled = PatientScores(
        tuple(f"{side}{name}" for side in "xc" for name in group.names),
        np.tile(group.sick, 2),
        np.concatenate([group.xray, np.full(len(group), np.nan)]),
        np.concatenate([np.full(len(group), np.nan), group.ct]),
    )
    measured = measure_policy(policy_of(kind), group, prevalence=0.2).figures
    bounds = bound_policy(policy_of(kind), doubled, prevalence=0.2, resamples=RESAMPLES)
    for name, estimate in measured.items():
        assert bounds.low[name].value - 1e-9 <= estimate.value <= bounds.high[name].value + 1e-9, name
    for figures in bounds.sweep.values():
        low, high = bounds.low["sensitivity"].value, bounds.high["sensitivity"].value
        assert low - 1e-6 <= figures["sensitivity"] <= high + 1e-6
    document = bounds.to_json()
    assert document["basis"].startswith("not measured")
    assert all(entry["assumption"] for entry in document["sweep"])


def setting(alpha: float = 0.05, **changes: object) -> Setting:
    return Setting(0.5, 0.5, Promise(alpha), Models("x", "c"), resamples=RESAMPLES, **changes)  # type: ignore[arg-type]


def test_candidates() -> None:
    calibration = cohort(1)
    offered = {policy.kind: (policy, refusal) for policy, refusal in candidate_policies(calibration, setting())}
    assert list(offered) == list(PolicyKind)
    certified, refusal = offered[PolicyKind.RULE_OUT]
    assert certified.certificate
    assert not refusal
    # n = 80: 0.95⁸⁰ = 0.0165 and 80 · 0.05 · 0.95⁷⁹ = 0.0695: no miss is allowed, so t is the lowest sick score.
    assert certified.xray_threshold == calibration.xray[calibration.sick].min()
    zones = offered[PolicyKind.THREE_ZONES][0]
    assert zones.xray_threshold == certified.xray_threshold
    # 2 % of 120 well patients: 2 may reach the upper threshold.
    assert np.sum(calibration.xray[~calibration.sick] >= (zones.xray_rule_in or 0)) == 2


def test_a_refused_candidate_says_why_and_promises_nothing() -> None:
    calibration = cohort(1)
    offered = {policy.kind: (policy, refusal) for policy, refusal in candidate_policies(calibration, setting(0.02))}
    for kind in (PolicyKind.RULE_OUT, PolicyKind.THREE_ZONES):
        policy, refusal = offered[kind]
        assert policy.certificate is None
        assert "there are 80, so 69 are missing" in refusal
        # The second lowest of 80 would let 2/81 = 2.5 % of new ones leave on average, the lowest 1.2 %.
        assert policy.xray_threshold == calibration.xray[calibration.sick].min()


def test_the_operating_table_and_the_choice() -> None:
    calibration, test, of = cohort(1, 200, 200), cohort(2), setting(prevalence=0.1, margin=0.1)
    offers = operating_table(calibration, test, of)
    best = choose(offers, calibration, of)
    assert isinstance(best.offer.calibration, PolicyFigures)
    assert best.offer.calibration.figures["to_ct"].value < 1.0
    kept = next(rival for rival in best.rivals if rival.offer is best.offer)
    assert all(each.low > -0.1 for each in kept.differences.values())
    assert choose(offers, calibration, of, PolicyKind.XRAY_ONLY).offer.policy.kind is PolicyKind.XRAY_ONLY
    given = next(offer.policy for offer in offers if offer.policy.certificate)
    again = operating_table(calibration, test, of, given)
    assert choose(again, calibration, of, None, given).offer.policy == given
    with pytest.raises(InputError, match="expired"):
        operating_table(cohort(3), test, setting(), given)
    # A reader can move thresholds over the scores, but not tell who is who.
    document = scores_json(test)
    assert sorted(document) == ["ct", "sick", "xray"]
    assert sum(document["sick"]) == 80  # type: ignore[arg-type]
    read = scores_from_json(document)
    assert sorted(read.xray[read.sick]) == sorted(test.xray[test.sick]), "bit for bit, or ties would come and go"


def test_paired_modalities() -> None:
    found = compare_modalities(cohort(), 0.5, 0.5, resamples=RESAMPLES)
    assert (found.is_paired, found.draws, found.sick, found.well) == (True, 1, 80, 120)
    by_name = {row.metric: row for row in found.rows}
    group = cohort()
    sensitivity = by_name["sensitivity"]
    assert sensitivity.xray.value == np.mean(group.xray[group.sick] >= 0.5)
    assert sensitivity.ct.value == np.mean(group.ct[group.sick] >= 0.5)
    assert sensitivity.difference.value == pytest.approx(sensitivity.ct.value - sensitivity.xray.value)
    assert by_name["auroc"].better == "ct"
    assert by_name["brier_score"].better == "ct", "a smaller Brier score is the better one"
    same = PatientScores(group.names, group.sick, group.xray, group.xray)
    assert {row.better for row in compare_modalities(same, 0.5, 0.5, resamples=RESAMPLES).rows} == {""}


def test_no_error_on_either_side_is_no_certain_difference() -> None:
    # Both find all 80: each share is 1 − 0.0451 at least, so they may differ by as much either way.
    group = cohort()
    perfect = np.where(group.sick, 0.9, 0.1)
    found = compare_modalities(PatientScores(group.names, group.sick, perfect, perfect), 0.5, 0.5, resamples=RESAMPLES)
    sensitivity = next(row for row in found.rows if row.metric == "sensitivity").difference
    reach = 1 - TAIL ** (1 / 80)
    assert (sensitivity.value, sensitivity.low, sensitivity.high) == pytest.approx((0.0, -reach, reach))


def test_unpaired_modalities_are_cut_to_equal_numbers() -> None:
    group = apart(cohort(sick=200, well=200), share=0.8)
    smaller = [int(np.sum(~np.isnan(group.ct) & (group.sick == which))) for which in (True, False)]
    found = compare_modalities(group, 0.5, 0.5, draws=8, resamples=RESAMPLES)
    assert (found.is_paired, found.draws) == (False, 8)
    assert [found.sick, found.well] == smaller
    for row in found.rows:
        if row.metric == "auroc":
            assert row.xray.n == row.ct.n == sum(smaller)
    # Averaged over draws it is nearer to the figure of all the X-rays than single draws are.
    everyone = np.mean(group.xray[group.sick & ~np.isnan(group.xray)] >= 0.5)
    row = next(row for row in found.rows if row.metric == "sensitivity")
    assert row.xray.value == pytest.approx(everyone, abs=0.06)
    assert compare_modalities(group, 0.5, 0.5, draws=8, resamples=RESAMPLES) == found
    assert compare_modalities(group, 0.5, 0.5, draws=8, resamples=RESAMPLES, seed=1) != found
    nothing = PatientScores(group.names, group.sick, group.xray, np.full(len(group), np.nan))
    with pytest.raises(InputError, match="each needs both"):
        compare_modalities(nothing, 0.5, 0.5)


def test_benefits_and_dose() -> None:
    found = compare_modalities(cohort(), 0.5, 0.5, resamples=RESAMPLES)
    policies = [
        measure_policy(policy_of(kind), cohort(), prevalence=0.4)
        for kind in (PolicyKind.CT_FOR_ALL, PolicyKind.RULE_OUT)
    ]
    table = benefits_and_drawbacks(found, policies, Dose(0.02, 7))
    by_aspect = {row["aspect"]: row for row in table}
    # CT for all: 1,000 CTs of 7 mSv and no X-ray. Rule-out: 1,000 X-rays of 0.02 mSv and the CTs of those sent.
    everyone = by_aspect["Dose to 1,000 patients under ct-for-all"]
    assert (everyone["xray"], everyone["ct"]) == ("0 mSv", "7000 mSv")
    sent = policies[1].figures["to_ct"]
    assert sent.low is not None
    assert sent.high is not None
    value, low, high = (f"{7000 * end:.4g}" for end in (sent.value, sent.low, sent.high))
    rule_out = by_aspect["Dose to 1,000 patients under rule-out"]
    assert (rule_out["xray"], rule_out["ct"]) == ("20 mSv", f"{value} [{low}, {high}] mSv")
    assert by_aspect["Radiation dose of one examination, as given"]["speaks for"] == "X-ray"
    assert benefits_and_drawbacks(found, policies, None)[-1]["xray"] == "not given"
