"""Bounds on what parsing one DICOM file may cost, whatever the file claims.

pydicom allocates what an element's length claims before it reads, inflates a deflated data set at one go, and makes
an object of about a kilobyte for each sequence item of eight bytes. So it reads through a stream that knows where
the file ends and counts, and what it read is looked through before any value is used.
"""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING, BinaryIO, cast

from duoscan.errors import UnreadableImageError
from duoscan.files import open_bounded
from duoscan.formats.limits import MAX_FILE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pydicom import Dataset
    from pydicom.dataelem import RawDataElement

MAX_INFLATED_BYTES = 256 * 2**20
"""What a deflated data set (PS3.5 A.5) may become."""

MAX_READS = 300_000
"""Steps of the parser, one to three an element; 2,000 frames with functional groups of their own need as many."""

MAX_VALUE_BYTES = 256 * 2**10
"""Longest value made of numbers or text; a look-up table of 65,536 entries has half as much."""

MAX_ELEMENT_BYTES = 8 * 2**20
"""Longest other element, private ones among them; pixel data are bounded by the file."""

MAX_HEADER_BYTES = 64 * 2**20
"""What is read of a file that is only asked for a few attributes; what lies between is passed over where its length is
given."""

MAX_ITEMS = 50_000
"""Items in all sequences of a file whose length is given; those are parsed when they are used."""

_ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # (FFFE,E000) in both byte orders
_DEFLATED_AND_PLAIN = (b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1\0\0\0")
_PIXEL_GROUP = 0x7FE0
_MAY_BE_LONG = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UN"})
_CHUNK = 2**16


def read_guarded(path: Path, *, stop_before_pixels: bool, only: Sequence[str] = ()) -> Dataset:
    """As pydicom's ``dcmread`` with ``force``, within the bounds.

    Args:
        path: The file.
        stop_before_pixels: As of ``dcmread``.
        only: Keywords of the attributes that are wanted; a deflated data set is not inflated for them.

    Raises:
        UnreadableImageError: The file is beyond one of them, or deflated where it may not be.
        Exception: Whatever pydicom and the system raise.
    """
    from pydicom import dcmread
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise UnreadableImageError(path, f"{size:,} bytes; files above {MAX_FILE_BYTES:,} are not opened")

    def parsed(stream: BinaryIO) -> Dataset:
        guarded = cast("BinaryIO", _CountedStream(stream, path, MAX_HEADER_BYTES if only else MAX_FILE_BYTES))
        tags = list(only) or None
        return dcmread(guarded, stop_before_pixels=stop_before_pixels, force=True, specific_tags=tags)

    with open_bounded(path) as stream:
        try:
            dataset = parsed(stream)
        except _DeflatedError as found:
            if only:
                raise UnreadableImageError(path, "it is deflated; export it as Explicit VR Little Endian") from found
            stream.seek(0)
            # With the syntax of what is inflated, in as many bytes, so that the parser stays on the counted stream.
            inflated = io.BytesIO()
            inflated.write(stream.read(found.begins).replace(*_DEFLATED_AND_PLAIN))
            _inflate(stream, inflated, path)
            inflated.seek(0)
            dataset = parsed(inflated)
            dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    _check_elements(dataset, path)
    return dataset


class _DeflatedError(Exception):
    """The data set is deflated; not an error to a caller.

    Args:
        begins: Where the compressed bytes begin.
    """

    def __init__(self, begins: int) -> None:
        self.begins = begins
        super().__init__("deflated, and its file meta information cannot be changed")


class _CountedStream:
    """A file as pydicom reads it, but not for ever.

    Args:
        stream: Bounded, at its beginning.
        path: For messages.
        most_bytes: That are read in all.
    """

    def __init__(self, stream: BinaryIO, path: Path, most_bytes: int) -> None:
        self._stream, self._path = stream, path
        self._reads, self._bytes_left = 0, most_bytes
        self.name = str(path)

    def read(self, size: int = -1) -> bytes:
        """Read so many bytes, or less at the end.

        Raises:
            UnreadableImageError: The file takes too many steps.
            _DeflatedError: All the rest is wanted, which pydicom wants only to inflate it.
        """
        self._reads += 1
        if self._reads > MAX_READS:
            raise UnreadableImageError(
                self._path, f"more than {MAX_READS:,} elements and sequence items; no image needs so many"
            )
        if size < 0:
            raise _DeflatedError(self._stream.tell())
        content = self._stream.read(min(size, self._bytes_left))
        self._bytes_left -= len(content)
        if self._bytes_left <= 0:
            raise UnreadableImageError(self._path, "its header is too long; no image needs so much")
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of a file."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """As of a file."""
        return self._stream.tell()


def _check_elements(dataset: Dataset, path: Path) -> None:
    """Refuse a parsed data set whose values would be too costly to use.

    Args:
        dataset: Just read; nothing in it is converted here.
        path: For messages.

    Raises:
        UnreadableImageError: An element is too long, or there are too many items.
    """
    items = 0
    for element, value in _raw_elements(dataset):
        size = len(value)
        is_long = element.tag >> 16 == _PIXEL_GROUP
        limit = MAX_ELEMENT_BYTES if _kind(element) in _MAY_BE_LONG else MAX_VALUE_BYTES
        if size > limit and not is_long:
            raise UnreadableImageError(
                path, f"element {element.tag} has {size:,} bytes; no image needs more than {limit:,} there"
            )
        if not is_long and size > MAX_ITEMS:
            # Each item begins with one of these tags, so there are at most as many.
            items += sum(map(value.count, _ITEM_TAGS))
    if items > MAX_ITEMS:
        raise UnreadableImageError(path, f"more than {MAX_ITEMS:,} sequence items; no image needs so many")


def _raw_elements(dataset: Dataset) -> Iterator[tuple[RawDataElement, bytes]]:
    """Every element whose bytes are there, also in sequences that are parsed already; no recursion."""
    from pydicom.dataelem import RawDataElement

    left: list[Dataset] = [dataset]
    while left:
        for element in left.pop().elements():
            if isinstance(element, RawDataElement):
                if element.value:
                    yield element, element.value
            elif element.VR == "SQ":
                left.extend(element.value)


def _kind(element: RawDataElement) -> str:
    """The value representation; of the dictionary where the file gives none."""
    from pydicom.datadict import dictionary_VR

    if element.VR not in {None, "UN"}:
        return str(element.VR)
    try:
        return dictionary_VR(element.tag)[:2]
    except KeyError:  # private or unknown
        return "UN"


def _inflate(stream: BinaryIO, into: BinaryIO, path: Path) -> None:
    """Inflate the rest of a file, a raw deflate stream.

    Raises:
        UnreadableImageError: It becomes too large.
        zlib.error: It is damaged.
    """
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while (feed := stream.read(_CHUNK)) and not inflater.eof:
        while feed and not inflater.eof:
            size += into.write(inflater.decompress(feed, _CHUNK))
            feed = inflater.unconsumed_tail
            if size > MAX_INFLATED_BYTES:
                raise UnreadableImageError(
                    path,
                    f"the deflated data set becomes more than {MAX_INFLATED_BYTES // 2**20} MiB; "
                    "export it as Explicit VR Little Endian",
                )
    into.write(inflater.flush())
