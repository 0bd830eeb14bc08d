"""Zips and DICOMDIRs: what they hold is read, and nothing they say leads anywhere else or takes more than allowed."""

from __future__ import annotations

import io
import stat
import zipfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from duoscan.errors import UnreadableImageError
from duoscan.formats import zips as archives
from duoscan.formats.dicom.directory import is_dicomdir, listed_files
from duoscan.formats.zips import is_zip, unpack
from duoscan.quiet import quiet

if TYPE_CHECKING:
    from pathlib import Path


def zipped(path: Path, members: dict[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            member = zipfile.ZipInfo()
            member.filename = name  # given to the constructor, a name would end at its first NUL
            archive.writestr(member, content, compression)
    return path


def outcome(archive: Path, folder: Path) -> dict[str, str | bytes]:
    """By name: the content, or why it was refused."""
    return {one.name: one.path.read_bytes() if one.path else one.refusal for one in unpack(archive, folder)}


def test_files_are_unpacked_under_names_of_our_own(tmp_path: Path) -> None:
    members = {"p1/ct/1.dcm": b"one", "p1/ct/2.dcm": b"two", "p2/1.dcm": b"three", "__MACOSX/x": b"", ".hid/a": b""}
    archive = zipped(tmp_path / "a.zip", members)
    found = unpack(archive, tmp_path / "out")
    assert [one.name for one in found] == ["p1/ct/1.dcm", "p1/ct/2.dcm", "p2/1.dcm"]
    assert [one.path.read_bytes() for one in found if one.path] == [b"one", b"two", b"three"]
    assert all(one.path is not None and one.path.suffix == ".dcm" for one in found)


@pytest.mark.parametrize(
    "name", ["../evil.dcm", "a/../../evil.dcm", "/etc/evil.dcm", "..\\evil.dcm", "C:/evil.dcm", "a\\..\\..\\evil.dcm"]
)
def test_no_name_leads_out(tmp_path: Path, name: str) -> None:
    archive = zipped(tmp_path / "a.zip", {name: b"x", "good.dcm": b"y"})
    found = outcome(archive, tmp_path / "deep" / "out")
    assert found.pop("good.dcm") == b"y"
    assert "leads out of the zip" in str(*found.values())
    written = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {"a.zip", "good.dcm"}


def test_links_are_no_files(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("link.dcm")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    assert "a link or device" in str(outcome(path, tmp_path / "out")["link.dcm"])


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_files_with_one_name_the_first_is_taken(tmp_path: Path) -> None:
    """Rows are told apart by names, and ``\\a`` and ``\\b`` are shown alike."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (("x.dcm", b"1"), ("x.dcm", b"2"), ("x.dcm", b"3"), ("\a.dcm", b"4"), ("\b.dcm", b"5")):
            archive.writestr(name, content)
    found = unpack(path, tmp_path / "out")
    assert [one.path.read_bytes() for one in found if one.path] == [b"4", b"1"]
    assert [(one.name, "has the same name" in one.refusal) for one in found if not one.path] == [
        ("\N{REPLACEMENT CHARACTER}.dcm", True),
        ("x.dcm", True),
        ("x.dcm", True),
    ]


def test_no_zip_in_a_zip(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "inner.zip", {"a.dcm": b"x"}).read_bytes()
    archive = zipped(tmp_path / "a.zip", {"inner.zip": inner, "disguised": inner})
    assert set(map(str, outcome(archive, tmp_path / "out").values())) == {"a zip inside a zip; unpack it first"}


def test_a_bomb_is_stopped_while_it_unpacks(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"bomb.dcm": bytes(20 * 2**20), "good.dcm": b"y"})
    found = outcome(archive, tmp_path / "out")
    assert "unpacks to more than 200 times its size" in str(found["bomb.dcm"])
    assert found["good.dcm"] == b"y"
    assert not any(path.stat().st_size > 2**21 for path in (tmp_path / "out").rglob("*"))


def test_limits_of_sizes_and_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {f"{number}.dcm": bytes(range(256)) * 4 for number in range(5)}
    archive = zipped(tmp_path / "a.zip", members, compression=zipfile.ZIP_STORED)
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 1000)
    assert all("unpacked; give the file itself" in str(why) for why in outcome(archive, tmp_path / "1").values())
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 2000)
    monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 2500)
    kinds = [isinstance(one, bytes) for one in outcome(archive, tmp_path / "2").values()]
    assert kinds == [True, True, False, False, False]
    monkeypatch.setattr(archives, "MAX_MEMBERS", 4)
    with pytest.raises(UnreadableImageError, match="a zip of 5 files; at most 4 are read"):
        unpack(archive, tmp_path / "3")


def test_a_lying_size_changes_nothing(tmp_path: Path) -> None:
    content = zipped(tmp_path / "a.zip", {"a.dcm": bytes(3000)}).read_bytes()
    # The size is claimed twice, as four bytes little endian; 7 bytes are claimed instead.
    path = tmp_path / "lying.zip"
    path.write_bytes(content.replace((3000).to_bytes(4, "little"), (7).to_bytes(4, "little")))
    (found,) = outcome(path, tmp_path / "out").values()
    assert found == bytes(7) or "damaged in the zip" in str(found)


def test_encrypted_and_damaged_members_are_told_and_the_others_go_on(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.dcm": b"secret" * 50, "b.dcm": b"plain"}, compression=zipfile.ZIP_STORED)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"secretsecret", b"xxxxxxsecret", 1))
    found = outcome(path, tmp_path / "out")
    assert "damaged in the zip (BadZipFile)" in str(found["a.dcm"])
    assert found["b.dcm"] == b"plain"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        central = archive.start_dir
    flagged = bytearray(content)
    flagged[central + 8] |= 1  # general purpose bit 0 of the first entry of the central directory
    path.write_bytes(flagged)
    assert outcome(path, tmp_path / "out2")["a.dcm"] == "encrypted; unpack it first"


def test_what_is_no_zip(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"PK\x03\x04 and nothing more")
    assert is_zip(path)
    with pytest.raises(UnreadableImageError, match="damaged zip"):
        unpack(path, tmp_path / "out")
    bare = path.rename(tmp_path / "study")
    assert is_zip(bare)
    assert not is_zip(tmp_path / "a.dcm")
    assert not is_zip(tmp_path / "gone")


@given(
    st.dictionaries(st.text(min_size=1, max_size=12), st.binary(max_size=40), max_size=4),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
)
@example({"\0": b"x", "a.dcm\0": b"y", "a.dcm": b"z"}, [])
def test_any_zip_ends_in_files_or_reasons(
    tmp_path_factory: pytest.TempPathFactory, members: dict[str, bytes], faults: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("zip")
    content = bytearray(zipped(folder / "a.zip", members).read_bytes())
    for place, value in faults:
        if place < len(content):
            content[place] = value
    (folder / "a.zip").write_bytes(content)
    try:
        found = unpack(folder / "a.zip", folder / "out")
    except UnreadableImageError:
        found = []
    for one in found:
        assert (one.path is None) == bool(one.refusal)
        assert one.name.isprintable()
    assert {path.name for path in folder.iterdir()} <= {"a.zip", "out"}


def write_dicomdir(path: Path, *file_ids: object) -> Path:
    records = []
    for file_id in file_ids:
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        with quiet:  # what a hostile DICOMDIR says is no valid file ID
            record.ReferencedFileID = file_id
        records.append(record)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = "1.2.840.10008.1.3.10"
    dataset.SOPInstanceUID = "1.2.3"
    dataset.DirectoryRecordSequence = Sequence([Dataset(), *records])  # the first record is a patient's, without a file
    path.parent.mkdir(parents=True, exist_ok=True)
    with quiet:
        dataset.save_as(path, enforce_file_format=True)
    return path


def test_a_dicomdir_lists_its_files(tmp_path: Path) -> None:
    medium = tmp_path / "cd"
    dicomdir = write_dicomdir(medium / "DICOMDIR", ["IMAGES", "CT1"], ["IMAGES", "CT2"], ["IMAGES", "CT1"], ["GONE"])
    (medium / "IMAGES").mkdir()
    (medium / "IMAGES" / "CT1").write_bytes(b"x")
    (medium / "images").mkdir()
    (medium / "images" / "ct2").write_bytes(b"x")
    found = {one.name: (one.path and one.path.name, one.refusal) for one in listed_files(dicomdir)}
    assert found["IMAGES/CT1"] == ("CT1", "")
    assert found["IMAGES/CT2"] == ("ct2", "")  # copied to a file system that turned names into lower case
    assert found["GONE"][0] is None
    assert "not there; copy the whole medium" in found["GONE"][1]
    assert len(found) == 3


@pytest.mark.parametrize("file_id", [["..", "SECRET"], ["IMAGES", "..", "..", "SECRET"], ["LINK", "SECRET"]])
def test_no_file_id_leads_out(tmp_path: Path, file_id: list[str]) -> None:
    (tmp_path / "SECRET").write_bytes(b"x")
    dicomdir = write_dicomdir(tmp_path / "cd" / "DICOMDIR", file_id)
    (tmp_path / "cd" / "LINK").symlink_to(tmp_path)
    (one,) = listed_files(dicomdir)
    assert one.path is None
    assert "outside its own folder" in one.refusal


def test_what_is_no_dicomdir(tmp_path: Path) -> None:
    assert is_dicomdir(tmp_path / "dicomdir")
    (tmp_path / "DICOMDIR").write_bytes(b"no")
    with pytest.raises(UnreadableImageError, match="not a DICOM"):
        listed_files(tmp_path / "DICOMDIR")


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_other_packing_is_refused(tmp_path: Path, compression: int) -> None:
    """LZMA takes as much memory as a member says, and fails with an error of its own."""
    archive = zipped(tmp_path / "a.zip", {"a.dcm": b"x" * 100}, compression=compression)
    assert "packed in a way that studies are not" in str(outcome(archive, tmp_path / "out")["a.dcm"])


def test_a_directory_without_end_is_not_taken_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = zipped(tmp_path / "a.zip", {f"{number}.dcm": b"" for number in range(2_000)})
    monkeypatch.setattr(archives, "MAX_DIRECTORY_BYTES", 50_000)
    with pytest.raises(UnreadableImageError, match="damaged zip"):
        unpack(archive, tmp_path / "out")


def test_a_member_without_a_name(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"n": b"x", "good.dcm": b"y"})
    content = archive.read_bytes()
    # The name and its length, in the directory alone, which is what counts.
    place = content.index(b"PK\x01\x02", content.index(b"n"))
    directory = content[place:].replace(b"n", b"", 1)
    directory = directory[:28] + b"\0\0" + directory[30:]
    end = directory.index(b"PK\x05\x06")
    directory = directory[: end + 12] + (end).to_bytes(4, "little") + directory[end + 16 :]
    archive.write_bytes(content[:place] + directory)
    found = outcome(archive, tmp_path / "out")
    assert found["good.dcm"] == b"y"
    assert "leads out of the zip" in str(found[""])
