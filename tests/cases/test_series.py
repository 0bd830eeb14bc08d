"""Series are put together by geometry: what belongs to one volume, in which order, and which one is answered."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoscan.cases.series import SeriesImage, Stack, assemble, choose, is_sharp
from duoscan.formats.dicom.geometry import Plane

AXIAL = {"row": (1.0, 0.0, 0.0), "column": (0.0, 1.0, 0.0), "spacing_mm": (0.7, 0.7)}


def at(z: float, name: str = "", **plane: object) -> SeriesImage:
    fields = {**AXIAL, "thickness_mm": 2.0, "kernel": "STANDARD", "position_mm": (-150.0, -150.0, z), **plane}
    return SeriesImage(name or f"{z:+09.3f}", Plane(**fields), "1.2.5", "1.2.9", (512, 512))  # type: ignore[arg-type]


def names(stack: Stack, images: list[SeriesImage]) -> list[str]:
    return [images[place].name for place in stack.images]


@given(st.permutations([0.0, 2.5, 5.0, 7.5, 10.0]))
def test_slices_are_sorted_by_place_whatever_their_order_and_name(heights: list[float]) -> None:
    images = [at(z, name=f"IM{number}") for number, z in enumerate(heights)]
    (stack,) = assemble(images)
    assert [heights[place] for place in stack.images] == sorted(heights)
    assert stack.heights_mm == (0.0, 2.5, 5.0, 7.5, 10.0)
    assert (stack.step_mm, stack.missing, stack.extent_mm) == (2.5, 0, 10.0)


def test_heights_lie_along_the_normal_of_a_tilted_gantry() -> None:
    # Tilted by 30° about x: column (0, cos, sin), normal (0, -0.5, 0.866). A table that moves by 4 mm in z moves the
    # slices apart by 4 · 0.866.
    tilted = {"column": (0.0, 0.8660254, 0.5)}
    (stack,) = assemble([at(z, **tilted) for z in (0.0, 4.0, 8.0)])
    assert stack.step_mm == pytest.approx(4 * 0.8660254)


def test_slices_seen_from_above_are_sorted_towards_the_head_too() -> None:
    # (1,0,0) × (0,-1,0) points to the feet; the normal is turned round.
    (stack,) = assemble([at(z, column=(0.0, -1.0, 0.0)) for z in (3.0, 1.0, 2.0)])
    assert stack.heights_mm == (1.0, 2.0, 3.0)


def test_gaps_are_counted() -> None:
    # 0 1 2 . 4 5 . . 8: positions 3, 6 and 7 are missing.
    (stack,) = assemble([at(float(z)) for z in (0, 1, 2, 4, 5, 8)])
    assert stack.missing == 3


def test_a_slice_that_is_there_twice_repeats_the_first_by_name() -> None:
    images = [at(0.0, "a"), at(1.0, "c"), at(1.0, "b"), at(2.0, "d")]
    (stack,) = assemble(images)
    assert names(stack, images) == ["a", "b", "d"]
    assert stack.repeats == {1: 2}


@pytest.mark.parametrize(
    "change",
    [
        {"kernel": "BONEPLUS"},
        {"thickness_mm": 5.0},
        {"spacing_mm": (0.35, 0.35)},
        {"row": (0.0, 1.0, 0.0), "column": (0.0, 0.0, -1.0)},  # sagittal
    ],
)
def test_reconstructions_mixed_in_one_series_are_separated(change: dict[str, object]) -> None:
    images = [at(float(z)) for z in range(4)] + [at(float(z), f"other{z}", **change) for z in range(4)]
    stacks = assemble(images)
    told = [{place >= 4 for place in (*stack.images, *stack.repeats)} for stack in stacks]
    assert sorted(told, key=sum) == [{False}, {True}]


@pytest.mark.parametrize("field", ["date", "set_aside"])
def test_what_is_no_part_of_one_volume_is_separated(field: str) -> None:
    images = [at(0.0), replace(at(1.0), **{field: "other"})]  # type: ignore[arg-type]
    assert len(assemble(images)) == 2


@pytest.mark.parametrize("field", ["acquisition", "phase", "image_type"])
def test_two_scans_of_one_place_are_separated(field: str) -> None:
    images = [at(float(z), f"{scan}-{z}", **{field: scan}) for scan in ("1", "2") for z in range(5)]
    stacks = assemble(images)
    assert [len(stack.images) for stack in stacks] == [5, 5]
    assert "one of 2 reconstructions in one series" in stacks[0].note


def test_step_and_shoot_is_one_scan_though_every_slice_has_its_own_acquisition() -> None:
    (stack,) = assemble([at(float(z), acquisition=str(z)) for z in range(5)])
    assert len(stack.images) == 5
    assert stack.note == ""


def test_without_positions_the_numbers_are_the_order() -> None:
    images = [replace(at(0.0, name, position_mm=None), number=number) for name, number in (("a", 3), ("b", 1))]
    (stack,) = assemble(images)
    assert names(stack, images) == ["b", "a"]
    assert (stack.heights_mm, stack.step_mm, stack.missing, stack.extent_mm) == ((), None, 0, 0.0)


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 1.0, 2.0, 3.0]), st.sampled_from(["A", "B"]), st.sampled_from(["1", "2"])),
        min_size=1,
        max_size=12,
    ),
    st.randoms(),
)
def test_no_image_is_lost_and_order_does_not_matter(found: list[tuple[float, str, str]], random: object) -> None:
    images = [at(z, f"{number:02d}", kernel=kernel, acquisition=scan) for number, (z, kernel, scan) in enumerate(found)]
    stacks = assemble(images)
    placed = [place for stack in stacks for place in (*stack.images, *stack.repeats)]
    assert sorted(placed) == list(range(len(images)))
    shuffled = list(images)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert [names(stack, shuffled) for stack in assemble(shuffled)] == [names(stack, images) for stack in stacks]


@pytest.mark.parametrize(
    ("kernel", "sharp"),
    [
        ("STANDARD", False), ("LUNG", False), ("CHST", False), ("BONE", True), ("BONEPLUS", True), ("EDGE", True),
        ("B31f", False), ("B60f", False), ("B70f", True), ("Br40d\\3", False), ("Bl57d", False), ("Hr72", True),
        ("FC17", False), ("FC52", False), ("FC30", True), ("FC86", True), ("B", False), ("YA", False), ("YE", True),
    ],
)  # fmt: skip
def test_bone_kernels(kernel: str, sharp: bool) -> None:
    assert is_sharp(kernel) is sharp


def test_a_series_says_bone_where_it_names_no_kernel() -> None:
    assert is_sharp(None, "THIN BONE 1.0")
    assert not is_sharp(None, "CHEST 1.0")
    assert not is_sharp("STANDARD", "BONE 1.0")


def stack(number: int, **changes: object) -> Stack:
    images = [replace(at(float(z), f"{number}-{z}", **changes), series_number=number) for z in range(10)]
    (made,) = assemble(images)
    return made


def chosen(*stacks: Stack, lungs: dict[str, float] | None = None) -> tuple[int, list[str]]:
    choice = choose(stacks, lambda one: (lungs or {}).get(one.first.name, 1.0))
    return choice.ranked[0], [choice.reasons.get(place, choice.note) for place in range(len(stacks))]


def test_bone_is_set_aside_where_a_soft_reconstruction_is_there() -> None:
    assert chosen(stack(1, kernel="BONE"), stack(2)) == (
        1,
        ["a bone kernel; a lung or soft reconstruction is there", ""],
    )


def test_bone_alone_is_answered_with_a_note() -> None:
    assert chosen(stack(1, kernel="BONE")) == (0, ["only a bone kernel is there"])


def test_more_lung_goes_before_a_better_kernel() -> None:
    # A soft abdomen that grazes the lungs must not push out the chest.
    best, reasons = chosen(stack(1), stack(2, kernel="BONE"), lungs={"1-0": 10.0, "2-0": 250.0})
    assert best == 1
    assert reasons[0] == "shows less of the lungs than another series"


def test_thin_goes_before_thick_and_complete_before_gaps() -> None:
    assert chosen(stack(1, thickness_mm=7.0), stack(2, thickness_mm=5.0))[0] == 1
    assert chosen(stack(1, thickness_mm=3.0), stack(2, thickness_mm=1.0))[0] == 1
    (holed,) = assemble([at(float(z), f"1-{z}", thickness_mm=1.0) for z in (0, 1, 2, 3, 7, 8, 9)])
    assert chosen(holed, stack(2, thickness_mm=3.0)) == (1, ["leaves positions out; a complete series is there", ""])


def test_equals_are_told_apart_by_number() -> None:
    best, reasons = chosen(stack(3), stack(4))
    assert (best, reasons[1]) == (0, "another series of the study is as good and was taken")


def test_what_is_set_aside_by_itself_is_never_chosen() -> None:
    (scout,) = assemble([replace(at(0.0), set_aside="a localiser")])
    choice = choose([scout], lambda _: 1.0)
    assert (choice.ranked, choice.reasons) == ((), {0: "a localiser"})
