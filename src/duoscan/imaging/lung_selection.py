"""Which slices of a CT show lung, by Hounsfield units and shape.

Where a slice lies in its series says little: scans begin at the neck or the knee. So the body is found, then the air
inside it that is no bare gas, and of that the regions large enough to be lung, to the left and to the right of the
middle. Everything is measured relative to the body, so that neither pixel spacing nor field of view matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from duoscan.imaging.regions import label_regions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

TISSUE_FROM_HU = -300.0
"""Body is what is denser; fat ends near −150 HU, lung hardly reaches −400 HU."""

GAS_BELOW_HU = -945.0
"""Lower quartile of a small region of bare gas (bowel, trachea); lung holds blood too."""

LARGE_GAS_BELOW_HU = -980.0
"""The same of a large region: lung destroyed by emphysema comes near bare gas, and no bowel is so large."""

LEAST_LUNG = 0.04
"""Of the body's area, both lungs together."""

LEAST_LUNG_OF_ONE = 0.08
"""The same where only one side shows lung, as after an effusion or at the base."""

LEAST_BODY = 0.08
"""Of the image; less is no slice of a trunk."""

_SIDE = 128
_QUARTILE = 0.25
_BRIGHT = 0.15  # grey of what surrounds the air inside a body in any window
_BLACK = 0.5 / 255
_GAP = 1.5  # usual steps, above which positions are missing
_NEAR = 4  # steps on either side that say what is usual there
_LEAST_REGION = 0.006  # of the body's area; smaller regions are airways and noise
_LEAST_SIDE = 0.01  # of the body's area, for a side to count as showing lung
_OPEN_BORDER = 0.1  # of the image's border, from which air that touches it lies outside the body
_LARGE_REGION = 0.05  # of the body's area
_LEAST_AIR = 0.2  # of a region, for it to be lung and no fold of skin or table


@dataclass(frozen=True)
class LungMeasure:
    """What one slice shows of body and lung.

    Attributes:
        body: Area of the body as a share of the image.
        left: Area of lung left of the body's middle in the image, as a share of the body.
        right: The same on the right.
        gas: Area of bare gas inside the body, as a share of the body.
    """

    body: float
    left: float = 0.0
    right: float = 0.0
    gas: float = 0.0

    @property
    def lung(self) -> float:
        """Both sides together."""
        return self.left + self.right

    @property
    def has_lung(self) -> bool:
        """Whether the slice is worth answering."""
        has_both = min(self.left, self.right) >= _LEAST_SIDE
        return self.lung >= (LEAST_LUNG if has_both else LEAST_LUNG_OF_ONE)


@dataclass(frozen=True)
class LungRegions:
    """Where body and lung lie in one slice.

    Attributes:
        body: shape (h, w).
        lung: What is aerated, with what it encloses, shape (h, w).
        gas: Pixels of bare gas inside the body.
    """

    body: Mask
    lung: Mask
    gas: int = 0


def measure_lung(values_hu: NDArray[np.float32]) -> LungMeasure:
    """Measure one axial slice.

    Args:
        values_hu: Hounsfield units, shape (H, W).
    """
    found = lung_regions(reduced(values_hu))
    area = int(found.body.sum())
    if area < LEAST_BODY * found.body.size:
        return LungMeasure(area / found.body.size)
    middle = float(np.nonzero(found.body)[1].mean())
    columns = np.nonzero(found.lung)[1]
    left = int((columns < middle).sum())
    return LungMeasure(area / found.body.size, left / area, (len(columns) - left) / area, found.gas / area)


def lung_regions(small: NDArray[np.float32]) -> LungRegions:
    """Find body and lung in one axial slice.

    Args:
        small: Hounsfield units as :func:`reduced` gives them, shape (h, w).

    Returns:
        No lung where there is too little body.
    """
    tissue, count = label_regions(small > TISSUE_FROM_HU)
    nothing = np.zeros(small.shape, np.bool_)
    if not count:
        return LungRegions(nothing, nothing)
    areas = np.bincount(tissue.ravel())[1:]
    trunk = tissue == 1 + int(np.argmax(areas))
    holes, count = label_regions(~trunk)
    outside = _outside(holes, count)
    body = ~outside[holes] | trunk
    area = int(body.sum())
    if area < LEAST_BODY * body.size:
        return LungRegions(body, nothing)
    gas, numbers = 0, []
    sizes = np.bincount(holes.ravel(), minlength=count + 1)
    for number in range(1, count + 1):
        if outside[number] or sizes[number] < _LEAST_REGION * area:
            continue
        region = holes == number
        air = small[region & (small <= TISSUE_FROM_HU)]
        if air.size < _LEAST_AIR * sizes[number]:
            continue
        limit = LARGE_GAS_BELOW_HU if sizes[number] >= _LARGE_REGION * area else GAS_BELOW_HU
        if float(np.quantile(air, _QUARTILE)) < limit:
            gas += int(sizes[number])
        else:
            numbers.append(number)
    return LungRegions(body, np.isin(holes, numbers), gas)


