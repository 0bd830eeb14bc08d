"""Which images are shown, and what stands below them."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from duoscan.evaluation.evaluate import Evaluation, evaluate
from duoscan.evidence.subject import Subject, read_subjects
from duoscan.report import pictures
from duoscan.report.pictures import answer_grid, make_pictures, png_uri
from duoscan.terms import POSITIVE, Decision, Modality

CAPTION = re.compile(r"N=(\d+) \| P=(covid|not covid) \| GT=(covid|normal|pneumonia)")


def read(run: Path) -> tuple[Subject, Evaluation]:
    (subject,) = read_subjects([run])
    return subject, evaluate(subject.predictions, threshold=subject.threshold, resamples=100)


@pytest.fixture(scope="module")
def phantoms(runs: dict[Modality, Path]) -> tuple[Subject, Evaluation]:
    return read(runs[Modality.CT])


def test_phantoms_are_shown(phantoms: tuple[Subject, Evaluation]) -> None:
    shown = make_pictures(*phantoms, 0, wanted=None)
    assert shown.why == "Every image is a synthetic phantom and shows no person."
    # Four training images of each of three classes; one row of each class: the image and five views of it.
    assert [one.lines[0] for one in shown.samples] == ["covid"] * 4 + ["pneumonia"] * 4 + ["normal"] * 4
    assert [len(row) for row in shown.augmented] == [6, 6, 6]
    assert [row[0].lines[0] for row in shown.augmented] == [
        "covid, as prepared", "pneumonia, as prepared", "normal, as prepared",
    ]  # fmt: skip
    assert len({one.uri for row in shown.augmented for one in row}) == 18
    assert len(shown.grid) == 25


def test_patients_are_not_shown_unless_asked_for(hospital_run: Path, phantoms: tuple[Subject, Evaluation]) -> None:
    hospital = read(hospital_run)
    for shown in (make_pictures(*hospital, 0, wanted=None), make_pictures(*phantoms, 0, wanted=False)):
        assert shown.samples == shown.augmented == shown.grid == ()
        assert "--with-images" in shown.why
    asked = make_pictures(*hospital, 0, wanted=True)
    assert len(asked.grid) == 25
    assert "pass this file on only as they may be" in asked.why


def test_one_patient_among_phantoms_hides_all(phantoms: tuple[Subject, Evaluation]) -> None:
    subject, evaluation = phantoms
    stranger = replace(subject.predictions[0], source="hospital")
    mixed = replace(subject, predictions=(stranger, *subject.predictions[1:]))
    assert make_pictures(mixed, evaluation, 0, wanted=None).grid == ()
    unknown = replace(subject, predictions=(replace(stranger, source=None), *subject.predictions[1:]))
    assert make_pictures(unknown, evaluation, 0, wanted=None).grid == ()


def test_the_grid_is_drawn_without_replacement_and_its_captions_are_true(phantoms: tuple[Subject, Evaluation]) -> None:
    subject, evaluation = phantoms
    grid = answer_grid(subject, evaluation, np.random.default_rng(5))
    assert grid == answer_grid(subject, evaluation, np.random.default_rng(5))
    assert grid != answer_grid(subject, evaluation, np.random.default_rng(6))
    numbers = []
    for one in grid:
        found = CAPTION.fullmatch(one.lines[0])
        assert found
        number, said, truth = int(found[1]), found[2], found[3]
        row = subject.predictions[number - 1]
        assert row.probability is not None
        assert (said == "covid") == (row.probability >= 0.5)
        assert truth == row.label
        assert one.is_right == ((said == "covid") == (truth == "covid"))
        numbers.append(number)
    assert numbers == sorted(set(numbers))
    assert {one.is_right for one in grid} == {True, False}  # the cohort holds images that mislead the model


def test_own_decisions_of_a_table_are_shown(phantoms: tuple[Subject, Evaluation]) -> None:
    subject, _ = phantoms
    turned = tuple(replace(row, decision=Decision.NEGATIVE) for row in subject.predictions)
    grid = answer_grid(replace(subject, predictions=turned), evaluate(turned, resamples=100), np.random.default_rng(0))
    assert all("P=not covid" in one.lines[0] for one in grid)
    assert all(one.is_right == (f"GT={POSITIVE}" not in one.lines[0]) for one in grid)


def test_small_sets_unanswered_rows_and_lost_files(phantoms: tuple[Subject, Evaluation]) -> None:
    subject, evaluation = phantoms
    unanswered = replace(subject.predictions[1], probability=None, decision=Decision.UNREADABLE)
    three = replace(
        subject,
        predictions=(subject.predictions[0], unanswered, subject.predictions[2]),
        files=(None, *subject.files[1:3]),
    )
    first, third = answer_grid(three, evaluation, np.random.default_rng(0))
    assert first.uri == ""
    assert first.lines[0].startswith("N=1 ")
    assert third.uri.startswith("data:image/png;base64,")
    assert third.lines[0].startswith("N=3 ")


def test_a_file_that_cannot_be_read_leaves_a_gap(phantoms: tuple[Subject, Evaluation], tmp_path: Path) -> None:
    subject, evaluation = phantoms
    (tmp_path / "x.png").write_text("no picture")
    broken = replace(subject, files=(tmp_path / "x.png",) * len(subject.files))
    assert {one.uri for one in answer_grid(broken, evaluation, np.random.default_rng(0))} == {""}


def test_without_torch_the_rest_is_shown(phantoms: tuple[Subject, Evaluation], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "find_spec", lambda name: None)
    shown = make_pictures(*phantoms, 0, wanted=None)
    assert shown.augmented == ()
    assert "need the extra [train]" in shown.no_augmented
    assert len(shown.grid) == 25


def test_a_recipe_of_another_version_costs_only_the_augmented_samples(phantoms: tuple[Subject, Evaluation]) -> None:
    subject, evaluation = phantoms
    assert subject.making is not None
    (part,) = subject.making.parts
    provenance = part.info.provenance.model_copy(update={"recipe": {"name": "old", "laser": True}})
    info = part.info.model_copy(update={"provenance": provenance})
    old = replace(subject, making=replace(subject.making, parts=(replace(part, info=info),)))
    shown = make_pictures(old, evaluation, 0, wanted=None)
    assert shown.augmented == ()
    assert "does not read the run's recipe" in shown.no_augmented
    assert shown.samples


def test_a_picture_is_the_grey_the_model_gets() -> None:
    grey = np.linspace(-0.2, 1.2, 200 * 300, dtype=np.float32).reshape(200, 300)
    head, _, content = png_uri(grey).partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        assert (picture.mode, picture.size) == ("L", (144, 96))
        assert picture.getextrema() == (0, 255)
