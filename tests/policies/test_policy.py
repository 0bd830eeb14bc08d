"""Six policies over one state table, one patient or many, as file and in a bundle."""

from __future__ import annotations

import csv
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoscan.cases.outputs import answers_csv
from duoscan.cases.screening import Screener
from duoscan.cases.stored import screening_document
from duoscan.errors import InputError
from duoscan.inference.bundle import read_bundle
from duoscan.policies.policy import (
    Certificate,
    Policy,
    PolicyDraft,
    apply_policy,
    apply_policy_to_all,
    named_policy,
    policy_toml,
    read_policy,
)
from duoscan.policies.rule import PHASE_1, PHASE_1_OF, Answer, PhaseState, PolicyKind, Step, after_xray, decide
from duoscan.policies.stored import store_policy
from duoscan.terms import Modality
from stand_ins import write_png

LOW, MIDDLE, HIGH = 0.1, 0.4, 0.9  # against the thresholds 0.2 and 0.8


def policy_of(kind: PolicyKind, **changes: object) -> Policy:
    rule_in = 0.8 if kind is PolicyKind.THREE_ZONES else None
    fields = {"kind": kind, "xray_threshold": 0.2, "xray_rule_in": rule_in, "ct_threshold": 0.5}
    return Policy.model_validate(fields | changes)


def certificate_of(policy: Policy, **changes: object) -> Certificate:
    fields: dict[str, object] = {
        "method": "exact",
        "covers": "leaving at X-ray",
        "kind": policy.kind,
        "alpha": 0.05,
        "delta": 0.05,
        "positives": 59,
        "missed": 0,
        "xray_threshold": policy.xray_threshold,
        "calibration_fingerprint": "c" * 64,
        "xray_graph_sha256": "x" * 64,
        "date": "2026-01-31",
        "promise": 'At most 0.05 of the "sick" leave.',
    }
    return Certificate.model_validate(fields | changes)


# (X-ray, CT, clinician asks) → the answer and where the X-ray sent the case, for each kind.
N, P, C, U = Answer.NEGATIVE, Answer.POSITIVE, Answer.CT_NEEDED, Answer.UNREADABLE
OUT, ON = Step.DONE, Step.TO_CT
EXPECTED: dict[PolicyKind, dict[tuple[float | None, float | None, bool], tuple[Answer, Step]]] = {
    PolicyKind.CONFIRM_POSITIVES: {
        (LOW, HIGH, False): (N, OUT),
        (LOW, HIGH, True): (P, ON),
        (MIDDLE, LOW, False): (N, ON),
        (HIGH, HIGH, False): (P, ON),
        (HIGH, None, False): (C, ON),
        (None, None, False): (U, ON),
        (None, None, True): (C, ON),
    },
    PolicyKind.RULE_OUT: {
        (LOW, HIGH, False): (N, OUT),
        (LOW, None, True): (C, ON),
        (MIDDLE, HIGH, False): (P, ON),
        (HIGH, LOW, False): (N, ON),
    },
    PolicyKind.THREE_ZONES: {
        (LOW, HIGH, False): (N, OUT),
        (LOW, HIGH, True): (P, ON),
        (MIDDLE, HIGH, False): (P, ON),
        (MIDDLE, LOW, False): (N, ON),
        (MIDDLE, None, False): (C, ON),
        (HIGH, LOW, False): (P, OUT),
        (HIGH, LOW, True): (N, ON),
    },
    PolicyKind.EITHER_POSITIVE: {
        (HIGH, LOW, False): (P, OUT),
        (HIGH, LOW, True): (P, ON),
        (HIGH, None, True): (C, ON),
        (LOW, HIGH, False): (P, ON),
        (LOW, LOW, False): (N, ON),
        (LOW, None, False): (C, ON),
    },
    PolicyKind.CT_FOR_ALL: {
        (LOW, HIGH, False): (P, ON),
        (HIGH, LOW, False): (N, ON),
        (LOW, None, False): (C, ON),
        (None, None, False): (C, ON),
    },
    PolicyKind.XRAY_ONLY: {
        (LOW, HIGH, False): (N, OUT),
        (HIGH, LOW, False): (P, OUT),
        (None, HIGH, False): (U, OUT),
        (None, HIGH, True): (P, ON),
        (LOW, HIGH, True): (P, ON),
    },
}
CASES = [(kind, case, answer) for kind, cases in EXPECTED.items() for case, answer in cases.items()]


@pytest.mark.parametrize(("kind", "case", "expected"), CASES)
def test_one_patient(
    kind: PolicyKind, case: tuple[float | None, float | None, bool], expected: tuple[Answer, Step]
) -> None:
    xray, ct, asked = case
    assert apply_policy(policy_of(kind), xray, ct, need_ct=asked) == expected


