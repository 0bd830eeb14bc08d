"""Painting solids into a volume of Hounsfield units with partial-volume edges."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from duoscan.phantom.arrays import Array, Triple


AIR_HU = -1000.0
FAT_HU = -95.0
SOFT_TISSUE_HU = 45.0


@dataclass(frozen=True)
class Grid:
    """Where a volume is sampled.

    Attributes:
        z_mm: Heights of the D planes, rising.
        y_mm: Positions of the H rows, rising to the back.
        x_mm: Positions of the W columns, rising to the patient's left.
        extent_mm: Size (z, y, x) of what one sample stands for. Edges are softened over it. A CT slice is thinner
            than the distance to the next one, so this is not the spacing.
    """

    z_mm: Array
    y_mm: Array
    x_mm: Array
    extent_mm: Triple

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W)."""
        return len(self.z_mm), len(self.y_mm), len(self.x_mm)

    @property
    def spacing_mm(self) -> Triple:
        """Distance between neighbouring samples, (z, y, x)."""
        z, y, x = (
            float(axis[1] - axis[0]) if len(axis) > 1 else extent
            for axis, extent in zip((self.z_mm, self.y_mm, self.x_mm), self.extent_mm, strict=True)
        )
        return z, y, x


@dataclass(frozen=True)
class CanvasBox:
    """A part of a grid: its slices, and its positions shaped to broadcast as (D, 1, 1), (1, H, 1), (1, 1, W)."""

    part: tuple[slice, slice, slice]
    z: Array
    y: Array
    x: Array


def _axis_slice(axis: Array, low: float, high: float) -> slice:
    return slice(int(np.searchsorted(axis, low)), int(np.searchsorted(axis, high, side="right")))


@dataclass
class Canvas:
    """A volume being painted; later solids cover earlier ones.

    Attributes:
        grid: Where it is sampled.
        hu: Densities, (D, H, W).
        lung: Share of each sample that is lung, 0 to 1, (D, H, W).
    """

    grid: Grid
    hu: Array = field(init=False)
    lung: Array = field(init=False)

    def __post_init__(self) -> None:
        self.hu = np.full(self.grid.shape, AIR_HU, np.float32)
        self.lung = np.zeros(self.grid.shape, np.float32)

    def box(self, low: Sequence[float], high: Sequence[float]) -> CanvasBox:
        """The part of the grid between two corners (x, y, z) in mm."""
        grid = self.grid
        part = (
            _axis_slice(grid.z_mm, low[2], high[2]),
            _axis_slice(grid.y_mm, low[1], high[1]),
            _axis_slice(grid.x_mm, low[0], high[0]),
        )
        return CanvasBox(
            part,
            grid.z_mm[part[0], None, None],
            grid.y_mm[None, part[1], None],
            grid.x_mm[None, None, part[2]],
        )

    def planes(self, rows: slice) -> CanvasBox:
        """Whole planes of the grid."""
        part = (rows, slice(0, self.grid.shape[1]), slice(0, self.grid.shape[2]))
        return CanvasBox(
            part, self.grid.z_mm[rows, None, None], self.grid.y_mm[None, :, None], self.grid.x_mm[None, None, :]
        )

    def paint(self, box: CanvasBox, cover: Array, hu: float | Array, *, on_lung_only: bool = False) -> None:
        """Blend a solid in.

        Args:
            box: Where.
            cover: Share of each sample the solid fills, 0 to 1.
            hu: Its density.
            on_lung_only: Paint inside the lung and leave it lung; otherwise what is covered stops being lung.
        """
        lung = self.lung[box.part]
        if on_lung_only:
            cover = cover * lung
        else:
            lung *= 1 - cover
        self.blend(box, cover, hu)

    def blend(self, box: CanvasBox, cover: Array, hu: float | Array) -> None:
        """Blend densities in and leave the lung as it is; for what is painted before the lungs are."""
        target = self.hu[box.part]
        change = np.subtract(hu, target, dtype=np.float32)
        change *= cover
        target += change

    def paint_ellipsoid(
        self,
        centre: Sequence[float],
        semi: Sequence[float],
        hu: float,
        *,
        tilt: float = 0.0,
        on_lung_only: bool = False,
    ) -> None:
        """Paint an ellipsoid; ``tilt`` turns it about the y axis, left side down (radian)."""
        reach = [max(semi[0], semi[2]) + 6, semi[1] + 6, max(semi[0], semi[2]) + 6]
        box = self.box(
            [c - r for c, r in zip(centre, reach, strict=True)], [c + r for c, r in zip(centre, reach, strict=True)]
        )
        if 0 in self.hu[box.part].shape:
            return
        cos, sin = float(np.cos(tilt)), float(np.sin(tilt))
        dx, dy, dz = box.x - np.float32(centre[0]), box.y - np.float32(centre[1]), box.z - np.float32(centre[2])
        along, v, across = (dx * cos - dz * sin) / semi[0], dy / semi[1], (dx * sin + dz * cos) / semi[2]
        ez, ey, ex = self.grid.extent_mm
        slope = (
            np.abs(along * cos / semi[0] + across * sin / semi[2]) * ex
            + np.abs(across * cos / semi[2] - along * sin / semi[0]) * ez
            + np.abs(v / semi[1]) * ey
        )
        level = along**2 + across**2 + v**2
        cover = np.clip(0.5 + (1 - level) / np.maximum(2 * slope, 1e-3), 0, 1)
        self.paint(box, cover, hu, on_lung_only=on_lung_only)

    def paint_tube(self, path: Sequence[Sequence[float]], radius: float | Sequence[float], hu: float) -> None:
        """Paint a round tube along a path of (x, y, z) points; the radius may change from point to point."""
        points = np.asarray(path, np.float64)
        radii = np.broadcast_to(np.asarray(radius, np.float64), len(points))
        for i in range(len(points) - 1):
            self._paint_capsule(points[i], points[i + 1], float(radii[i]), float(radii[i + 1]), hu)

    def _paint_capsule(self, a: NDArray[np.float64], b: NDArray[np.float64], ra: float, rb: float, hu: float) -> None:
        margin = max(ra, rb) + 5
        box = self.box((np.minimum(a, b) - margin).tolist(), (np.maximum(a, b) + margin).tolist())
        if 0 in self.hu[box.part].shape:
            return
        start, axis = a.astype(np.float32), (b - a).astype(np.float32)
        length_sq = float(axis @ axis) or 1.0
        dx, dy, dz = box.x - start[0], box.y - start[1], box.z - start[2]
        s = np.clip((dx * axis[0] + dy * axis[1] + dz * axis[2]) / length_sq, 0, 1)
        nx, ny, nz = dx - s * axis[0], dy - s * axis[1], dz - s * axis[2]
        distance = np.sqrt(nx**2 + ny**2 + nz**2) + 1e-3
        ez, ey, ex = self.grid.extent_mm
        width = (np.abs(nx) * ex + np.abs(ny) * ey + np.abs(nz) * ez) / distance
        radius = ra + s * (rb - ra)
        # A tube thinner than a sample cannot fill it, so what it lays along a coarse axis stays its chord.
        width = np.maximum(width, 0.5)
        cover = np.clip(0.5 + (radius - distance) / width, 0, np.minimum(1, 2 * radius / width))
        self.paint(box, cover.astype(np.float32), hu)
