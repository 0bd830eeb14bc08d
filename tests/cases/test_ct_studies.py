"""One answer for each CT study: the right series, its lung slices, and reasons for all that is left out."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from duoscan.cases.outputs import STUDY_COLUMNS
from duoscan.cases.screening import CaseAnswer, Screener
from duoscan.formats.reader import read_image
from duoscan.inference import predictor
from duoscan.interfaces.cli.answers import write_answers
from duoscan.policies.rule import Answer
from duoscan.reasons import Reason, ReasonCode
from duoscan.terms import Decision, Modality
from stand_ins import ct_slice_hu, write_ct_slice

if TYPE_CHECKING:
    from pathlib import Path

    from duoscan.formats.image import Pixels

WHITE, CLEAR = -300.0, -900.0  # HU of lungs that the brightness model calls positive and negative


def write_series(folder: Path, heights: list[float], lung_hu: float | None = CLEAR, **attributes: object) -> None:
    for number, z in enumerate(heights):
        # Names run against the heights, so that nothing can be sorted by them.
        write_ct_slice(folder / f"IM{len(heights) - number:03d}", ct_slice_hu(lung_hu), z, **attributes)


def only(answers: list[CaseAnswer]) -> CaseAnswer:
    (case,) = answers
    return case


def reasons(case: CaseAnswer) -> dict[str, str]:
    return {row.path.rsplit("/", 1)[-1]: row.reason and row.reason.text for row in case.ct.images}


def test_lung_slices_are_answered_and_the_others_set_aside(screener: Screener, tmp_path: Path) -> None:
    write_series(tmp_path / "a", [0.0, 3.0], None)
    write_series(tmp_path / "b", [6.0, 9.0, 12.0, 15.0])
    write_series(tmp_path / "c", [18.0], None)
    case = only(screener.screen([tmp_path]))
    (study,) = case.ct.studies
    assert (study.study_id, study.date) == ("1.2.10", "20200102")
    answered = [row for row in study.images if row.probability is not None]
    assert len(answered) == 4
    assert {row.reason for row in study.images if row.probability is None} == {
        Reason(ReasonCode.NO_LUNG, "no lung in this slice")
    }
    assert set(study.carrying) <= {row.path for row in answered}
    assert len(study.carrying) == 3
    assert case.unreadable == ()
    assert "images set aside: 3" in case.reason


def test_thin_slices_are_answered_at_a_distance(screener: Screener, tmp_path: Path) -> None:
    write_series(tmp_path, [float(z) for z in range(10)])
    case = only(screener.screen([tmp_path]))
    # 0, 3, 6, 9: each at least 2.5 mm above the one before.
    heights = [index for index, row in enumerate(case.ct.images[::-1]) if row.probability is not None]
    assert heights == [0, 3, 6, 9]
    assert sum(row.reason is not None and row.reason.code is ReasonCode.NEAR_ANSWERED for row in case.ct.images) == 6


def test_a_white_slice_between_lung_is_answered_and_gas_far_below_is_not(screener: Screener, tmp_path: Path) -> None:
    write_series(tmp_path / "lung", [100.0, 105.0, 115.0, 120.0])
    write_ct_slice(tmp_path / "white.dcm", ct_slice_hu(None), 110.0)
    write_ct_slice(tmp_path / "bowel.dcm", ct_slice_hu(), 0.0)
    write_series(tmp_path / "belly", [float(z) for z in range(5, 100, 5)], None)
    case = only(screener.screen([tmp_path]))
    rows = {row.path.rsplit("/", 1)[-1]: row for row in case.ct.images}
    assert rows["white.dcm"].probability is not None
    assert rows["white.dcm"].reason is None
    assert rows["bowel.dcm"].decision == Decision.SET_ASIDE
    assert rows["bowel.dcm"].reason == Reason(ReasonCode.AWAY_FROM_LUNGS, "shows air away from the lungs")


def test_series_are_set_aside_with_their_reasons(screener: Screener, tmp_path: Path) -> None:
    heights = [0.0, 3.0, 6.0]
    write_series(tmp_path / "soft", heights)
    write_series(tmp_path / "bone", heights, SeriesInstanceUID="1.2.20", ConvolutionKernel="BONE")
    write_series(tmp_path / "thick", heights, SeriesInstanceUID="1.2.21", SliceThickness=8)
    write_series(tmp_path / "abdomen", [-300.0, -297.0], None, SeriesInstanceUID="1.2.22")
    scout = {"SeriesInstanceUID": "1.2.23", "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    write_series(tmp_path / "scout", [0.0], **scout)
    coronal = {"SeriesInstanceUID": "1.2.24", "ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}
    write_series(tmp_path / "coronal", [0.0], **coronal)
    write_series(tmp_path / "head", [500.0], SeriesInstanceUID="1.2.25", BodyPartExamined="HEAD")
    case = only(screener.screen([tmp_path]))
    (study,) = case.ct.studies
    told = {series.series_id: series.reason.text if series.reason else "" for series in study.series}
    assert [series.series_id for series in study.series if series.is_used] == ["1.2.11"]
    assert told == {
        "1.2.11": "",
        "1.2.20": "a bone kernel; a lung or soft reconstruction is there",
        "1.2.21": "slices thicker than 5 mm; thinner ones are there",
        "1.2.22": "shows less of the lungs than another series",
        "1.2.23": "ImageType says a localiser (scout view), not a slice",
        "1.2.24": "a coronal slice by its ImageOrientationPatient; give the axial series",
        "1.2.25": "BodyPartExamined is HEAD; only chest images are answered",
    }
    assert len([row for row in study.images if row.probability is not None]) == 3
    assert case.unreadable == ()


def test_only_a_bone_kernel_is_answered_with_a_note(screener: Screener, tmp_path: Path) -> None:
    write_series(tmp_path, [0.0, 3.0], ConvolutionKernel="BONE")
    (series,) = only(screener.screen([tmp_path])).ct.studies[0].series
    assert (series.is_used, series.reason and series.reason.text) == (True, "only a bone kernel is there")


def test_the_same_slice_twice_is_answered_once(screener: Screener, tmp_path: Path) -> None:
    write_series(tmp_path / "a", [0.0, 3.0])
    write_series(tmp_path / "copy", [0.0])
    case = only(screener.screen([tmp_path]))
    (copy,) = [row for row in case.ct.images if row.decision == Decision.SET_ASIDE]
    assert copy.reason
    assert (copy.reason.code, (copy.reason.image or "").rsplit("/", 1)[-1]) == (ReasonCode.SAME_POSITION, "IM002")
    assert case.ct.studies[0].series[0].repeated == 1


def test_a_copy_stands_in_for_a_slice_that_cannot_be_read(screener: Screener, tmp_path: Path) -> None:
    broken = write_ct_slice(tmp_path / "a.dcm", ct_slice_hu(), 0.0)
    broken.write_bytes(broken.read_bytes()[:-9000])
    write_ct_slice(tmp_path / "b.dcm", ct_slice_hu(), 0.0)
    case = only(screener.screen([tmp_path]))
    rows = {row.path.rsplit("/", 1)[-1]: row for row in case.ct.images}
    assert rows["a.dcm"].decision == Decision.UNREADABLE
    assert rows["b.dcm"].probability is not None


def test_the_next_series_is_answered_where_the_best_cannot_be(screener: Screener, tmp_path: Path) -> None:
    write_series(tmp_path / "soft", [0.0, 3.0], SeriesInstanceUID="1.2.31", SliceThickness=1)
    for path in (tmp_path / "soft").iterdir():
        path.write_bytes(path.read_bytes()[:-9000])
    write_series(tmp_path / "thick", [0.0, 3.0], SeriesInstanceUID="1.2.32")
    case = only(screener.screen([tmp_path]))
    used = {series.series_id: series.is_used for series in case.ct.studies[0].series}
    assert used == {"1.2.31": False, "1.2.32": True}
    assert len(case.unreadable) == 2 or case.ct.probability is not None


def test_a_study_without_lung_is_refused(screener: Screener, tmp_path: Path) -> None:
    write_series(tmp_path, [0.0, 3.0, 6.0], None)
    case = only(screener.screen([tmp_path]))
    assert case.answer is Answer.UNREADABLE
    assert case.ct.studies[0].reason == Reason(ReasonCode.NO_LUNG, "no lung in this slice")
    assert "no lung in this slice" in case.reason
    # Copies of a slice are no reason.
    for name in ("copy", "again"):
        write_series(tmp_path / name, [0.0, 3.0, 6.0], None)
    assert only(screener.screen([tmp_path])).ct.studies[0].reason == Reason(ReasonCode.NO_LUNG, "no lung in this slice")


def test_a_slice_windowed_for_soft_tissue_is_set_aside(screener: Screener, tmp_path: Path) -> None:
    grey = np.clip((ct_slice_hu() + 160) / 400 * 255, 0, 255).astype(np.uint8)
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": grey.tobytes(), "RescaleIntercept": 0}
    write_ct_slice(tmp_path / "a.dcm", grey, 0.0, **bits)
    case = only(screener.screen([tmp_path]))
    assert case.answer is Answer.UNREADABLE
    assert "plain black, as in a soft-tissue window" in str(case.ct.studies[0].reason)


def test_each_study_is_answered_and_the_most_suspicious_counts(screener: Screener, tmp_path: Path) -> None:
    write_series(tmp_path / "old", [0.0, 3.0], WHITE, StudyInstanceUID="1.2.40", SeriesInstanceUID="1.2.41")
    write_series(tmp_path / "new", [0.0, 3.0], CLEAR, StudyInstanceUID="1.2.42", SeriesInstanceUID="1.2.43")
    case = only(screener.screen([tmp_path]))
    states = {study.study_id: study.state for study in case.ct.studies}
    assert states == {"1.2.40": Decision.POSITIVE, "1.2.42": Decision.NEGATIVE}
    assert (case.ct.state, case.answer) == (Decision.POSITIVE, Answer.POSITIVE)
    assert case.ct.probability == max(study.probability or 0.0 for study in case.ct.studies)
    assert "the most suspicious of 2 CT studies counts" in case.reason


def test_outputs_list_studies(screener: Screener, tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "soft", [0.0, 3.0])
    write_series(
        tmp_path / "in" / "bone", [0.0, 3.0], SeriesInstanceUID="1.2.20", SeriesNumber=7,
        ConvolutionKernel="BONE", SeriesDescription="THIN",
    )  # fmt: skip
    answers = screener.screen([tmp_path / "in"])
    out = tmp_path / "out"
    write_answers(answers, out / "a.csv", out / "studies.csv", out / "a.json")
    with (out / "studies.csv").open(encoding="utf-8") as stream:
        (row,) = csv.DictReader(stream)
    assert tuple(row) == STUDY_COLUMNS
    assert (row["study_id"], row["series_id"], row["answered_images"], row["set_aside_images"]) == (
        "1.2.10", "1.2.11", "2", "2",
    )  # fmt: skip
    assert row["series_set_aside"] == "7 THIN (slices: 2): a bone kernel; a lung or soft reconstruction is there"
    (study,) = json.loads((out / "a.json").read_text(encoding="utf-8"))["cases"][0]["studies"]
    assert sorted(image["decision"] for image in study["images"]) == ["negative", "negative", "set aside", "set aside"]
    assert study["carrying"] == row["carrying"].split(" | ")
    with (out / "a.csv").open(encoding="utf-8") as stream:
        assert next(csv.DictReader(stream))["set_aside_images"] == "2"


def test_order_of_files_does_not_matter(screener: Screener, tmp_path: Path) -> None:
    heights = [0.0, 2.6, 5.2, 7.8]
    for z, lung in zip(heights, (-900.0, -600.0, -400.0, -800.0), strict=True):
        write_ct_slice(tmp_path / f"{z}.dcm", ct_slice_hu(lung), z)
    files = sorted(tmp_path.iterdir())
    forward, backward = (only(screener.screen(order)).ct.probability for order in (files, files[::-1]))
    assert forward is not None
    assert np.isclose(forward, backward, atol=1e-6)


def test_one_slice_that_is_unfit_is_set_aside_and_its_neighbour_answered(
    screener: Screener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    unfit = read_image(tmp_path / "IM006").values  # at 0 mm
    unfit[0, 0] += 1
    changed = write_ct_slice(tmp_path / "IM006", unfit.astype(np.int16), 0.0)

    def refuse(pixels: Pixels, _: Modality | None) -> str | None:
        return "blurred" if pixels.values[0, 0] == -999 else None

    monkeypatch.setattr(predictor, "why_refused", refuse)
    case = only(screener.screen([tmp_path]))
    rows = {row.path: row for row in case.ct.images}
    assert rows[str(changed)].decision == Decision.SET_ASIDE
    assert rows[str(changed)].reason == Reason(ReasonCode.UNFIT, "blurred")
    # 0 is unfit; 3 was picked after it, and nothing else lies 2.5 mm from that but 0 … 0.5 and 5.5.
    assert [path.rsplit("/", 1)[-1] for path, row in rows.items() if row.probability is not None] == ["IM003"]
    monkeypatch.setattr(predictor, "why_refused", lambda *_: "blurred")
    case = only(screener.screen([tmp_path]))
    assert case.answer is Answer.UNREADABLE
    assert "blurred" in str(case.ct.studies[0].reason)
