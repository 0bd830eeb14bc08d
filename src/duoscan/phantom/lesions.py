"""Disease: where the lung's air is replaced by fluid.

A lesion is a *fill*: the share of the alveolar air that is gone. A fill of 0.1 to 0.5 is ground glass, through which
vessels still show; near 1 it is consolidation, in which only the air of the bronchi stays dark. The COVID-like pattern
follows the typical appearance of the RSNA consensus statement (Simpson et al., Radiology: Cardiothoracic Imaging 2020):
bilateral, peripheral, multifocal ground glass, more below and behind. Lobar pneumonia fills one lobe up to its fissure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from duoscan.phantom.noise import smooth_noise
from duoscan.phantom.shape import cage_axes, cage_centre, horizontal_fissure, oblique_fissure
from duoscan.phantom.vessels import sample_lung_points
from duoscan.terms import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duoscan.phantom.anatomy import Anatomy
    from duoscan.phantom.arrays import Array
    from duoscan.phantom.canvas import Canvas, CanvasBox
    from duoscan.phantom.noise import NoiseField


# Fill from which a sample counts as diseased.
LESION_THRESHOLD = 0.10
_FINE_MM = 4.5
# Mean of the net of crazy paving at full strength: half the mean of max(0, 1 - 2.2·|n|) of a normal n, which is 0.18.
_MEAN_NET = 0.09


class Lobe(StrEnum):
    """The lobes of the lungs."""

    RIGHT_UPPER = "right upper"
    RIGHT_MIDDLE = "right middle"
    RIGHT_LOWER = "right lower"
    LEFT_UPPER = "left upper"
    LEFT_LOWER = "left lower"

    @property
    def side(self) -> int:
        """1 for the left lung, -1 for the right, the sign of x."""
        return 1 if self in {Lobe.LEFT_UPPER, Lobe.LEFT_LOWER} else -1


@dataclass(frozen=True)
class Blob:
    """One focus of ground glass, flattened along the pleura.

    Attributes:
        centre_mm: Middle, (x, y, z).
        semi_mm: Half sizes along the pleura, towards the head, and away from the pleura.
        turn_rad: Direction of the pleura's normal in the axial plane.
        fill: Fill in its middle.
        paving: Strength of crazy paving, the net of thickened septa, 0 to 1.
    """

    centre_mm: tuple[float, float, float]
    semi_mm: tuple[float, float, float]
    turn_rad: float
    fill: float
    paving: float


@dataclass(frozen=True)
class Lesions:
    """The disease of one patient.

    Attributes:
        finding: The class it belongs to.
        blobs: Foci of ground glass.
        lobe: The consolidated lobe.
        centre_mm: Where in the lobe the consolidation started, (x, y, z).
        radius_mm: How far it has spread from there.
        fill: Fill of the consolidation.
        seed: Seed of its ragged edges.
    """

    finding: Finding
    blobs: tuple[Blob, ...] = ()
    lobe: Lobe | None = None
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    radius_mm: float = 0.0
    fill: float = 0.0
    seed: int = 0


NO_LESIONS = Lesions(Finding.NORMAL)


def sample_lesions(finding: Finding, anatomy: Anatomy, rng: np.random.Generator) -> Lesions:
    """Draw the disease of one patient; its extent varies from hardly visible to half of both lungs."""
    if finding is Finding.COVID:
        return _sample_covid(anatomy, rng)
    if finding is Finding.PNEUMONIA:
        return _sample_pneumonia(anatomy, rng)
    return NO_LESIONS


def _sample_covid(anatomy: Anatomy, rng: np.random.Generator) -> Lesions:
    target = float(np.clip(np.exp(rng.normal(np.log(0.28), 0.65)), 0.04, 0.70))
    density = float(rng.uniform(0.20, 0.46))
    paving = float(rng.uniform(0.3, 1.0)) if rng.random() < 0.5 else 0.0
    late = rng.random() < 0.25
    lung = np.concatenate([sample_lung_points(anatomy, rng, 1500, 0.5, side) for side in (-1, 1)])
    reached = np.zeros(len(lung), np.bool_)
    blobs: list[Blob] = []
    while len(blobs) < 3 or (reached.mean() < target and len(blobs) < 40):
        fill = float(np.clip(density * rng.uniform(0.7, 1.3), 0.15, 0.55))
        if late and rng.random() < 0.3:
            fill = float(rng.uniform(0.5, 0.8))
        blob = _sample_blob(anatomy, rng, -1 if len(blobs) % 2 else 1, target)
        blobs.append(Blob(*blob, fill, paving))
        reached |= _radius(blobs[-1], lung[:, 0], lung[:, 1], lung[:, 2]) < 1.0
    return Lesions(Finding.COVID, tuple(blobs), seed=int(rng.integers(2**63)))


def _sample_blob(
    anatomy: Anatomy, rng: np.random.Generator, side: int, target: float
) -> tuple[tuple[float, float, float], tuple[float, float, float], float]:
    """Centre, half sizes and direction of a focus under the pleura, mostly low and behind."""
    angle = abs(float(rng.normal(0.75, 0.6)))
    angle = min(angle, 2.3)
    level = 0.16 + 0.70 * float(rng.beta(1.5, 2.4))
    z = np.array([level * anatomy.lung_height_mm], np.float32)
    half, front, back = (float(axis[0]) for axis in cage_axes(anatomy, z))
    size = (0.55 + 2.0 * target) * float(rng.uniform(0.65, 1.35))
    semi = (27.0 * size, 25.0 * size, 17.0 * size)
    inwards = 1 - 0.55 * semi[2] * float(rng.uniform(0.6, 1.2)) / min(half, back)
    x = side * max(22.0, half * np.sin(angle) * inwards)
    y = float(cage_centre(anatomy, z)[0]) + (back if angle < np.pi / 2 else front) * np.cos(angle) * inwards
    # Low behind the dome the lung is thin, so foci there are kept at the level where lung is.
    normal = float(np.arctan2((y - float(cage_centre(anatomy, z)[0])) / back**2, x / half**2))
    return (float(x), float(y), float(z[0])), semi, normal


def _radius(blob: Blob, x: Array, y: Array, z: Array) -> Array:
    """Distance from a focus' middle in units of its half sizes."""
    cos, sin = np.float32(np.cos(blob.turn_rad)), np.float32(np.sin(blob.turn_rad))
    dx, dy, dz = (p - np.float32(c) for p, c in zip((x, y, z), blob.centre_mm, strict=True))
    out, along = dx * cos + dy * sin, dy * cos - dx * sin
    square = (along / blob.semi_mm[0]) ** 2 + (dz / blob.semi_mm[1]) ** 2 + (out / blob.semi_mm[2]) ** 2
    return np.asarray(np.sqrt(square), np.float32)


