"""Pixel data that hold the pixels of the stated frames and nothing else.

What is written comes from the decoded values alone. So bits beside the value (PS3.5 8.1.1), bytes behind the frames,
frames that nobody states, and comments inside codestreams are gone, whatever they held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from duoscan.errors import ImageError, UnsupportedImageError
from duoscan.formats.dicom.decoding import decode_pixels
from duoscan.formats.dicom.geometry import frame_count
from duoscan.formats.limits import check_size

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom import Dataset

_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"


def clean_pixels(dataset: Dataset, path: Path) -> NDArray[Any]:
    """Stored values of the frames that the data set states, shape (N, H, W, C).

    Raises:
        UnsupportedImageError: They cannot be decoded, so that nobody can tell what else is in the pixel data.
    """
    rows, columns, samples = int(dataset.Rows), int(dataset.Columns), int(dataset.get("SamplesPerPixel") or 1)
    check_size(columns, rows, path)
    frames = frame_count(dataset)
    try:
        stored = decode_pixels(dataset, path).reshape(-1, rows, columns, samples)
    except (ImageError, AttributeError, ValueError) as error:
        said = f" ({error.text})" if isinstance(error, ImageError) else ""
        raise UnsupportedImageError(
            path, f"its pixels cannot be decoded, so what else is in them cannot be taken out{said}"
        ) from error
    if len(stored) < frames:
        raise UnsupportedImageError(path, f"states {frames} frames and holds {len(stored)}; export it again")
    return stored[:frames]


def write_pixels(dataset: Dataset, stored: NDArray[Any]) -> None:
    """Make values the pixel data of a data set that has none.

    They become native, in the byte order of the file, which is little endian where they were compressed.

    Args:
        dataset: Where they are from.
        stored: shape (N, H, W, C); luminance and chroma have become red, green and blue.
    """
    from pydicom.pixels.utils import pack_bits
    from pydicom.uid import UID

    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        dataset.file_meta.TransferSyntaxUID = UID(_EXPLICIT_LITTLE_ENDIAN)
    kind = stored.dtype.newbyteorder("<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">")
    bits = int(dataset.BitsAllocated)
    content = pack_bits(stored.ravel()) if bits == 1 else stored.astype(kind).tobytes()
    dataset.PixelData = content + bytes(len(content) % 2)
    dataset["PixelData"].VR = "OB" if bits <= 8 else "OW"
    dataset.BitsAllocated = bits if bits == 1 else stored.dtype.itemsize * 8
    dataset.HighBit = int(dataset.BitsStored) - 1
    if stored.shape[-1] > 1:
        dataset.PlanarConfiguration = 0
        if str(dataset.PhotometricInterpretation).startswith("YBR"):
            dataset.PhotometricInterpretation = "RGB"
