"""What is told beside an answer: joined over a study, kept with the case, and without say in the decision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from duoscan.cases.decide import decide_again
from duoscan.cases.estimates import CategoryEstimate, ScoreEstimate, estimates_of
from duoscan.cases.lung_share import LungShare
from duoscan.cases.outputs import studies_csv
from duoscan.cases.screening import Screener
from duoscan.cases.stored import parse_screening, screening_text
from duoscan.formats.image import Pixels
from duoscan.inference.heads import CategoryHead, ScoreHead
from duoscan.policies.policy import Policy
from duoscan.policies.rule import PolicyKind
from duoscan.predictions import Prediction
from duoscan.reasons import ReasonCode
from duoscan.terms import Decision, Modality
from stand_ins import ct_slice_hu, write_ct_slice, write_png

KINDS = CategoryHead(name="kind", title="Kind", categories=("None", "Some"), images=9, patients=9)
EXTENT = ScoreHead(name="extent", title="Extent", least=0, most=8, half_width=2, coverage=0.9, images=9, patients=9)


def row(name: str, **heads: float) -> Prediction:
    return Prediction(
        name,
        "anna",
        Modality.CXR,
        0.5,
        Decision.POSITIVE,
        heads={key.replace("__", "."): value for key, value in heads.items()},
    )


def hu_pixels(lung_hu: float | None) -> Pixels:
    return Pixels(ct_slice_hu(lung_hu, 128).astype(np.float32), is_hu=True, modality=Modality.CT)


def test_a_study_of_several_images_is_their_mean_and_one_without_a_head_does_not_count() -> None:
    rows = [
        row("a", kind__none=0.8, kind__some=0.2, extent=2.0, extent__low=1.0, extent__high=4.0),
        row("b", kind__none=0.4, kind__some=0.6, extent=4.0, extent__low=2.0, extent__high=6.0),
        row("c"),
    ]
    kind, extent = estimates_of((KINDS, EXTENT), rows)
    assert isinstance(kind, CategoryEstimate)
    assert isinstance(extent, ScoreEstimate)
    assert kind.categories == pytest.approx({"None": 0.6, "Some": 0.4})
    assert kind.middle == "None"
    assert (extent.value, extent.low, extent.high) == (3.0, 1.5, 5.0)
    assert extent.spoken == "Extent: 3.0 of 8 (90 % interval 1.5 to 5.0), a research estimate, mean of 2 images"
    assert estimates_of((KINDS, EXTENT), [row("c")]) == ()


def test_the_share_of_lung_says_how_it_was_measured_and_why_not() -> None:
    share = LungShare()
    for height in (30.0, 10.0, 20.0):
        share.add(hu_pixels(-850.0), height)
    found = share.estimate()
    assert found.value == pytest.approx(0.0, abs=0.02)
    assert found.spoken == "Share of lung involved: 0 %, a research estimate, by Hounsfield units on 3 slices"
    nothing = LungShare()
    nothing.add(hu_pixels(None), 10.0)
    missing = nothing.estimate()
    assert missing.value is None
    assert missing.reason is not None
    assert missing.reason.code is ReasonCode.NOT_MEASURED
    assert "not measured" in missing.spoken
    assert LungShare().estimate().value is None


def test_a_picture_in_the_lung_window_is_measured_as_its_hounsfield_units_are() -> None:
    """Half of the right lung is ground glass."""
    hu = ct_slice_hu(-850.0, 128).astype(np.float32)
    rows, columns = np.nonzero(hu == -850.0)
    hu[rows[columns < 64], columns[columns < 64]] = -550.0
    as_hu, as_picture = LungShare(), LungShare()
    as_hu.add(Pixels(hu, is_hu=True))
    as_picture.add(Pixels(((hu + 1350) / 1500).clip(0, 1).astype(np.float32)))
    exact, approximate = as_hu.estimate(), as_picture.estimate()
    assert exact.value == pytest.approx(0.5, abs=0.05)
    assert approximate.value == pytest.approx(exact.value, abs=0.02)
    assert approximate.method == "approximate, from the grey of pictures on 1 slice"


def test_screening_measures_ct_stores_it_and_decides_without_it(
    brightness_bundles: dict[Modality, Path], tmp_path: Path
) -> None:
    for number in range(6):
        write_ct_slice(tmp_path / "in" / f"{number}.dcm", ct_slice_hu(-850.0), 5.0 * number)
    write_png(tmp_path / "in" / "xray" / "P1.png", 0.7)
    Image.fromarray(((ct_slice_hu(-850.0) + 1350) / 1500 * 255).clip(0, 255).astype(np.uint8)).save(
        tmp_path / "slice.png"
    )
    screener = Screener(
        brightness_bundles[Modality.CXR], brightness_bundles[Modality.CT], check_quality=False, keep_pixels=False
    )
    screening = screener.screen([tmp_path / "in" / "0.dcm", *sorted((tmp_path / "in").glob("[1-5].dcm"))], need_ct=True)
    (case,) = screening.cases
    (estimate,) = case.ct.studies[0].estimates
    assert estimate.spoken.endswith("by Hounsfield units on 6 slices")
    assert parse_screening(screening_text(screening).encode(), "here") == screening
    assert estimate.spoken in studies_csv(screening)
    again = decide_again(screening, policy=Policy(kind=PolicyKind.RULE_OUT, xray_threshold=0.1, ct_threshold=0.1))
    assert again.cases[0].ct.studies[0].estimates == (estimate,)
    bare = replace(
        screening, cases=(replace(case, studies=tuple(replace(study, estimates=()) for study in case.studies)),)
    )
    assert [one.answer for one in decide_again(bare)] == [one.answer for one in decide_again(screening)]
    loose = screener.screen([tmp_path / "slice.png"], need_ct=True, modality=Modality.CT)
    (picture,) = loose.cases[0].ct.studies[0].estimates
    assert picture.spoken.endswith("approximate, from the grey of pictures on 1 slice")