_LOBE_CHANCES = {
    Lobe.RIGHT_UPPER: 0.24,
    Lobe.RIGHT_MIDDLE: 0.12,
    Lobe.RIGHT_LOWER: 0.28,
    Lobe.LEFT_UPPER: 0.14,
    Lobe.LEFT_LOWER: 0.22,
}


def _sample_pneumonia(anatomy: Anatomy, rng: np.random.Generator) -> Lesions:
    lobe = list(_LOBE_CHANCES)[int(rng.choice(len(_LOBE_CHANCES), p=list(_LOBE_CHANCES.values())))]
    points = sample_lung_points(anatomy, rng, 3000, 12.0, lobe.side)
    inside = points[_lobe_depth(lobe, anatomy, points[:, 0], points[:, 1], points[:, 2]) > 8.0]
    centre = inside[int(rng.integers(len(inside)))]
    return Lesions(
        Finding.PNEUMONIA,
        lobe=lobe,
        centre_mm=(float(centre[0]), float(centre[1]), float(centre[2])),
        radius_mm=float(rng.uniform(28.0, 85.0)),
        fill=float(rng.uniform(0.50, 0.97)),
        seed=int(rng.integers(2**63)),
    )


def _lobe_depth(lobe: Lobe, anatomy: Anatomy, x: Array, y: Array, z: Array) -> Array:
    """Distance from the fissures that bound a lobe, positive inside; the other lung is far outside."""
    oblique = oblique_fissure(anatomy, x, y, z)
    if lobe in {Lobe.RIGHT_LOWER, Lobe.LEFT_LOWER}:
        depth = -oblique
    elif lobe is Lobe.LEFT_UPPER:
        depth = oblique
    else:
        horizontal = horizontal_fissure(anatomy, x, y, z)
        depth = np.minimum(oblique, horizontal if lobe is Lobe.RIGHT_UPPER else -horizontal)
    return np.asarray(np.where(np.sign(x) == lobe.side, depth, np.float32(-100.0)), np.float32)