def is_clipped(grey: NDArray[np.float32]) -> bool:
    """Whether a slice that lost its Hounsfield units was windowed so that lung is plain black, as for soft tissue.

    A quarter or more of the air inside the body is then exactly black, and nothing can be seen in it. In a lung
    window only the largest airways are.

    Args:
        grey: Grey in [0, 1], shape (H, W).
    """
    small = reduced(grey)
    bright, count = label_regions(small > _BRIGHT)
    if not count:
        return False
    trunk = bright == 1 + int(np.argmax(np.bincount(bright.ravel())[1:]))
    holes, count = label_regions(~trunk)
    inside = ~trunk & ~_outside(holes, count)[holes]
    dark = small[inside]
    return dark.size >= LEAST_LUNG * (trunk.sum() + dark.size) and float(np.quantile(dark, _QUARTILE)) < _BLACK


def reduced(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of blocks, at most 128 or so a side; they quiet noise too."""
    factor = max(1, round(max(values.shape) / _SIDE))
    return np.asarray(Image.fromarray(values).reduce(factor))


def _outside(regions: NDArray[np.int32], count: int) -> NDArray[np.bool_]:
    """For each label, 0 included, whether it lies round the body: it takes up a good part of the border.

    A narrow field of view may cut the chest wall open, and the lung then touches the border without being outside.
    """
    border = np.concatenate([regions[0], regions[-1], regions[1:-1, 0], regions[1:-1, -1]])
    touching = np.bincount(border, minlength=count + 1)
    outside = touching >= _OPEN_BORDER * border.size
    outside[0] = False
    return np.asarray(outside)


def lung_run(has_lung: Sequence[bool], heights_mm: Sequence[float], most_gap_mm: float = 15.0) -> range:
    """The longest stretch of slices that show lung, with what lies between them.

    Lungs hang together, so gas elsewhere that looks like lung is left out. A slice between two that show lung
    belongs to them also where it shows none, for consolidated lung holds no air. Only slices that are there and show
    none end a stretch: a position that is missing counts for nothing.

    Args:
        has_lung: Of each slice, lowest first.
        heights_mm: Where each lies.
        most_gap_mm: A longer stretch of slices without lung ends a run, unless slices lie that far apart anyway.

    Returns:
        Places, from the lowest with lung to the highest; empty where no slice shows any.

    Example:
        >>> lung_run([True, False, False, False, True, True], [0.0, 5.0, 10.0, 20.0, 25.0, 30.0])
        range(4, 6)
    """
    steps = np.diff(np.asarray(heights_mm, np.float64))
    most = max(most_gap_mm, _GAP * float(np.median(steps)) if len(steps) else 0.0)
    seen_mm = np.concatenate([[0.0], np.cumsum(_without_holes(steps))])
    runs: list[range] = []
    for place in (place for place, has in enumerate(has_lung) if has):
        last = runs[-1][-1] if runs else None
        if last is not None and (place == last + 1 or seen_mm[place] - seen_mm[last] <= most):
            runs[-1] = range(runs[-1][0], place + 1)
        else:
            runs.append(range(place, place + 1))
    return max(runs, key=lambda run: (heights_mm[run[-1]] - heights_mm[run[0]], len(run)), default=range(0))


def _without_holes(steps_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each step as if no position were missing in it: one that is longer than those around it counts as they do."""
    usual = [float(np.median(steps_mm[max(0, place - _NEAR) : place + _NEAR + 1])) for place in range(len(steps_mm))]
    return np.where(steps_mm > _GAP * np.asarray(usual), usual, steps_mm)
