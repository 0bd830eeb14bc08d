"""NIfTI volumes are cut into axial slices as DICOM would show them, whatever way their axes run."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import struct
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoscan.errors import ImageError, UnreadableImageError, UnsupportedImageError
from duoscan.formats import nifti
from duoscan.formats.frame_names import frame_path
from duoscan.formats.nifti import nifti_planes, read_nifti
from duoscan.formats.open_files import kept_open
from duoscan.formats.reader import read_image
from duoscan.terms import Modality

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

nib = pytest.importorskip("nibabel")

DEPTH, HEIGHT, WIDTH = 5, 40, 48


def body_hu() -> NDArray[np.int16]:
    """DICOM's way: (D, H, W), lowest first, row 0 in front, column 0 at the right. No two places look the same."""
    rng = np.random.default_rng(3)
    volume = rng.integers(-20, 80, (DEPTH, HEIGHT, WIDTH)).astype(np.int16)
    volume[:, :8] = -1000
    return volume


def write(path: Path, volume: NDArray[np.int16], order: str = "RAS", **header: object) -> Path:
    """Store a volume with its axes running as named, at 2 mm from a corner."""
    # To right-anterior-superior: x from left to right, y from back to front.
    ras = np.transpose(volume, (2, 1, 0))[::-1, ::-1]
    affine = np.diag([1.5, 1.5, 2.0, 1.0])
    affine[:3, 3] = (-30, -40, 100)
    image = nib.Nifti1Image(ras, affine)
    turned = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(tuple(order))
    )
    image = image.as_reoriented(turned)
    for keyword, value in header.items():
        image.header[keyword] = value
    nib.save(image, path)
    return path


ORDERS = [
    "".join(order)
    for axes in itertools.permutations(("RL", "AP", "SI"))
    for order in itertools.product(*axes)
]  # fmt: skip


@pytest.mark.parametrize("order", ORDERS[::5])
def test_whatever_way_the_axes_run_the_slices_are_the_same(tmp_path: Path, order: str) -> None:
    volume = body_hu()
    path = write(tmp_path / "a.nii", volume, order)
    for number in range(1, DEPTH + 1):
        pixels = read_image(frame_path(path, number))
        np.testing.assert_array_equal(pixels.values, volume[number - 1].astype(np.float32))
        assert (pixels.is_hu, pixels.modality) == (True, Modality.CT)
    planes = nifti_planes(path)
    assert [plane.name for plane in planes] == ["axial"] * DEPTH
    assert [plane.height_mm for plane in planes] == pytest.approx([100, 102, 104, 106, 108])
    assert planes[0].row == pytest.approx((1, 0, 0))
    assert planes[0].column == pytest.approx((0, 1, 0))
    assert (planes[0].spacing_mm, planes[0].thickness_mm) == (pytest.approx((1.5, 1.5)), pytest.approx(2.0))
    # The first pixel is at the right and in front: in DICOM's axes x = −(−30 + 47 · 1.5), y = −(−40 + 39 · 1.5).
    assert planes[0].position_mm == pytest.approx((-40.5, -18.5, 100))


def test_a_compressed_volume_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.nii.gz", body_hu())
    opened = []
    real = nifti._read_volume
    monkeypatch.setattr(nifti, "_read_volume", lambda file: opened.append(file) or real(file))
    with kept_open:
        for number in range(1, DEPTH + 1):
            read_nifti(frame_path(path, number))
    assert len(opened) == 1