def test_the_tables_are_whole() -> None:
    for kind, table in PHASE_1_OF.items():
        states = [PhaseState.POSITIVE, PhaseState.NEGATIVE, PhaseState.UNREADABLE, PhaseState.ABSENT]
        states += [PhaseState.UNCERTAIN] if kind is PolicyKind.THREE_ZONES else []
        assert set(table) == set(itertools.product(states, [False, True]))
        for (_, asked), (step, answer, reason) in table.items():
            assert reason
            assert (answer is None) == (step is Step.TO_CT)
            assert step is Step.TO_CT or not asked, "a clinician who asks for CT gets it under every policy"
    assert PHASE_1_OF[PolicyKind.CONFIRM_POSITIVES] is PHASE_1


def test_the_default_is_the_rule_there_was() -> None:
    states = [PhaseState.POSITIVE, PhaseState.NEGATIVE, PhaseState.UNREADABLE, PhaseState.ABSENT]
    for xray, ct, asked in itertools.product(states, states, [False, True]):
        assert decide(xray, ct, need_ct=asked) == decide(xray, ct, need_ct=asked, kind=PolicyKind.CONFIRM_POSITIVES)
        assert after_xray(xray, need_ct=asked) == PHASE_1[xray, asked]


def test_nobody_leaves_without_a_negative_image() -> None:
    for kind, table in PHASE_1_OF.items():
        for (xray, asked), ct in itertools.product(table, set(PhaseState) - {PhaseState.UNCERTAIN}):
            if decide(xray, ct, need_ct=asked, kind=kind)[0] is Answer.NEGATIVE:
                assert PhaseState.NEGATIVE in {xray, ct}


maybe = st.one_of(st.none(), st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]), st.floats(0, 1))


@given(
    kind=st.sampled_from(PolicyKind), patients=st.lists(st.tuples(maybe, maybe, st.booleans()), min_size=1, max_size=8)
)
def test_many_patients_are_many_single_ones(
    kind: PolicyKind, patients: list[tuple[float | None, float | None, bool]]
) -> None:
    policy = policy_of(kind)
    xray, ct = (np.array([np.nan if p[i] is None else p[i] for p in patients]) for i in (0, 1))
    outcome = apply_policy_to_all(policy, xray, ct, np.array([asked for _, _, asked in patients]))
    arrays = {P: outcome.positive, N: outcome.negative, C: outcome.ct_needed, U: outcome.unreadable}
    for index, (one, other, asked) in enumerate(patients):
        answer, step = apply_policy(policy, one, other, need_ct=asked)
        assert [said for said, where in arrays.items() if where[index]] == [answer]
        assert outcome.to_ct[index] == (step is Step.TO_CT)


def test_a_probability_at_the_threshold_stays() -> None:
    policy = policy_of(PolicyKind.THREE_ZONES)
    assert apply_policy(policy, 0.2, 0.5, need_ct=False) == (P, ON)
    assert apply_policy(policy, 0.8, None, need_ct=False) == (P, OUT)
    assert apply_policy(policy, np.nextafter(0.2, 0), None, need_ct=False) == (N, OUT)


