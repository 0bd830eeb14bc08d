"""Compressed pixel data is decoded elsewhere, so that nothing a codestream does ends or fills this process."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000, RLELossless

from duoscan.errors import ImageError, UnreadableImageError
from duoscan.formats.dicom import decoding
from duoscan.formats.dicom.decoder_process import read_message, write_message
from duoscan.formats.dicom.decoding import decode_pixels
from duoscan.formats.dicom.header import open_dicom
from fuzz import seeds

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

# Start of codestream and a SIZ marker, then nothing but ones: GDCM aborts the process.
ABORTS = b"\xff\x4f\xff\x51" + b"\xff" * 200


def decoded(folder: Path, content: bytes) -> NDArray[np.generic]:
    path = folder / "x.dcm"
    path.write_bytes(content)
    return decode_pixels(open_dicom(path), path)


def encoded(frame: bytes, syntax: str, **attributes: object) -> bytes:
    return seeds.dicom(syntax=syntax, PixelData=encapsulate([frame]), **attributes)


def test_values_are_those_of_pydicom(tmp_path: Path) -> None:
    compared = 0
    for content in [seeds.dicom(), *seeds.compressed_dicom()]:
        try:
            expected = dcmread(io.BytesIO(content)).pixel_array
        except RuntimeError:  # JPEG of 12 bits, for which pydicom has no decoder
            continue
        found = decoded(tmp_path, content)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
        assert found.flags.writeable
        compared += 1
    assert compared >= 25


def test_a_decoder_that_aborts_takes_no_other_image_with_it(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(UnreadableImageError, match="make the decoder crash, stall or overflow"):
            decoded(tmp_path, encoded(ABORTS, JPEG2000))
        np.testing.assert_array_equal(decoded(tmp_path, seeds.run_length_dicom()), seeds.RAMP)


def test_a_killed_decoder_is_replaced(tmp_path: Path) -> None:
    decoded(tmp_path, seeds.run_length_dicom())
    for worker in decoding._idle:
        worker._process.kill()
    for _ in range(len(decoding._idle)):
        with pytest.raises(UnreadableImageError, match="make the decoder crash"):
            decoded(tmp_path, seeds.run_length_dicom())
    np.testing.assert_array_equal(decoded(tmp_path, seeds.run_length_dicom()), seeds.RAMP)


SIZES = {b"\xff\xc0": 5, b"\xff\xc1": 5, b"\xff\xc3": 5, b"\xff\xf7": 5, b"\xff\x51": 6}
"""Marker of JPEG, JPEG-LS and JPEG 2000 headers, and how far behind it the sides stand."""


def test_codestreams_that_claim_more_than_their_file(tmp_path: Path) -> None:
    """A small image by its attributes, 65,535 × 65,535 by its codestream."""
    tried = set()
    for content in seeds.compressed_dicom():
        if RLELossless.encode() in content:
            continue
        for marker, place in SIZES.items():
            start = content.find(marker, content.find(b"\xe0\x7f\x10\0"))
            if start < 0 or marker in tried:
                continue
            side = b"\0\0\xff\xff" if marker == b"\xff\x51" else b"\xff\xff"
            lie = content[: start + place] + side * 2 + content[start + place + 2 * len(side) :]
            with pytest.raises(ImageError):
                decoded(tmp_path, lie)
            tried.add(marker)
    assert len(tried) >= 4


@pytest.mark.parametrize(
    ("attributes", "claim"),
    [
        ({"Rows": 65535, "Columns": 65535}, "65535 Rows × 65535 Columns"),
        ({"NumberOfFrames": 2**31 - 1}, "40 Rows × 40 Columns × 2147483647 NumberOfFrames"),
        ({"SamplesPerPixel": 65535, "Rows": 4000}, "4000 Rows × 40 Columns × 65535 SamplesPerPixel"),
    ],
)
def test_claims_are_refused_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attributes: dict[str, object], claim: str
) -> None:
    monkeypatch.setattr(decoding, "_take", lambda: pytest.fail("a decoder was asked"))
    for content in (seeds.dicom(**attributes), encoded(ABORTS, JPEG2000, **attributes)):
        with pytest.raises(UnreadableImageError, match=f"claims {claim}, .* at most 512 MiB are decoded"):
            decoded(tmp_path, content)


def test_threads_have_decoders_of_their_own(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.dcm" for number in range(12)]
    for number, path in enumerate(paths):
        dataset = dcmread(io.BytesIO(seeds.dicom(seeds.RAMP + np.uint16(number))))
        dataset.compress(RLELossless)
        dataset.save_as(path)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda path: decode_pixels(open_dicom(path), path), paths))
    for number, values in enumerate(found):
        np.testing.assert_array_equal(values, seeds.RAMP + np.uint16(number))
    assert len(decoding._idle) <= 3


@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="the system cannot fork")
def test_a_fork_starts_a_decoder_of_its_own(tmp_path: Path) -> None:
    decoded(tmp_path, seeds.run_length_dicom())
    kept, decoding._lost[:] = decoding._idle[:], []
    decoding._forget()
    try:
        assert decoding._idle == []
        assert decoding._lost == kept
    finally:
        decoding._idle.extend(kept)
        decoding._lost.clear()


def test_messages_survive_the_pipe_and_nonsense_is_told() -> None:
    stream = io.BytesIO()
    write_message(stream, {"a": [1, "b"]}, b"\0\xff")
    stream.seek(0)
    assert read_message(stream) == ({"a": [1, "b"]}, b"\0\xff")
    with pytest.raises(EOFError):
        read_message(stream)
    with pytest.raises(ValueError, match="no message"):
        read_message(io.BytesIO(b"\x02\0\0\0\0\0\0\0[]" + b"\0" * 8))
