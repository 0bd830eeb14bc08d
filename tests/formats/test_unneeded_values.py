"""A value that no pixel hangs on never refuses an image, and more frames than are stated never go unseen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from duoscan.errors import UnreadableImageError
from duoscan.formats.dicom.fitness import examine_dicom
from duoscan.formats.dicom.pixels import read_dicom
from duoscan.formats.frame_names import frame_path
from duoscan.terms import Modality

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Write = Callable[..., Path]


def replaced(path: Path, old: bytes, new: bytes) -> Path:
    """The file with a text of the same length that no library would write."""
    content = path.read_bytes()
    assert content.count(old) == 1
    assert len(old) == len(new)
    path.write_bytes(content.replace(old, new))
    return path


def test_a_window_with_a_decimal_comma_is_applied(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    # (600 - 800) / 800 + 0.5 = 0.25, as in test_linear_window.
    path = replaced(write_dicom(ramp, WindowCenter="800.5", WindowWidth="801.0"), b"800.5", b"800,5")
    assert read_dicom(replaced(path, b"801.0", b"801,0")).values.ravel()[600] == pytest.approx(0.25)


@pytest.mark.parametrize("text", [b"4,5,6", b"abcde", b"?\\800", b",5555"])
def test_a_window_that_is_no_number_counts_as_absent(write_dicom: Write, ramp: NDArray[np.uint16], text: bytes) -> None:
    path = replaced(write_dicom(ramp, WindowCenter="800.5", WindowWidth=801), b"800.5", text)
    np.testing.assert_allclose(read_dicom(path).values, ramp / 1599, atol=1e-6)


UNNEEDED = {
    "InstanceNumber": b"12A ",
    "SeriesNumber": b"12,5",
    "AcquisitionNumber": b"1.2.",
    "SliceThickness": b"thin",
    "PixelSpacing": b"a\\b ",
    "WindowCenter": b"auto",
    "WindowWidth": b"auto",
    "ImagePositionPatient": b"x\\y ",
}


@pytest.mark.parametrize("keyword", UNNEEDED)
def test_a_slice_is_read_whatever_a_remark_says(write_dicom: Write, ramp: NDArray[np.uint16], keyword: str) -> None:
    number = "7777" if keyword not in {"PixelSpacing", "ImagePositionPatient"} else ["7", "77"]
    attributes = {"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "RescaleSlope": 1}
    path = write_dicom(ramp, **attributes | {"RescaleIntercept": -1024, keyword: number})
    written = b"7\\77" if isinstance(number, list) else b"7777"
    replaced(path, written, UNNEEDED[keyword])
    np.testing.assert_array_equal(read_dicom(path).values, ramp.astype(np.float32) - 1024)
    header, why = examine_dicom(path)
    assert why is None
    assert (header.instance_number, header.series_number) == (None, None)


def test_a_needed_value_is_mended_or_refused_by_name(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    attributes = {"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "RescaleSlope": 1}
    path = replaced(write_dicom(ramp, **attributes, RescaleIntercept="-1024.0"), b"-1024.0", b"-1024,0")
    np.testing.assert_array_equal(read_dicom(path).values, ramp.astype(np.float32) - 1024)
    with pytest.raises(UnreadableImageError, match="RescaleIntercept is no number; export the image again"):
        read_dicom(replaced(path, b"-1024,0", b"unknown"))


@pytest.mark.parametrize("part", [b"T\xd3RAX ", b"T\xc3\x93RAX", b"T\xe0RAX ", b"t\xf3rax ", b"T?RAX ", b"THOR\xc1X"])
def test_a_chest_with_an_accent_in_any_encoding(write_dicom: Write, ramp: NDArray[np.uint16], part: bytes) -> None:
    path = replaced(write_dicom(ramp, BodyPartExamined="ABCDEF"), b"ABCDEF", part)
    assert read_dicom(path).modality is Modality.CXR


@pytest.mark.parametrize(
    "part", ["UNKNOWN", "unknown", "N/A", "Not specified", "UNDEFINED", "NONE", "desconocido", "PULMAO", "TORACE"]
)
def test_a_part_that_nobody_stated_sets_nothing_aside(write_dicom: Write, ramp: NDArray[np.uint16], part: str) -> None:
    # What the standard does not allow is put in by hand.
    placeholder = "X" * (len(part) + len(part) % 2)
    path = write_dicom(ramp, BodyPartExamined=placeholder)
    replaced(path, placeholder.encode(), part.ljust(len(placeholder)).encode())
    assert read_dicom(path).modality is Modality.CXR


@pytest.mark.parametrize("slope", [-1, -0.5])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_output_rises_with_the_rescaled_value(
    write_dicom: Write, ramp: NDArray[np.uint16], slope: float, function: str
) -> None:
    """PS3.3 C.11.2.1.2; pydicom turns such a window round."""
    centre = 800 * slope + 1599
    path = write_dicom(
        ramp, RescaleSlope=slope, RescaleIntercept=1599, WindowCenter=centre, WindowWidth=400, VOILUTFunction=function
    )
    values = read_dicom(path).values.ravel()
    # The largest stored value is the least one after rescale, so the darkest.
    assert (np.diff(values) <= 0).all()
    assert (values[0], values[-1]) == (1, 0)


def frames_of(count: int, syntax: str) -> list[bytes]:
    """Codestreams of as many different images; each pydicom's CT slice, rolled."""
    dataset = dcmread(str(get_testdata_file("CT_small.dcm")))
    stored, frames = dataset.pixel_array, []
    for number in range(count):
        one = dcmread(str(get_testdata_file("CT_small.dcm")))
        one.PixelData = np.roll(stored, 9 * number, axis=1).tobytes()
        one.compress(syntax)
        frames += generate_frames(one.PixelData, number_of_frames=1)
    return frames


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
@pytest.mark.parametrize("has_table", [True, False])
@pytest.mark.parametrize(("held", "stated"), [(3, None), (3, 1), (3, 2)])
def test_encapsulated_frames_that_nobody_states_are_told(
    tmp_path: Path, held: int, stated: int | None, syntax: str, *, has_table: bool
) -> None:
    dataset = dcmread(str(get_testdata_file("CT_small.dcm")))
    dataset.compress(syntax)
    dataset.PixelData = encapsulate(frames_of(held, syntax), has_bot=has_table)
    if stated is not None:
        dataset.NumberOfFrames = stated
    path = tmp_path / "x.dcm"
    dataset.save_as(path)
    named = path if stated in {None, 1} else frame_path(path, 1)
    with pytest.raises(UnreadableImageError, match=f"its pixel data hold {held} frames and it states {stated or 1} "):
        read_dicom(named)
    dataset.NumberOfFrames = held
    dataset.save_as(path)
    assert read_dicom(frame_path(path, held)).is_hu


