from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from duoscan.errors import UnreadableImageError
from duoscan.formats.dicom.header import is_dicom, read_dicom_header
from duoscan.terms import Modality

if TYPE_CHECKING:
    from pathlib import Path

CR = "1.2.840.10008.5.1.4.1.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def write(path: Path, sop_class: str = CT, **attributes: object) -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = "1.2.3"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_reads_every_attribute(tmp_path: Path) -> None:
    header = read_dicom_header(
        write(
            tmp_path / "slice",
            PatientID=" P7 ",
            StudyInstanceUID="1.2.4",
            SeriesInstanceUID="1.2.5",
            Modality="CT",
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            InstanceNumber=12,
            BodyPartExamined="CHEST",
            Rows=3,
            Columns=4,
        )
    )
    assert header.patient_id == "P7"
    assert (header.study_id, header.series_id) == ("1.2.4", "1.2.5")
    assert (header.modality, header.modality_code) == (Modality.CT, "CT")
    assert header.view == "axial"
    assert (header.instance_number, header.body_part) == (12, "CHEST")
    assert (header.rows, header.columns) == (3, 4)
    assert (header.sop_class, header.transfer_syntax) == ("CT Image Storage", "Explicit VR Little Endian")


def test_what_the_file_does_not_say_is_none(tmp_path: Path) -> None:
    header = read_dicom_header(write(tmp_path / "x.dcm", SECONDARY_CAPTURE, PatientID="", InstanceNumber=None))
    assert header.patient_id is None
    assert header.modality is None
    assert header.modality_code is None
    assert header.view is None
    assert header.instance_number is None
    assert header.rows is None


@pytest.mark.parametrize(
    ("code", "sop_class", "expected"),
    [
        ("CR", CR, Modality.CXR),
        ("DX", SECONDARY_CAPTURE, Modality.CXR),
        ("RG", CR, Modality.CXR),
        ("CT", CT, Modality.CT),
        # The attribute wins over the class: an MR object in a CT container is not answered as CT.
        ("MR", CT, None),
        (None, CR, Modality.CXR),
        (None, CT, Modality.CT),
        (None, SECONDARY_CAPTURE, None),
    ],
)
def test_modality(tmp_path: Path, code: str | None, sop_class: str, expected: Modality | None) -> None:
    attributes = {} if code is None else {"Modality": code}
    assert read_dicom_header(write(tmp_path / "x", sop_class, **attributes)).modality is expected


@pytest.mark.parametrize(
    ("cosines", "plane"),
    [
        # The normal is row × column: (1,0,0) × (0,1,0) = (0,0,1), along the body.
        ([1, 0, 0, 0, 1, 0], "axial"),
        # Prone: (-1,0,0) × (0,-1,0) = (0,0,1) as well.
        ([-1, 0, 0, 0, -1, 0], "axial"),
        # Gantry tilted by 30°: the normal is (0, -0.5, 0.866), and 0.866 ≥ 0.8.
        ([1, 0, 0, 0, 0.8660254, 0.5], "axial"),
        # (1,0,0) × (0,0,-1) = (0,1,0): front to back.
        ([1, 0, 0, 0, 0, -1], "coronal"),
        # (0,1,0) × (0,0,-1) = (-1,0,0): side to side.
        ([0, 1, 0, 0, 0, -1], "sagittal"),
        # Tilted by 45°: 0.707 < 0.8 on both axes.
        ([1, 0, 0, 0, 0.70710678, 0.70710678], "oblique"),
    ],
)
def test_plane(tmp_path: Path, cosines: list[float], plane: str) -> None:
    path = write(tmp_path / "x", Modality="CT", ImageOrientationPatient=cosines)
    assert read_dicom_header(path).view == plane


def test_view_of_radiograph_from_position_then_code(tmp_path: Path) -> None:
    code = Dataset()
    code.CodeMeaning = "antero-posterior"
    position = write(tmp_path / "a", CR, ViewPosition="PA", ViewCodeSequence=Sequence([code]))
    coded = write(tmp_path / "b", CR, ViewPosition="", ViewCodeSequence=Sequence([code]))
    assert read_dicom_header(position).view == "PA"
    assert read_dicom_header(coded).view == "antero-posterior"


