"""Where positions are lacking or say nothing, SliceLocation and InstanceNumber take their place."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from duoscan.cases.series import SeriesImage, assemble
from duoscan.formats.dicom.geometry import Plane
from duoscan.reasons import ReasonCode
from duoscan.terms import Decision
from stand_ins import ct_slice_hu, write_ct_slice

if TYPE_CHECKING:
    from pathlib import Path

    from duoscan.cases.screening import Screener

LACKING: dict[str, dict[str, Any]] = {
    "all the same": {"ImagePositionPatient": [0, 0, 0]},
    "lacking": {"ImagePositionPatient": None},
    "empty": {"ImagePositionPatient": []},
    "two numbers": {"ImagePositionPatient": [0, 0]},
    "nothing at all": {"ImagePositionPatient": None, "ImageOrientationPatient": None},
}


@pytest.mark.parametrize("lacking", LACKING.values(), ids=LACKING)
@pytest.mark.parametrize("known", ["SliceLocation", "InstanceNumber"])
@pytest.mark.parametrize("is_torn", [False, True])
def test_every_slice_with_lung_is_answered(
    screener: Screener, tmp_path: Path, lacking: dict[str, Any], known: str, is_torn: bool
) -> None:
    for number in range(6):
        place = {known: (3.0 * number if known == "SliceLocation" else number + 1)}
        torn = {"SeriesInstanceUID": f"1.2.{20 + number}"} if is_torn else {}
        # Names run against the order, and the lowest slice shows no lung.
        hu = ct_slice_hu(-900.0 if number else None)
        write_ct_slice(tmp_path / f"{9 - number}.dcm", hu, 0.0, **lacking, **place, **torn)
    (case,) = screener.screen([tmp_path])
    (series,) = case.ct.studies[0].series
    assert (series.slices, series.repeated, series.missing) == (6, 0, 0)
    assert series.step_mm == (3.0 if known == "SliceLocation" else None)
    decided = [row.decision for row in sorted(case.ct.images, key=lambda row: row.path, reverse=True)]
    assert decided == [Decision.SET_ASIDE, *[Decision.NEGATIVE] * 5]
    assert case.unreadable == ()
    told = [reason.text for reason in case.reasons if reason.code is ReasonCode.POSITIONS_MISSING]
    assert told == [f"slices whose positions are lacking or all the same; sorted by {known}"]


def image(number: int, z: float | None, series: str = "1.2", location: float | None = None) -> SeriesImage:
    position = None if z is None else (0.0, 0.0, z)
    plane = Plane(position, (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.7, 0.7), 3.0, "B30f", location_mm=location)
    return SeriesImage(f"{series}/{number:03d}", plane, series, "1.3", (512, 512), number)


def test_a_series_that_watches_one_place_is_believed_where_others_show_more() -> None:
    scan = [image(number, 3.0 * number) for number in range(20)]
    watched = [image(number, 30.0, series="1.1", location=30.0) for number in range(12)]
    stacks = assemble([*scan, *watched])
    assert sorted((len(stack.images), len(stack.repeats)) for stack in stacks) == [(1, 11), (20, 0)]


def test_one_position_a_series_is_none() -> None:
    images = [image(number, z, series) for series, z in (("1.1", 0.0), ("1.2", 5.0)) for number in range(1, 5)]
    assert [len(stack.images) for stack in assemble(images)] == [4, 4]


def test_copies_of_one_slice_stay_copies() -> None:
    images = [replace(image(7, 12.0), name=name) for name in "abc"]
    (stack,) = assemble(images)
    assert (len(stack.images), len(stack.repeats)) == (1, 2)


def test_two_reconstructions_without_positions_stay_two() -> None:
    images = [image(number, None, series) for series in ("1.1", "1.2") for number in range(1, 9)]
    assert [len(stack.images) for stack in assemble(images)] == [8, 8]


def test_positions_without_an_orientation_give_the_order() -> None:
    plane = Plane(None, None, None, (0.7, 0.7), 3.0, "B30f")
    images = [
        SeriesImage(f"{9 - n}", replace(plane, position_mm=(0.0, 0.0, 3.0 * n)), "1.2", "1.3", (512, 512), 1)
        for n in range(5)
    ]
    (stack,) = assemble(images)
    assert [images[place].name for place in stack.images] == ["9", "8", "7", "6", "5"]
    assert [remark.text for remark in stack.remarks] == ["slices without an orientation; sorted along the table"]
