"""Slices with lung are told by Hounsfield units and shape, on drawn, synthetic and real slices."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from duoscan.formats.dicom.pixels import read_dicom
from duoscan.imaging.lung_selection import LungMeasure, is_clipped, lung_run, measure_lung
from duoscan.imaging.regions import label_regions
from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.plan import FileFormat, PhantomOptions

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SIDE = 256
AIR, LUNG, TISSUE, GAS = -1000.0, -850.0, 40.0, -995.0
Ellipse = tuple[float, float, float, float, float]  # centre y, centre x, radius y, radius x as shares of the side; HU


def drawn(*ellipses: Ellipse) -> NDArray[np.float32]:
    """Ellipses one over the other, on air."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    image = np.full((SIDE, SIDE), AIR, np.float32)
    for cy, cx, ry, rx, hu in ellipses:
        image[((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1] = hu
    return image


BODY = (0.5, 0.5, 0.3, 0.42, TISSUE)
RIGHT, LEFT = (0.5, 0.32, 0.2, 0.12, LUNG), (0.5, 0.68, 0.2, 0.12, LUNG)


def test_two_lungs() -> None:
    found = measure_lung(drawn(BODY, RIGHT, LEFT))
    # Areas of ellipses: body 0.3 · 0.42 · π of the image, a lung 0.2 · 0.12 / (0.3 · 0.42) = 0.19 of the body.
    assert found.body == pytest.approx(0.3 * 0.42 * np.pi, rel=0.05)
    assert found.left == pytest.approx(0.19, rel=0.08)
    assert found.right == pytest.approx(found.left, rel=0.05)
    assert found.has_lung


@pytest.mark.parametrize(
    ("ellipses", "has_lung"),
    [
        ((BODY,), False),
        ((BODY, RIGHT), True),  # the other side is white
        ((BODY, (0.4, 0.32, 0.04, 0.04, LUNG), (0.4, 0.68, 0.04, 0.04, LUNG)), False),  # far too small
        ((BODY, (0.35, 0.5, 0.09, 0.2, GAS)), False),  # a gas-filled bowel
        ((BODY, (0.35, 0.5, 0.05, 0.06, GAS), RIGHT, LEFT), True),  # stomach below the heart
        (((0.5, 0.5, 0.05, 0.05, TISSUE),), False),  # no trunk at all
        ((), False),
    ],
)
def test_what_counts_as_lung(ellipses: tuple[Ellipse, ...], has_lung: bool) -> None:
    assert measure_lung(drawn(*ellipses)).has_lung is has_lung


def test_gas_is_no_lung_but_told() -> None:
    found = measure_lung(drawn(BODY, (0.35, 0.5, 0.09, 0.2, GAS)))
    assert found.lung == 0
    assert found.gas > 0.1


def test_a_soft_tissue_window_leaves_lung_black() -> None:
    hu = drawn(BODY, RIGHT, LEFT)
    soft, lung = (np.clip((hu - low) / (high - low), 0, 1) for low, high in ((-160, 240), (-1350, 150)))
    assert is_clipped(soft.astype(np.float32))
    assert not is_clipped(lung.astype(np.float32))
    assert not is_clipped(np.clip((drawn(BODY) + 160) / 400, 0, 1).astype(np.float32))  # no air inside at all
    assert not is_clipped(np.zeros((64, 64), np.float32))


def test_a_narrow_field_of_view_that_cuts_the_chest_wall_keeps_the_lung() -> None:
    # The body fills the image and the right lung touches its left border.
    image = np.full((SIDE, SIDE), TISSUE, np.float32)
    image[100:140, :60] = LUNG
    image[80:180, 150:230] = LUNG
    assert measure_lung(image).has_lung


def test_the_table_is_no_body() -> None:
    image = drawn(BODY, RIGHT, LEFT)
    table = image.copy()
    table[225:228, 20:236] = table[240:243, 20:236] = 300
    table[225:243, 20:23] = table[225:243, 233:236] = 300  # closed, with air inside
    np.testing.assert_allclose(_numbers(measure_lung(table)), _numbers(measure_lung(image)), atol=1e-9)


def _numbers(found: LungMeasure) -> list[float]:
    return [found.body, found.left, found.right]


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "cohort"
    write_cohort(
        PhantomOptions(patients=3, seed=6, slices=24, ct_size=128, xray_size=64, formats=FileFormat.DICOM), out
    )
    return out


def test_phantom_slices_by_their_known_lungs(phantom: Path) -> None:
    with (phantom / "slices.csv").open(encoding="utf-8") as stream:
        truth = {(row["patient_id"], int(row["slice"])): float(row["lung_mm2"]) for row in csv.DictReader(stream)}
    kept = {
        (patient, number): measure_lung(read_dicom(phantom / f"dicom/{patient}/ct/{number:03d}.dcm").values).has_lung
        for patient, number in truth
    }
    # 40 cm² of lung is a tenth of what a slice through the heart shows.
    plenty = [kept[key] for key, area in truth.items() if area >= 4000]
    assert len(plenty) > 40
    assert all(plenty)
    assert not any(kept[key] for key, area in truth.items() if area == 0)


@given(
    st.one_of(
        arrays(np.float32, (40, 33), elements=st.floats(-1024, 3000, width=32)),
        arrays(np.float32, (64, 700), elements=st.sampled_from([np.float32(-1000), np.float32(40)])),
    )
)
def test_any_slice_can_be_measured(values: NDArray[np.float32]) -> None:
    found = measure_lung(values)
    assert 0 <= found.body <= 1
    assert 0 <= found.lung + found.gas <= 1 + 1e-9


@given(arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_regions_are_those_of_a_flood(mask: NDArray[np.bool_]) -> None:
    labels, count = label_regions(mask)
    assert ((labels > 0) == mask).all()
    seen = np.zeros(mask.shape, np.int32)
    regions = 0
    for start in zip(*np.nonzero(mask), strict=True):
        if seen[start]:
            continue
        regions += 1
        left = [start]
        while left:
            y, x = left.pop()
            if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and mask[y, x] and not seen[y, x]:
                seen[y, x] = regions
                left += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
    assert regions == count
    # The same pixels hang together, whatever the numbers are.
    assert len({(a, b) for a, b in zip(seen.ravel().tolist(), labels.ravel().tolist(), strict=True)}) <= count + 1


def test_the_run_of_lung_bridges_what_is_short_and_leaves_out_what_is_far() -> None:
    #        bowel   |  lung, one white slice between             |  neck
    has = [True, False, False, False, True, True, False, True, False, False]
    heights = [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 45.0]
    assert lung_run(has, heights) == range(4, 8)
    assert lung_run([False, False], [0.0, 1.0]) == range(0)
    # Neighbours hang together however far apart the slices of a series lie.
    assert lung_run([True, True, True], [0.0, 30.0, 60.0]) == range(3)


@pytest.mark.parametrize(("step_mm", "missing"), [(9.0, 1), (4.9, 4), (1.0, 20), (2.5, 6)])
def test_missing_slices_end_no_stretch_of_lung(step_mm: float, missing: int) -> None:
    heights = [place * step_mm for place in range(40) if not 20 <= place < 20 + missing]
    assert lung_run([True] * len(heights), heights) == range(len(heights))


def test_slices_without_lung_end_the_stretch_also_where_others_are_missing() -> None:
    # 5 mm apart: bowel, four slices without lung, the lungs.
    assert lung_run([True, False, False, False, False, True, True], [0.0, 5, 10, 15, 20, 25, 30]) == range(5, 7)
    # With two of the four missing, too few are left to say that no lung lies there.
    assert lung_run([True, False, False, True, True], [0.0, 5, 20, 25, 30]) == range(5)
    # What is usual is told nearby: thick slices below thin ones are no holes.
    thin, thick = [float(z) for z in range(100, 200)], [float(z) for z in range(0, 100, 5)]
    assert lung_run([True, *[False] * 19, *[True] * 100], [*thick, *thin]) == range(20, 120)


# Real slices that show lung, and some that do not.
SHOWS_LUNG = {
    "ct_lungmask/lungmask_0.dcm": True,
    "ct_ny_sbu/A046441_axial_19010101-23.dcm": True,  # badly consolidated
    "ct_ny_sbu/A067967_axial_19001231-270.dcm": True,  # the last centimetres above the diaphragm
    "ct_transfer_syntax/CTImage_LittleEndianExplicitTransferSyntax_1.2.840.10008.1.2.1.dcm": False,  # the shoulders
    "negative_controls/ct_head_693_J2KR.dcm": False,
}


@pytest.mark.data
@pytest.mark.parametrize(("name", "shows"), SHOWS_LUNG.items())
def test_real_slices(data_dir: Path, name: str, shows: bool) -> None:
    assert measure_lung(read_dicom(data_dir / "dicom" / name).values).has_lung is shows


@pytest.mark.data
def test_luna16_slices(data_dir: Path) -> None:
    """Forty real slices, of which four show the abdomen. They are stored as grey of −1000 to 400 HU."""
    kept = []
    for path in sorted((data_dir / "ct" / "luna16").glob("*.jpg")):
        with Image.open(path) as image:
            values = np.asarray(image.convert("L"), np.float32) / 255 * 1400 - 1000
        kept.append(measure_lung(values).has_lung)
    assert len(kept) == 40
    assert sum(kept) == 36
