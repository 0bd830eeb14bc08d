"""Heart, great vessels, windpipe and what lies under the diaphragm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from duoscan.phantom.canvas import FAT_HU, Canvas, CanvasBox
from duoscan.phantom.shape import back_of_cage, spine_x
from duoscan.phantom.vessels import hilum

if TYPE_CHECKING:
    from duoscan.phantom.anatomy import Anatomy
    from duoscan.phantom.arrays import Array, Triple


BLOOD_HU = 43.0
LIVER_HU = 58.0
SPLEEN_HU = 50.0
AIRWAY_HU = -990.0


def paint_abdomen(canvas: Canvas, box: CanvasBox, cage_cover: Array, roof: Array) -> None:
    """Fill the cage under the diaphragm with liver on the right and spleen on the left.

    Args:
        canvas: What to paint on.
        box: Where.
        cage_cover: Share of each sample that is inside the rib cage.
        roof: Height of the diaphragm over the same box, (1, h, w).
    """
    ez, ey, ex = canvas.grid.extent_mm
    if float(box.z.min()) > float(roof.max()) + ez:
        return
    under = np.clip((roof - box.z) / np.float32(ez + 0.3 * (ey + ex)) + 0.5, 0, 1)
    canvas.blend(box, under * cage_cover, np.where(box.x < 12.0, LIVER_HU, SPLEEN_HU).astype(np.float32))


def paint_belly_organs(canvas: Canvas, anatomy: Anatomy) -> None:
    """Stomach with its gas, and the fat around it, under the left dome."""
    dome = anatomy.dome_left_mm
    half = anatomy.cage_half_width_mm
    centre = (0.45 * half, -12.0, dome - 52.0)
    canvas.paint_ellipsoid((0.52 * half, 4.0, dome - 66.0), (46.0, 46.0, 46.0), FAT_HU)
    canvas.paint_ellipsoid(centre, (40.0, 46.0, 40.0), 38.0, tilt=0.3)
    if anatomy.stomach_gas_mm:
        gas = anatomy.stomach_gas_mm
        canvas.paint_ellipsoid(
            (centre[0], centre[1] - 18.0, dome - 14.0 - 0.55 * gas), (1.25 * gas, gas, 0.5 * gas), -960.0
        )


def paint_mediastinum(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint heart and great vessels over the lungs, then the air of the windpipe."""
    _paint_heart(canvas, anatomy)
    _paint_great_vessels(canvas, anatomy)
    _paint_windpipe(canvas, anatomy)


def heart_centre(anatomy: Anatomy) -> tuple[float, float, float]:
    """Centre of the left ventricle; the heart rests on the diaphragm."""
    dome = 0.5 * (anatomy.dome_left_mm + anatomy.dome_right_mm)
    x = 26.0 * anatomy.heart_scale + anatomy.heart_shift_mm
    return x, -0.24 * anatomy.cage_front_mm, dome + 25.0 * anatomy.heart_scale


def _paint_heart(canvas: Canvas, anatomy: Anatomy) -> None:
    k = anatomy.heart_scale
    x, y, z = heart_centre(anatomy)
    tilt = anatomy.heart_tilt_rad
    chambers = (
        ((1.0, -2.0, 1.0), (68.0, 50.0, 50.0), FAT_HU, tilt),  # the fat on the heart
        ((2.0, -3.0, 2.0), (60.0, 44.0, 45.0), BLOOD_HU, tilt),
        ((8.0, 10.0, 2.0), (54.0, 38.0, 42.0), BLOOD_HU, tilt + 0.1),
        ((-38.0, 3.0, 12.0), (29.0, 33.0, 42.0), BLOOD_HU, 0.0),
        ((-20.0, 34.0, 28.0), (40.0, 22.0, 26.0), BLOOD_HU, 0.0),
        ((0.0, -12.0, 40.0), (27.0, 22.0, 38.0), BLOOD_HU, 0.15),
    )
    for (dx, dy, dz), semi, hu, turn in chambers:
        canvas.paint_ellipsoid((x + k * dx, y + k * dy, z + k * dz), [k * s for s in semi], hu, tilt=turn)


