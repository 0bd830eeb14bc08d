"""An image → what is kept of it to find its copies: hashes, a small grey copy, keypoints.

Hashes stay in memory (some hundred bytes an image). The rest goes to a scratch file of equal records, so that memory
does not grow with the pixels.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.audit.small_grey import shrunk_grey
from duoscan.errors import ImageError, MissingExtraError
from duoscan.formats.limits import stretch

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SIDE = 320
"""Longer side, in pixels, of the grey copy that keypoints and residuals are taken from."""

KEYPOINTS = 300
"""Most keypoints kept of an image."""

RECORD = np.dtype(
    [
        ("height", "<i4"),
        ("width", "<i4"),
        ("count", "<i4"),
        ("places", "<f4", (KEYPOINTS, 2)),
        ("descriptors", "u1", (KEYPOINTS, 128)),
        ("grey", "u1", (SIDE, SIDE)),
    ]
)
"""One image in the scratch file: its grey copy (height × width of the square are used) and its keypoints."""

_HASH_SIDE = 8
_HASH_INPUT = 32
_BLOCK_BYTES = 1 << 20
_TAIL_PERCENT = 0.5


@dataclass(frozen=True)
class Signature:
    """What is kept in memory of one image.

    Attributes:
        digest: SHA-256 of the file's bytes.
        phash: Perceptual hash: 64 values ±1, int8 (see :func:`perceptual_hash`).
        mirrored_phash: The same of the image mirrored left to right.
        keypoints: How many keypoints it has.
        problem: Why the image could not be read; then the other fields mean nothing.
    """

    digest: bytes
    phash: NDArray[np.int8]
    mirrored_phash: NDArray[np.int8]
    keypoints: int
    problem: str = ""


@dataclass(frozen=True)
class Sketch:
    """One image as the scratch file holds it.

    Attributes:
        grey: uint8, shape (H, W), longer side :data:`SIDE`.
        places: Keypoints as (x, y) in pixels of ``grey``, float32, shape (K, 2).
        descriptors: SIFT, uint8, shape (K, 128).
    """

    grey: NDArray[np.uint8]
    places: NDArray[np.float32]
    descriptors: NDArray[np.uint8]

    def mirrored(self) -> Sketch:
        """The sketch of the image mirrored left to right."""
        places = self.places.copy()
        places[:, 0] = self.grey.shape[1] - 1 - places[:, 0]
        return Sketch(np.ascontiguousarray(self.grey[:, ::-1]), places, self.descriptors[:, mirrored_bins()])


@cache
def opencv() -> Any:
    """OpenCV, held to one thread: the pool's processes already share the cores.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingExtraError("evaluate", "looking for copies of images") from error
    cv2.setNumThreads(1)
    return cv2


@cache
def mirrored_bins() -> NDArray[np.intp]:
    """Order in which a SIFT descriptor's values stand when its image is mirrored.

    A descriptor is 4 × 4 cells, in a frame turned to the keypoint's own direction, of 8 directions each. Mirroring
    turns the frame's second axis around, and with it the sense in which directions are counted.
    """
    bins = np.arange(128).reshape(4, 4, 8)
    return bins[::-1][:, :, -np.arange(8)].reshape(128)


def sign(path: Path, scratch: Path, place: int) -> Signature:
    """Read an image once, write its record to the scratch file and return its hashes.

    Args:
        path: The image.
        scratch: File of :data:`RECORD`; it must exist.
        place: Number of the record to write.
    """
    nothing = np.zeros(_HASH_SIDE**2, np.int8)
    try:
        digest = _digest(path)
        grey = read_small(path)
    except (ImageError, OSError) as error:
        # The folder is the user's; the caller names the file as the manifest does.
        reason = error.text if isinstance(error, ImageError) else str(error)
        return Signature(b"", nothing, nothing, 0, problem=reason)
    record, count = _record(grey)
    with scratch.open("r+b") as stream:
        stream.seek(place * RECORD.itemsize)
        stream.write(record.tobytes())
    return Signature(digest, perceptual_hash(grey), perceptual_hash(grey[:, ::-1]), count)


def read_sketch(scratch: Path, place: int) -> Sketch:
    """One record of the scratch file."""
    record = np.fromfile(scratch, RECORD, count=1, offset=place * RECORD.itemsize)[0]
    count = int(record["count"])
    grey = record["grey"][: int(record["height"]), : int(record["width"])]
    return Sketch(np.ascontiguousarray(grey), record["places"][:count], record["descriptors"][:count])


def read_small(path: Path) -> NDArray[np.uint8]:
    """An image in grey with its longer side :data:`SIDE`, its contrast stretched to the full range.

    Raises:
        ImageError: It cannot be read.
    """
    cv2 = opencv()
    values = shrunk_grey(path, SIDE)
    scale = SIDE / max(values.shape)
    size = tuple(max(16, round(side * scale)) for side in values.shape[::-1])
    values = cv2.resize(values, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    low, high = np.percentile(values, [_TAIL_PERCENT, 100 - _TAIL_PERCENT])
    grey: NDArray[np.uint8] = np.round(255 * stretch(values, low, high)).astype(np.uint8)
    return grey


def perceptual_hash(grey: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Signs of the 64 lowest frequencies about their median (pHash; Zauner 2010).

    Args:
        grey: Shape (H, W).

    Returns:
        ±1, shape (64,); two hashes differ in (64 − their product) / 2 places.
    """
    cv2 = opencv()
    small = cv2.resize(np.ascontiguousarray(grey), (_HASH_INPUT, _HASH_INPUT), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:_HASH_SIDE, :_HASH_SIDE].ravel()
    signs: NDArray[np.int8] = np.where(low > np.median(low), 1, -1).astype(np.int8)
    return signs


def _digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.digest()


def _record(grey: NDArray[np.uint8]) -> tuple[NDArray[np.void], int]:
    """Keypoints of a grey image, with it, as one record."""
    cv2 = opencv()
    # Local contrast first, so that soft tissue of an X-ray and a changed contrast give keypoints as well.
    even = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(grey)
    finder = cv2.SIFT_create(nfeatures=KEYPOINTS, contrastThreshold=0.01, edgeThreshold=12)
    found, descriptors = finder.detectAndCompute(even, None)
    count = min(len(found), KEYPOINTS)
    record = np.zeros(1, RECORD)[0]
    record["height"], record["width"] = grey.shape
    record["count"] = count
    record["grey"][: grey.shape[0], : grey.shape[1]] = grey
    if count:
        record["places"][:count] = [point.pt for point in found[:count]]
        record["descriptors"][:count] = descriptors[:count]
    return record, count
