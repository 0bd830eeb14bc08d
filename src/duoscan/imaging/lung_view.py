"""The canonical view: the lungs with a margin, all else plain, so that hospitals' frames, letters and lines are gone.

A small network, sealed in the bundle beside the model, says where lung is. Consolidated lung is as dense as what
surrounds it and falls out of any mask, so what is shown is the hull of each lung (CT) or of both (X-ray, where the
shadow of the heart covers lung), a little widened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from duoscan.imaging.regions import label_regions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from duoscan.imaging.lungs import Mask

FINDER_SIDE = 128
"""Pixels a side of what a lung finder is given."""

LEAST_LUNGS = 0.04
"""Of the picture's area; less is no pair of lungs, and no answer is given."""

MOST_LUNGS = 0.9
"""Of the picture's area; a mask that is nearly all of it has found nothing."""

_LUNG_FROM = 0.5  # probability
_LEAST_OF_LARGEST = 0.1  # a smaller region beside the largest is no lung
_TONES = 1024
_WIDENED_PX = 5  # of FINDER_SIDE, the side of the square that a mask is widened with


class LungFinder(Protocol):
    """Says where lung is; one object may be asked by several threads at once."""

    def __call__(self, grey: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability of lung at each place.

        Args:
            grey: Grey in [0, 1], shape (FINDER_SIDE, FINDER_SIDE): the whole picture, stretched.

        Returns:
            In [0, 1], of the same shape.
        """
        ...


class LungView(NamedTuple):
    """Where the lungs lie in a picture.

    Attributes:
        shown: What the model is shown, shape (H, W) of the picture.
        left: First column of the box around it.
        top: First row.
        right: Just past the last column.
        bottom: Just past the last row.
    """

    shown: Mask
    left: int
    top: int
    right: int
    bottom: int


def find_lungs(grey: NDArray[np.float32], finder: LungFinder, *, each: bool) -> LungView | None:
    """Look for the lungs.

    Args:
        grey: Grey in [0, 1], shape (H, W).
        finder: Says where lung is.
        each: Show the hull of each lung, and not that of both together.

    Returns:
        ``None`` where there is nothing of the size of lungs.
    """
    regions = lung_regions(_look(grey, finder) >= _LUNG_FROM)
    area = sum(float(region.mean()) for region in regions)
    if not LEAST_LUNGS <= area <= MOST_LUNGS:
        return None
    parts = regions if each else [np.logical_or.reduce(regions)]
    hull = Image.new("L", (FINDER_SIDE, FINDER_SIDE))
    for part in parts:
        ImageDraw.Draw(hull).polygon(convex_hull(part), fill=255)
    height, width = grey.shape
    widened = hull.filter(ImageFilter.MaxFilter(_WIDENED_PX)).resize((width, height), Image.Resampling.BILINEAR)
    shown = np.asarray(widened) >= 128
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    return LungView(shown, int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def equalised(grey: NDArray[np.float32], shown: Mask) -> NDArray[np.float32]:
    """Greys spread evenly over what is shown, and half grey elsewhere, so that no exposure or window is left.

    Args:
        grey: Grey in [0, 1], shape (H, W).
        shown: shape (H, W).
    """
    counts, edges = np.histogram(grey[shown], bins=_TONES, range=(0, 1))
    rank = np.concatenate([[0], np.cumsum(counts)]) / max(1, counts.sum())
    return np.where(shown, np.interp(grey, edges, rank), 0.5).astype(np.float32)


def lung_mask(grey: NDArray[np.float32], finder: LungFinder) -> Mask:
    """Where the lungs themselves lie, shape (H, W) of the picture; empty where there are none."""
    small = np.zeros((FINDER_SIDE, FINDER_SIDE), np.bool_)
    for region in lung_regions(_look(grey, finder) >= _LUNG_FROM):
        small |= region
    height, width = grey.shape
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.NEAREST))


def seen_before(grey: NDArray[np.float32], finder: LungFinder) -> LungFinder:
    """A finder that answers for every picture what was found in this one."""
    found = _look(grey, finder)
    return lambda _grey: found


def _look(grey: NDArray[np.float32], finder: LungFinder) -> NDArray[np.float32]:
    small = Image.fromarray(grey).resize((FINDER_SIDE, FINDER_SIDE), Image.Resampling.BILINEAR)
    return finder(np.asarray(small))


def lung_regions(mask: Mask) -> list[Mask]:
    """The one or two largest regions of a mask, the largest first; a second only where it is no speck.

    Args:
        mask: shape (H, W).
    """
    labels, count = label_regions(mask)
    if not count:
        return []
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    largest = np.argsort(-areas, kind="stable")[:2]
    return [labels == 1 + number for number in largest if areas[number] >= _LEAST_OF_LARGEST * areas[largest[0]]]


def convex_hull(mask: Mask) -> Sequence[tuple[int, int]]:
    """Corners (x, y) of the smallest convex shape around a mask (monotone chain; Andrew, 1979).

    Args:
        mask: shape (H, W), not empty.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    firsts = mask[rows].argmax(axis=1)
    lasts = mask.shape[1] - 1 - mask[rows, ::-1].argmax(axis=1)
    left = _chain([(int(x), int(y)) for x, y in zip(firsts, rows, strict=True)], turn=1)
    right = _chain([(int(x), int(y)) for x, y in zip(lasts, rows, strict=True)], turn=-1)
    return [*left, *right[::-1]]


def _chain(points: Sequence[tuple[int, int]], turn: int) -> list[tuple[int, int]]:
    """Of points from top to bottom, those that no line between two others leaves outside."""
    chain: list[tuple[int, int]] = []
    for x, y in points:
        while len(chain) > 1:
            (x0, y0), (x1, y1) = chain[-2:]
            if turn * ((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)) < 0:
                break
            chain.pop()
        chain.append((x, y))
    return chain
