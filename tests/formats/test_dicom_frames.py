"""Files of several frames: each is read as the image it could have been, with its own position, rescale and window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import RLELossless

from duoscan.errors import SetAsideImageError, UnreadableImageError, UnsupportedImageError
from duoscan.formats.dicom import pixels as dicom
from duoscan.formats.dicom.header import read_dicom_header
from duoscan.formats.dicom.pixels import read_dicom
from duoscan.formats.frame_names import frame_path, split_frame
from duoscan.formats.open_files import kept_open
from duoscan.formats.reader import read_image
from duoscan.terms import Modality

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Write = Callable[..., Path]

ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
MULTI_FRAME_GREY_SC = "1.2.840.10008.5.1.4.1.1.7.2"


def item(**values: object) -> Sequence:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return Sequence([made])


def enhanced(heights: list[float], intercepts: list[float], **of_first: object) -> dict[str, object]:
    """Attributes of an Enhanced CT: what is common in the shared groups, place and rescale in each frame's own."""
    frames = []
    for z, intercept in zip(heights, intercepts, strict=True):
        frame = Dataset()
        frame.PlanePositionSequence = item(ImagePositionPatient=[-100, -100, z])
        frame.PixelValueTransformationSequence = item(RescaleSlope=1, RescaleIntercept=intercept, RescaleType="HU")
        frames.append(frame)
    for keyword, value in of_first.items():
        setattr(frames[0], keyword, value)
    shared = Dataset()
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    shared.PixelMeasuresSequence = item(PixelSpacing=[0.7, 0.7], SliceThickness=2.5)
    shared.CTReconstructionSequence = item(ConvolutionKernel="STANDARD")
    shared.CTImageFrameTypeSequence = item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])
    return {
        "SOPClassUID": ENHANCED_CT,
        "Modality": "CT",
        "NumberOfFrames": len(heights),
        "PerFrameFunctionalGroupsSequence": Sequence(frames),
        "SharedFunctionalGroupsSequence": Sequence([shared]),
    }


@pytest.fixture
def write_frames(write_dicom: Write) -> Write:
    """Three frames whose stored values are a ramp, plus 0, 100 and 200."""

    def write(**attributes: object) -> Path:
        ramp = np.arange(1600, dtype=np.uint16).reshape(40, 40)
        stored = np.concatenate([ramp, ramp + 100, ramp + 200])
        return write_dicom(stored, **{"Rows": 40} | attributes)

    return write


def test_frames_of_an_enhanced_ct(write_frames: Write) -> None:
    path = write_frames(**enhanced([5.0, 0.0, 2.5], [-1024, -1000, -900]))
    header = read_dicom_header(path)
    assert (header.frames, header.view, header.modality) == (3, "axial", Modality.CT)
    assert [plane.height_mm for plane in header.planes] == [5.0, 0.0, 2.5]
    assert {(p.spacing_mm, p.thickness_mm, p.kernel) for p in header.planes} == {((0.7, 0.7), 2.5, "STANDARD")}
    ramp = np.arange(1600, dtype=np.float32).reshape(40, 40)
    for number, (shift, intercept) in enumerate([(0, -1024), (100, -1000), (200, -900)], start=1):
        pixels = read_image(frame_path(path, number))
        np.testing.assert_array_equal(pixels.values, ramp + shift + intercept)
        assert (pixels.is_hu, pixels.modality, pixels.view) == (True, Modality.CT, "axial")
        assert (pixels.patient_id, pixels.study_id, pixels.series_id) == ("P7", "1.2.4", "1.2.5")


