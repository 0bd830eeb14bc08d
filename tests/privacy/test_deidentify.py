"""De-identification: no planted identifier is left, links between files are, and what cannot be cleaned is refused."""

from __future__ import annotations

import csv
import re
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, EncapsulatedPDFStorage, ExplicitVRLittleEndian

from duoscan.errors import InputError
from duoscan.interfaces.cli import cli
from duoscan.privacy.confidentiality import Options, table_e1
from duoscan.privacy.deidentify import Deidentifier
from duoscan.privacy.pseudonyms import Pseudonyms, read_key, shifted, write_new_key

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = bytes(range(32))
MARK = "PLANTED"
# Planted values by value representation; each holds something that is searched for in the bytes of the output.
PLANTED_DATE, PLANTED_TIME, PLANTED_NUMBER, PLANTED_UID = "19511213", "235911", "77143", "1.3.6.1.4.1.99999.77143"
TEXT = {
    **dict.fromkeys(("PN", "LO", "SH", "LT", "ST", "UT", "UC", "UR", "AE"), MARK),
    "CS": MARK,
    "AS": "077Y",
    "UI": PLANTED_UID,
    "DA": PLANTED_DATE,
    "TM": PLANTED_TIME,
    "DT": PLANTED_DATE + PLANTED_TIME,
    "IS": PLANTED_NUMBER,
    "DS": PLANTED_NUMBER,
    **dict.fromkeys(("OB", "UN"), MARK.encode() + b" "),
}
NEEDLES = [text.encode() for text in (MARK, PLANTED_DATE, PLANTED_TIME, PLANTED_NUMBER, PLANTED_UID, "077Y")]


