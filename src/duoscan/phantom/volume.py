"""The thorax as a volume of Hounsfield units.

CT and X-ray come from the same anatomy and the same lesions: :func:`build_volume` samples them on whatever grid the
modality needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from duoscan.phantom.bones import paint_shoulders, paint_spine
from duoscan.phantom.canvas import Canvas, CanvasBox, Grid
from duoscan.phantom.lesions import LESION_THRESHOLD, Lesions, lesion_fill
from duoscan.phantom.noise import smooth_noise
from duoscan.phantom.organs import paint_belly_organs, paint_mediastinum
from duoscan.phantom.shape import (
    body_depth,
    horizontal_fissure,
    oblique_fissure,
)
from duoscan.phantom.trunk import paint_breasts, paint_trunk
from duoscan.phantom.vessels import Tree, draw_tree, grow_airways, grow_vessels

if TYPE_CHECKING:
    from duoscan.phantom.anatomy import Anatomy
    from duoscan.phantom.arrays import Array, Mask


# A fill of 1 turns lung into this: alveoli full of fluid.
CONSOLIDATION_HU = 35.0


@dataclass(frozen=True)
class Volume:
    """A sampled thorax.

    Attributes:
        intensity_hu: Densities, (D, H, W), plane 0 lowest, row 0 in front, column 0 at the patient's right.
        spacing_mm: Distance between samples, (z, y, x).
        grid: Where the samples lie.
        lung_mask: Lungs with their vessels and lesions, (D, H, W).
        lesion_mask: Where disease fills at least a tenth of the lung's air, (D, H, W).
    """

    intensity_hu: Array
    spacing_mm: tuple[float, float, float]
    grid: Grid
    lung_mask: Mask
    lesion_mask: Mask

    @property
    def severity(self) -> float:
        """Share of the lung that is diseased, 0 to 1."""
        lung = int(self.lung_mask.sum())
        return float(self.lesion_mask.sum()) / lung if lung else 0.0


def ct_grid(anatomy: Anatomy, slices: int, size: int, *, field_scale: float = 1.0) -> Grid:
    """Grid of an axial CT from under the lungs to over them.

    Args:
        anatomy: Whose thorax; it sets the field of view.
        slices: Number D of slices.
        size: Rows and columns of a slice.
        field_scale: Width of the field of view relative to the trunk.
    """
    trunk = 2 * (anatomy.cage_half_width_mm + 10 + anatomy.muscle_mm + anatomy.fat_side_mm)
    step = trunk * 1.07 * field_scale / size
    axis = (np.arange(size) - (size - 1) / 2) * step
    height = anatomy.lung_height_mm
    z = np.linspace(-0.03 * height, 1.02 * height, slices)
    return Grid(
        z.astype(np.float32), (axis + 6.0).astype(np.float32), axis.astype(np.float32), (4.0, float(step), float(step))
    )


def projection_grid(
    anatomy: Anatomy, x_range: tuple[float, float], z_range: tuple[float, float], steps_mm: tuple[float, float]
) -> Grid:
    """Grid for projecting along y: fine across the film, coarse along the beam.

    Args:
        anatomy: Whose thorax; it sets the depth.
        x_range: First and last position across.
        z_range: Lowest and highest position.
        steps_mm: Step across the film, and step along the beam.
    """
    step, layer = steps_mm
    front, back = body_depth(anatomy)
    return Grid(
        np.arange(*z_range, step).astype(np.float32),
        np.arange(-front, back + layer, layer).astype(np.float32),
        np.arange(*x_range, step).astype(np.float32),
        (step, layer, step),
    )


@lru_cache(maxsize=2)
def _trees(anatomy: Anatomy) -> tuple[Tree, Tree]:
    """Vessels and airways; kept, because CT and X-ray of a patient both need them."""
    return grow_vessels(anatomy), grow_airways(anatomy)


def build_volume(anatomy: Anatomy, lesions: Lesions, grid: Grid, *, fine_texture: bool = True) -> Volume:
    """Sample a patient on a grid.

    Args:
        anatomy: The patient.
        lesions: The disease; :data:`duoscan.phantom.lesions.NO_LESIONS` for a healthy one.
        grid: Where to sample.
        fine_texture: Draw skin, muscle sheets, fissures, lung texture and the thinnest vessels, which a projection
            averages away.
    """
    canvas = Canvas(grid)
    paint_breasts(canvas, anatomy)
    paint_trunk(canvas, anatomy, fine_texture=fine_texture)
    if fine_texture:
        _paint_texture(canvas, anatomy)
    paint_belly_organs(canvas, anatomy)
    paint_mediastinum(canvas, anatomy)
    mask = _paint_disease(canvas, anatomy, lesions, fine_texture=fine_texture)
    paint_spine(canvas, anatomy)
    paint_shoulders(canvas, anatomy)
    lung = canvas.lung > 0.5
    return Volume(canvas.hu, grid.spacing_mm, grid, lung, mask & lung)


def _paint_texture(canvas: Canvas, anatomy: Anatomy) -> None:
    """Fissures, the uneven density of tissue, and emphysema."""
    half = anatomy.cage_half_width_mm
    reach = (half, anatomy.cage_back_mm + 10, anatomy.lung_height_mm)
    _paint_fissures(canvas, anatomy, canvas.box((-half, -anatomy.cage_front_mm, 0), reach))
    rng = np.random.default_rng((anatomy.texture_seed, 3))
    box = canvas.box((-half, -anatomy.cage_front_mm, -np.inf), (half, anatomy.cage_back_mm + 10, np.inf))
    hu, lung = canvas.hu[box.part], canvas.lung[box.part]
    grain = smooth_noise(rng, (max(5.0, 2 * canvas.grid.spacing_mm[0]), 5.0, 5.0)).on(box.z, box.y, box.x)
    hu += grain * (5 + 9 * lung)
    if anatomy.emphysema:
        upper = np.clip((box.z / anatomy.lung_height_mm - 0.35) / 0.4, 0, 1)
        holes = np.clip(grain - 0.4, 0, 1) * upper * np.float32(anatomy.emphysema)
        hu += holes * lung * (np.float32(-960.0) - hu)


def _paint_disease(canvas: Canvas, anatomy: Anatomy, lesions: Lesions, *, fine_texture: bool) -> Mask:
    """Lesions, vessels, airways and variants; returns the lesion mask."""
    mask = np.zeros(canvas.grid.shape, np.bool_)
    for part, fill in lesion_fill(lesions, anatomy, canvas):
        canvas.paint(part, fill, CONSOLIDATION_HU, on_lung_only=True)
        mask[part.part] |= fill > LESION_THRESHOLD
    vessels, airways = _trees(anatomy)
    draw_tree(canvas, airways.thicker_than(1.3), -250.0, scale=1.35)
    draw_tree(canvas, vessels.thicker_than(0.0 if fine_texture else 0.5 * canvas.grid.extent_mm[2]), 40.0)
    draw_tree(canvas, airways.thicker_than(1.3), -980.0, scale=0.9)
    for variant in anatomy.variants:
        r = variant.radius_mm
        if variant.kind == "band":
            canvas.paint_ellipsoid(variant.centre_mm, (30.0, 22.0, r), -250.0, tilt=0.25, on_lung_only=True)
        else:
            canvas.paint_ellipsoid(
                variant.centre_mm, (r, r, r), 600.0 if variant.kind == "granuloma" else 25.0, on_lung_only=True
            )
    return mask


def _paint_fissures(canvas: Canvas, anatomy: Anatomy, box: CanvasBox) -> None:
    """Paint the thin planes between the lobes."""
    oblique = oblique_fissure(anatomy, box.x, box.y, box.z)
    horizontal = horizontal_fissure(anatomy, box.x, box.y, box.z)
    soft = 0.7 * (canvas.grid.extent_mm[0] + canvas.grid.extent_mm[2])
    right_front = (oblique > 0) & (box.x < 0)
    for height, half_width, where in ((oblique, 1.2, True), (horizontal, 0.8, right_front)):
        cover = 0.3 * np.clip((half_width - np.abs(height)) / soft, 0, 1) * where
        canvas.paint(box, cover.astype(np.float32), 0.0, on_lung_only=True)
