"""The gate: what is unknown is never a pass, and what fails is never a headline."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoscan.audit.gate import REQUIREMENTS, Measured, Verdict, judge
from duoscan.audit.result import AuditResult, Level, not_run
from duoscan.errors import InputError
from duoscan.evaluation.delong import delong_auroc

SOUND = Measured(
    name="model",
    images=400,
    covid_patients=120,
    other_patients=150,
    auroc=(0.91, 0.87, 0.95),
    accuracy=(0.85, 0.80, 0.90),
    majority=0.56,
    split="test",
    threshold_is_from_test=False,
    external_sources=("elsewhere",),
    external_patients=((20, 30),),
    auroc_corrected=0.86,
    test_uses=1,
    models_tried=1,
)
AUDITS = tuple(one.name for one in REQUIREMENTS if one.judge is None)


def result(name: str, level: Level, reason: str = "found") -> AuditResult:
    return AuditResult(name, name, level, (reason,))


def passing() -> list[AuditResult]:
    return [result(name, Level.PASS) for name in AUDITS]


def level_of(verdict: Verdict, name: str) -> Level:
    return next(check.level for check in verdict.checks if check.name == name)


def test_everything_run_and_sound_is_a_pass() -> None:
    verdict = judge(passing(), SOUND)
    assert verdict.level is Level.PASS
    assert verdict.may_headline
    assert verdict.reasons == ()
    assert verdict.not_run == ()


@pytest.mark.parametrize("name", AUDITS)
def test_each_audit_that_is_left_out_costs_the_pass(name: str) -> None:
    verdict = judge([one for one in passing() if one.name != name], SOUND)
    assert verdict.level is Level.WARN
    assert len(verdict.not_run) == 1


@given(st.dictionaries(st.sampled_from(AUDITS), st.sampled_from(list(Level))))
def test_no_pass_without_every_audit_passed(levels: dict[str, Level]) -> None:
    verdict = judge([result(name, level) for name, level in levels.items()], SOUND)
    is_all_passed = len(levels) == len(AUDITS) and set(levels.values()) == {Level.PASS}
    assert (verdict.level is Level.PASS) == is_all_passed


@given(st.sampled_from(("patients", "copies", "confounding", "shortcuts", "perturbation")))
def test_a_failed_audit_fails_the_gate(name: str) -> None:
    verdict = judge([*passing(), result(name, Level.FAIL, "the fault")], SOUND)  # the worse of two results counts
    assert verdict.level is Level.FAIL
    assert not verdict.may_headline
    assert verdict.reasons == ("the fault",)


@pytest.mark.parametrize("name", ["calibration", "attention"])
def test_what_does_not_touch_the_ranking_can_only_warn(name: str) -> None:
    results = [one for one in passing() if one.name != name] + [result(name, Level.FAIL)]
    assert judge(results, SOUND).level is Level.WARN


def test_an_audit_the_table_does_not_know_counts_too() -> None:
    verdict = judge([*passing(), result("new", Level.FAIL)], SOUND)
    assert verdict.level is Level.FAIL


@pytest.mark.parametrize(
    ("change", "name", "level"),
    [
        ({"split": "val"}, "test-untouched", Level.FAIL),
        ({"split": "train"}, "test-untouched", Level.FAIL),
        ({"split": None}, "test-untouched", Level.WARN),
        ({"faults": ("3 patients took part in training",)}, "test-untouched", Level.FAIL),
        ({"threshold_is_from_test": None}, "test-untouched", Level.WARN),
        ({"auroc": (0.9, None, None)}, "interval", Level.FAIL),
        ({"auroc": (0.6, 0.5, 0.7)}, "baseline", Level.FAIL),  # exactly at chance is not above it
        ({"accuracy": (0.6, 0.56, 0.7)}, "baseline", Level.WARN),
        ({"covid_patients": 19}, "size", Level.FAIL),
        ({"other_patients": 20}, "size", Level.WARN),
        ({"auroc": (0.75, 0.501, 0.9)}, "baseline", Level.WARN),  # above chance, and next to nothing
        ({"auroc_corrected": 0.49, "test_uses": 50, "models_tried": 50}, "baseline", Level.FAIL),
        ({"auroc_corrected": None, "test_uses": 2}, "baseline", Level.FAIL),
        ({"unnamed": 270, "covid_patients": 200, "other_patients": 200}, "size", Level.WARN),
        ({"unnamed": 1}, "interval", Level.WARN),
        ({"external_sources": ()}, "external", Level.WARN),
        ({"external_patients": ((1, 0),)}, "external", Level.WARN),  # one image of a new source
        ({"external_patients": ((200, 19),)}, "external", Level.WARN),  # no source with enough of both
        ({"external_patients": ()}, "external", Level.WARN),
        ({"external_sources": None}, "external", Level.NOT_RUN),
        ({"test_uses": 7, "models_tried": 1}, "uses", Level.PASS),  # the same model again is no other look
        ({"test_uses": 50, "models_tried": 1}, "uses", Level.WARN),
        ({"test_uses": 7, "models_tried": 3}, "uses", Level.WARN),
        ({"test_uses": None}, "uses", Level.NOT_RUN),
    ],
)
def test_each_fact_of_the_evaluation(change: dict[str, object], name: str, level: Level) -> None:
    verdict = judge(passing(), replace(SOUND, **change))  # type: ignore[arg-type]
    assert level_of(verdict, name) is level
    assert verdict.level is (Level.FAIL if level is Level.FAIL else Level.PASS if level is Level.PASS else Level.WARN)


@pytest.mark.parametrize("left_out", ["patients", "copies", "confounding"])
def test_a_number_on_data_that_nobody_audited_is_no_headline(left_out: str) -> None:
    verdict = judge([one for one in passing() if one.name != left_out], SOUND)
    assert verdict.level is Level.WARN
    assert len(verdict.unaudited) == 1
    assert not verdict.may_headline
    assert not judge([], SOUND).may_headline
    assert judge([one for one in passing() if one.name in {"patients", "copies", "confounding"}], SOUND).may_headline


@pytest.mark.parametrize("looks", [1, 5, 50])
def test_the_best_of_many_looks_at_a_useless_model_seldom_passes_for_better_than_chance(looks: int) -> None:
    # As many useless models answer 40 sick and 60 others; the best is judged. Wrongly better than chance in at most
    # 2.5 % of 400 test sets (two standard errors: .016); without the correction in a quarter of them at 50 looks.
    rng = np.random.default_rng(looks)
    reference = np.arange(100) < 40
    units = [str(place) for place in range(100)]
    wrong = 0
    for _ in range(400):
        scores = rng.normal(size=(looks, 100))
        areas = [(score[reference][:, None] > score[~reference]).mean() for score in scores]
        best = delong_auroc(reference, scores[int(np.argmax(areas))], units)
        corrected = delong_auroc(reference, scores[int(np.argmax(areas))], units, 0.025 / looks).low
        ends = (best.value, best.low, best.high)
        facts = replace(SOUND, auroc=ends, auroc_corrected=corrected, test_uses=looks, models_tried=looks)
        wrong += level_of(judge(passing(), facts), "baseline") is not Level.FAIL
    assert wrong / 400 <= 0.025 + 0.016


def test_a_verdict_of_before_patients_of_sources_were_counted_can_be_read() -> None:
    stated = judge(passing(), SOUND).to_json()
    for name in ("external_patients", "unnamed", "auroc_corrected"):
        del stated["measured"][name]
    read = Verdict.from_json(stated).measured
    assert read == replace(SOUND, external_patients=(), auroc_corrected=None)


def test_nothing_known_at_all_is_no_warning_but_not_run() -> None:
    verdict = judge([not_run("copies", "Copies", "no images")])
    assert verdict.level is Level.NOT_RUN
    assert not verdict.may_headline


def test_a_verdict_survives_its_file() -> None:
    for verdict in (judge(passing(), SOUND), judge([result("copies", Level.FAIL)]), judge([])):
        assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict


@pytest.mark.parametrize(
    "change",
    [{"level": "pass"}, {"level": "great"}, {"version": 2}, {"extra": 1}, {"checks": [{"name": "copies"}]}],
)
def test_an_altered_verdict_is_refused(change: dict[str, object]) -> None:
    stated = judge([result("copies", Level.FAIL)], SOUND).to_json() | change
    with pytest.raises(InputError):
        Verdict.from_json(stated)
