"""One scan is one stack, however its identifiers and texts tear it; two scans stay two."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoscan.cases.series import SeriesImage, assemble
from duoscan.formats.dicom.geometry import Plane
from duoscan.reasons import ReasonCode
from stand_ins import ct_slice_hu, write_ct_slice

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from duoscan.cases.screening import Screener

SLICES = 26


def scan(
    step_mm: float = 3.0, thickness_mm: float | None = 3.0, start_mm: float = -200.0, name: str = "a", **fields: object
) -> list[SeriesImage]:
    """One sound scan, numbered from its lowest slice up."""
    return [
        SeriesImage(
            name=f"{name}{number:03d}",
            plane=Plane(
                position_mm=(-180.0, -180.0, start_mm + number * step_mm), row=(1.0, 0.0, 0.0), column=(0.0, 1.0, 0.0),
                spacing_mm=(0.7, 0.7), thickness_mm=thickness_mm, kernel="B30f",
            ),
            series_id="1.2", frame_of_reference="1.3", size=(512, 512), number=number + 1, date="20200102",
        )
        for number in range(SLICES)
    ]  # fmt: skip


def changed(images: list[SeriesImage], change: Callable[[int], dict[str, object]]) -> list[SeriesImage]:
    """The images with other fields, those of a plane among them, by their number from 0."""
    made = []
    for number, image in enumerate(images):
        fields = change(number)
        plane = {name: fields.pop(name) for name in list(fields) if name in Plane.__dataclass_fields__}
        made.append(replace(image, plane=replace(image.plane, **plane), **fields))  # type: ignore[arg-type]
    return made


def shape(images: list[SeriesImage]) -> list[list[str]]:
    """Names of each stack, the lowest slice first."""
    return sorted([images[place].name for place in stack.images] for stack in assemble(images))


TORN: dict[str, Callable[[int], dict[str, object]]] = {
    "a series a slice": lambda number: {"series_id": f"1.2.{number}"},
    "a series a slice, each numbered 1": lambda number: {"series_id": f"1.2.{number}", "number": 1},
    "a series a slice, numbered from the head": lambda number: {"series_id": f"1.2.{number}", "number": 99 - number},
    "a frame of reference a slice": lambda number: {"frame_of_reference": f"1.3.{number}"},
    "a series and a frame a slice": lambda number: {"series_id": f"1.{number}", "frame_of_reference": f"2.{number}"},
    "two interleaved series": lambda number: {"series_id": f"1.2.{number % 2}"},
    "two interleaved series, numbered anew": lambda number: {"series_id": f"1.{number % 2}", "number": 1 + number // 2},
    "three interleaved series": lambda number: {"series_id": f"1.2.{number % 3}"},
    "two halves": lambda number: {"series_id": f"1.2.{number // 13}"},
    "two halves, numbered anew": lambda number: {"series_id": f"1.2.{number // 13}", "number": 1 + number % 13},
    "three thirds": lambda number: {"series_id": f"1.{number // 9}", "frame_of_reference": f"2.{number // 9}"},
    "one slice elsewhere": lambda number: {"series_id": f"1.2.{number == 12}"},
    "thickness jitters": lambda number: {"thickness_mm": 3.0 + 0.1 * (number % 3)},
    "thickness is lost here and there": lambda number: {"thickness_mm": None if number % 5 else 3.0},
    "spacing jitters": lambda number: {"spacing_mm": (0.7 + 0.002 * (number % 2), 0.7)},
    "kernel is worded freely": lambda number: {"kernel": ("B30f", "B30F", "b30f ", None)[number % 4]},
    "kernel and series": lambda number: {"kernel": f"B3{number % 3}f", "series_id": f"1.2.{number % 5}"},
    "an acquisition and a series a slice": lambda number: {"acquisition": f"{number}", "series_id": f"1.2.{number}"},
    "image type": lambda number: {"image_type": ("ORIGINAL", "ORIGINAL\\PRIMARY")[number % 2]},
}  # fmt: skip


@pytest.mark.parametrize("step_mm", [1.0, 3.0, 10.0])
@pytest.mark.parametrize("torn", TORN.values(), ids=TORN)
def test_a_torn_scan_is_one_stack(torn: Callable[[int], dict[str, object]], step_mm: float) -> None:
    images = changed(scan(step_mm, min(step_mm, 3.0) if "thickness_mm" in torn(0) else step_mm), torn)
    (stack,) = assemble(images)
    assert [images[place].name for place in stack.images] == [image.name for image in images]
    assert (stack.missing, stack.repeats) == (0, {})


def test_a_torn_scan_of_overlapping_slices_is_one_stack_by_its_numbers() -> None:
    assert len(assemble(changed(scan(1.0, 2.0), TORN["two interleaved series"]))) == 1


@pytest.mark.parametrize("torn", ["two interleaved series", "two halves", "kernel is worded freely"])
def test_a_slice_that_is_there_twice_tears_nothing(torn: str) -> None:
    images = changed(scan(), TORN[torn])
    copies = [replace(images[place], name=f"copy{place}") for place in (3, 13, 20)]
    (stack,) = assemble([*images, *copies])
    assert (len(stack.images), len(stack.repeats)) == (SLICES, 3)


def test_a_place_that_is_watched_is_no_part_of_the_scan_beside_it() -> None:
    # A bolus: twelve images of one place, numbered by time, within the scan or just below it.
    for height in (-200.0 + 40.0, -204.0):
        watched = changed(scan(name="b"), lambda _, z=height: {**AWAY, "position_mm": (-180.0, -180.0, z)})
        stacks = assemble([*scan(), *watched[:12]])
        assert sorted(len(stack.images) for stack in stacks) == [1, SLICES]


def test_what_was_put_together_is_told() -> None:
    (stack,) = assemble(changed(scan(), TORN["two halves"]))
    assert [remark.text for remark in stack.remarks] == ["one CT scan by its positions, in 2 series"]
    (stack,) = assemble(changed(scan(), TORN["a frame of reference a slice"]))
    assert [remark.text for remark in stack.remarks] == ["one CT scan by its positions, in 26 frames of reference"]


@given(st.data())
def test_a_scan_torn_at_random_is_one_stack_in_any_order(data: st.DataObject) -> None:
    series = data.draw(st.lists(st.integers(0, 4), min_size=SLICES, max_size=SLICES))
    kernels = data.draw(st.lists(st.sampled_from(["B30f", "B31f", None]), min_size=SLICES, max_size=SLICES))
    images = changed(scan(), lambda number: {"series_id": f"1.{series[number]}", "kernel": kernels[number]})
    data.draw(st.randoms()).shuffle(images)
    assert shape(images) == [[image.name for image in scan()]]


AWAY = {"series_id": "9.2", "frame_of_reference": "9.3"}
APART: dict[str, list[SeriesImage]] = {
    "a reconstruction of the same place": changed(scan(name="b"), lambda _: {**AWAY, "kernel": "B35f"}),
    "a second acquisition": changed(scan(name="b"), lambda _: {**AWAY, "acquisition": "2"}),
    "a copy": changed(scan(name="b"), lambda _: AWAY),
    "a second acquisition between the slices": changed(scan(start_mm=-198.5, name="b"), lambda _: AWAY),
    "a second acquisition beside the slices": changed(scan(start_mm=-199.2, name="b"), lambda _: AWAY),
    "thin slices of the same scan": changed(scan(1.0, 1.0, name="b"), lambda _: AWAY),
    "thick slices between": changed(scan(6.0, 6.0, -198.5, name="b"), lambda _: AWAY),
    "a bone kernel, of the place above": changed(scan(start_mm=-122.0, name="b"), lambda _: {**AWAY, "kernel": "B70f"}),
    "a coronal reformat": changed(
        scan(name="b"), lambda number: {**AWAY, "column": (0.0, 0.0, -1.0), "position_mm": (0.0, 3.0 * number, 0.0)}
    ),
    "a scout": changed(scan(name="b"), lambda _: {**AWAY, "set_aside": "ImageType says a localiser"}),
    "another matrix": changed(scan(start_mm=-122.0, name="b"), lambda _: {**AWAY, "size": (256, 256)}),
    "another field of view": changed(scan(start_mm=-122.0, name="b"), lambda _: {**AWAY, "spacing_mm": (0.8, 0.8)}),
    "another day": changed(scan(start_mm=-122.0, name="b"), lambda _: {**AWAY, "date": "20200110"}),
    "another place of the table": changed(scan(start_mm=800.0, name="b"), lambda _: AWAY),
    "the same place, the table elsewhere": changed(scan(start_mm=-170.0, name="b"), lambda _: AWAY),
}


@pytest.mark.parametrize("other", APART.values(), ids=APART)
@pytest.mark.parametrize("torn", ["sound", "a series a slice", "two interleaved series", "two halves"])
def test_two_scans_stay_two(other: list[SeriesImage], torn: str) -> None:
    first = scan() if torn == "sound" else changed(scan(), TORN[torn])
    images = first + other
    random.Random(7).shuffle(images)
    assert shape(images) == [[image.name for image in first], [image.name for image in other]]


def test_two_torn_scans_of_one_place_stay_two() -> None:
    for kernel, acquisition in (("B35f", "1"), ("B30f", "2")):
        other = changed(scan(name="b"), lambda _, k=kernel, a=acquisition: {"kernel": k, "acquisition": a})
        first = changed(scan(), lambda _: {"acquisition": "1"})
        images = changed(first + other, lambda number: {"series_id": f"1.2.{number}"})
        assert shape(images) == [[image.name for image in first], [image.name for image in other]]


def test_every_slice_of_a_torn_scan_is_answered(screener: Screener, tmp_path: Path) -> None:
    for number in range(8):
        torn = {"SeriesInstanceUID": f"1.2.{20 + number}", "FrameOfReferenceUID": f"1.2.{40 + number}"}
        write_ct_slice(tmp_path / f"{number}.dcm", ct_slice_hu(), 3.0 * number, InstanceNumber=number + 1, **torn)
    (case,) = screener.screen([tmp_path])
    assert all(row.probability is not None for row in case.ct.images)
    (series,) = case.ct.studies[0].series
    assert (series.slices, series.missing, series.is_used) == (8, 0, True)
    told = [reason.text for reason in case.reasons if reason.code is ReasonCode.IDENTITY]
    assert told == ["one CT scan by its positions, in 8 series"]


def test_a_study_a_slice_is_one_study_and_told(screener: Screener, tmp_path: Path) -> None:
    for number in range(6):
        torn = {"StudyInstanceUID": f"1.2.{60 + number}", "SeriesInstanceUID": f"1.2.{80 + number}"}
        write_ct_slice(tmp_path / f"{9 - number}.dcm", ct_slice_hu(), 3.0 * number, InstanceNumber=number + 1, **torn)
    (case,) = screener.screen([tmp_path])
    (study,) = case.ct.studies
    assert (study.study_id, len(study.images), study.series[0].slices) == ("1.2.60", 6, 6)
    assert [reason.text for reason in case.reasons if reason.code is ReasonCode.IDENTITY] == [
        "6 studies of one slice each are one scan by their positions; answered as one study",
        "one CT scan by its positions, in 6 series",
    ]


@pytest.mark.parametrize(
    "apart",
    [
        lambda number: {"StudyDate": f"2020010{1 + number}"},
        lambda number: {"ImagePositionPatient": [0, 0, 300.0 * number]},
        lambda number: {"PixelSpacing": [4 + number, 4 + number]},
    ],
)  # fmt: skip
def test_studies_of_one_slice_stay_apart(
    screener: Screener, tmp_path: Path, apart: Callable[[int], dict[str, object]]
) -> None:
    for number in range(4):
        uids = {"StudyInstanceUID": f"1.2.{60 + number}", "SeriesInstanceUID": f"1.2.{80 + number}"}
        fields = {**uids, "ImagePositionPatient": [0, 0, 3.0 * number]}
        write_ct_slice(tmp_path / f"{number}.dcm", ct_slice_hu(), 0.0, **{**fields, **apart(number)})
    (case,) = screener.screen([tmp_path])
    assert len(case.ct.studies) == 4
    assert all(reason.code is not ReasonCode.IDENTITY for reason in case.reasons)