def test_scaling_is_applied(tmp_path: Path) -> None:
    volume = body_hu()
    path = write(tmp_path / "a.nii", ((volume + 1024) * 2).astype(np.int16))
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([0.5, -1024], "<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(content)
    for number in range(1, DEPTH + 1):
        np.testing.assert_allclose(read_nifti(frame_path(path, number)).values, volume[number - 1], atol=1e-3)


@pytest.mark.parametrize(
    ("volume", "said"),
    [
        (body_hu() * 0 + (body_hu() > 0), "no Hounsfield units of a body"),  # a mask
        (body_hu() + 1024, "no Hounsfield units of a body"),  # the offset is lost
        ((body_hu() * 20), "no Hounsfield units of a body"),
    ],
)
def test_what_is_not_in_hounsfield_units_is_refused(tmp_path: Path, volume: NDArray[np.int16], said: str) -> None:
    path = write(tmp_path / "a.nii", volume.astype(np.int16))
    with pytest.raises(UnsupportedImageError, match=said):
        read_nifti(frame_path(path, 1))


@pytest.mark.parametrize("padding", [-2000, -8192, -10000, -32768])
def test_padding_is_air_however_low(tmp_path: Path, padding: int) -> None:
    volume = body_hu()
    volume[:, :, :12] = padding
    path = write(tmp_path / "a.nii", volume)
    for number in range(1, DEPTH + 1):
        expected = np.where(volume[number - 1] == padding, -1024, volume[number - 1])
        np.testing.assert_array_equal(read_nifti(frame_path(path, number)).values, expected)


def test_minus_2000_written_as_unsigned_is_air(tmp_path: Path) -> None:
    volume = (body_hu() + 1024).astype(np.uint16)
    volume[:, :, :12] = 63536
    path = write(tmp_path / "a.nii", volume)
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([1, -1024], "<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(content)
    values = read_nifti(frame_path(path, 1)).values
    assert (values[:, :12] == -1024).all()
    np.testing.assert_array_equal(values[:, 12:], body_hu()[0, :, 12:])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_voxel_that_is_no_number_does_not_refuse_the_volume(tmp_path: Path, bad: float) -> None:
    volume = body_hu().astype(np.float32)
    volume[2, 20, 20] = bad
    path = write(tmp_path / "a.nii", volume)
    for number in range(1, DEPTH + 1):
        expected = np.where(np.isfinite(volume[number - 1]), volume[number - 1], -1024)
        np.testing.assert_array_equal(read_nifti(frame_path(path, number)).values, expected)


def test_padding_does_not_make_up_for_air(tmp_path: Path) -> None:
    """The offset is lost, and a constant far below looks as if there were air."""
    volume = body_hu() + 1024
    volume[:, :, :12] = -2000
    with pytest.raises(UnsupportedImageError, match="its values run from 24 to .*scl_slope 1, scl_inter 0"):
        read_nifti(frame_path(write(tmp_path / "a.nii", volume), 1))


def test_other_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.nii", body_hu())
    with pytest.raises(UnsupportedImageError, match=r"a volume of 5 slices; name one by its number, as in FILE#1"):
        read_nifti(path)
    with pytest.raises(UnreadableImageError, match="holds 5 slices, no slice 6"):
        read_nifti(frame_path(path, 6))
    with pytest.raises(UnreadableImageError, match="No such file"):
        nifti_planes(tmp_path / "gone.nii")
    (tmp_path / "empty.nii").touch()
    with pytest.raises(UnreadableImageError, match="empty"):
        nifti_planes(tmp_path / "empty.nii")
    series = nib.Nifti1Image(np.zeros((40, 40, 3, 2), np.int16), np.eye(4))
    nib.save(series, tmp_path / "four.nii")
    with pytest.raises(UnsupportedImageError, match="40×40×3×2 voxels are no volume"):
        nifti_planes(tmp_path / "four.nii")
    oblique = np.eye(4)
    oblique[:3, :3] = [[1, 0, 0], [0, 0.7, -0.7], [0, 0.7, 0.7]]
    nib.save(nib.Nifti1Image(np.zeros((40, 40, 3), np.int16), oblique), tmp_path / "oblique.nii")
    with pytest.raises(UnsupportedImageError, match="an oblique volume"):
        nifti_planes(tmp_path / "oblique.nii")
    monkeypatch.setitem(sys.modules, "nibabel.loadsave", None)
    with pytest.raises(UnsupportedImageError, match=r"pip install 'duoscan\[nifti\]'"):
        nifti_planes(path)


def test_lying_headers_are_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    content = bytearray(write(tmp_path / "a.nii", body_hu()).read_bytes())
    content[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()  # dim[1..3]
    (tmp_path / "huge.nii").write_bytes(content)
    with pytest.raises(UnreadableImageError, match="claims .* MiB of voxels; at most 512 MiB are read"):
        nifti_planes(tmp_path / "huge.nii")
    content = bytearray(write(tmp_path / "a.nii", body_hu()).read_bytes())
    content[108:112] = np.array([1e9], "<f4").tobytes()  # vox_offset
    (tmp_path / "far.nii.gz").write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(ImageError):
        read_nifti(frame_path(tmp_path / "far.nii.gz", 1))


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=8), st.integers(0, 3000))
def test_any_damage_ends_in_a_slice_or_a_reason(
    tmp_path_factory: pytest.TempPathFactory, faults: list[tuple[int, int]], cut: int
) -> None:
    folder = tmp_path_factory.mktemp("nifti")
    content = bytearray(write(folder / "a.nii", body_hu()).read_bytes())
    for place, value in faults:
        content[place] = value
    (folder / "b.nii").write_bytes(content[: len(content) - cut])
    for read in (nifti_planes, lambda path: read_nifti(frame_path(path, 1))):
        with contextlib.suppress(ImageError):  # any other error fails the test
            read(folder / "b.nii")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("offset", [2.0**31, -352.0, np.nan, 1e30])
def test_a_header_that_puts_its_voxels_far_away(tmp_path: Path, suffix: str, offset: float) -> None:
    """Up to there nibabel would read one extension, which a few packed kilobytes can make 2 GB long."""
    plain = bytearray(write(tmp_path / "v.nii", body_hu()).read_bytes())
    struct.pack_into("<f", plain, 108, offset)
    plain[348] = 1
    plain[352:352] = struct.pack("<ii", 2**31 - 16, 4)
    path = tmp_path / f"x{suffix}"
    path.write_bytes(gzip.compress(bytes(plain)) if suffix.endswith("gz") else bytes(plain))
    with pytest.raises(UnreadableImageError, match="claims that its voxels begin at byte"):
        read_nifti(path)


def test_bytes_that_are_no_header(tmp_path: Path) -> None:
    path = tmp_path / "x.nii"
    for content in (b"\0" * 400, b"\x5c\x01\0\0" + b"\0" * 40, b"x"):
        path.write_bytes(content)
        with pytest.raises(UnreadableImageError, match="not a NIfTI volume, or cut short"):
            read_nifti(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_extensions_are_passed_over_and_their_sizes_not_believed(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"volume{suffix}", body_hu())
    volume = nib.load(path)
    volume.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"from another program " * 9))
    stated = tmp_path / f"stated{suffix}"
    nib.save(volume, stated)
    assert len(nifti_planes(stated)) == DEPTH
    is_packed = suffix == ".nii.gz"
    content = bytearray(gzip.decompress(stated.read_bytes()) if is_packed else stated.read_bytes())
    struct.pack_into("<i", content, 352, 2**29)  # the extension's size, of which memory would be taken
    stated.write_bytes(gzip.compress(bytes(content)) if is_packed else content)
    with pytest.raises(UnreadableImageError, match="claims an extension of 536,870,912 bytes"):
        nifti_planes(stated)