def test_file_round_trip(tmp_path: Path) -> None:
    policy = policy_of(PolicyKind.RULE_OUT, xray_threshold=1e-5)
    policy = policy.model_copy(update={"certificate": certificate_of(policy)})
    path = tmp_path / "policy.toml"
    path.write_text(policy_toml(policy), encoding="utf-8")
    assert read_policy(path).resolved(0.5, 0.5) == policy
    assert policy.name == "rule-out, X-ray exit certified"
    whole = policy.model_copy(update={"certificate": certificate_of(policy, covers="leaving at X-ray or CT")})
    assert whole.name == "rule-out, whole policy certified"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('kind = "rule-out"\nxray_treshold = 0.1', "xray_treshold"),
        ('kind = "rule-in"', "kind"),
        ('kind = "rule-out"\nxray_threshold = 1.5', "xray_threshold"),
        ('kind = "three-zones"\nxray_threshold = 0.5', "xray_rule_in belongs to kind 'three-zones'"),
        ('kind = "rule-out"\nxray_rule_in = 0.5', "xray_rule_in belongs to kind 'three-zones'"),
        ('kind = "three-zones"\nxray_threshold = 0.5\nxray_rule_in = 0.4', "lies above"),
        ("kind = rule-out", "not a TOML file"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_policy(path)


def test_a_certificate_does_not_outlive_its_threshold(tmp_path: Path) -> None:
    policy = policy_of(PolicyKind.RULE_OUT)
    certified = policy.model_copy(update={"certificate": certificate_of(policy)})
    path = tmp_path / "policy.toml"
    # "0.2" stands in the policy and in the certificate; the hand that edits only the first is caught.
    path.write_text(policy_toml(certified).replace("xray_threshold = 0.2", "xray_threshold = 0.3", 1), "utf-8")
    with pytest.raises(InputError, match="other moves or thresholds"):
        read_policy(path)
    assert certified.with_thresholds(0.3, None).certificate is None
    assert certified.with_thresholds(None, 0.3).certificate, "a promise on leaving at X-ray says nothing of the CT"
    assert certified.with_thresholds(0.2, None).certificate


def test_names_that_need_no_file() -> None:
    assert named_policy("ct-for-all") == PolicyDraft(kind=PolicyKind.CT_FOR_ALL)
    with pytest.raises(InputError, match="no such file"):
        named_policy("three-zones")


def test_thresholds_must_be_known() -> None:
    bare = PolicyDraft(kind=PolicyKind.RULE_OUT)
    assert bare.resolved(0.3, 0.6) == Policy(kind=PolicyKind.RULE_OUT, xray_threshold=0.3, ct_threshold=0.6)
    zones = PolicyDraft(kind=PolicyKind.THREE_ZONES, xray_rule_in=0.4)
    with pytest.raises(InputError, match="lies above"):
        zones.resolved(0.5, 0.5)


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """Two patients: bright is sick to the stand-in models. The X-ray of ``b`` is in the middle."""
    for name, mean in {"a/x_ray.png": 0.9, "a/ct.png": 0.1, "b/x_ray.png": 0.5, "b/ct.png": 0.9}.items():
        write_png(tmp_path / "clinic" / name, mean)
    table = tmp_path / "patients.csv"
    rows = [(f"{p}/{f}.png", p, kind) for p in "ab" for f, kind in (("x_ray", "cxr"), ("ct", "ct"))]
    lines = ["path,patient_id,modality", *(f"{tmp_path}/clinic/{path},{p},{kind}" for path, p, kind in rows)]
    table.write_text("\n".join(lines) + "\n")
    return table


def screened(screener: Screener, table: Path) -> dict[str, Answer]:
    from duoscan.manifest.patient_rules import PatientRules, read_patient_table

    answers = screener.screen([table.parent / "clinic"], rules=PatientRules(read_patient_table(table)))
    document = screening_document(answers)
    assert document["policy"]["kind"] == screener.policy.kind
    for row, case in zip(csv.DictReader(answers_csv(answers).splitlines()), answers, strict=True):
        assert row["policy"] == screener.policy.name
        assert bool(row["certificate"]) == (screener.policy.certificate is not None)
        assert f"[policy: {screener.policy.kind}, " in row["reason"] == case.reason
    return {case.patient_id: case.answer for case in answers}


def test_screening_obeys_the_policy(brightness_bundles: dict[Modality, Path], clinic: Path) -> None:
    bundles = brightness_bundles[Modality.CXR], brightness_bundles[Modality.CT]
    # Both X-rays reach the operating point or not: 0.5 ± noise, so the middle one is set apart by thresholds.
    zones, rule_out = policy_of(PolicyKind.THREE_ZONES), policy_of(PolicyKind.RULE_OUT)
    assert screened(Screener(*bundles, policy=zones, check_quality=False), clinic) == {"a": P, "b": P}
    assert screened(Screener(*bundles, policy=rule_out, check_quality=False), clinic) == {"a": N, "b": P}
    high = policy_of(PolicyKind.XRAY_ONLY, xray_threshold=0.95)
    assert screened(Screener(*bundles, policy=high, check_quality=False), clinic) == {"a": P, "b": N}
    assert Screener(*bundles).policy.name == "confirm-positives, uncertified"


def test_a_bundle_carries_its_policy(brightness_bundles: dict[Modality, Path], clinic: Path, tmp_path: Path) -> None:
    xray, ct = (read_bundle(brightness_bundles[kind]) for kind in Modality)
    before = xray.path.read_bytes()
    policy = policy_of(PolicyKind.RULE_OUT)
    policy = policy.model_copy(update={"certificate": certificate_of(policy, xray_graph_sha256=xray.digest)})
    copies = [store_policy(bundle, policy, tmp_path / f"{bundle.info.modality}.duoscan") for bundle in (xray, ct)]
    assert xray.path.read_bytes() == before
    screener = Screener(*(copy.path for copy in copies), check_quality=False)
    assert screener.policy == policy
    assert screened(screener, clinic) == {"a": N, "b": P}
    other = store_policy(ct, policy_of(PolicyKind.CT_FOR_ALL), tmp_path / "other.duoscan")
    with pytest.raises(InputError, match="different policies"):
        Screener(copies[0].path, other.path)
    assert Screener(copies[0].path, other.path, policy=policy_of(PolicyKind.XRAY_ONLY)).policy.kind == "xray-only"


def test_a_certificate_for_another_model_is_refused(brightness_bundles: dict[Modality, Path]) -> None:
    policy = policy_of(PolicyKind.RULE_OUT)
    certified = policy.model_copy(update={"certificate": certificate_of(policy)})
    with pytest.raises(InputError, match="expired"):
        Screener(brightness_bundles[Modality.CXR], brightness_bundles[Modality.CT], policy=certified)


def test_a_bundle_without_policy_is_as_it_was(brightness_bundles: dict[Modality, Path]) -> None:
    import zipfile

    with zipfile.ZipFile(brightness_bundles[Modality.CT]) as archive:
        assert b'"policy"' not in archive.read("bundle.json")


def test_screening_with_a_policy_needs_no_scipy() -> None:
    code = "import sys; import duoscan.cases.screening, duoscan.interfaces.cli.screen; print('scipy' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
