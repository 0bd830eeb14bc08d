"""2,000 damaged files over all readers, and DICOM files drawn hostile by their structure."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duoscan.errors import ImageError
from duoscan.formats.dicom.header import DicomHeader, read_dicom_header
from duoscan.formats.dicom.pixels import read_dicom
from duoscan.formats.image import Pixels
from fuzz import all_readers, seeds
from fuzz.mutations import mutate_dicom
from fuzz.targets import TARGETS
from fuzz.trial import MOST_BYTES, Trial

INPUTS = 2000


def test_every_reader_answers_or_refuses_whatever_it_is_given(tmp_path: Path) -> None:
    """In a process of its own, which a crash of a native library would end."""
    path = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, str(Path(all_readers.__file__)), str(INPUTS), "7", str(tmp_path)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, errors="replace", env=os.environ | {"PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["faults"] == []
    assert found["inputs"] >= INPUTS
    assert found["growth_bytes"] < MOST_BYTES


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_seeds_reach_the_reader(target: object, tmp_path: Path) -> None:
    """A seed corpus that is refused from the start would test nothing."""
    (tmp_path / "seeds").mkdir()
    (tmp_path / "files").mkdir()
    trial = Trial(target, tmp_path / "files")
    outcomes = [trial.read(content) for content in target.seeds(tmp_path / "seeds")]
    assert not any(outcome.fault for outcome in outcomes)
    assert not all(outcome.refused for outcome in outcomes)


def test_a_fault_is_seen(tmp_path: Path) -> None:
    """The harness itself: an error of another kind, and memory that ran out behind a clear refusal."""

    def fails(path: Path) -> None:
        if path.read_bytes() == b"bomb":
            raise ImageError(None, "refused") from MemoryError()
        raise KeyError

    target = type(TARGETS[0])("fails", "x", lambda _: [], fails)
    assert Trial(target, tmp_path).read(b"x").fault.startswith("KeyError at ")
    assert Trial(target, tmp_path).read(b"bomb").fault.startswith("memory at ")


def test_nesting_is_part_of_the_mutations() -> None:
    import random

    made = [mutate_dicom(random.Random(number), ENCODINGS[0]) for number in range(60)]
    assert max(content.count(b"SQ\0\0\xff\xff\xff\xff") for content in made) >= 1000


TAGS = (
    *(0x00080005, 0x00080016, 0x00080018, 0x00080060, 0x00100020, 0x00180015, 0x00185101, 0x0020000D, 0x00200013),
    *(0x00200037, 0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280103),
    *(0x00280120, 0x00280121, 0x00281050, 0x00281051, 0x00281052, 0x00281053, 0x00283000, 0x00283010, 0x00283006),
    *(0x00283002, 0x00540220, 0x00080104, 0x00990010, 0x00991001, 0x00991002, 0x60003000, 0x7FE00001, 0x7FE00010),
    *(0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD),
)
REPRESENTATIONS = tuple(b"OB OW SQ UN US SS DS IS CS UI LO PN AT FD xx".split())
VALUES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"\xff\xff", b"\xff\xff\xff\xff", b"\0\0", b"-1", b"1e400", b"nan", b"0\\0", b"\\" * 300]),
    st.integers(0, 2**16 - 1).map(lambda number: struct.pack("<H", number)),
    st.integers(0, 10**12).map(lambda number: str(number).encode()),
)
LIES = st.sampled_from([None, None, None, 0, 1, 7, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF])


def element(tag: int, representation: bytes, value: bytes, lie: int | None) -> bytes:
    """One explicit little-endian element, whose length may lie."""
    length = len(value) if lie is None else lie
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + representation
    if representation in {b"OB", b"OW", b"SQ", b"UN"}:
        return head + struct.pack("<HI", 0, length) + value
    return head + struct.pack("<H", length & 0xFFFF) + value


def items(parts: list[bytes]) -> bytes:
    return b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(part)) + part for part in parts)


ELEMENTS = st.recursive(
    st.builds(element, st.sampled_from(TAGS), st.sampled_from(REPRESENTATIONS), VALUES, LIES),
    lambda inner: st.builds(
        element, st.sampled_from(TAGS), st.just(b"SQ"), st.lists(inner, max_size=4).map(items), LIES
    ),
    max_leaves=12,
)
HEAD = seeds.dicom()[: seeds.dicom().index(struct.pack("<HH", 0x0028, 0x0002))]
IMAGE = seeds.dicom()[len(HEAD) :]
ENCODINGS = (seeds.dicom(), seeds.run_length_dicom())
SYNTAXES = (b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0", b"1.2.840.10008.1.2\0\0\0", b"1.2.840.10008.1.2.5\0")


@settings(max_examples=3 * settings.default.max_examples)
@given(
    before=st.lists(ELEMENTS, max_size=6),
    after=st.lists(ELEMENTS, max_size=3),
    syntax=st.sampled_from(SYNTAXES),
    with_image=st.booleans(),
)
def test_hostile_structure_gives_pixels_or_an_image_error(
    tmp_path: Path, before: list[bytes], after: list[bytes], syntax: bytes, with_image: bool
) -> None:
    path = tmp_path / "x.dcm"
    content = HEAD.replace(SYNTAXES[0], syntax, 1) + b"".join(before) + (IMAGE if with_image else b"") + b"".join(after)
    path.write_bytes(content)
    try:
        assert isinstance(read_dicom_header(path), DicomHeader)
        assert isinstance(read_dicom(path), Pixels)
    except ImageError:
        return


@settings(max_examples=3 * settings.default.max_examples // 2)
@given(data=st.data())
def test_hostile_image_attributes_give_pixels_or_an_image_error(tmp_path: Path, data: st.DataObject) -> None:
    """Sizes, depths and frames that do not fit the pixel data, over plain and run-length encoded pixels."""
    content = data.draw(st.sampled_from(ENCODINGS))
    for number in (0x0002, 0x0010, 0x0011, 0x0100, 0x0101, 0x0102, 0x0103):
        place = content.find(struct.pack("<HH", 0x0028, number) + b"US")
        if data.draw(st.booleans()):
            lie = data.draw(st.sampled_from([0, 1, 7, 8, 12, 15, 16, 32, 64, 255, 4096, 0xFFFF]))
            content = content[: place + 8] + struct.pack("<H", lie) + content[place + 10 :]
    path = tmp_path / "x.dcm"
    path.write_bytes(content)
    try:
        assert isinstance(read_dicom(path), Pixels)
    except ImageError:
        return