def image(**attributes: object) -> Dataset:
    """A radiograph of 64 × 64 pixels, a smooth ramp."""
    dataset = Dataset()
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3.1", "1.2.3.2", "1.2.3.3"
    dataset.Modality, dataset.PatientID, dataset.PatientName = "CR", "A1", "Doe^Jane"
    dataset.Rows = dataset.Columns = 64
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 7, 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = np.tile(np.arange(64, dtype=np.uint8), (64, 1)).tobytes()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def saved(dataset: Dataset, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def plant(dataset: Dataset) -> int:
    """Plant a value in every attribute of Table E.1-1 that can hold one and return how many."""
    planted = 0
    for tag in table_e1():
        if not keyword_for_tag(tag) or tag >> 16 in {0x0000, 0x0002} or tag in dataset:
            continue
        vr = dictionary_VR(tag).split(" or ")[0]
        if vr in TEXT:
            value = TEXT[vr]
            several = dictionary_VM(tag) not in {"1", "0-1", "1-n"} and vr not in {"OB", "UN"}
            dataset.add_new(tag, vr, [value, value] if several else value)
            planted += 1
        elif vr == "SQ":
            item = Dataset()
            item.PersonName, item.CodeMeaning, item.PatientAddress = MARK, "kept meaning", MARK
            dataset.add_new(tag, vr, [item])
    return planted


def maximal(path: Path) -> Path:
    """Identifiers everywhere: top level, two sequences deep, private, overlay, curve, file meta and preamble."""
    dataset = image()
    assert plant(dataset) > 400  # Table E.1-1 has some 650 rows, of which about 70 are sequences
    deep, middle = Dataset(), Dataset()
    plant(deep)
    middle.ReferencedImageSequence = [deep]
    plant(middle)
    dataset.ConceptNameCodeSequence = [middle]  # not in the table: kept, its items cleaned
    block = dataset.private_block(0x0009, f"{MARK} CREATOR", create=True)
    block.add_new(0x01, "LO", MARK)
    deep.private_block(0x0011, f"{MARK} DEEP", create=True).add_new(0x02, "UN", MARK.encode() + b" ")
    dataset.add_new(0x60000022, "LO", MARK)
    dataset.add_new(0x60023000, "OB", MARK.encode() + b" ")
    dataset.add_new(0x50003000, "OB", MARK.encode() + b" ")
    dataset.add_new(0xFFFCFFFC, "OB", MARK.encode() + b" ")
    dataset.PatientID, dataset.PatientName, dataset.StudyInstanceUID = f"{MARK}-7", f"{MARK}^X", PLANTED_UID
    dataset.file_meta.SourceApplicationEntityTitle = MARK
    dataset.file_meta.PrivateInformationCreatorUID = PLANTED_UID
    dataset.file_meta.PrivateInformation = MARK.encode() + b" "
    dataset.preamble = (MARK.encode() * 19)[:128]
    return saved(dataset, path)


def every_element(dataset: Dataset) -> Iterator[pydicom.DataElement]:
    for element in dataset:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from every_element(item)


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, on planted values that no real file would hold
@pytest.mark.parametrize("options", [Options(), Options(keep_interval=True)], ids=["basic", "interval"])
def test_no_planted_identifier_is_left_in_the_bytes(tmp_path: Path, options: Options) -> None:
    source = maximal(tmp_path / f"{MARK}.dcm")
    before = source.read_bytes()
    # The test sees what it looks for: all needles are in the source.
    assert all(needle in before for needle in NEEDLES)
    outcome = Deidentifier(KEY, tmp_path / "out", options=options).deidentify(source)
    assert outcome.written, outcome.reason
    content = outcome.written.read_bytes()
    # With --keep-interval the time of day stays, as option E.3.6 says.
    kept = {PLANTED_TIME.encode()} if options.keep_interval else set()
    assert [needle for needle in NEEDLES if needle in content and needle not in kept] == []
    assert MARK not in str(outcome.written.relative_to(tmp_path))
    elements = list(every_element(pydicom.dcmread(outcome.written)))
    assert not [element.tag for element in elements if element.tag.is_private]
    assert not [element for element in elements if MARK in str(element.value)]


def test_states_what_was_done_by_code(tmp_path: Path) -> None:
    source = saved(image(PatientAge="061Y", PatientBirthDate="19600101", StudyDate="20200310"), tmp_path / "a.dcm")
    options = Options(keep_interval=True, keep_characteristics=True, keep_device=True)
    done = pydicom.dcmread(Deidentifier(KEY, tmp_path / "out", options=options).deidentify(source).written)
    assert done.PatientIdentityRemoved == "YES"
    codes = [item.CodeValue for item in done.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113107", "113108", "113109"]  # PS3.16 CID 7050
    assert done.LongitudinalTemporalInformationModified == "MODIFIED"
    assert (done.PatientAge, done.PatientBirthDate) == ("061Y", "")
    assert "BurnedInAnnotation" not in done  # finding none proves nothing
    basic = pydicom.dcmread(Deidentifier(KEY, tmp_path / "b", options=Options()).deidentify(source).written)
    assert "PatientAge" not in basic
    assert (basic.StudyDate, basic.LongitudinalTemporalInformationModified) == ("", "REMOVED")
    assert basic.PixelData == pydicom.dcmread(source).PixelData


def test_links_and_intervals_are_kept_over_files_and_runs(tmp_path: Path) -> None:
    # The same study, 9 days later the next one; 2020 was a leap year: 25 February to 5 March is 9 days.
    first = saved(image(StudyDate="20200225"), tmp_path / "1.dcm")
    second = saved(image(StudyDate="20200305", SOPInstanceUID="1.2.3.9"), tmp_path / "2.dcm")
    options = Options(keep_interval=True)
    one, two = (
        pydicom.dcmread(Deidentifier(KEY, tmp_path / path.stem, options=options).deidentify(path).written)
        for path in (first, second)
    )
    assert (one.StudyInstanceUID, one.PatientID) == (two.StudyInstanceUID, two.PatientID)
    assert one.SOPInstanceUID != two.SOPInstanceUID
    assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID
    assert np.datetime64(pretty(two.StudyDate)) - np.datetime64(pretty(one.StudyDate)) == np.timedelta64(9, "D")
    assert one.StudyDate < "20200225"
    other = Deidentifier(bytes(32), tmp_path / "other", options=options).deidentify(first)
    assert other.pseudonym != one.PatientID


def pretty(date: str) -> str:
    return f"{date[:4]}-{date[4:6]}-{date[6:]}"


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"SOPClassUID": EncapsulatedPDFStorage}, "no image of the standard"),
        ({"BurnedInAnnotation": "YES"}, "states burnt-in annotation"),
        ({"StudyInstanceUID": ""}, "StudyInstanceUID is missing"),
    ],
)
def test_refuses_what_cannot_be_cleaned(tmp_path: Path, attributes: dict[str, str], said: str) -> None:
    outcome = Deidentifier(KEY, tmp_path / "out", options=Options()).deidentify(
        saved(image(**attributes), tmp_path / "a.dcm")
    )
    assert outcome.written is None
    assert said in outcome.reason
    assert not (tmp_path / "out").exists()


