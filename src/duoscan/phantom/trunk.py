"""Skin, fat, muscle, rib cage and lungs: what fills most samples, painted a few planes at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from duoscan.phantom.bones import paint_wall
from duoscan.phantom.canvas import FAT_HU, SOFT_TISSUE_HU
from duoscan.phantom.noise import smooth_noise
from duoscan.phantom.organs import paint_abdomen
from duoscan.phantom.shape import (
    apex_height,
    body_depth,
    body_level,
    cage_level,
    diaphragm_height,
    mediastinum_half_width,
)

if TYPE_CHECKING:
    from duoscan.phantom.anatomy import Anatomy
    from duoscan.phantom.arrays import Array
    from duoscan.phantom.canvas import Canvas, CanvasBox
    from duoscan.phantom.noise import NoiseField
    from duoscan.phantom.shape import TrunkLevel

# So many samples at a time stay in a processor's cache.
_BLOCK_SAMPLES = 300_000
_SKIN_HU = 10.0
_SKIN_MM = 2.2
_WALL_MM = 22.0


@dataclass(frozen=True)
class _Scene:
    """What all planes of one volume share.

    ``roof`` and ``top`` are the heights of diaphragm and apex over the cage, (1, h, w), ``*_blur`` the height over
    which a sample softens them.
    """

    anatomy: Anatomy
    roof: Array
    roof_blur: Array
    top: Array
    top_blur: Array
    sheets: NoiseField | None


def paint_breasts(canvas: Canvas, anatomy: Anatomy) -> None:
    """Skin, fat and gland; half buried in the trunk, which is painted over them."""
    if not anatomy.breast_mm:
        return
    front = anatomy.cage_front_mm + 10 + anatomy.muscle_mm
    half = anatomy.cage_half_width_mm
    y = -0.50 * front
    depth = 0.42 * front + 0.8 * anatomy.fat_front_mm + 0.6 * anatomy.breast_mm
    for side in (-1.0, 1.0):
        centre = (side * 0.62 * half, y, 0.40 * anatomy.lung_height_mm)
        semi = (0.55 * half, depth, 0.50 * half)
        gland = (side * 0.57 * half, y - 0.36 * depth, centre[2] - 4.0)
        canvas.paint_ellipsoid(centre, semi, 20.0)
        canvas.paint_ellipsoid(centre, [s - 2.5 for s in semi], FAT_HU)
        canvas.paint_ellipsoid(gland, [0.5 * s for s in semi], 5.0)


def paint_trunk(canvas: Canvas, anatomy: Anatomy, *, fine_texture: bool) -> None:
    """Paint skin, fat, muscle, cage, abdomen, lungs and ribs.

    Args:
        canvas: What to paint on.
        anatomy: Whose trunk.
        fine_texture: Draw the skin and the fat between muscles.
    """
    grid = canvas.grid
    core = _core(canvas, anatomy, slice(0, 1))
    sheets = smooth_noise(np.random.default_rng((anatomy.texture_seed, 4)), 26.0) if fine_texture else None
    roof, top = diaphragm_height(anatomy, core.x, core.y), apex_height(anatomy, core.x, core.y)
    extent = grid.extent_mm[0]
    scene = _Scene(anatomy, roof, _blur(roof, extent), top, _blur(top, extent), sheets)
    planes = max(1, _BLOCK_SAMPLES // (grid.shape[1] * grid.shape[2]))
    for start in range(0, grid.shape[0], planes):
        rows = slice(start, min(start + planes, grid.shape[0]))
        _paint_soft_wall(canvas, scene, _trunk_box(canvas, anatomy, rows))
        _paint_cage(canvas, scene, _core(canvas, anatomy, rows))


def _trunk_box(canvas: Canvas, anatomy: Anatomy, rows: slice) -> CanvasBox:
    """The part of some planes that can hold more than air."""
    front, back = body_depth(anatomy)
    z = canvas.grid.z_mm[rows]
    wide = float(np.abs(canvas.grid.x_mm).max())
    return canvas.box((-wide, -front, float(z[0])), (wide, back, float(z[-1])))


def _core(canvas: Canvas, anatomy: Anatomy, rows: slice) -> CanvasBox:
    """The part of some planes that holds the cage and its wall."""
    half = anatomy.cage_half_width_mm + _WALL_MM
    z = canvas.grid.z_mm[rows]
    low = (-half, -anatomy.cage_front_mm - _WALL_MM, float(z[0]))
    return canvas.box(low, (half, anatomy.cage_back_mm + _WALL_MM, float(z[-1])))


def _blur(height: Array, extent_z_mm: float) -> Array:
    """Where a surface is steep, one sample covers more of its height."""
    slope = np.abs(np.gradient(height[0], axis=0)) + np.abs(np.gradient(height[0], axis=1))
    return np.asarray(extent_z_mm + np.minimum(slope, 12.0), np.float32)[None]


def _paint_soft_wall(canvas: Canvas, scene: _Scene, box: CanvasBox) -> None:
    """Paint skin, fat and muscle; sheets of fat part the muscle along its own surface."""
    _, ey, ex = canvas.grid.extent_mm
    skin = body_level(scene.anatomy, box.x, box.y, box.z).depth(ex, ey)
    muscle = body_level(scene.anatomy, box.x, box.y, box.z, inset=1.0)
    cover = np.clip(muscle.depth(ex, ey) + np.float32(0.5), 0, 1)
    if scene.sheets is None:
        canvas.blend(box, np.clip(skin + np.float32(0.5), 0, 1), FAT_HU)
    else:
        canvas.blend(box, np.clip(skin + np.float32(0.5), 0, 1), _SKIN_HU)
        canvas.blend(box, np.clip(skin - np.float32(_SKIN_MM / (0.7 * (ex + ey)) - 0.5), 0, 1), FAT_HU)
        layer = muscle.value * np.float32(2.6)
        layer += scene.sheets.on(box.z, box.y, box.x) * np.float32(0.45)
        gap = np.clip(np.float32(1.25) - np.abs(layer - np.rint(layer - np.float32(0.5)) - np.float32(0.5)) * 14, 0, 1)
        cover *= 1 - np.float32(0.8) * gap
    canvas.blend(box, cover, SOFT_TISSUE_HU)


def _paint_cage(canvas: Canvas, scene: _Scene, box: CanvasBox) -> None:
    """Paint what the rib cage holds, and its wall."""
    cage = cage_level(scene.anatomy, box.x, box.y, box.z)
    depth = cage.depth(canvas.grid.extent_mm[2], canvas.grid.extent_mm[1])
    inside = np.clip(depth + np.float32(0.5), 0, 1)
    canvas.blend(box, inside, FAT_HU)
    paint_abdomen(canvas, box, inside, scene.roof)
    _paint_lungs(canvas, scene, box, (cage, depth))
    paint_wall(canvas, scene.anatomy, box, cage)


def _paint_lungs(canvas: Canvas, scene: _Scene, box: CanvasBox, inside: tuple[TrunkLevel, Array]) -> None:
    """Paint both lungs; the lower parts are denser because blood sinks to the back of a lying patient.

    Args:
        canvas: What to paint on.
        scene: The patient.
        box: Which planes.
        inside: The cage, and the signed depth inside it in samples, which is changed.
    """
    anatomy, ex = scene.anatomy, canvas.grid.extent_mm[2]
    cage, depth = inside
    if float(box.z.min()) < float(scene.roof.max()) + 10:
        np.minimum(depth, (box.z - scene.roof) / scene.roof_blur, out=depth)
    if float(box.z.max()) > float(scene.top.min()):
        np.minimum(depth, (scene.top - box.z) / scene.top_blur, out=depth)
    middle = int(np.searchsorted(box.x[0, 0], 0.0))
    for left, part in ((False, slice(0, middle)), (True, slice(middle, None))):
        width = mediastinum_half_width(anatomy, box.y, box.z, left=left)
        lean = np.abs(np.gradient(width, axis=1))
        np.minimum(depth[..., part], (np.abs(box.x[..., part]) - width) / (ex + lean), out=depth[..., part])
    cover = np.clip(depth + np.float32(0.5), 0, 1)
    hu = anatomy.lung_hu + anatomy.lung_gradient_hu * (box.y + 20.0) / 140.0
    if anatomy.dependent_hu:
        # The layer under the pleura, thick at the very back and gone at the sides.
        layer = np.clip((cage.value - np.float32(0.55)) / np.float32(0.45), 0, 1)
        hu = hu + layer * layer * np.clip((box.y - 20.0) / 40.0, 0, 1) * np.float32(anatomy.dependent_hu)
    canvas.blend(box, cover, hu)
    canvas.lung[box.part] = cover
