from __future__ import annotations

import base64
import logging
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from duoscan.errors import ImageError, UnreadableImageError, UnsupportedImageError
from duoscan.formats.dicom.pixels import read_dicom
from duoscan.terms import Modality

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Write = Callable[..., Path]

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
CT = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
    "Modality": "CT",
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "RescaleSlope": 1,
    "RescaleIntercept": -1024,
}


def lut(first: int, depth: int, entries: list[int]) -> Sequence:
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, depth]
    item["LUTDescriptor"].VR = "US"
    item.add_new("LUTData", "US", entries)
    return Sequence([item])


def refusal(path: Path, kind: type[ImageError] = UnsupportedImageError) -> str:
    """The one line a file is refused with."""
    with pytest.raises(kind) as caught:
        read_dicom(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


def test_radiograph_without_voi_is_stretched(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    pixels = read_dicom(write_dicom(ramp, ViewPosition="PA"))
    # 0 … 1599 → 0 … 1
    np.testing.assert_allclose(pixels.values, ramp / 1599, atol=1e-6)
    assert pixels.values.dtype == np.float32
    assert (pixels.is_hu, pixels.modality, pixels.view) == (False, Modality.CXR, "PA")
    assert (pixels.patient_id, pixels.study_id, pixels.series_id) == ("P7", "1.2.4", "1.2.5")


def test_monochrome1_is_inverted(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    values = read_dicom(write_dicom(ramp, PhotometricInterpretation="MONOCHROME1")).values
    np.testing.assert_allclose(values, 1 - ramp / 1599, atol=1e-6)


def test_linear_window(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    # PS3.3 C.11.2.1.2.1 with centre 800.5 and width 801: all at or below 800 - 400 = 400 is black, all above
    # 1200 is white, and 600 is at (600 - 800) / 800 + 0.5 = 0.25.
    values = read_dicom(write_dicom(ramp, WindowCenter=800.5, WindowWidth=801)).values.ravel()
    assert values[:401].max() == 0
    assert values[1201:].min() == 1
    assert values[600] == pytest.approx(0.25)


def test_the_first_of_several_windows_is_used(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    values = read_dicom(write_dicom(ramp, WindowCenter=[800.5, 50], WindowWidth=[801, 10])).values.ravel()
    assert values[600] == pytest.approx(0.25)


def test_the_window_is_in_rescaled_units(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    # Stored 600 is 2 · 600 + 100 = 1300, at (1300 - 1700) / 1600 + 0.5 = 0.25.
    path = write_dicom(ramp, RescaleSlope=2, RescaleIntercept=100, WindowCenter=1700.5, WindowWidth=1601)
    assert read_dicom(path).values.ravel()[600] == pytest.approx(0.25)


def test_sigmoid_window(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    # PS3.3 C.11.2.1.3.1: 1 / (1 + exp(-4 (x - c) / w)), stretched between its values at 0 and 1599.
    path = write_dicom(ramp, WindowCenter=800, WindowWidth=800, VOILUTFunction="SIGMOID")
    curve = 1 / (1 + np.exp(-4 * (ramp - 800.0) / 800))
    expected = (curve - curve.min()) / (curve.max() - curve.min())
    np.testing.assert_allclose(read_dicom(path).values, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("centre", "width"),
    [
        (800, 0),  # forbidden: a width below 1
        (9000, 100),  # beyond all values: nothing but black
    ],
)
def test_a_useless_window_counts_as_absent(
    write_dicom: Write, ramp: NDArray[np.uint16], centre: float, width: float
) -> None:
    values = read_dicom(write_dicom(ramp, WindowCenter=centre, WindowWidth=width)).values
    np.testing.assert_allclose(values, ramp / 1599, atol=1e-6)


def test_voi_lut_sequence_goes_before_the_window(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    # Entries for 100, 101, 102; below the first is as the first and above the last as the last.
    sequence = lut(100, 12, [1000, 2000, 3000])
    path = write_dicom(ramp, VOILUTSequence=sequence, WindowCenter=800.5, WindowWidth=801)
    values = read_dicom(path).values.ravel()
    assert values[:101].max() == 0
    assert values[101] == pytest.approx(0.5)
    assert values[102:].min() == 1


def test_voi_lut_of_eight_bits_does_not_wrap(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    # 1024 input values onto 256 greys: 512 → 128 of 255. Wrapped at 256, 512 would be looked up as 0.
    sequence = lut(0, 8, [entry // 4 for entry in range(1024)])
    values = read_dicom(write_dicom(ramp, VOILUTSequence=sequence)).values.ravel()
    assert values[512] == pytest.approx(128 / 255)
    assert values[1599] == 1


def test_voi_lut_after_rescale(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    # Stored 201 is 101 after the intercept of -100.
    sequence = lut(100, 12, [1000, 2000, 3000])
    path = write_dicom(ramp, VOILUTSequence=sequence, RescaleSlope=1, RescaleIntercept=-100)
    assert read_dicom(path).values.ravel()[201] == pytest.approx(0.5)


def test_modality_lut_sequence(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    # Film density turned round: stored 0 → 300, 1 → 200, 2 and more → 100.
    sequence = lut(0, 16, [300, 200, 100])
    sequence[0].ModalityLUTType = "OD"
    values = read_dicom(write_dicom(ramp, ModalityLUTSequence=sequence)).values.ravel()
    assert values[0] == 1
    assert values[1] == pytest.approx(0.5)
    assert values[2:].max() == 0


def test_padding_of_a_radiograph_is_black_and_not_stretched_over(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    # Padding 60000 … 65535 around 0 … 1598; in MONOCHROME1 it would be darkest anyway, in MONOCHROME2 brightest.
    stored = ramp.copy()
    stored[0, 0], stored[39, 39] = 60000, 65535
    path = write_dicom(stored, PixelPaddingValue=65535, PixelPaddingRangeLimit=60000)
    values = read_dicom(path).values.ravel()
    assert (values[0], values[1599]) == (0, 0)
    # What is seen runs from 1 to 1598.
    assert values[1598] == 1
    assert values[2] == pytest.approx(1 / 1597)


def test_padding_that_covers_everything_is_ignored(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    path = write_dicom(ramp, PixelPaddingValue=0, PixelPaddingRangeLimit=65535)
    np.testing.assert_allclose(read_dicom(path).values, ramp / 1599, atol=1e-6)


def test_ct_becomes_hu_and_ignores_the_window(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    pixels = read_dicom(write_dicom(ramp, **CT, WindowCenter=40, WindowWidth=400))
    np.testing.assert_array_equal(pixels.values, ramp.astype(np.float32) - 1024)
    assert (pixels.is_hu, pixels.modality, pixels.view) == (True, Modality.CT, "axial")


def test_ct_in_monochrome1_keeps_its_hu(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    # HU are numbers, not greys: how they are to be shown does not change them.
    path = write_dicom(ramp, **CT, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_dicom(path).values, ramp.astype(np.float32) - 1024)


def test_ct_slope(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    # 0.5 · 600 - 700 = -400
    path = write_dicom(ramp, **CT | {"RescaleSlope": 0.5, "RescaleIntercept": -700})
    assert read_dicom(path).values.ravel()[600] == -400


@pytest.mark.parametrize(
    ("padding", "limit"),
    [
        (-2000, None),
        (-2000, -1999),
        (-1999, -2000),
    ],
)
def test_ct_padding_becomes_air(write_dicom: Write, ramp: NDArray[np.uint16], padding: int, limit: int | None) -> None:
    stored = ramp.astype(np.int16)
    stored[0, 0] = -2000
    path = write_dicom(stored, **CT, PixelPaddingValue=padding, PixelPaddingRangeLimit=limit)
    values = read_dicom(path).values.ravel()
    assert values[0] == -1024
    assert values[1] == -1023


def test_bright_ct_padding(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    # 2500 would be +1476 HU, bone, if it were not padding.
    stored = ramp.astype(np.int16)
    stored[0, 1] = 2500
    assert read_dicom(write_dicom(stored, **CT, PixelPaddingValue=2500)).values.ravel()[1] == -1024


def test_negative_padding_written_as_unsigned(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    # 63536 is -2000 in 16 bits, so the range is -2000 … -1900. Taken as it stands it would be -1900 … 63536 and
    # swallow the image.
    stored = ramp.astype(np.int16)
    stored[0, 0] = -1950
    path = write_dicom(stored, **CT, PixelPaddingRangeLimit=-1900)
    dataset = dcmread(path)
    dataset["PixelPaddingValue"] = DataElement("PixelPaddingValue", "US", 63536)
    dataset.save_as(path)
    values = read_dicom(path).values.ravel()
    assert values[0] == -1024
    assert values[1000] == 1000 - 1024


def test_undeclared_padding_below_air_is_clipped(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    stored = ramp.astype(np.int16)
    stored[0, 0] = -2048
    assert read_dicom(write_dicom(stored, **CT)).values.min() == -1024


def test_ct_of_eight_bits_without_rescale_is_grey(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    # Somebody's windowed copy; its old window must not be applied to greys.
    stored = (ramp // 8).astype(np.uint8)  # 0 … 199
    path = write_dicom(stored, **CT | {"RescaleSlope": 1, "RescaleIntercept": 0}, WindowCenter=40, WindowWidth=80)
    pixels = read_dicom(path)
    assert (pixels.is_hu, pixels.modality) == (False, Modality.CT)
    np.testing.assert_allclose(pixels.values, stored / 199, atol=1e-6)


def test_ct_of_eight_bits_with_a_steep_slope_is_hu(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    # 8 · 50 - 1000 = -600
    stored = (ramp // 8).astype(np.uint8)
    pixels = read_dicom(write_dicom(stored, **CT | {"RescaleSlope": 8, "RescaleIntercept": -1000}))
    assert pixels.is_hu
    assert pixels.values.ravel()[400] == -600


def test_deep_ct_that_lost_its_rescale_is_refused(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    path = write_dicom(ramp, **CT | {"RescaleSlope": None, "RescaleIntercept": None})
    text = refusal(path)
    assert "its values run from 0 to 1599, no Hounsfield units of a body" in text
    assert "its rescale (RescaleSlope none, RescaleIntercept none)" in text


def test_signed_ct_without_rescale_is_hu_when_it_holds_air(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    stored = ramp.astype(np.int16) - 1000
    pixels = read_dicom(write_dicom(stored, **CT | {"RescaleSlope": None, "RescaleIntercept": None}))
    assert pixels.is_hu
    assert pixels.values.min() == -1000


def test_rescale_type(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    assert read_dicom(write_dicom(ramp, **CT, RescaleType="Houndsfield Unit")).is_hu
    assert read_dicom(write_dicom(ramp, **CT, RescaleType="US")).is_hu
    # An iodine map of dual-energy CT.
    assert "RescaleType is MGML, not HU" in refusal(write_dicom(ramp, **CT, RescaleType="MGML"))


@pytest.mark.parametrize("code", ["OT", "SC", None])
def test_secondary_capture_does_not_say_its_modality(
    write_dicom: Write, ramp: NDArray[np.uint16], code: str | None
) -> None:
    path = write_dicom(ramp, SOPClassUID=SECONDARY_CAPTURE, Modality=code)
    assert read_dicom(path).modality is None


def test_modality_from_sop_class(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    assert read_dicom(write_dicom(ramp, Modality=None)).modality is Modality.CXR
    assert read_dicom(write_dicom(ramp, **CT | {"Modality": None})).modality is Modality.CT


@pytest.mark.parametrize(
    "part", ["CHEST", "THORAX", "LUNG", "CHEST_TO_PELVIS", "CHESTABDPELVIS", "NECKCHEST", "CHEST PA", ""]
)
def test_chest_by_many_names(write_dicom: Write, ramp: NDArray[np.uint16], part: str) -> None:
    assert read_dicom(write_dicom(ramp, BodyPartExamined=part)).modality is Modality.CXR


HUMAN = Dataset()
HUMAN.CodeValue, HUMAN.CodingSchemeDesignator, HUMAN.CodeMeaning = "337915000", "SCT", "homo sapiens"
DOG = Dataset()
DOG.CodeValue, DOG.CodingSchemeDesignator, DOG.CodeMeaning = "448771007", "SCT", "Canis lupus familiaris"


def coded_view(meaning: str) -> Sequence:
    item = Dataset()
    item.CodeMeaning = meaning
    return Sequence([item])


@pytest.mark.parametrize(
    "attributes",
    [
        {"PatientSpeciesDescription": "Homo sapiens"},
        {"PatientSpeciesCodeSequence": Sequence([HUMAN])},
        # A child's parent, not an animal's owner.
        {"ResponsiblePerson": "Roe^Jane", "ResponsiblePersonRole": "PARENT"},
        {"ViewPosition": "AP"},
        {"ViewCodeSequence": coded_view("postero-anterior")},
        {"NumberOfFrames": 1},
        {"PresentationIntentType": "FOR PRESENTATION"},
    ],
)
def test_fit_radiographs(write_dicom: Write, ramp: NDArray[np.uint16], attributes: dict[str, object]) -> None:
    assert read_dicom(write_dicom(ramp, **attributes)).values.shape == ramp.shape


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"Modality": "MR"}, "Modality is MR; only chest"),
        ({"Modality": "US", "SOPClassUID": SECONDARY_CAPTURE}, "Modality is US"),
        ({"Modality": "OT"}, "Modality is OT"),
        ({"Modality": None, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, "Modality is MR Image Storage"),
        ({"BodyPartExamined": "SKULL"}, "BodyPartExamined is SKULL"),
        ({"BodyPartExamined": "THORACIC_SPINE"}, "BodyPartExamined is THORACIC_SPINE"),
        ({"PatientSpeciesDescription": "Canine"}, "veterinary"),
        ({"PatientSpeciesCodeSequence": Sequence([DOG])}, "veterinary"),
        ({"ResponsiblePersonRole": "OWNER"}, "veterinary"),
        ({"PatientBreedDescription": "Labrador"}, "veterinary"),
        ({"AcquisitionDeviceProcessingDescription": "CANINE LATERAL THORAX"}, "veterinary"),
        ({"ViewPosition": "LL"}, "the view is LL; only frontal"),
        ({"ViewPosition": "LATERAL"}, "the view is LATERAL"),
        ({"ViewPosition": "RLD"}, "the view is RLD"),
        ({"ViewCodeSequence": coded_view("left lateral")}, "the view is left lateral"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "raw detector values"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "saved screen"),
        ({"NumberOfFrames": 7}, "holds 7 frames"),
        ({"PhotometricInterpretation": "RGB"}, "PhotometricInterpretation is RGB, but it has no three channels"),
        ({"PhotometricInterpretation": "CMYK"}, "PhotometricInterpretation is CMYK, which is not read"),
        (CT | {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "a coronal slice"),
        (CT | {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "a sagittal slice"),
        (CT | {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a localiser"),
    ],
)
def test_refusals(write_dicom: Write, ramp: NDArray[np.uint16], attributes: dict[str, object], said: str) -> None:
    assert said in refusal(write_dicom(ramp, **attributes))


def test_refuses_an_object_without_pixels(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    path = write_dicom(ramp)
    dataset = dcmread(path)
    del dataset.PixelData
    dataset.save_as(path)
    assert "holds no PixelData (Computed Radiography Image Storage)" in refusal(path)


def test_refuses_by_size_before_decoding(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    # The data is far too short for the rows it claims, which would be another error.
    path = write_dicom(ramp, Rows=8001, Columns=8000)
    assert "8000 × 8001 pixels is too large" in refusal(path, UnreadableImageError)
    assert "40 × 31 pixels is too small" in refusal(write_dicom(ramp[:31]))


def test_refuses_without_rows(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    assert "Rows or Columns is missing" in refusal(write_dicom(ramp, Rows=None), UnreadableImageError)


def test_refuses_blank(write_dicom: Write) -> None:
    assert "blank" in refusal(write_dicom(np.full((40, 40), 7, dtype=np.uint16)))


def test_refuses_empty_and_text(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    path.touch()
    assert "empty" in refusal(path, UnreadableImageError)
    path.write_text("just text")
    assert "not a DICOM image" in refusal(path, UnreadableImageError)
    assert "No such file" in refusal(tmp_path / "gone.dcm", UnreadableImageError)


def test_refuses_truncated(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    path = write_dicom(ramp)
    path.write_bytes(path.read_bytes()[:-1000])
    refusal(path, UnreadableImageError)


def test_names_a_transfer_syntax_without_a_decoder(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    path = write_dicom(ramp)
    dataset = dcmread(path)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    # One empty offset table, one fragment, the end of the sequence (PS3.5 A.4).
    fragments = b"\xfe\xff\x00\xe0\x00\x00\x00\x00" + b"\xfe\xff\x00\xe0\x02\x00\x00\x00\xff\xd8"
    dataset.PixelData = fragments
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
    dataset.save_as(path)
    assert "'MPEG-4 AVC/H.264 High Profile / Level 4.1' cannot be decoded" in refusal(path)


# The ramp of these tests, reversibly, by OpenJPH.
HTJ2K = base64.b64decode(
    "/0//UQApQAAAAAAoAAAAKAAAAAAAAAAAAAAAKAAAACgAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCI"
    "kJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAALQAAf+TwAArABUAz/XT/w3rAsM0AKAACYBt"
    "+wACNACgAAnAbWsAJHdVAMAAFVAABXAIIP7YCf1+S3cAbNmyZcv29Bj+MYG+uADAABVQAAWsAPzv9PT09PJ4ALIymUwmk8lksv8w"
    "BD2IQHv2IQHsvQDAACtgABdOAADw/H/KUpSlKUvqAE7HcRzHcRzHcRzHcRzHcf7/fFAQge/YQge/YQge/YQge/YQgey3Af/Z"
)


def test_high_throughput_jpeg_2000_by_its_extra(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    pytest.importorskip("openjpeg")
    path = write_dicom(ramp, **CT)
    dataset = dcmread(path)
    dataset.PixelData = encapsulate([HTJ2K])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"
    dataset.save_as(path)
    np.testing.assert_array_equal(read_dicom(path).values, ramp.astype(np.float32) - 1024)


def test_where_it_cannot_be_decoded_the_extra_is_named(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    path = write_dicom(ramp, **CT)
    dataset = dcmread(path)
    dataset.PixelData = encapsulate([HTJ2K[:80]])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.203"
    dataset.save_as(path)
    assert "cannot be decoded; pip install 'duoscan[htj2k]', or export it" in refusal(path)


def test_no_value_of_the_file_is_logged(
    write_dicom: Write, ramp: NDArray[np.uint16], caplog: pytest.LogCaptureFixture
) -> None:
    path = write_dicom(ramp, StudyInstanceUID="1.2.34567")
    path.write_bytes(path.read_bytes().replace(b"1.2.34567", b"JANE DOE9"))
    with caplog.at_level(logging.DEBUG):
        assert read_dicom(path).study_id == "JANE DOE9"
    assert "JANE" not in caplog.text


@settings(max_examples=3 * settings.default.max_examples // 2)
@given(data=st.data())
def test_damage_gives_pixels_or_an_image_error(
    write_dicom: Write, ramp: NDArray[np.uint16], data: st.DataObject
) -> None:
    path = write_dicom(ramp, WindowCenter=800, WindowWidth=800, VOILUTSequence=lut(0, 12, [0, 1, 4000]))
    content = bytearray(path.read_bytes())
    header = len(content) - ramp.nbytes
    for position in data.draw(st.lists(st.integers(128, header), max_size=4)):
        content[position] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))])
    try:
        values = read_dicom(path).values
    except ImageError:
        return
    assert values.dtype == np.float32
    assert np.isfinite(values).all()


def test_reading_pictures_does_not_load_pydicom() -> None:
    program = "import sys, duoscan.formats.reader; sys.exit('pydicom' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_more_pixels_than_the_one_frame_are_refused(write_dicom: Write, ramp: NDArray[np.uint16]) -> None:
    """pydicom makes frames of them that the file does not state."""
    path = write_dicom(ramp, PixelData=ramp.tobytes() * 4 + b"\0" * 400)
    assert "its pixel data hold 4 frames and it states 1" in refusal(path, UnreadableImageError)
