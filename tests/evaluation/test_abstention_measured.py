"""Risk over coverage with intervals, sets by class and source, and who is referred."""

from __future__ import annotations

import numpy as np
import pytest

from duoscan.evaluation.policies.abstention import COVERAGES, Abstention, phase_abstention, surety
from duoscan.policies.abstention import PredictionSet, risk_coverage
from duoscan.policies.scores import PatientScores


def cohort(seed: int, sick: int = 60, well: int = 90) -> PatientScores:
    rng = np.random.default_rng(seed)
    truth = np.arange(sick + well) < sick
    xray = np.where(truth, rng.beta(4, 2, len(truth)), rng.beta(2, 4, len(truth)))
    xray[3] = np.nan
    return PatientScores(tuple(f"p{i}" for i in range(len(truth))), truth, xray, xray)


def found(seed: int = 1) -> tuple[Abstention, PatientScores]:
    learnt, test = cohort(0), cohort(seed)
    sources = {name: "north" if place % 3 else "south" for place, name in enumerate(test.names)}
    return phase_abstention(
        (learnt.xray, learnt.sick), test, test.xray, 0.5, sources=sources, error=0.1, resamples=200
    ), test


def test_surety_by_hand() -> None:
    # threshold 0.2: 0.6 is half of the way to 1, 0.1 half of the way to 0
    assert surety(np.array([0.2, 0.6, 1.0, 0.1, 0.0]), 0.2) == pytest.approx([0, 0.5, 1, 0.5, 1])
    assert surety(np.array([0.0, 1.0]), 0.0) == pytest.approx([0, 1])


def test_the_curve_is_the_pure_functions_curve() -> None:
    result, test = found()
    known = ~np.isnan(test.xray)
    probability, sick = test.xray[known], test.sick[known]
    curve = risk_coverage(surety(probability, 0.5), (probability >= 0.5) != sick)
    for coverage, (value, low, high) in zip(COVERAGES, result.document["risk"], strict=True):
        assert value == pytest.approx(
            np.interp(coverage, [0, *curve.coverage], [0, *(curve.risk * curve.coverage)]) / coverage
        )
        assert low <= value <= high
    area = result.document["area"]
    assert area["low"] <= curve.area == area["value"] <= area["high"]
    assert result.document["risk"][-1][0] == np.mean((probability >= 0.5) != sick)


def test_everybody_is_counted_once() -> None:
    result, test = found()
    stated = result.document
    patients = len(test) - 1  # one has no X-ray
    assert stated["patients"] == patients
    assert sum(sum(row.values()) for row in stated["sets"].values()) == patients
    assert sum(row["patients"] for row in stated["referred_by_source"].values()) == patients
    assert set(stated["referred_by_source"]) == {"north", "south"}
    referred = result.referred()
    assert len(referred) == stated["referred"]["referred"]
    assert sum(row["referred"] for row in stated["referred_by_source"].values()) == len(referred)
    assert all(kind in {PredictionSet.BOTH, PredictionSet.NONE} for _, _, kind in referred)
    for label in ("sick", "well"):
        value, low, high = stated["holds_truth"][label]
        assert low <= value <= high
        assert value > 0.75, "90 % are promised on average"


def test_no_error_is_not_certainty() -> None:
    sick = np.arange(40) < 20
    scores = np.where(sick, 0.9, 0.1)
    names = tuple(map(str, range(40)))
    group = PatientScores(names, sick, scores, scores)
    stated = phase_abstention((scores, sick), group, scores, 0.5, sources={}, resamples=100).document
    # None of 40 wrong: at most 1 − 0.025^(1/40) = 0.088; of the surest half, 20 patients: 0.168.
    assert stated["risk"][-1] == pytest.approx([0.0, 0.0, 1 - 0.025 ** (1 / 40)])
    assert stated["risk"][COVERAGES.index(0.5)] == pytest.approx([0.0, 0.0, 1 - 0.025 ** (1 / 20)])
    assert set(stated["referred_by_source"]) == {"unknown"}
