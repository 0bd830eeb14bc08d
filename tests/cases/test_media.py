"""Media as they come: a DICOMDIR of the standard's own form, names that a copy changed, files that are no images."""

from __future__ import annotations

import gc
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_files
from pydicom.filebase import DicomBytesIO
from pydicom.fileset import FileSet

from duoscan.cases.find import collect
from duoscan.cases.screening import CaseAnswer, Screener
from duoscan.errors import InputError
from duoscan.formats.content import may_be_image
from duoscan.policies.rule import Answer
from duoscan.quiet import quiet
from duoscan.terms import Decision
from stand_ins import ct_slice_hu, write_ct_slice, write_png

HEIGHTS = [0.0, 3.0, 6.0, 9.0]


def only(answers: object) -> CaseAnswer:
    (case,) = answers  # type: ignore[misc]
    return case  # type: ignore[no-any-return]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study as a scanner exports it, under names that a medium may have (PS3.10 8.2)."""
    for number, z in enumerate(HEIGHTS):
        write_ct_slice(
            tmp_path / "study" / f"IM{number}", ct_slice_hu(-900.0), z, StudyID="1", StudyTime="1200",
            PatientName="A^B", AccessionNumber="", InstanceNumber=number + 1, SOPInstanceUID=f"1.2.99.{number}",
        )  # fmt: skip
    return tmp_path / "study"


def by_pydicom(study: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # pydicom leaves its temporary folders to the collector
        medium = FileSet()
        for file in sorted(study.iterdir()):
            data = dcmread(file)
            data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
            data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
            medium.add(data)
        medium.write(study.parent / "medium")
        del medium
        gc.collect()
    return study.parent / "medium" / "DICOMDIR"


def by_dcmtk(study: Path) -> Path:
    if shutil.which("dcmmkdir") is None:
        pytest.skip("needs DCMTK's dcmmkdir")
    subprocess.run(["dcmmkdir", "+I", *sorted(file.name for file in study.iterdir())], cwd=study, check=True)
    return study / "DICOMDIR"


@pytest.fixture(params=[by_pydicom, by_dcmtk])
def medium(request: pytest.FixtureRequest, study: Path) -> Path:
    dicomdir: Path = request.param(study)
    return dicomdir


def test_a_dicomdir_names_its_class_in_the_file_meta_group_alone(medium: Path) -> None:
    data = dcmread(medium)
    assert "SOPClassUID" not in data
    assert data.file_meta.MediaStorageSOPClassUID.name == "Media Storage Directory Storage"


def test_the_files_of_a_medium_are_answered(screener: Screener, medium: Path) -> None:
    for given in (medium, medium.parent):
        case = only(screener.screen([given]))
        assert [row.decision for row in case.ct.images] == [Decision.NEGATIVE] * 4
        assert (case.patient_id, case.unreadable) == ("P1", ())


@pytest.mark.parametrize("changed", ["{}.dcm", "{}.DCM", "{};1", "{}.;1", "{}."])
def test_a_copy_of_a_medium_may_change_its_names(screener: Screener, medium: Path, changed: str) -> None:
    for file in [file for file in medium.parent.rglob("*") if file.is_file() and file != medium]:
        file.rename(file.with_name(changed.format(file.name.lower())))
    dicomdir = medium.rename(medium.with_name(changed.format("dicomdir")))
    case = only(screener.screen([dicomdir]))
    assert (len(case.ct.images), case.unreadable) == (4, ())


def test_referenced_names_may_carry_an_ending(screener: Screener, study: Path) -> None:
    dicomdir = by_pydicom(study)
    with quiet:  # no medium may have such names, and many do
        data = dcmread(dicomdir)
        for record in data.DirectoryRecordSequence:
            if "ReferencedFileID" in record:
                *folders, name = record.ReferencedFileID
                Path(dicomdir.parent, *folders, name).rename(Path(dicomdir.parent, *folders, f"{name}.DCM"))
                record.ReferencedFileID = [*folders, f"{name}.DCM"]
        written = DicomBytesIO()
        data.save_as(written, enforce_file_format=True)
    dicomdir.write_bytes(written.getvalue())
    assert len(only(screener.screen([dicomdir])).ct.images) == 4


NOT_IMAGES = {
    "README.TXT": b"Please install the viewer.\r\n",
    "AUTORUN.INF": b"[autorun]\r\nopen=VIEWER.EXE\r\n",
    "VIEWER.EXE": b"MZ\x90\x00\x03\x00\x00\x00",
    "README": b"Read me.\n",
    "Thumbs.db": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500),
    "report.pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "report": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "labels.csv": b"path,label\n1.png,covid\n",
    "letter.docx": b"PK\x03\x04" + bytes(100),
    "desktop.ini": b"\xff\xfe[\x00.\x00",
    "weights.npy": b"\x93NUMPY\x01\x00" + bytes(100),
    "empty.txt": b"",
    "answers.json": b"{}",
}
UNREADABLE = {
    "empty.png": b"",
    "empty.dcm": b"",
    "IM0042": b"",
    "1.2.840.113619.2": bytes(1000),
    "truncated.dcm": bytes(128) + b"DICM",
    "text.jpg": b"no picture",
    "cut.png": b"\x89PNG\r\n\x1a\n\x00\x00",
    "scan.nii.gz": b"\x1f\x8b\x08",
    "study.zip": b"PK\x03\x04",
    "phone.heic": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00",
}


