"""Whether two images are one: keypoints give the transform, the pixels decide.

A neighbouring slice, or another chest, has keypoints in the right places too. But laid upon each other, only a copy
has the same fine structure everywhere. So both images are reduced to their fine structure and compared block by
block. The median over blocks, and the lower fifth, are high for a copy even where letters are burnt into some blocks;
a neighbour has blocks that differ all over.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.audit.copies.candidates import root_sift
from duoscan.audit.copies.signatures import opencv, read_sketch
from duoscan.formats.reader import read_image

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from duoscan.audit.copies.candidates import CopyCandidate
    from duoscan.audit.copies.signatures import Sketch

MEDIAN_CORRELATION = 0.90
"""Least median over blocks of a copy."""

LOWER_CORRELATION = 0.80
"""Least correlation that four fifths of the blocks of a copy reach."""

_RATIO = 0.85
_TOLERANCE_PX = 4.0
_MIN_INLIERS = 8
_MIN_OVERLAP = 0.15
_MIN_BLOCKS = 12
_MAX_STRETCH = 1.8
_MAX_SCALE = 3.0
_REFINE_STEPS = 25
_WORTH_REFINING = 0.6
_FINE_PX, _COARSE_PX = 1.0, 4.0
_NOISE_POWER = 4.0
_BLOCK_PX = 24
_LEAST_STD = 6.0
_WHOLE_FRAME = 0.02
_CACHED = 64


class Kind(StrEnum):
    """How one image is a copy of another; the first that holds."""

    SAME_BYTES = "same bytes"
    SAME_PIXELS = "same pixels"
    RESAVED = "re-saved"
    """The whole frame, compressed anew, scaled or with another contrast."""

    RECROPPED = "re-cropped"
    """Another cut of the same picture."""

    MIRRORED = "mirrored"
    """Mirrored left to right, whole or cut."""


@dataclass(frozen=True)
class CopyComparison:
    """What the pixels of two images say.

    Attributes:
        keypoints: How many one affine map carries from the one image to the other.
        median: Median over blocks of the correlation of fine structure.
        lower_fifth: The correlation that four fifths of the blocks reach.
        blocks: How many blocks were compared.
        overlap: Share of the first image's frame that the second covers.
        overlap_second: Share of the second image's frame that the first covers.
        whole_frame: Whether the corners of the frames fall together.
    """

    keypoints: int
    median: float
    lower_fifth: float
    blocks: int
    overlap: float
    overlap_second: float
    whole_frame: bool

    @property
    def is_copy(self) -> bool:
        """Whether the two are one picture."""
        return (
            self.blocks >= _MIN_BLOCKS
            and self.overlap >= _MIN_OVERLAP
            and self.median >= MEDIAN_CORRELATION
            and self.lower_fifth >= LOWER_CORRELATION
        )


@dataclass(frozen=True)
class CopyVerdict:
    """A candidate that is a copy: how, and by which figures."""

    candidate: CopyCandidate
    kind: Kind
    comparison: CopyComparison


@dataclass(frozen=True)
class _Matchable:
    sketch: Sketch
    rooted: NDArray[np.float32]


def verify(candidate: CopyCandidate, first: Path, second: Path, scratch: Path) -> CopyVerdict | None:
    """Compare two images pixel by pixel.

    Args:
        candidate: Which records of the scratch file.
        first: File of the candidate's first image, read anew only to tell whether all pixels are the same.
        second: File of its second image.
        scratch: The scratch file.

    Returns:
        ``None`` where the second is no copy of the first.
    """
    found = compare(candidate, scratch)
    if found is None or not found.is_copy:
        return None
    if candidate.mirrored:
        kind = Kind.MIRRORED
    elif not found.whole_frame:
        kind = Kind.RECROPPED
    else:
        kind = Kind.SAME_PIXELS if _same_pixels(first, second) else Kind.RESAVED
    return CopyVerdict(candidate, kind, found)


def compare(candidate: CopyCandidate, scratch: Path) -> CopyComparison | None:
    """The figures of a candidate; ``None`` where no affine map carries the one's keypoints to the other's."""
    first = _matchable(scratch, candidate.first, mirrored=False)
    second = _matchable(scratch, candidate.second, mirrored=candidate.mirrored)
    found = _align(first, second)
    if found is None:
        return None
    matrix, keypoints = found
    return _residual(first.sketch.grey, second.sketch.grey, matrix, keypoints)


@lru_cache(_CACHED)
def _matchable(scratch: Path, place: int, *, mirrored: bool) -> _Matchable:
    sketch = read_sketch(scratch, place)
    if mirrored:
        sketch = sketch.mirrored()
    return _Matchable(sketch, root_sift(sketch.descriptors))


def _align(first: _Matchable, second: _Matchable) -> tuple[NDArray[np.float64], int] | None:
    """The affine map (2 × 3) from the second image's pixels to the first's, and how many keypoints follow it."""
    if min(len(first.rooted), len(second.rooted)) < _MIN_INLIERS:
        return None
    similar = first.rooted @ second.rooted.T
    rows = np.arange(len(similar))
    best = similar.argmax(axis=1)
    mutual = similar.argmax(axis=0)[best] == rows
    top = similar[rows, best]
    similar[rows, best] = -1
    # Distances of unit vectors: d² = 2 − 2 · similarity (ratio test: Lowe 2004).
    good = mutual & ((1 - top) <= _RATIO**2 * (1 - similar.max(axis=1)))
    if good.sum() < _MIN_INLIERS:
        return None
    matrix, follows = opencv().estimateAffine2D(
        second.sketch.places[best[good]],
        first.sketch.places[good],
        ransacReprojThreshold=_TOLERANCE_PX,
        maxIters=1_000,
        confidence=0.99,
    )
    if matrix is None or follows.sum() < _MIN_INLIERS or not _is_plausible(matrix):
        return None
    return matrix, int(follows.sum())


def _is_plausible(matrix: NDArray[np.float64]) -> bool:
    """Whether a map is one that saving, scaling and cropping make."""
    large, small = np.linalg.svd(matrix[:, :2], compute_uv=False)
    upright = np.linalg.det(matrix[:, :2]) > 0
    return bool(upright and large < _MAX_SCALE and small > 1 / _MAX_SCALE and large < _MAX_STRETCH * small)


def _residual(
    first: NDArray[np.uint8], second: NDArray[np.uint8], matrix: NDArray[np.float64], keypoints: int
) -> CopyComparison | None:
    """Lay the second upon the first, to a fraction of a pixel, and compare."""
    cv2 = opencv()
    size = first.shape[::-1]
    fine = _fine_structure(first)
    if _correlation_of_map(fine, second, matrix) < _WORTH_REFINING:
        return None
    matrix = _refine(fine, _fine_structure(second), matrix)
    # Filtered after the warp, so that both have the same scale.
    laid = cv2.warpAffine(second, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    covered = _covered(second, matrix, size)
    correlations = _block_correlations(fine, _fine_structure(laid), covered, first)
    if not len(correlations):
        return None
    overlap = float(covered.mean())
    scale = abs(float(np.linalg.det(matrix[:, :2])))
    return CopyComparison(
        keypoints=keypoints,
        median=float(np.median(correlations)),
        lower_fifth=float(np.percentile(correlations, 20)),
        blocks=len(correlations),
        overlap=overlap,
        overlap_second=min(1.0, float(covered.sum()) / max(second.size * scale, 1.0)),
        whole_frame=_is_whole_frame(first, second, matrix),
    )


def _correlation_of_map(fine: NDArray[np.float32], second: NDArray[np.uint8], matrix: NDArray[np.float64]) -> float:
    """Of fine structure over all that the second covers, by a map as it stands."""
    cv2 = opencv()
    size = fine.shape[::-1]
    laid = cv2.warpAffine(second, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    covered = _covered(second, matrix, size)
    if not covered.any():
        return 0.0
    one, two = fine[covered], _fine_structure(laid)[covered]
    strength = float(np.sqrt((one * one).sum() * (two * two).sum()))
    return float((one * two).sum()) / strength if strength > 0 else 0.0


def _refine(fine: NDArray[np.float32], other: NDArray[np.float32], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """A better map by maximising the correlation of fine structure (ECC; Evangelidis & Psarakis 2008)."""
    cv2 = opencv()
    mask = _covered(other, matrix, fine.shape[::-1]).astype(np.uint8)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _REFINE_STEPS, 1e-4)
    inverse = cv2.invertAffineTransform(matrix).astype(np.float32)
    try:
        _, inverse = cv2.findTransformECC(fine, other, inverse, cv2.MOTION_AFFINE, stop, mask, 1)
    except cv2.error:
        return matrix  # it does not converge where the two differ; the map of the keypoints stands
    refined: NDArray[np.float64] = cv2.invertAffineTransform(inverse).astype(np.float64)
    return refined if _is_plausible(refined) else matrix


def _covered(second: NDArray[Any], matrix: NDArray[np.float64], size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which pixels of the first frame the second covers, without the rim that filters mix with the border."""
    cv2 = opencv()
    cover = cv2.warpAffine(np.full(second.shape, 255, np.uint8), matrix, size, flags=cv2.INTER_NEAREST)
    inner: NDArray[np.bool_] = cv2.erode(cover, np.ones((5, 5), np.uint8)) > 0
    return inner


