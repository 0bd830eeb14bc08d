"""Screening with bundles that state how they join images: the same table, the same answer, and a calibrated one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from duoscan.cases.screening import Screener
from duoscan.cases.stored import screening_text
from duoscan.errors import InputError
from duoscan.inference.aggregate import per_patient, study_probability
from duoscan.inference.aggregation import Aggregation
from duoscan.inference.bundle import BundleInfo, read_bundle, write_bundle
from duoscan.inference.calibrator import PlattCalibration
from duoscan.interfaces.cli.answers import _chance
from duoscan.manifest.patient_rules import PatientRules
from duoscan.policies.policy import Certificate, Policy
from duoscan.policies.rule import PolicyKind
from duoscan.terms import Finding, Modality
from stand_ins import brightness_graph, brightness_info, write_png

CALIBRATION = PlattCalibration(slope=0.5, intercept=-1.0, images=40, patients=40)


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    info = brightness_info(Modality.CT, aggregation="noisy-or").model_copy(update={"study_calibration": CALIBRATION})
    return write_bundle(tmp_path / "bundles" / "ct.duoscan", info, brightness_graph(slope=4.0)).path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, mean in enumerate((0.3, 0.45, 0.5, 0.48)):
        write_png(tmp_path / "in" / "p" / f"{number}.png", mean, size=60 + number)
    return tmp_path / "in"


def test_the_answer_is_joined_as_the_bundle_states_and_calibrated_after(ct: Path, folder: Path) -> None:
    screener = Screener(ct=ct, check_quality=False)
    screening = screener.screen([folder], rules=PatientRules(by_folder=True), need_ct=True, modality=Modality.CT)
    (case,) = screening
    probabilities = [row.probability for row in case.ct.images if row.probability is not None]
    assert len(probabilities) == 4
    assert max(probabilities) < 0.55
    # No image alone comes near it; 1 − Π(1 − p) of four does, and the threshold of 0.5 is compared with that.
    expected = Aggregation.named("noisy-or").apply(probabilities)
    assert case.ct.probability == expected > 0.8
    assert case.answer == "positive"
    assert case.ct.calibrated == pytest.approx(CALIBRATION.apply(np.array([expected]))[0])
    (study,) = json.loads(screening_text(screening))["cases"][0]["studies"]
    assert study["calibrated"] == case.ct.calibrated
    assert {image["aggregation"] for image in study["images"]} == {"noisy-or"}
    assert _chance(case.ct) == f"{expected:.3f} (calibrated {case.ct.calibrated:.3f})"
    # Evidence tools that read the rows alone come to the same.
    assert study_probability(Modality.CT, case.ct.images) == expected
    labelled = [replace(row, label=Finding.COVID) for row in case.ct.images]
    assert per_patient(labelled, Modality.CT)[0].probability == expected


def test_without_a_statement_answers_hold_nothing_new(brightness_bundles: dict[Modality, Path], folder: Path) -> None:
    screener = Screener(*(brightness_bundles[kind] for kind in Modality), check_quality=False)
    screening = screener.screen([folder], rules=PatientRules(by_folder=True), need_ct=True, modality=Modality.CT)
    (case,) = screening
    (study,) = json.loads(screening_text(screening))["cases"][0]["studies"]
    assert "calibrated" not in study
    assert not {"aggregation", "attention"} & {key for image in study["images"] for key in image}
    assert "calibrated" not in _chance(case.ct)


def test_a_policy_certified_for_another_way_to_join_is_not_obeyed(ct: Path, tmp_path: Path) -> None:
    shipped = Screener().bundle(Modality.CXR)
    bundle = read_bundle(ct)

    def certified(digest: str) -> Policy:
        kind = PolicyKind.CONFIRM_POSITIVES
        certificate = Certificate(
            method="split-conformal", covers="leaving at X-ray or CT", alpha=0.05, positives=60, missed=1,
            xray_threshold=0.1, ct_threshold=0.4, calibration_fingerprint="f", date="2026-01-01", promise="",
            xray_graph_sha256=shipped.study_digest, ct_graph_sha256=digest, kind=kind,
        )  # fmt: skip
        return Policy(kind=kind, xray_threshold=0.1, ct_threshold=0.4, certificate=certificate)

    assert Screener(ct=ct, policy=certified(bundle.study_digest)).policy.certificate
    with pytest.raises(InputError, match="it has expired"):
        Screener(ct=ct, policy=certified(bundle.digest))


def test_a_bundle_keeps_what_it_states_of_studies(ct: Path) -> None:
    info = read_bundle(ct).info
    assert (info.aggregation, info.study_calibration) == ("noisy-or", CALIBRATION)
    assert info.calibrated_study(0.5) == pytest.approx(1 / (1 + np.e))
    with pytest.raises(ValueError, match="aggregation 'median' is unknown"):
        BundleInfo.model_validate(info.model_dump() | {"aggregation": "median"})
