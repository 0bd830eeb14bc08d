"""One frame of a multi-frame object as the single-frame object it could have been."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from duoscan.errors import UnreadableImageError, UnsupportedImageError
from duoscan.formats.dicom.geometry import MAX_FRAMES, PLAIN_NAMES, frame_count, frame_view

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset

# Start of image and next marker of JPEG and JPEG-LS, start and size of JPEG 2000 (ITU-T T.81, T.87 and T.800), and
# behind the number of segments of run lengths the place of the first (PS3.5 G.5). No other fragment begins like these.
_CODESTREAMS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")
_RUN_LENGTHS = b"\0\0\0\x40\0\0\0"
_OFFSETS = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")
_GROUPED = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


def single_frame(dataset: Dataset, number: int | None, path: Path) -> Dataset:
    """The frame with what holds for it at the top: position, rescale, window (PS3.3 C.7.6.16).

    Args:
        dataset: An open data set with its pixels.
        number: Of the frame, from 1; ``None`` for a file of one.
        path: The file, for messages.

    Returns:
        The data set itself where it holds one frame without functional groups.

    Raises:
        UnsupportedImageError: The file holds several frames and none was named.
        UnreadableImageError: There is no such frame, or its pixels are not there.
    """
    frames = frame_count(dataset)
    if frames > MAX_FRAMES:
        raise UnreadableImageError(path, f"claims {frames} frames; at most {MAX_FRAMES} are read")
    if number is None and frames > 1:
        raise UnsupportedImageError(path, f"holds {frames} frames; name one by its number, as in FILE#1")
    wanted = number or 1
    if wanted > frames:
        raise UnreadableImageError(path, f"holds {frames} frames, no frame {wanted}")
    if frames == 1 and not any(keyword in dataset for keyword in _GROUPED):
        return dataset
    # Where every reader looks for them.
    own = {PLAIN_NAMES.get(keyword, keyword): value for keyword, value in frame_view(dataset, wanted).items()}
    if frames > 1 and "PixelData" in dataset:
        own |= {"NumberOfFrames": 1, "PixelData": _pixels_of(dataset, wanted, frames, path)}
    return _with(dataset, own)


def _with(dataset: Dataset, values: dict[str, Any]) -> Dataset:
    """A data set with other values; the given one, which frames share, stays as it is."""
    from pydicom import Dataset as PlainDataset
    from pydicom.datadict import tag_for_keyword

    replaced = {tag_for_keyword(keyword) for keyword in (*_GROUPED, *_OFFSETS, *values)}
    made = PlainDataset({tag: element for tag, element in dataset.items() if tag not in replaced})
    made.file_meta = dataset.file_meta
    is_implicit, is_little_endian = dataset.original_encoding
    made.set_original_encoding(is_implicit, is_little_endian, dataset.original_character_set)
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def _pixels_of(dataset: Dataset, number: int, frames: int, path: Path) -> bytes:
    """The frame's own pixel data, still encoded."""
    from pydicom.encaps import encapsulate, get_frame

    content: bytes = dataset.PixelData
    # As the file is written, for whether an unknown syntax is encapsulated cannot be told from its name.
    if dataset["PixelData"].is_undefined_length:
        table = tuple(dataset.get(keyword) for keyword in _OFFSETS)
        offsets = None if None in table else table
        return encapsulate([get_frame(content, number - 1, number_of_frames=frames, extended_offsets=offsets)])
    bits = _frame_bits(dataset)
    if bits % 8:
        raise UnsupportedImageError(path, "frames that end within a byte cannot be read; export single images")
    size = bits // 8
    frame = content[(number - 1) * size : number * size]
    if len(frame) < size:
        raise UnreadableImageError(path, f"the pixels of frame {number} are missing; copy or export it again")
    return frame


def check_frames_held(dataset: Dataset, path: Path) -> None:
    """Refuse pixel data of more frames than the file states: which of them it means cannot be told.

    Bytes behind the frames that make no whole one are left alone.

    Args:
        dataset: With its pixel data, all frames.
        path: The file, for messages.

    Raises:
        UnreadableImageError: There are more.
    """
    frames, content = frame_count(dataset), dataset.PixelData
    is_native = not dataset["PixelData"].is_undefined_length
    held = len(content) * 8 // _frame_bits(dataset) if is_native else _encapsulated_frames(content)
    if held > frames:
        raise UnreadableImageError(
            path, f"its pixel data hold {held} frames and it states {frames} (NumberOfFrames); export it again"
        )


def _encapsulated_frames(content: bytes) -> int:
    """How many frames there are at least: entries of the offset table, or fragments that begin a codestream."""
    from pydicom.encaps import parse_basic_offsets, parse_fragments

    stream = BytesIO(content)
    offsets = parse_basic_offsets(stream)
    _, places = parse_fragments(stream)
    # Behind the tag and the length of the item.
    begun = [content[place + 8 : place + 16] for place in places]
    return max(len(offsets), sum(head.startswith(_CODESTREAMS) or head[1:] == _RUN_LENGTHS for head in begun))


def _frame_bits(dataset: Dataset) -> int:
    # PS3.3 C.7.6.3.1.2: of each two pixels the two colour samples are stored once.
    samples = 2 if dataset.PhotometricInterpretation == "YBR_FULL_422" else int(dataset.get("SamplesPerPixel") or 1)
    return int(dataset.Rows) * int(dataset.Columns) * samples * int(dataset.BitsAllocated)