def _fine_structure(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What is finer than a few pixels and coarser than noise, evened in its local strength."""
    cv2 = opencv()
    values = grey.astype(np.float32)
    band = cv2.GaussianBlur(values, (0, 0), _FINE_PX) - cv2.GaussianBlur(values, (0, 0), _COARSE_PX)
    power = cv2.GaussianBlur(band * band, (0, 0), 2 * _COARSE_PX)
    evened: NDArray[np.float32] = band / np.sqrt(power + _NOISE_POWER)
    return evened


def _block_correlations(
    fine: NDArray[np.float32], other: NDArray[np.float32], covered: NDArray[np.bool_], first: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Correlation of each block that is covered and shows anything, shape (blocks,)."""
    one, two = _blocks(fine), _blocks(other)
    one = one - one.mean(axis=1, keepdims=True)
    two = two - two.mean(axis=1, keepdims=True)
    strength = np.sqrt((one**2).sum(axis=1) * (two**2).sum(axis=1))
    shows = (_blocks(covered).mean(axis=1) > 0.95) & (_blocks(first).std(axis=1) >= _LEAST_STD)
    correlations: NDArray[np.float32] = (one * two).sum(axis=1) / np.maximum(strength, 1e-6)
    kept: NDArray[np.float32] = correlations[shows]
    return kept


def _blocks(image: NDArray[Any]) -> NDArray[np.float32]:
    """Whole blocks of an image as rows, shape (blocks, pixels)."""
    rows, columns = (side // _BLOCK_PX for side in image.shape)
    cut = image[: rows * _BLOCK_PX, : columns * _BLOCK_PX].astype(np.float32)
    return cut.reshape(rows, _BLOCK_PX, columns, _BLOCK_PX).swapaxes(1, 2).reshape(rows * columns, _BLOCK_PX**2)


def _is_whole_frame(first: NDArray[np.uint8], second: NDArray[np.uint8], matrix: NDArray[np.float64]) -> bool:
    """Whether the corners of the second frame fall on those of the first."""
    height, width = first.shape
    rows, columns = second.shape
    corners = np.array([[0, 0], [columns, 0], [0, rows], [columns, rows]], np.float64)
    target = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
    moved = corners @ matrix[:, :2].T + matrix[:, 2]
    return bool(np.abs(moved - target).max() <= _WHOLE_FRAME * max(first.shape))


def _same_pixels(first: Path, second: Path) -> bool:
    return np.array_equal(read_image(first).values, read_image(second).values)