def test_an_enhanced_ct_of_one_frame_needs_no_number(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    path = write_dicom(ramp, **enhanced([7.0], [-1024]))
    np.testing.assert_array_equal(read_dicom(path).values, ramp.astype(np.float32) - 1024)
    assert read_dicom_header(path).planes[0].height_mm == 7.0


def test_a_frame_that_is_a_localiser_or_coronal_is_set_aside(write_frames: Write) -> None:
    scout = item(FrameType=["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"])
    path = write_frames(**enhanced([0.0, 1.0, 2.0], [-1024] * 3, CTImageFrameTypeSequence=scout))
    with pytest.raises(SetAsideImageError, match="#1: ImageType says a localiser"):
        read_dicom(frame_path(path, 1))
    assert read_dicom(frame_path(path, 2)).is_hu
    coronal = item(ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    path = write_frames(**enhanced([0.0, 1.0, 2.0], [-1024] * 3, PlaneOrientationSequence=coronal))
    with pytest.raises(SetAsideImageError, match="a coronal slice"):
        read_dicom(frame_path(path, 1))
    assert read_dicom(frame_path(path, 3)).is_hu


def test_frames_have_their_own_window(write_frames: Write) -> None:
    frames = []
    for centre in (800.5, 900.5, 1000.5):
        frame = Dataset()
        frame.FrameVOILUTSequence = item(WindowCenter=centre, WindowWidth=801)
        frames.append(frame)
    path = write_frames(
        SOPClassUID=MULTI_FRAME_GREY_SC,
        Modality="CR",
        NumberOfFrames=3,
        PerFrameFunctionalGroupsSequence=Sequence(frames),
    )
    # A window that moves with the values shows the same: stored 600, 700 and 800 are a quarter of the way up.
    for number in (1, 2, 3):
        assert read_dicom(frame_path(path, number)).values.ravel()[600] == pytest.approx(0.25)


def test_plain_frames_of_a_secondary_capture(write_frames: Write) -> None:
    path = write_frames(SOPClassUID=MULTI_FRAME_GREY_SC, Modality="CR", NumberOfFrames=3)
    first, last = (read_dicom(frame_path(path, number)).values for number in (1, 3))
    # Each is stretched to its own extremes, and they differ by a constant.
    np.testing.assert_allclose(first, last, atol=1e-6)


def test_compressed_frames(write_frames: Write) -> None:
    path = write_frames(**enhanced([0.0, 1.0, 2.0], [-1024] * 3))
    plain = [read_dicom(frame_path(path, number)).values for number in (1, 2, 3)]
    dataset = dcmread(path)
    dataset.compress(RLELossless)
    dataset.save_as(path)
    for number, values in enumerate(plain, start=1):
        np.testing.assert_array_equal(read_dicom(frame_path(path, number)).values, values)


def test_frames_in_an_unknown_syntax_are_refused_by_its_name(write_frames: Write) -> None:
    path = write_frames(**enhanced([0.0, 1.0, 2.0], [-1024] * 3))
    dataset = dcmread(path)
    dataset.PixelData = encapsulate([b"\xff\x0a"] * 3)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.999"
    dcmwrite(path, dataset, implicit_vr=False, little_endian=True, force_encoding=True)
    with pytest.raises(
        UnsupportedImageError, match=r"transfer syntax '1\.2\.840\.10008\.1\.2\.4\.999' cannot be decoded"
    ):
        read_dicom(frame_path(path, 1))


def test_several_frames_must_be_named(write_frames: Write) -> None:
    path = write_frames(**enhanced([0.0, 1.0, 2.0], [-1024] * 3))
    with pytest.raises(UnsupportedImageError, match=r"holds 3 frames; name one by its number, as in FILE#1"):
        read_dicom(path)
    with pytest.raises(UnreadableImageError, match="holds 3 frames, no frame 4"):
        read_dicom(frame_path(path, 4))


def test_frames_that_are_not_there(write_frames: Write) -> None:
    path = write_frames(**enhanced([0.0, 1.0, 2.0], [-1024] * 3))
    path.write_bytes(path.read_bytes()[:-1000])
    assert read_dicom(frame_path(path, 2)).is_hu
    with pytest.raises(UnreadableImageError):
        read_dicom(frame_path(path, 3))


def test_absurd_numbers_of_frames(write_frames: Write) -> None:
    path = write_frames(NumberOfFrames=2_000_000_000)
    header = read_dicom_header(path)
    assert (header.frames, header.planes) == (2_000_000_000, ())
    with pytest.raises(UnreadableImageError, match="claims 2000000000 frames; at most 4096 are read"):
        read_dicom(frame_path(path, 1))


def test_a_file_is_parsed_once_for_all_its_frames(write_frames: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_frames(**enhanced([0.0, 1.0, 2.0], [-1024] * 3))
    opened: list[Path] = []
    monkeypatch.setattr(dicom, "open_dicom", lambda file: opened.append(file) or dcmread(file))
    with kept_open:
        first = [read_dicom(frame_path(path, number)).values for number in (1, 2, 3)]
        again = [read_dicom(frame_path(path, number)).values for number in (1, 2, 3)]
    assert len(opened) == 1
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    read_dicom(frame_path(path, 1))
    assert len(opened) == 2


def test_names_of_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    assert split_frame(frame_path(path, 3)) == (path, 3)
    assert split_frame(path) == (path, None)
    assert split_frame(tmp_path / "a#0") == (tmp_path / "a#0", None)
    odd = tmp_path / "scan#7"
    odd.write_bytes(b"")
    assert split_frame(odd) == (odd, None)