def _paint_great_vessels(canvas: Canvas, anatomy: Anatomy) -> None:
    """Aorta, the vessels of the upper mediastinum, and the roots of the lungs' vessels."""
    height = anatomy.lung_height_mm
    _, y, z = heart_centre(anatomy)
    arch = 0.745 * height
    _paint_aorta(canvas, anatomy, arch)
    top = 1.3 * height
    for path, radius in (
        (((-3.0, -2.0, arch), (-14.0, -2.0, 0.9 * height), (-22.0, 0.0, top)), 6.5),
        (((8.0, 4.0, arch), (14.0, 2.0, 0.9 * height), (22.0, 0.0, top)), 4.8),
        (((20.0, 12.0, arch), (26.0, 8.0, 0.92 * height), (60.0, 0.0, height)), 5.0),
        (((-30.0, -2.0, z + 45), (-30.0, -8.0, 0.66 * height), (-28.0, -12.0, 0.82 * height), (-34.0, -8.0, top)), 9.0),
        (((-26.0, -14.0, 0.80 * height), (10.0, -20.0, 0.84 * height), (34.0, -10.0, 0.95 * height)), 6.5),
        (((4.0, y - 14, z + 48), (16.0, y - 4, 0.58 * height), (20.0, 0.0, 0.615 * height)), 14.0),
    ):
        canvas.paint_tube(path, radius, BLOOD_HU)
    for side, start in ((-1, (12.0, 0.0, 0.60 * height)), (1, (18.0, 2.0, 0.615 * height))):
        hx, hy, hz = hilum(anatomy, side)
        artery = (start, (hx, hy, hz), (hx * 1.22, hy + 6, hz - 22), (hx * 1.34, hy + 14, hz - 44))
        canvas.paint_tube(artery, (11.0, 10.0, 8.0, 5.5), BLOOD_HU)
        canvas.paint_tube(((hx * 0.5, hy + 12, hz - 34), (hx * 1.15, hy + 8, hz - 26)), (8.0, 6.0), BLOOD_HU)


def _paint_aorta(canvas: Canvas, anatomy: Anatomy, arch: float) -> None:
    """Up from the heart, over the left bronchus and down beside the spine."""
    height, knob = anatomy.lung_height_mm, anatomy.aortic_knob_mm
    _, y, z = heart_centre(anatomy)
    levels = np.array([arch - 24, 0.55 * height, 0.35 * height, 0.15 * height, -0.25 * height], np.float32)
    beside = np.array([knob, 24.0, 22.0, 16.0, 4.0], np.float32) + spine_x(anatomy, levels)
    behind = back_of_cage(anatomy, levels) - 34.0
    path = [
        (-4.0, y + 4, z + 40),
        (-14.0, y - 4, arch - 45),
        (-10.0, y - 2, arch - 16),
        (4.0, 2.0, arch - 3),
        (knob - 6.0, 14.0, arch - 6),
        *zip(beside.tolist(), behind.tolist(), levels.tolist(), strict=True),
    ]
    narrowing = (1.05, 1.05, 1.0, 0.98, 0.95, 0.85, 0.82, 0.80, 0.76, 0.70)
    canvas.paint_tube(path, [anatomy.aorta_radius_mm * share for share in narrowing], BLOOD_HU)


def _paint_windpipe(canvas: Canvas, anatomy: Anatomy) -> None:
    """Gullet, then windpipe and main bronchi: all walls first, so that no wall closes a neighbour's air."""
    height = anatomy.lung_height_mm
    carina = (-2.0, 12.0, 0.675 * height)
    levels = np.array([1.3, 0.98, 0.8, 0.5, 0.2], np.float32) * np.float32(height)
    back = back_of_cage(anatomy, levels)
    gullet = zip((4.0, 4.0, 4.0, 6.0, 10.0), (back - 42.0).tolist(), levels.tolist(), strict=True)
    canvas.paint_tube(list(gullet), 7.5, 35.0)
    trachea = [*zip((0.0, 0.0, 0.0), (back[:3] - 49.0).tolist(), levels[:3].tolist(), strict=True), carina]
    tubes: list[tuple[list[Triple], tuple[float, ...]]] = [(trachea, (8.6, 8.6, 8.6, 8.6))]
    for side, radius, fall in ((-1, 7.0, 20.0), (1, 6.2, 17.0)):
        hx, hy, hz = hilum(anatomy, side)
        bronchus = [(0.55 * hx, 16.0, carina[2] - fall), (1.12 * hx, hy + 12, hz - 16), (1.2 * hx, hy + 16, hz - 40)]
        tubes.append(([carina, *bronchus], (radius + 0.8, radius, 4.6, 3.2)))
    for path, radii in tubes:
        canvas.paint_tube(path, [radius + 1.5 for radius in radii], 25.0)
    for path, radii in tubes:
        canvas.paint_tube(path, radii, AIRWAY_HU)
