"""The stored case: nothing of it is lost on the way to disk and back, and it decides again without a model."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases_by_state import model_of, screening_of
from duoscan.cases.case import CaseAnswer, Screening, SeriesAnswer, StudyAnswer
from duoscan.cases.decide import decide_again
from duoscan.cases.estimates import CategoryEstimate, ScoreEstimate
from duoscan.cases.screening import Screener
from duoscan.cases.stored import (
    parse_screening,
    read_maps,
    read_screening,
    screening_text,
    write_maps,
    write_screening,
)
from duoscan.errors import InputError
from duoscan.imaging.heatmap import SeenMap
from duoscan.imaging.preprocess import Box
from duoscan.policies.policy import Policy
from duoscan.policies.rule import Answer, PhaseState, PolicyKind
from duoscan.predictions import Prediction
from duoscan.reasons import Reason, ReasonCode
from duoscan.results.sources import ActivationKeeper
from duoscan.terms import ANSWERS, Decision, Finding, Modality, Split
from stand_ins import write_png

# Any text a file system, a header or a person may hold, bytes of a file name that are no text among them.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\udcc3\udce9"), min_size=1, max_size=12)
NUMBERS = st.floats(0, 1)
REASONS = st.builds(Reason, st.sampled_from(ReasonCode), TEXTS, st.none() | TEXTS)


@st.composite
def images(draw: st.DrawFn) -> Prediction:
    """One in any state there is."""
    probability = draw(st.none() | NUMBERS)
    answered = probability is not None
    states = ANSWERS if answered else set(Decision) - ANSWERS
    return Prediction(
        path=draw(TEXTS),
        patient_id=draw(st.none() | TEXTS),
        modality=draw(st.none() | st.sampled_from(Modality)),
        probability=probability,
        decision=draw(st.sampled_from(sorted(states))),
        reason=None if answered else draw(REASONS),
        study_id=draw(st.none() | TEXTS),
        source=draw(st.none() | TEXTS),
        split=draw(st.none() | st.sampled_from(Split)),
        label=draw(st.none() | st.sampled_from(Finding)),
        probabilities=draw(st.dictionaries(st.sampled_from(Finding), NUMBERS)) if answered else {},
        calibrated=draw(st.none() | NUMBERS) if answered else None,
        attention=draw(st.none() | st.floats(-1e6, 1e6)) if answered else None,
        aggregation=draw(st.sampled_from(["", "top-3"])),
        sha256=draw(st.sampled_from(["", "0" * 64])),
        heads=draw(st.dictionaries(TEXTS, st.floats(-1e6, 1e6), max_size=2)) if answered else {},
    )


SERIES = st.builds(
    SeriesAnswer,
    series_id=st.none() | TEXTS,
    number=st.none() | st.integers(-9, 9),
    description=st.none() | TEXTS,
    kernel=st.none() | TEXTS,
    thickness_mm=st.none() | st.floats(0, 10),
    step_mm=st.none() | st.floats(0, 10),
    slices=st.integers(0, 9),
    missing=st.integers(0, 9),
    repeated=st.integers(0, 9),
    is_used=st.booleans(),
    reason=st.none() | REASONS,
)
CATEGORIES = st.builds(
    CategoryEstimate,
    name=TEXTS,
    title=TEXTS,
    categories=st.dictionaries(TEXTS, NUMBERS, min_size=1, max_size=3),
    method=TEXTS,
)
SCORES = st.builds(
    ScoreEstimate,
    name=TEXTS,
    title=TEXTS,
    value=st.none() | st.floats(0, 8),
    least=st.just(0.0),
    most=st.just(8.0),
    method=st.just("") | TEXTS,
    low=st.none() | st.floats(0, 8),
    high=st.none() | st.floats(0, 8),
    coverage=st.none() | NUMBERS,
    reason=st.none() | REASONS,
)
STUDIES = st.builds(
    StudyAnswer,
    modality=st.sampled_from(Modality),
    study_id=st.none() | TEXTS,
    date=st.none() | TEXTS,
    state=st.sampled_from(PhaseState),
    probability=st.none() | NUMBERS,
    images=st.lists(images(), max_size=2).map(tuple),
    calibrated=st.none() | NUMBERS,
    carrying=st.lists(TEXTS, max_size=2).map(tuple),
    series=st.lists(SERIES, max_size=2).map(tuple),
    reason=st.none() | REASONS,
    estimates=st.lists(CATEGORIES | SCORES, max_size=2).map(tuple),
)
CASES = st.builds(
    CaseAnswer,
    patient_id=TEXTS,
    need_ct=st.booleans(),
    to_ct=st.booleans(),
    answer=st.sampled_from(Answer),
    reasons=st.lists(REASONS, max_size=3).map(tuple),
    studies=st.lists(STUDIES, max_size=2).map(tuple),
    others=st.lists(images(), max_size=2).map(tuple),
    notes=st.lists(REASONS, max_size=2).map(tuple),
    policy=TEXTS,
    certificate=TEXTS,
)
SCREENINGS = st.builds(
    Screening,
    cases=st.lists(CASES, max_size=2).map(tuple),
    xray=st.just(model_of(Modality.CXR)),
    ct=st.just(model_of(Modality.CT)),
    policy=st.builds(Policy, kind=st.just(PolicyKind.RULE_OUT), xray_threshold=NUMBERS, ct_threshold=NUMBERS),
    software=TEXTS,
    date=TEXTS,
    not_images=st.lists(TEXTS, max_size=2).map(tuple),
    unmatched=st.lists(TEXTS, max_size=2).map(tuple),
    remarks=st.lists(TEXTS, max_size=2).map(tuple),
)


@given(SCREENINGS)
def test_what_is_written_is_read_again(screening: Screening) -> None:
    assert parse_screening(screening_text(screening).encode(), "here") == screening


@pytest.mark.parametrize("number", [math.nan, math.inf, -0.1, 1.1, 1e308])
@pytest.mark.parametrize("place", ["study", "image", "threshold"])
def test_a_number_that_is_no_probability_is_refused(number: float, place: str) -> None:
    policy = Policy(kind=PolicyKind.CONFIRM_POSITIVES, xray_threshold=0.5, ct_threshold=0.5)
    screening = screening_of({"anna": (0.9, None, False)}, policy)
    row = Prediction("a.png", "anna", Modality.CXR, 0.9, Decision.POSITIVE)
    (case,) = screening.cases
    (study,) = case.studies
    screening = replace(screening, cases=(replace(case, studies=(replace(study, images=(row,)),)),))
    document = json.loads(screening_text(screening))
    holder = {
        "study": document["cases"][0]["studies"][0],
        "image": document["cases"][0]["studies"][0]["images"][0],
        "threshold": document["policy"],
    }[place]
    holder["xray_threshold" if place == "threshold" else "probability"] = number
    with pytest.raises(InputError, match="JSON|not as duoscan writes it"):
        parse_screening(json.dumps(document).encode(), "here")


@pytest.mark.parametrize("kind", [kind for kind in PolicyKind if kind is not PolicyKind.THREE_ZONES])
@pytest.mark.parametrize("need_ct", [False, True, {"sick"}])
def test_deciding_again_is_screening_again(
    brightness_bundles: dict[Modality, Path], tmp_path: Path, kind: PolicyKind, need_ct: bool | set[str]
) -> None:
    for name, grey in {"sick/x.png": 0.9, "well/x.png": 0.1, "middle/x.png": 0.5}.items():
        write_png(tmp_path / "in" / name, grey)
    bundles = [brightness_bundles[modality] for modality in Modality]

    def screened(policy: Policy, asked: bool | set[str]) -> Screening:
        screener = Screener(*bundles, policy=policy, check_quality=False)
        return screener.screen([tmp_path / "in"], modality=Modality.CXR, need_ct=asked)

    first = screened(Policy(kind=PolicyKind.CT_FOR_ALL, xray_threshold=0.5, ct_threshold=0.5), asked=False)
    path = tmp_path / "answers.json"
    write_screening(first, path)
    other = Policy(kind=kind, xray_threshold=0.95, ct_threshold=0.2)
    again = decide_again(read_screening(path), policy=other, need_ct=need_ct)
    anew = screened(other, asked=need_ct)
    assert again.cases == anew.cases
    assert again.policy == anew.policy


def test_a_ct_that_was_not_read_is_needed_when_it_is_asked_for(
    brightness_bundles: dict[Modality, Path], tmp_path: Path
) -> None:
    write_png(tmp_path / "in" / "well" / "x-ray.png", 0.1)
    write_png(tmp_path / "in" / "well" / "scan.png", 0.9)
    screener = Screener(*(brightness_bundles[modality] for modality in Modality), check_quality=False)
    from duoscan.manifest.patient_rules import PatientRules

    rules = PatientRules({"x-ray.png": ("well", "cxr"), "scan.png": ("well", "ct")})
    stored = screener.screen([tmp_path / "in"], rules=rules)
    assert stored.cases[0].ct.state is PhaseState.NOT_READ
    again = decide_again(stored, need_ct=True)
    assert again.cases[0].answer is Answer.CT_NEEDED
    assert "the CT was not read, screen the patient again" in again.cases[0].reason


def test_maps_come_back_under_the_names_of_their_images(tmp_path: Path) -> None:
    maps = {
        "in/a.png": SeenMap(np.eye(3, dtype=np.float32)),
        "caf\udce9.dcm#2": SeenMap(np.zeros((7, 7), np.float32), Box(3, 0, 90, 71)),
    }
    write_maps(maps, tmp_path / "maps.npz")
    found = read_maps(tmp_path / "maps.npz")
    assert list(found) == list(maps)
    assert all(np.array_equal(found[name].values, maps[name].values) for name in maps)
    assert [one.seen for one in found.values()] == [None, Box(3, 0, 90, 71)]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no zip at all"])
def test_what_holds_no_maps_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "maps.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"maps\.npz"):
        read_maps(tmp_path / "maps.npz")


def test_a_name_that_is_one_letter_takes_nothing_out_of_a_reason(
    brightness_bundles: dict[Modality, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A path that was cut out of sentences made "X-rthe filey positive" of a file named "a".
    monkeypatch.chdir(tmp_path)
    write_png(tmp_path / "x.png", 0.9).rename("a")
    screener = Screener(*(brightness_bundles[modality] for modality in Modality), check_quality=False)
    keeper = ActivationKeeper()
    (case,) = screener.screen(["a"], modality=Modality.CXR, on_image=keeper.add)
    assert case.reason_elsewhere == "X-ray positive; no CT yet"
    assert list(keeper.maps) == ["a"]
