"""Identity where nobody looks: beside pixel values, behind pixel data, in UIDs, and under a false representation."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    UID_dictionary,
)

from duoscan.privacy.confidentiality import Options
from duoscan.privacy.deidentify import Deidentified, Deidentifier

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEY = bytes(range(32))
NAME = b"DOE^JANE^19511213 "


def ct() -> Dataset:
    """pydicom's CT slice as 12 bits of 16, unsigned."""
    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    values = dataset.pixel_array.astype(np.uint16)
    dataset.PixelRepresentation = 0
    dataset.pop("PixelPaddingValue", None)
    dataset.PixelData = values.tobytes()
    return dataset


def deidentified(folder: Path, dataset: Dataset, options: Options | None = None) -> Deidentified:
    path = folder / "a.dcm"
    dataset.save_as(path)
    return Deidentifier(KEY, folder / "out", options=options or Options()).deidentify(path)


def done(folder: Path, dataset: Dataset, options: Options | None = None) -> Dataset:
    outcome = deidentified(folder, dataset, options)
    assert outcome.written, outcome.reason
    return pydicom.dcmread(outcome.written)


def drawn() -> NDArray[np.uint16]:
    """A name in the bits above 12, letter by letter."""
    bits = np.zeros((128, 128), np.uint16)
    letters = np.frombuffer(NAME, np.uint8)
    bits[40, : 2 * len(letters) : 2], bits[40, 1 : 2 * len(letters) : 2] = letters >> 4, letters & 15
    return bits << 12


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize("highest", [11, 15])
def test_bits_beside_the_value_are_cleared(tmp_path: Path, syntax: str | None, highest: int) -> None:
    dataset = ct()
    values = dataset.pixel_array
    dataset.BitsStored = dataset.BitsAllocated = 16
    cells = values | drawn() if highest == 11 else values << 4 | drawn() >> 12
    dataset.HighBit = 15
    dataset.PixelData = cells.tobytes()
    if syntax:
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.BitsStored, dataset.HighBit = 12, highest
    if highest == 15 and syntax in {JPEG2000Lossless, JPEGLSLossless}:
        outcome = deidentified(tmp_path, dataset)
        assert outcome.written is None
        assert "cannot be decoded, so what else is in them cannot be taken out (HighBit is 15" in outcome.reason
        return
    found = done(tmp_path, dataset)
    assert found.PixelData == values.tobytes()
    assert (found.BitsStored, found.HighBit, found.file_meta.TransferSyntaxUID) == (12, 11, ExplicitVRLittleEndian)


def test_bits_above_a_signed_value_are_its_sign(tmp_path: Path) -> None:
    dataset = ct()
    hu = dataset.pixel_array.astype(np.int16) - 1024
    dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit, dataset.RescaleIntercept = 1, 12, 11, 0
    dataset.PixelData = (hu.view(np.uint16) & 0xFFF | drawn()).tobytes()
    assert done(tmp_path, dataset).PixelData == hu.tobytes()


def test_big_endian_stays_and_is_cleared(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file("ExplVR_BigEnd.dcm")))
    before = dataset.pixel_array
    dataset.BurnedInAnnotation = "NO"
    dataset.PixelData = dataset.PixelData + NAME
    worker = Deidentifier(KEY, tmp_path / "out", options=Options(), refuse_text=False)
    dataset.save_as(tmp_path / "a.dcm")
    found = pydicom.dcmread(worker.deidentify(tmp_path / "a.dcm").written)
    assert found.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    assert NAME not in found.PixelData
    np.testing.assert_array_equal(found.pixel_array, before)


@pytest.mark.parametrize("frames", [None, 1, 2])
def test_native_pixel_data_end_with_the_stated_frames(tmp_path: Path, frames: int | None) -> None:
    dataset = ct()
    frame = dataset.PixelData
    dataset.PixelData = frame * (frames or 1) + frame[::-1] + NAME
    if frames:
        dataset.NumberOfFrames = frames
    found = done(tmp_path, dataset)
    assert found.PixelData == frame * (frames or 1)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_encapsulated_pixel_data_end_with_the_stated_frames(tmp_path: Path, syntax: str) -> None:
    dataset = ct()
    frame = dataset.PixelData
    two = copy.deepcopy(dataset)
    two.NumberOfFrames, two.PixelData = 2, frame * 2
    two.compress(syntax, generate_instance_uid=False)
    first, second = generate_frames(two.PixelData, number_of_frames=2)
    two.PixelData = encapsulate([first + NAME, second, second, NAME])
    outcome = deidentified(tmp_path, two)
    assert outcome.written, outcome.reason
    content = outcome.written.read_bytes()
    assert NAME[:-1] not in content
    assert pydicom.dcmread(outcome.written).PixelData == frame * 2


def test_a_comment_in_a_codestream_is_gone(tmp_path: Path) -> None:
    path = Path(str(get_testdata_file("SC_rgb_jpeg_dcmtk.dcm")))
    dataset = pydicom.dcmread(path)
    before = dataset.pixel_array
    (stream,) = generate_frames(dataset.PixelData, number_of_frames=1)
    comment = b"\xff\xfe" + (len(NAME) + 2).to_bytes(2, "big") + NAME
    dataset.PixelData = encapsulate([stream[:2] + comment + stream[2:]])
    found = done(tmp_path, dataset)
    assert NAME not in found.PixelData
    assert found.PhotometricInterpretation == "RGB"
    np.testing.assert_array_equal(found.pixel_array, before)


