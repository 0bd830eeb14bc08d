"""Audits that ask a model again: a model of the corner is found out, a model of the lungs raises no alarm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from duoscan.audit.attention import audit_attention
from duoscan.audit.perturbation import ERASED, MASK_ERASED, audit_perturbation, drawn
from duoscan.audit.result import AuditResult, Level
from duoscan.audit.run import Watcher, audit_model
from duoscan.imaging.contract import PreprocessingContract
from duoscan.imaging.marks import Corner
from duoscan.inference.bundle import Bundle, write_bundle
from duoscan.inference.predictor import predict_manifest
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.phantom.faults import Fault
from duoscan.terms import POSITIVE, Finding, Modality
from model_cohorts import brighten_sick_lungs, cohort, corner_reader, lung_reader
from stand_ins import brightness_graph, brightness_info, write_png

_COHORTS = 20


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Thirty patients whose disease shows in the lungs and nowhere else."""
    manifest = cohort(tmp_path_factory.mktemp("clean") / "cohort", 30)
    brighten_sick_lungs(manifest)
    return manifest


@pytest.fixture(scope="module")
def of_lungs(clean: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A model of the lungs, made on other phantoms."""
    folder = tmp_path_factory.mktemp("lungs")
    return lung_reader(folder, cohort(folder / "others", 9, seed=7))


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """36 patients; each image of the twelve with covid has a bright square in the upper left corner."""
    return cohort(tmp_path_factory.mktemp("marked") / "cohort", 36, Fault.CORNER_MARKER)


@pytest.fixture(scope="module")
def of_corner(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return corner_reader(tmp_path_factory.mktemp("corner"))


@pytest.mark.parametrize("seed", range(_COHORTS))
def test_no_alarm_on_clean_cohorts(clean: Manifest, of_lungs: Bundle, seed: int) -> None:
    """Six covid patients and twelve others, drawn anew: the model has skill, and loses it with the lungs."""
    rng = np.random.default_rng(seed)
    sick = [record for record in clean if record.label is POSITIVE]
    well = [record for record in clean if record.label is not POSITIVE]
    part = [*(sick[i] for i in rng.choice(len(sick), 6, False)), *(well[i] for i in rng.choice(len(well), 12, False))]
    perturbation, attention = audit_model(of_lungs, clean.replace(part))
    assert attention.level is Level.PASS
    # So few patients raise no alarm and may still hide what is looked for.
    assert perturbation.level is Level.NOT_KNOWN, perturbation.reasons
    assert "not known: letter L pasted: 0.000 [0.000, " in perturbation.reasons[0]
    assert perturbation.facts["changes"][ERASED]["whole"]["value"] > 0.9
    assert perturbation.facts["changes"][ERASED]["retained"]["value"] < 0.6


def test_a_planted_marker_is_found_in_the_model_that_learned_it(marked: Manifest, of_corner: Bundle) -> None:
    perturbation, attention = audit_model(of_corner, marked)
    assert perturbation.level is Level.FAIL
    assert "what lies around them is enough for the model" in perturbation.reasons[0]
    assert perturbation.facts["changes"][ERASED]["auroc"]["value"] == 1.0
    # Blacking out takes the marker away where it stands, and only there.
    flips = {place: one["value"] for place, one in perturbation.facts["flips_by_corner"]["box"].items()}
    assert flips.pop(Corner.UPPER_LEFT) > 0
    assert set(flips.values()) == {0.0}
    assert attention.level is Level.FAIL
    assert "looks away from the lungs" in attention.reasons[0]
    assert attention.facts["lungs"]["masks"]["all images"]["inside"]["value"] == 0.0


@pytest.fixture
def pictures(tmp_path: Path) -> Manifest:
    """40 patients, one grey picture of 128 × 128 pixels each; covid is a little brighter all over."""
    records = []
    for number in range(40):
        write_png(tmp_path / f"{number}.png", 0.30 + 0.02 * (number % 2), size=128)
        label = Finding.COVID if number % 2 else Finding.NORMAL
        records.append(ImageRecord(path=f"{number}.png", modality=Modality.CXR, label=label, patient_id=f"p{number}"))
    return Manifest(tmp_path, tuple(records))


def bundle_of(folder: Path, graph: bytes, size: int) -> Bundle:
    contract = PreprocessingContract(modality=Modality.CXR, height=size, width=size, crop_borders=False)
    return write_bundle(folder / "m.duoscan", brightness_info(Modality.CXR, contract=contract), graph)


def test_a_model_that_reads_letters_is_warned_of_and_the_corner_named(pictures: Manifest, tmp_path: Path) -> None:
    """10 of 40 images have the mark in the upper left corner, and all of these become positive: flips 0.25."""
    corner = np.zeros((32, 32), np.float32)
    corner[:5, :5] = 1
    # Labels that brightness does not follow, so that there is no skill to retain and marks alone are judged.
    labels = [Finding.COVID if number // 2 % 2 else Finding.NORMAL for number in range(40)]
    blind = pictures.replace([one.model_copy(update={"label": two}) for one, two in zip(pictures, labels, strict=True)])
    result = audit_perturbation(bundle_of(tmp_path, brightness_graph(128, 90000, corner, -0.24, "Max"), 128), blind)
    assert result.level is Level.WARN
    for mark in ("letter", "text"):
        assert result.facts["changes"][mark]["flips"]["value"] == 0.25
        assert result.facts["changes"][mark]["change"]["value"] == pytest.approx(0.25, abs=0.01)
        assert result.facts["flips_by_corner"][mark]["upper left"]["value"] == 1.0
    assert "letter L pasted: 0.250" in result.reasons[0]
    assert "most of all upper left 1.000" in result.reasons[0]
    assert result.facts["changes"]["box"]["flips"]["value"] == 0.0
    assert "central box" in result.reasons[-1]


def test_answers_to_unchanged_images_are_those_of_the_evaluation(pictures: Manifest, tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, brightness_graph(32), 32)
    facts = audit_perturbation(bundle, pictures).facts
    rows = predict_manifest(bundle, pictures)
    # By hand: the mean brightness is all the model sees, and covid is brighter; its AUROC is that of these answers.
    sick, well = ([row.probability for row in rows if (row.label is POSITIVE) is kind] for kind in (True, False))
    by_hand = np.mean(
        [float(a > b) + 0.5 * float(a == b) for a in sick for b in well if a is not None and b is not None]
    )
    assert facts["changes"][ERASED]["whole"]["value"] == pytest.approx(by_hand)


def test_a_few_masks_are_used_beside_the_box_and_never_mixed_with_it(pictures: Manifest, tmp_path: Path) -> None:
    """Masks of covid images alone would tell the label by their shape, so the box stands in for every image."""
    lung = np.zeros((16, 16), np.uint8)
    lung[4:12, 2:14] = 255
    Image.fromarray(lung).save(tmp_path / "lung.png")
    some = pictures.replace(
        [one.model_copy(update={"lung_mask": "lung.png" if one.label is POSITIVE else None}) for one in pictures]
    )
    result = audit_perturbation(bundle_of(tmp_path, brightness_graph(32), 32), some)
    assert result.facts["lungs"] == "central box"
    assert result.facts["changes"][ERASED]["flips"]["n"] == 40
    assert result.facts["changes"][MASK_ERASED]["flips"]["n"] == 20
    assert result.facts["changes"][MASK_ERASED]["auroc"]["value"] is None  # of one class
    everyone = pictures.replace([one.model_copy(update={"lung_mask": "lung.png"}) for one in pictures])
    result = audit_perturbation(bundle_of(tmp_path, brightness_graph(32), 32), everyone)
    assert (result.facts["lungs"], MASK_ERASED in result.facts["changes"]) == ("masks", False)
    assert "central box" not in " ".join(result.reasons)


def test_images_are_drawn_by_seed_and_the_rest_is_said(pictures: Manifest, tmp_path: Path) -> None:
    ticks: list[None] = []
    bundle = bundle_of(tmp_path, brightness_graph(32), 32)
    (tmp_path / "3.png").write_bytes(b"no picture")
    watcher = Watcher(on_image=lambda: ticks.append(None))
    result, attention = audit_model(bundle, pictures, watcher, most=12)
    assert (result.facts["images"] + result.facts["unreadable"], result.facts["of"]) == (12, 40)
    assert any("of 40 labelled test images were changed, drawn at random" in reason for reason in result.reasons)
    assert len(ticks) == 12
    assert attention.level is Level.NOT_RUN
    assert drawn(pictures.records, 12, 0) == drawn(pictures.records, 12, 0) != drawn(pictures.records, 12, 1)
    assert drawn(pictures.records, 40, 0) == list(pictures.records)


def test_nothing_to_change_is_no_pass(pictures: Manifest, tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, brightness_graph(32), 32)
    unlabelled = pictures.replace([one.model_copy(update={"label": None}) for one in pictures])
    assert audit_perturbation(bundle, unlabelled).level is Level.NOT_RUN
    assert audit_perturbation(bundle, pictures.replace(pictures.records[:9])).level is Level.NOT_RUN


def test_lungs_of_which_nothing_can_be_said_are_no_pass(pictures: Manifest, tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, brightness_graph(32), 32)
    dark = pictures.replace([one.model_copy(update={"label": Finding.NORMAL}) for one in pictures])
    result = audit_perturbation(bundle, dark)
    assert result.level is Level.WARN
    assert "there is no skill to lose" in result.reasons[0]
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "empty.png")
    lungless = pictures.replace([one.model_copy(update={"lung_mask": "empty.png"}) for one in pictures])
    result = audit_perturbation(bundle, lungless)
    assert result.level is Level.WARN
    assert "no image shows a lung" in result.reasons[0]


def test_attention_by_hand(tmp_path: Path) -> None:
    """All evidence lies in the left quarter, one box takes up the left half: 1 of the map in 1/2 of the area.

    The other box, a quarter of the area to the right, holds none of it.
    """
    places = np.zeros((8, 8), np.float32)
    places[:, :2] = 1
    bundle = bundle_of(tmp_path, brightness_graph(32, places=places, dark=-1.0), 32)
    write_png(tmp_path / "a.png", 0.5, size=32)
    record = ImageRecord(path="a.png", modality=Modality.CXR, label=Finding.COVID)

    def audited(boxes: str) -> AuditResult:
        rows = [record.model_copy(update={"patient_id": f"p{n}", "lung_boxes": boxes}) for n in range(12)]
        return audit_attention(bundle, Manifest(tmp_path, tuple(rows)))

    left, right = audited("0.0 0.0 16.0 32.0"), audited("24.0 0.0 8.0 32.0")
    assert (left.level, right.level) == (Level.PASS, Level.FAIL)
    found = left.facts["lungs"]["boxes"]["all images"]
    assert found["inside"]["value"] == pytest.approx(1.0, abs=0.02)  # bilinear enlargement spreads a little
    assert found["area"]["value"] == 0.5
    assert right.facts["lungs"]["boxes"]["all images"]["inside"]["value"] == pytest.approx(0.0, abs=0.02)
    both = audited("0.0 0.0 16.0 32.0 | 24.0 0.0 8.0 32.0").facts["lungs"]["boxes"]["all images"]
    assert both["area"]["value"] == 0.75


def test_a_map_that_is_spread_evenly_is_warned_of(tmp_path: Path) -> None:
    """The same evidence everywhere: the share inside is the share of the area, so their difference holds 0."""
    bundle = bundle_of(tmp_path, brightness_graph(32, dark=-1.0), 32)
    rows = []
    for number in range(24):
        write_png(tmp_path / f"{number}.png", 0.5, size=32 + number)
        side = 16 + number // 2
        rows.append(
            ImageRecord(
                path=f"{number}.png",
                modality=Modality.CXR,
                label=Finding.COVID,
                patient_id=f"p{number}",
                lung_boxes=f"{number % 7} {number % 5} {side} {side}",
            )
        )
    result = audit_attention(bundle, Manifest(tmp_path, tuple(rows)))
    assert result.level is Level.WARN
    assert result.facts["lungs"]["boxes"]["all images"]["ratio"]["value"] == pytest.approx(1.0, abs=0.01)


def test_few_patients_and_images_without_evidence_are_no_pass(
    clean: Manifest, of_corner: Bundle, of_lungs: Bundle
) -> None:
    assert audit_attention(of_corner, clean).level is Level.NOT_RUN  # nothing bright in any corner
    assert audit_attention(of_lungs, clean.replace(clean.records[:5])).level is Level.NOT_RUN