def lesion_fill(lesions: Lesions, anatomy: Anatomy, canvas: Canvas) -> Iterator[tuple[CanvasBox, Array]]:
    """Sample the disease: parts of the grid and their fill, to be painted in order.

    Args:
        lesions: The disease.
        anatomy: Whose lungs.
        canvas: Where to sample; only its grid is used.

    Yields:
        A part of the grid and the fill there, (d, h, w), 0 to 1. Parts overlap.
    """
    rng = np.random.default_rng(lesions.seed)
    ragged = smooth_noise(rng, 15.0)
    # Detail that is smaller than a sample would only cost time.
    fine = smooth_noise(rng, _FINE_MM) if lesions.blobs and max(canvas.grid.extent_mm) < _FINE_MM else None
    for blob in lesions.blobs:
        reach = 1.45 * max(blob.semi_mm)
        box = canvas.box([c - reach for c in blob.centre_mm], [c + reach for c in blob.centre_mm])
        if min(box.x.size, box.y.size, box.z.size):
            yield box, _blob_fill(blob, box, ragged, fine)
    if lesions.lobe is not None:
        reach = lesions.radius_mm + 30.0
        box = canvas.box([c - reach for c in lesions.centre_mm], [c + reach for c in lesions.centre_mm])
        if min(box.x.size, box.y.size, box.z.size):
            yield box, _lobar_fill(lesions, lesions.lobe, anatomy, box, ragged)


def _blob_fill(blob: Blob, box: CanvasBox, ragged: NoiseField, fine: NoiseField | None) -> Array:
    """Ground glass with a ragged, blurred edge, and crazy paving where the focus has it."""
    edge = 1.05 - _radius(blob, box.x, box.y, box.z) + 0.22 * ragged.on(box.z, box.y, box.x)
    soft = np.clip(edge / 0.5, 0, 1)
    fill = blob.fill * soft * soft * (3 - 2 * soft)
    if fine is None:
        return np.asarray(fill * (0.92 + _MEAN_NET * blob.paving), np.float32)
    grain = fine.on(box.z, box.y, box.x)
    net = np.clip(1 - np.abs(grain) * 2.2, 0, 1) * np.float32(0.5 * blob.paving)
    return np.asarray(np.clip(fill * (0.92 + 0.16 * grain * (1 - blob.paving) + net), 0, 1), np.float32)


def _lobar_fill(lesions: Lesions, lobe: Lobe, anatomy: Anatomy, box: CanvasBox, ragged: NoiseField) -> Array:
    """Consolidation: sharp at the fissure, blurred where it meets air, with a rim of ground glass."""
    dx, dy, dz = (p - np.float32(c) for p, c in zip((box.x, box.y, box.z), lesions.centre_mm, strict=True))
    depth = np.float32(lesions.radius_mm) - np.sqrt(dx * dx + dy * dy + dz * dz)
    depth += 11.0 * ragged.on(box.z, box.y, box.x)
    core = np.clip(depth / 9.0, 0, 1)
    rim = 0.3 * np.clip((depth + 14.0) / 14.0, 0, 1)
    inside = np.clip(_lobe_depth(lobe, anatomy, box.x, box.y, box.z) / 2.0 + 0.5, 0, 1)
    return np.asarray(np.maximum(lesions.fill * core * core * (3 - 2 * core), rim) * inside, np.float32)