def test_one_frame_in_several_fragments_is_one(tmp_path: Path) -> None:
    source = get_testdata_file("CT_small.dcm")
    for syntax in (JPEG2000Lossless, JPEGLSLossless, RLELossless):
        dataset = dcmread(str(source))
        expected = dataset.pixel_array
        dataset.compress(syntax)
        frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
        dataset.PixelData = encapsulate([frame], fragments_per_frame=1 if syntax == RLELossless else 4)
        dataset.save_as(tmp_path / "x.dcm")
        np.testing.assert_array_equal(read_dicom(tmp_path / "x.dcm").values, expected - 1024.0)


def test_native_frames_that_nobody_states_are_told(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    path = write_dicom(ramp, PixelData=ramp.tobytes() * 3, NumberOfFrames=2)
    with pytest.raises(UnreadableImageError, match="its pixel data hold 3 frames and it states 2"):
        read_dicom(frame_path(path, 1))
    # Less than a frame behind it is leftovers.
    tail = ramp.tobytes() + b"\0" * 512
    np.testing.assert_allclose(read_dicom(write_dicom(ramp, PixelData=tail)).values, ramp / 1599, atol=1e-6)


def test_deep_colour_that_is_grey_keeps_its_depth(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    """16-bit RGB of 12-bit content."""
    path = write_dicom(
        ramp,
        PixelData=np.repeat(ramp[..., None] * 2, 3, axis=2).tobytes(),
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="RGB",
        BitsStored=12,
        HighBit=11,
    )
    np.testing.assert_allclose(read_dicom(path).values, ramp / 1599, atol=1e-6)