def test_what_is_no_image_is_no_patient(screener: Screener, medium: Path) -> None:
    for name, content in NOT_IMAGES.items():
        (medium.parent / name).write_bytes(content)
    screening = screener.screen([medium.parent])
    assert only(screening).answer is Answer.NEGATIVE
    assert sorted(screening.not_images) == sorted(str(medium.parent / name) for name in NOT_IMAGES)


def test_what_should_be_an_image_is_unreadable(screener: Screener, tmp_path: Path) -> None:
    for name, content in UNREADABLE.items():
        (tmp_path / name).write_bytes(content)
    screening = screener.screen([tmp_path])
    rows = [row for case in screening for row in case.images]
    assert sorted(Path(row.path).name for row in rows) == sorted(UNREADABLE)
    assert {row.decision for row in rows} == {Decision.UNREADABLE}
    assert screening.not_images == ()


def test_pictures_and_dicom_are_known_under_any_name(tmp_path: Path) -> None:
    for suffix in ("png", "jpg", "tif", "bmp", "gif", "webp", "jp2"):
        picture = write_png(tmp_path / "a.png", 0.5).rename(tmp_path / f"{suffix}.txt")
        if suffix != "png":
            from PIL import Image

            Image.open(tmp_path / "png.txt").convert("RGB").save(tmp_path / f"a.{suffix}")
            (tmp_path / f"a.{suffix}").rename(picture)
        assert may_be_image(picture)
    write_ct_slice(tmp_path / "slice.txt", ct_slice_hu(), 0.0)
    assert may_be_image(tmp_path / "slice.txt")


def test_of_pydicoms_own_files_only_texts_are_no_images() -> None:
    others = {path.name for path in map(Path, get_testdata_files()) if path.is_file() and not may_be_image(path)}
    texts = {"README", ".txt", ".json", ".dump", ".icc", ".gz", ".csv", ".xml", ".md", ".py"}
    assert {Path(name).suffix or name for name in others} <= texts
    assert "README.txt" in others


def test_only_what_is_no_image_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "README.txt").write_text("Hello", encoding="utf-8")
    with pytest.raises(InputError, match=r"nothing but what is no image \(.*README\.txt\)"):
        collect([tmp_path])


def test_the_masks_of_a_data_set_are_no_patients(tmp_path: Path) -> None:
    for name in ("anna/1.png", "Masks/cxr/1.png", "anna/mask/1.png"):
        write_png(tmp_path / "in" / name, 0.5)
    found = collect([tmp_path / "in"])
    assert [image.name for image in found] == [str(tmp_path / "in" / "anna" / "1.png")]
    assert len(found.not_images) == 2
    # A folder that a person names is meant.
    assert len(collect([tmp_path / "in" / "Masks"])) == 1
    assert len(collect([tmp_path / "in", tmp_path / "in" / "Masks"])) == 2