def test_pixel_data_is_not_loaded(tmp_path: Path) -> None:
    # The header ends where pixel data begins, so a file cut inside its pixels still has a header.
    path = write(
        tmp_path / "x",
        Modality="CT",
        Rows=64,
        Columns=64,
        BitsAllocated=16,
        BitsStored=16,
        HighBit=15,
        PixelRepresentation=0,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        PixelData=bytes(64 * 64 * 2),
    )
    path.write_bytes(path.read_bytes()[:-5000])
    assert read_dicom_header(path).rows == 64


def test_file_without_preamble(tmp_path: Path) -> None:
    dataset = Dataset()
    dataset.SOPClassUID = CR
    dataset.Modality = "CR"
    path = tmp_path / "old.dcm"
    dataset.save_as(path, implicit_vr=True, little_endian=True)
    header = read_dicom_header(path)
    assert header.modality is Modality.CXR
    assert header.transfer_syntax == ImplicitVRLittleEndian.name


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"not an image at all, only text", "not a DICOM image"),
        (bytes(128) + b"DICM", "not a DICOM image"),
    ],
)
def test_refuses_what_is_not_dicom(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(content)
    with pytest.raises(UnreadableImageError, match=said) as caught:
        read_dicom_header(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="No such file"):
        read_dicom_header(tmp_path / "gone.dcm")


def test_a_damaged_value_is_an_error_that_quotes_no_value(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "x", Modality="CT", PatientID="P7", NumberOfFrames=1234)
    path.write_bytes(path.read_bytes().replace(b"1234", b"JANE"))
    with caplog.at_level(logging.DEBUG), pytest.raises(UnreadableImageError, match="damaged") as caught:
        read_dicom_header(path)
    assert "JANE" not in str(caught.value)
    assert "JANE" not in caplog.text


def test_an_odd_value_is_neither_warned_of_nor_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # Warnings are errors in this suite, so a warning that got out would fail here.
    path = write(tmp_path / "x", Modality="CT", StudyInstanceUID="1.2.34567")
    path.write_bytes(path.read_bytes().replace(b"1.2.34567", b"JANE DOE9"))
    assert read_dicom_header(path).study_id == "JANE DOE9"
    assert "JANE" not in caplog.text


def test_text_stays_in_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x", PatientID="P7-8", BodyPartExamined="CHEST")
    path.write_bytes(path.read_bytes().replace(b"P7-8", b"P7\n8"))
    assert read_dicom_header(path).patient_id == "P7 8"


def test_is_dicom(tmp_path: Path) -> None:
    by_content = write(tmp_path / "IM0001")
    (tmp_path / "x.png").write_bytes(b"\x89PNG")
    (tmp_path / "short").write_bytes(b"DICM")
    assert is_dicom(by_content)
    assert is_dicom(tmp_path / "gone.DCM")
    assert is_dicom(tmp_path / "gone.ima")
    assert not is_dicom(tmp_path / "gone")
    assert not is_dicom(tmp_path / "x.png")
    assert not is_dicom(tmp_path / "short")
    assert not is_dicom(tmp_path)


def test_nonsense_where_a_slice_lies_is_no_fault_of_the_image(tmp_path: Path) -> None:
    path = write(tmp_path / "x", Modality="CT", AcquisitionNumber=1234, SeriesNumber=5678, SliceThickness=91.75)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"1234", b"JANE").replace(b"5678", b"DOE ").replace(b"91.75", b"thick"))
    header = read_dicom_header(path)
    (plane,) = header.planes
    assert (plane.thickness_mm, header.series_number) == (None, None)


@pytest.mark.parametrize(
    "cosines",
    [
        [1, 0, 0, 1, 0, 0],  # no angle between row and column
        [0, 0, 0, 0, 1, 0],  # no direction
        [1, 0, 0],
    ],
)
def test_an_orientation_that_is_none_says_nothing(tmp_path: Path, cosines: list[float]) -> None:
    header = read_dicom_header(write(tmp_path / "x", Modality="CT", ImageOrientationPatient=cosines))
    assert header.view is None
    assert header.planes[0].normal is None