def test_command_counts_refusals_and_names_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "Doe_Jane"
    folder.mkdir()
    saved(image(), folder / "a.dcm")
    saved(image(BurnedInAnnotation="YES", SOPInstanceUID="1.2.3.8"), folder / "b.dcm")
    (folder / "note.txt").write_text("Doe, Jane")
    key, mapping = tmp_path / "key", tmp_path / "mapping.csv"
    common = ["deidentify", str(folder), "--key-file", str(key), "--mapping", str(mapping)]
    result = CliRunner().invoke(cli, [*common, "--out", str(tmp_path / "out"), "--new-key"])
    assert result.exit_code == 1
    assert "1 files written, 1 refused\nnot images, left out: 1" in result.output
    assert "Doe" not in result.output
    assert [stat.S_IMODE(path.stat().st_mode) for path in (key, mapping)] == [0o600, 0o600]
    with mapping.open(newline="") as stream:
        assert [row["patient_id"] for row in csv.DictReader(stream)] == ["A1", ""]
    mapping.unlink()
    again = CliRunner().invoke(cli, [*common, "--out", str(tmp_path / "warned"), "--burnt-in", "warn"])
    assert "2 files written, 0 refused" in again.output
    assert "warning: the file states burnt-in annotation" in again.output


def test_key_file_must_be_private_and_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(InputError, match="--new-key"):
        read_key(path)
    write_new_key(path)
    assert len(read_key(path)) == 32
    with pytest.raises(InputError, match="cannot be made"):
        write_new_key(path)
    path.chmod(0o640)
    with pytest.raises(InputError, match="chmod 600"):
        read_key(path)
    path.chmod(0o600)
    path.write_text("00ff")
    with pytest.raises(InputError, match="2 bytes"):
        read_key(path)


@given(st.text(max_size=70))
def test_uids_are_valid_and_steady(uid: str) -> None:
    made = Pseudonyms(KEY).uid(uid)
    assert pydicom.uid.UID(made).is_valid
    assert made == Pseudonyms(KEY).uid(uid)
    # RFC 4122: version 4 in bits 76 to 79, variant 10 in bits 62 and 63.
    number = int(made.removeprefix("2.25."))
    assert (number >> 76 & 0xF, number >> 62 & 3) == (4, 2)


def test_shifted_dates() -> None:
    assert shifted("20200301", 1) == "20200229"
    assert shifted("20200101120000.5+0100", 1) == "20191231120000.5+0100"
    assert shifted("2020", 1) is None
    assert shifted("20201301", 1) is None
    assert shifted("20200301 Jane", 1) is None


@pytest.mark.data
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_real_files_stay_as_valid_as_they_were(data_dir: Path, tmp_path: Path) -> None:
    files = sorted((data_dir / "dicom").rglob("*.dcm"))
    worker = Deidentifier(KEY, tmp_path, options=Options(), refuse_text=False)
    outcomes = [worker.deidentify(path) for path in files]
    assert [outcome.reason for outcome in outcomes if outcome.written is None] == []
    worse = {
        outcome.source.name: found
        for outcome in outcomes
        if outcome.written and (found := new_errors(outcome.source, outcome.written))
    }
    assert worse == {}


def new_errors(before: Path, after: Path) -> set[str]:
    """Errors that dciodvfy finds in one file and not in the other."""

    def errors(path: Path) -> set[str]:
        try:
            done = subprocess.run(["dciodvfy", str(path)], capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
        lines = done.stderr.decode(errors="replace").splitlines()
        # Quoted values, such as a new UID, differ by design; the kind of error must not be new.
        return {re.sub(r"<[^>]*>", "<>", line) for line in lines if line.startswith("Error")}

    return errors(after) - errors(before)
