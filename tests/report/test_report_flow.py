"""Screening answers: counts on the arrows, references, and what is no such file."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from cases_by_state import case_of
from duoscan.cases.case import CaseAnswer
from duoscan.cases.decide import decide_again
from duoscan.cases.stored import read_screening, write_screening
from duoscan.errors import InputError
from duoscan.manifest.records import ImageRecord
from duoscan.policies.policy import Certificate, Policy
from duoscan.policies.rule import PhaseState, Step, after_xray
from duoscan.report.flow import count_arrows, read_flow
from duoscan.report.page import Request, build_report
from duoscan.terms import Finding, Modality, Split

STATES = (PhaseState.POSITIVE, PhaseState.NEGATIVE, PhaseState.UNREADABLE, PhaseState.ABSENT)


def every_case() -> list[CaseAnswer]:
    """Each way a patient can go; a CT that the rule had no need of is not read."""
    cases = []
    for number, (xray, ct, need_ct) in enumerate(itertools.product(STATES, STATES, (False, True))):
        read = after_xray(xray, need_ct=need_ct)[0] is Step.TO_CT
        state = ct if read or ct is PhaseState.ABSENT else PhaseState.NOT_READ
        cases.append(case_of(str(number), xray, state, need_ct=need_ct))
    return cases


def test_counts_on_the_arrows_by_hand() -> None:
    # 32 cases, 8 of each X-ray state. Only a negative X-ray without a wish for CT leaves: 4. The other 28 go to CT,
    # 7 in each CT state.
    assert count_arrows(every_case()) == {
        "all": 32,
        "xray_positive": 8,
        "xray_negative": 8,
        "xray_none": 16,
        "asked": 4,
        "left": 4,
        "to_ct": 28,
        "ct_positive": 7,
        "ct_negative": 7,
        "ct_none": 14,
    }


def test_what_goes_into_a_box_comes_out() -> None:
    cases = every_case()
    for part in ([case] for case in cases):
        n = count_arrows(part)
        assert n["all"] == n["xray_positive"] + n["xray_negative"] + n["xray_none"]
        assert n["xray_negative"] == n["asked"] + n["left"]
        assert n["to_ct"] == n["xray_positive"] + n["asked"] + n["xray_none"]
        assert n["to_ct"] == n["ct_positive"] + n["ct_negative"] + n["ct_none"]


def record(patient: str, label: Finding | None, split: Split | None = Split.TEST) -> ImageRecord:
    return ImageRecord(path="x.png", modality=Modality.CXR, patient_id=patient, label=label, split=split)


def test_only_test_patients_have_a_reference(answers: Path) -> None:
    records = {
        "p27": [record("p27", Finding.NORMAL), record("p27", Finding.COVID)],
        "p28": [record("p28", Finding.COVID)],
        "p29": [record("p29", Finding.NORMAL), record("p29", Finding.NORMAL, Split.TRAIN)],
        "p30": [record("p30", None)],
        "p31": [record("p31", Finding.PNEUMONIA)],
        "elsewhere": [record("elsewhere", Finding.COVID)],
    }
    flow = read_flow(answers, records, seed=0)
    assert flow.labels == {"p27": Finding.COVID, "p28": Finding.COVID, "p31": Finding.PNEUMONIA}
    assert flow.outcome is not None
    # p27 is found, p28 missed, p31 called positive without being it.
    values = [flow.outcome.sensitivity, flow.outcome.missed, flow.outcome.specificity]
    assert [estimate.value for estimate in values if estimate] == [0.5, 0.5, 0.0]


def test_answers_are_counted(answers: Path) -> None:
    flow = read_flow(answers, {}, seed=0)
    assert flow.outcome is None
    assert flow.answers == {"negative": 2, "CT needed": 1, "positive": 2, "unreadable": 1}
    # All but p28 go to CT.
    assert (flow.to_ct.value, flow.to_ct.units) == (pytest.approx(5 / 6), 6)
    assert flow.counts["to_ct"] == 5
    assert [case.patient_id for case in flow.screening][-1] == "stranger"


def test_answers_of_other_models_are_known_as_such(answers: Path) -> None:
    flow = read_flow(answers, {}, seed=0)
    assert flow.unknown_among({"0" * 64}) == []
    assert flow.unknown_among({"1" * 64}) == ["X-ray", "CT"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("patient,answer\n", "not JSON"),
        ('{"models": {}, "patients": []}', "not the answers of 'duoscan screen --json'"),
        ('{"format": "duoscan-screening", "version": 1}', "version 1, this duoscan reads 2"),
        ('{"format": "duoscan-screening", "version": 2, "cases": []}', "not as duoscan writes it"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_flow(path, {}, seed=0)


@pytest.mark.parametrize(("key", "value"), [("state", "perhaps"), ("probability", 1.5)])
def test_a_wrong_value_is_named(answers: Path, tmp_path: Path, key: str, value: object) -> None:
    document = json.loads(answers.read_text())
    document["cases"][2]["studies"][0][key] = value
    (tmp_path / "x.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=rf"cases\.2\.studies\.0\.{key}"):
        read_flow(tmp_path / "x.json", {}, seed=0)


def test_other_policies_are_counted_by_their_own_moves(answers: Path, tmp_path: Path) -> None:
    # Of 6 patients 2 have a positive X-ray, 2 a negative one (for one of them the clinician asks), 1 an unreadable one
    # and 1 none. Rule-out sends all but the negative one nobody asks for; three zones send neither that one nor the
    # two positive ones; X-ray only sends the one who is asked for.
    stored = read_screening(answers)
    path = tmp_path / "x.json"
    for kind, to_ct, is_drawn in (
        ("rule-out", 5, True), ("three-zones", 3, False), ("ct-for-all", 6, False), ("xray-only", 1, False)
    ):  # fmt: skip
        rule_in = 0.6 if kind == "three-zones" else None
        policy = Policy(kind=kind, xray_threshold=0.5, xray_rule_in=rule_in, ct_threshold=0.5)
        write_screening(decide_again(stored, policy=policy), path)
        flow = read_flow(path, {}, seed=0)
        assert (flow.counts["to_ct"], flow.is_drawn) == (to_ct, is_drawn)
        assert sum(ways[0] for ways in flow.ways.values()) == 6
        assert sum(ways[1] for ways in flow.ways.values()) == to_ct
    assert flow.ways["positive"] == (2, 0, 2, 0)


def test_a_page_says_which_policy_was_obeyed(answers: Path, tmp_path: Path, hospital_run: Path) -> None:
    certificate = Certificate(
        method="exact", covers="leaving at X-ray", kind="three-zones", alpha=0.05, delta=0.05, positives=90, missed=1,
        xray_threshold=0.5, calibration_fingerprint="f", date="2026-01-01", promise="",
    )  # fmt: skip
    policy = Policy(kind="three-zones", xray_threshold=0.5, xray_rule_in=0.6, ct_threshold=0.5, certificate=certificate)
    said = "exact: at most 0.05 of the sick"
    path = tmp_path / "x.json"
    write_screening(decide_again(read_screening(answers), policy=policy), path)
    page = build_report(Request((hospital_run,), screening=path))
    assert "The policy obeyed is three-zones, X-ray exit certified: X-ray low leaves; middle" in page
    assert "flow-arrow" not in page
    assert page.count(said) == 1, "said once, not of every patient"
