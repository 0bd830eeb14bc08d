"""Decision curves, Clopper–Pearson and conformal sets against libraries that know nothing of this one."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from crepes import ConformalClassifier
from statsmodels.stats.proportion import proportion_confint

from duoscan.evaluation.policies.answered import answered
from duoscan.policies.abstention import PredictionSet, conformal_sets
from duoscan.policies.certify import allowed_misses, conformal_threshold, exact_threshold
from duoscan.policies.policy import Policy, apply_policy_to_all
from duoscan.policies.rule import PolicyKind
from duoscan.policies.scores import PatientScores
from duoscan.policies.worth import net_benefit_weights, treat_all

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its own dependencies warn of each other
    import pandas as pd
    from dcurves import dca


def cohort(sick: int = 60, well: int = 140, seed: int = 5) -> PatientScores:
    rng = np.random.default_rng(seed)
    truth = np.arange(sick + well) < sick
    xray, ct = (np.where(truth, rng.beta(4, 2, len(truth)), rng.beta(2, 4, len(truth))) for _ in range(2))
    return PatientScores(tuple(map(str, range(len(truth)))), truth, xray, ct)


@pytest.mark.parametrize("kind", PolicyKind)
@pytest.mark.parametrize("prevalence", [None, 0.1])
def test_decision_curves_are_those_of_dcurves(kind: PolicyKind, prevalence: float | None) -> None:
    """Net benefit by its ``harm`` argument, which is per test, times the share tested."""
    group = cohort()
    rule_in = 0.8 if kind is PolicyKind.THREE_ZONES else None
    policy = Policy(kind=kind, xray_threshold=0.4, xray_rule_in=rule_in, ct_threshold=0.5)
    thresholds = [0.05, 0.1, 0.25, 0.5]
    outcome = apply_policy_to_all(policy, group.xray, group.ct)
    at = float(group.sick.mean()) if prevalence is None else prevalence
    ours = answered(policy, group)
    harm = 0.01
    frame = pd.DataFrame({"sick": group.sick.astype(int), "policy": outcome.positive.astype(int)})
    theirs = dca(
        data=frame,
        outcome="sick",
        modelnames=["policy"],
        thresholds=thresholds,
        harm={"policy": harm * ours.shares.to_ct(at)},
        prevalence=prevalence,
    )
    for name, expected in (("policy", None), ("all", treat_all)):
        curve = theirs[theirs["model"] == name].set_index("threshold")["net_benefit"]
        for threshold in thresholds:
            mine = expected or (lambda p, t: ours.worth(net_benefit_weights(p, t, harm)).value)
            assert curve[threshold] == pytest.approx(mine(at, threshold), abs=1e-9)


@pytest.mark.parametrize("alpha", [0.02, 0.05, 0.1])
def test_a_certified_miss_rate_is_below_statsmodels_upper_limit(alpha: float) -> None:
    """The most misses allowed are the last whose one-sided 95 % Clopper–Pearson limit is at most α."""
    for positives in (60, 149, 200, 350):
        allowed = allowed_misses(positives, alpha, 0.05)
        limits = [proportion_confint(k, positives, alpha=0.1, method="beta")[1] for k in range(positives)]
        assert allowed == sum(limit <= alpha for limit in limits) - 1


@pytest.mark.parametrize("digits", [1, 6])
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_sets_are_those_of_crepes(alpha: float, digits: int) -> None:
    """Class-conditional p-values without smoothing; at one digit nearly every score is tied."""
    calibration, fresh = cohort(), cohort(500, 500, seed=6)
    learnt, asked = np.round(calibration.xray, digits), np.round(fresh.xray, digits)
    sets = conformal_sets(learnt, calibration.sick, alpha).of(asked)
    # Nonconformity of covid is 1 − p, of not covid p; a class is excluded where its p-value is at most α.
    classifier = ConformalClassifier()
    of_truth = np.where(calibration.sick, -learnt, learnt)
    classifier.fit(of_truth, bins=calibration.sick.astype(int))
    excluded = {}
    for label, scores in ((1, -asked), (0, asked)):
        p_values = classifier.predict_p(scores[:, None], bins=np.full(len(asked), label), smoothing=False)
        excluded[label] = p_values[:, 0] <= alpha + 1e-12
    for place, found in enumerate(sets):
        holds_covid = found in {PredictionSet.COVID, PredictionSet.BOTH}
        holds_other = found in {PredictionSet.NOT_COVID, PredictionSet.BOTH}
        assert (holds_covid, holds_other) == (not excluded[1][place], not excluded[0][place])


def test_a_conformal_threshold_lets_those_leave_whom_crepes_excludes() -> None:
    calibration, fresh = cohort(), cohort(500, 500, seed=6)
    classifier = ConformalClassifier()
    classifier.fit(-calibration.xray[calibration.sick])
    p_values = classifier.predict_p(-fresh.xray[:, None], smoothing=False)[:, 0]
    leaves = fresh.xray < conformal_threshold(calibration.xray[calibration.sick], 0.1)
    assert leaves.tolist() == (p_values <= 0.1 + 1e-12).tolist()
    assert exact_threshold(calibration.xray[calibration.sick], 0.1, 0.05) <= fresh.xray[~leaves].min()