def test_one_bit_pixels_stay(tmp_path: Path) -> None:
    dataset = ct()
    values = (np.arange(128 * 128).reshape(128, 128) // 64 % 2).astype(np.uint8)
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = 0
    dataset.PixelData = np.packbits(values.ravel(), bitorder="little").tobytes() + NAME
    found = done(tmp_path, dataset)
    assert NAME not in found.PixelData
    np.testing.assert_array_equal(found.pixel_array, values)


def test_pixels_of_nested_items_and_their_tables_are_taken_out(tmp_path: Path) -> None:
    dataset, item = ct(), Dataset()
    item.PixelData = NAME
    item["PixelData"].VR = "OB"
    item.CodeMeaning = "kept"
    dataset.ConceptNameCodeSequence = [item]  # not in Table E.1-1, so its items are kept
    dataset.ExtendedOffsetTableLengths = NAME[:16]
    outcome = deidentified(tmp_path, dataset)
    assert outcome.written, outcome.reason
    assert b"DOE^JANE" not in outcome.written.read_bytes()
    assert pydicom.dcmread(outcome.written).ConceptNameCodeSequence[0].CodeMeaning == "kept"


IDENTIFIERS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
ESCAPES = ("1.2.840.10008./../../../x", "1.2.840.10008.1.2", "1.2.840.10008.77.4711", "../../x", "/tmp/x")


@pytest.mark.parametrize("keyword", IDENTIFIERS)
@pytest.mark.parametrize("uid", ESCAPES)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI:UserWarning")
def test_no_uid_leads_out_of_the_folder_or_stays(tmp_path: Path, keyword: str, uid: str) -> None:
    folder = tmp_path / "deep" / "down"
    folder.mkdir(parents=True)
    dataset = ct()
    setattr(dataset, keyword, uid)
    outcome = deidentified(folder, dataset)
    assert outcome.written, outcome.reason
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {folder / "a.dcm", outcome.written}
    assert outcome.written.resolve().is_relative_to((folder / "out").resolve())
    found = pydicom.dcmread(outcome.written)
    assert all(getattr(found, name).startswith("2.25.") for name in IDENTIFIERS)
    assert uid.encode() not in outcome.written.read_bytes() or uid == "1.2.840.10008.1.2"


def test_only_uids_of_the_dictionary_are_kept(tmp_path: Path) -> None:
    dataset = ct()
    dataset.CodingSchemeUID = "1.2.840.10008.2.16.4"
    dataset.ContextUID = "1.2.840.10008.4711.19511213"  # looks like one
    assert dataset.CodingSchemeUID in UID_dictionary
    found = done(tmp_path, dataset)
    assert found.CodingSchemeUID == dataset.CodingSchemeUID
    assert found.SOPClassUID == dataset.SOPClassUID
    assert found.ContextUID.startswith("2.25.")


def test_a_uid_of_several_values_is_refused(tmp_path: Path) -> None:
    dataset = ct()
    dataset.StudyInstanceUID = ["1.2.3", "1.2.4"]
    assert "StudyInstanceUID is not one UID" in deidentified(tmp_path, dataset).reason


FALSE = [
    ("PatientAddress", "UI", "1951.12.13"),  # X in Table E.1-1
    ("PatientAddress", "DA", "19511213"),
    ("PatientAddress", "SQ", Sequence([Dataset()])),
    ("ContentCreatorName", "UI", "1951.12.13"),  # Z/D
    ("PatientAge", "LO", "DOE^JANE"),  # kept by --keep-characteristics
    ("KVP", "LO", "DOE^JANE"),  # not in the table
    ("KVP", "UI", "1951.12.13"),
    ("KVP", "DS", "DOE^JANE"),
    ("ScheduledStudyStartDate", "LO", "19511213"),  # a date
]


@pytest.mark.parametrize("options", [Options(), Options(keep_interval=True, keep_characteristics=True)])
@pytest.mark.parametrize(("keyword", "representation", "value"), FALSE)
@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, on values that no real file would hold
def test_a_false_representation_hides_nothing(
    tmp_path: Path, keyword: str, representation: str, value: object, options: Options
) -> None:
    dataset = ct()
    if isinstance(value, Sequence):
        value[0].CodeMeaning = "DOE^JANE"
    if representation == "DS":  # which pydicom would not take
        dataset[keyword] = DataElement(keyword, "LO", value)
    else:
        dataset[keyword] = DataElement(keyword, representation, value)
    path = tmp_path / "a.dcm"
    dataset.save_as(path)
    if representation == "DS":
        place = path.read_bytes().index(b"LO\x08\0DOE^JANE")
        content = bytearray(path.read_bytes())
        content[place : place + 2] = b"DS"
        path.write_bytes(content)
    worker = Deidentifier(KEY, tmp_path / "out", options=options)
    written = worker.deidentify(path).written
    assert written is not None
    content = written.read_bytes()
    assert not [needle for needle in (b"DOE^JANE", b"19511213", b"1951.12.13") if needle in content]
    found = pydicom.dcmread(written)
    assert keyword not in found or found[keyword].value in {None, ""}
