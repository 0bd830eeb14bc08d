"""Files whose headers lie or nest, at a length that made parsing them take the memory or the time of a machine."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

from duoscan.errors import UnreadableImageError
from duoscan.formats.dicom import guards as dicom_guards
from duoscan.formats.dicom.header import is_dicom, open_dicom, read_dicom_header
from fuzz import seeds
from fuzz.trial import peak_bytes

PLAIN = seeds.dicom()
GROUP_28 = PLAIN.index(struct.pack("<HH", 0x0028, 0x0002))
VIEW_CODES = struct.pack("<HH2sH", 0x0054, 0x0220, b"SQ", 0)
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
UNDEFINED = struct.pack("<I", 0xFFFFFFFF)
CLOSED = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
OPEN_ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
MUCH_BYTES = 200 * 2**20


def with_element(element: bytes) -> bytes:
    """A radiograph with one more element."""
    return PLAIN[:GROUP_28] + element + PLAIN[GROUP_28:]


def refusal(folder: Path, content: bytes) -> str:
    """Why a header is refused; it must not take much memory to find out."""
    path = folder / "x.dcm"
    path.write_bytes(content)
    before = peak_bytes()
    with pytest.raises(UnreadableImageError) as caught:
        read_dicom_header(path)
    assert peak_bytes() - before < MUCH_BYTES
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.fixture
def few_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the bound, for a tenth of the time."""
    monkeypatch.setattr(dicom_guards, "MAX_READS", dicom_guards.MAX_READS // 10)


@pytest.mark.usefixtures("few_reads")
def test_a_million_items_of_undefined_length(tmp_path: Path) -> None:
    text = refusal(tmp_path, with_element(VIEW_CODES + UNDEFINED + ITEM * 1_000_000))
    assert text == "more than 30,000 elements and sequence items; no image needs so many"


def test_a_million_items_of_stated_length(tmp_path: Path) -> None:
    text = refusal(tmp_path, with_element(VIEW_CODES + struct.pack("<I", 8 * 1_000_000) + ITEM * 1_000_000))
    assert text == "more than 50,000 sequence items; no image needs so many"


@pytest.mark.usefixtures("few_reads")
def test_many_empty_elements(tmp_path: Path) -> None:
    elements = b"".join(
        struct.pack("<HH2sH", group, element, b"LO", 0) for group in range(0x11, 0x13) for element in range(0xFFFF)
    )
    assert "more than 30,000 elements" in refusal(tmp_path, with_element(elements))


def test_a_value_of_a_million_numbers(tmp_path: Path) -> None:
    value = b"1\\" * 1_000_000
    element = struct.pack("<HH2sHI", 0x0020, 0x0037, b"UT", 0, len(value)) + value
    assert refusal(tmp_path, with_element(element)) == (
        "element (0020,0037) has 2,000,000 bytes; no image needs more than 262,144 there"
    )


def test_a_long_value_inside_a_sequence(tmp_path: Path) -> None:
    value = b"1\\" * 500_000
    inner = struct.pack("<HH2sHI", 0x0008, 0x0104, b"UT", 0, len(value)) + value
    assert "element (0008,0104) has" in refusal(
        tmp_path, with_element(VIEW_CODES + UNDEFINED + OPEN_ITEM + inner + CLOSED)
    )


def test_a_large_private_element(tmp_path: Path) -> None:
    size = dicom_guards.MAX_ELEMENT_BYTES + 2
    element = struct.pack("<HH2sHI", 0x0029, 0x1001, b"UN", 0, size) + bytes(size)
    assert "element (0029,1001) has 8,388,610 bytes" in refusal(tmp_path, with_element(element))


@pytest.mark.parametrize("depth", [1_000, 50_000])
def test_sequences_nested_without_end(tmp_path: Path, depth: int) -> None:
    text = refusal(tmp_path, with_element((VIEW_CODES + UNDEFINED + OPEN_ITEM) * depth))
    assert "nested too deeply" in text or "cannot be read" in text


def test_nesting_that_is_parsed_only_when_used(tmp_path: Path) -> None:
    """Stated lengths, 1,000 deep: the view is taken from the first level, and the rest is never opened."""
    nested = b""
    for _ in range(1_000):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(nested)) + nested
        nested = VIEW_CODES + struct.pack("<I", len(item)) + item
    path = tmp_path / "x.dcm"
    path.write_bytes(with_element(nested))
    assert read_dicom_header(path).rows == 40


@pytest.mark.parametrize("length", [0x7FFFFFFE, 0xFFFFFFFE])
def test_a_length_beyond_the_file_allocates_nothing(tmp_path: Path, length: int) -> None:
    """pydicom would ask for 2 and 4 GB; under a limit on address space that would be an error of its own."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "x.dcm"
    path.write_bytes(PLAIN + struct.pack("<HH2sHI", 0x7FE1, 0x0010, b"OB", 0, length))
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**29, before[1]))
    try:
        dataset = open_dicom(path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert len(dataset.PixelData) == 40 * 40 * 2


def test_a_deflated_data_set_that_becomes_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_guards, "MAX_INFLATED_BYTES", 2**25)
    deflated = seeds.dicom(syntax=DeflatedExplicitVRLittleEndian)
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    large = b"".join(packer.compress(bytes(2**20)) for _ in range(60)) + packer.flush()
    start = deflated.index(DeflatedExplicitVRLittleEndian.encode()) + 22
    assert "the deflated data set becomes more than 32 MiB" in refusal(tmp_path, deflated[:start] + large)


@pytest.mark.usefixtures("few_reads")
def test_a_deflated_data_set_is_counted_too(tmp_path: Path) -> None:
    deflated = seeds.dicom(syntax=DeflatedExplicitVRLittleEndian)
    start = deflated.index(DeflatedExplicitVRLittleEndian.encode()) + 22
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(VIEW_CODES + UNDEFINED + ITEM * 1_000_000) + packer.flush()
    assert "more than 30,000 elements" in refusal(tmp_path, deflated[:start] + packed)


def test_a_deflated_file_reads_as_pydicom_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(seeds.dicom(syntax=DeflatedExplicitVRLittleEndian, WindowCenter=3))
    ours, theirs = open_dicom(path), dcmread(path)
    assert ours == theirs
    assert ours.file_meta == theirs.file_meta


def test_a_file_that_is_too_large_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_guards, "MAX_FILE_BYTES", len(PLAIN) - 1)
    assert "are not opened" in refusal(tmp_path, PLAIN)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on this system")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert not is_dicom(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.dcm")
    with pytest.raises(UnreadableImageError, match="empty"):
        read_dicom_header(tmp_path / "pipe.dcm")
