"""Ribs, breast bone, spine, shoulder girdle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from duoscan.phantom.shape import (
    TrunkLevel,
    back_of_cage,
    body_level,
    cage_axes,
    cage_centre,
    profile,
    spine_x,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from duoscan.phantom.anatomy import Anatomy
    from duoscan.phantom.arrays import Array
    from duoscan.phantom.canvas import Canvas, CanvasBox


_RIB_DEPTH_MM = 5.0
_RIB_HALF_THICKNESS_MM = 3.9
_CARTILAGE_HU = 95.0
_FRONT_END_RAD = 2.5
# Angle (degrees from behind, around the chest) at which the bone of ribs 1 to 12 ends and cartilage begins.
_BONE_END_DEG = (138, 140, 140, 138, 135, 130, 124, 116, 108, 100, 72, 50)
_JOINED_RIBS = 7
_STERNUM_REACH_MM = 32.0
_STERNUM_HALF_WIDTH = ((0.36, 6.0), (0.42, 16.0), (0.6, 17.0), (0.72, 15.0), (0.76, 22.0), (0.86, 27.0), (0.9, 20.0))


@dataclass(frozen=True)
class _Shell:
    """The samples of the chest wall just outside the cage, as flat arrays.

    ``depth`` is the distance outside the cage, ``angle`` runs from 0 behind to π in front, ``width_*`` is the sample's
    extent across and along the wall.
    """

    index: NDArray[np.intp]
    x: Array
    z: Array
    depth: Array
    angle: Array
    radius: Array
    width_across: Array
    width_along: Array


def _shell(canvas: Canvas, anatomy: Anatomy, box: CanvasBox, cage: TrunkLevel, reach_mm: float) -> _Shell:
    """Find the samples of ``box`` that lie up to ``reach_mm`` outside the cage."""
    n = anatomy.cage_exponent
    half, front, back = (axis[:, 0, 0] for axis in cage_axes(anatomy, box.z))
    limit = (1 + (reach_mm + 2) / np.minimum(front, back)) ** n
    near = (cage.value > (1 - 4 / back[:, None, None]) ** n) & (cage.value < limit[:, None, None])
    flat = np.flatnonzero(near)
    rows, columns = near.shape[1:]
    iz, rest = np.divmod(flat, rows * columns)
    iy, ix = np.divmod(rest, columns)
    x, z = box.x[0, 0, ix], box.z[iz, 0, 0]
    dy = box.y[0, iy, 0] - cage_centre(anatomy, box.z)[iz, 0, 0]
    level = cage.value.reshape(-1)[flat]
    gx, gy = cage.slope_x[iz, 0, ix], cage.slope_y[iz, iy, 0]
    steep = np.sqrt(gx * gx + gy * gy) + 1e-6
    scale = level ** (1 / n)
    depth = (scale - 1) * n * level / (scale * steep)
    ez, ey, ex = canvas.grid.extent_mm
    return _Shell(
        index=np.ravel_multi_index(
            tuple(own + part.start for own, part in zip((iz, iy, ix), box.part, strict=True)), canvas.grid.shape
        ),
        x=x,
        z=z,
        depth=depth.astype(np.float32),
        angle=np.arctan2(np.abs(x) / half[iz], dy / np.where(dy < 0, front[iz], back[iz])),
        radius=np.sqrt(x * x + dy * dy),
        width_across=(gx * ex + gy * ey) / steep,
        width_along=np.asarray(ez + 0.15 * (gx * ey + gy * ex) / steep, np.float32),
    )


def paint_wall(canvas: Canvas, anatomy: Anatomy, box: CanvasBox, cage: TrunkLevel) -> None:
    """Paint ribs, cartilage and breast bone into the chest wall of ``box``."""
    shell = _shell(canvas, anatomy, box, cage, 13.0)
    if not shell.x.size:
        return
    density = canvas.hu.reshape(-1)
    hu = density[shell.index]
    for cover, value in _ribs(anatomy, shell):
        hu += cover * (np.float32(value) - hu)
    density[shell.index] = hu
    _paint_sternum(anatomy, shell, density)


def _ribs(anatomy: Anatomy, shell: _Shell) -> list[tuple[Array, float]]:
    """Cover and density of cartilage, compact bone and marrow."""
    turn = np.clip(shell.angle / _FRONT_END_RAD, 0, 1)
    fall = turn**1.1
    slope_of_fall = 1.1 * turn**0.1 / _FRONT_END_RAD
    top = 0.985 * anatomy.lung_height_mm - shell.z
    pitch = anatomy.rib_pitch_mm + anatomy.rib_drop_step_mm * fall
    number = (top - anatomy.rib_drop_mm * fall) / pitch
    nearest = np.clip(np.rint(number), 0, 11)
    drop = (anatomy.rib_drop_mm + anatomy.rib_drop_step_mm * nearest) * slope_of_fall
    level = 1 / np.sqrt(1 + (drop / np.maximum(shell.radius, 30.0)) ** 2)
    off = (number - nearest) * pitch * level
    across = (shell.depth - _RIB_DEPTH_MM) / _RIB_HALF_THICKNESS_MM
    along = off / anatomy.rib_half_height_mm
    r = np.sqrt(across**2 + along**2) + 1e-3
    soft = (
        np.abs(across) / _RIB_HALF_THICKNESS_MM * shell.width_across
        + np.abs(along) / anatomy.rib_half_height_mm * shell.width_along
    ) / r + 1e-3
    bone_end = np.radians(np.asarray(_BONE_END_DEG, np.float32))[nearest.astype(np.intp)]
    edge = np.clip((bone_end - shell.angle) * shell.radius / 4.0 + 0.5, 0, 1)
    # A solid thinner than a sample cannot fill it.
    whole = np.clip((1 - r) / soft + 0.5, 0, np.minimum(1, 2 / soft)) * (number < 11.6)
    inner = np.clip((0.75 - r) / soft + 0.5, 0, np.minimum(1, 1.5 / soft)) * (number < 11.6)
    joined = (nearest < _JOINED_RIBS) & (shell.angle < np.pi)
    cartilage = whole * (1 - edge) * joined
    cartilage_hu = _CARTILAGE_HU + 120.0 * anatomy.cartilage_calcification
    return [(cartilage, cartilage_hu), (whole * edge, anatomy.cortical_hu), (inner * edge, anatomy.marrow_hu)]


def _paint_sternum(anatomy: Anatomy, shell: _Shell, density: Array) -> None:
    """Paint the breast bone, wider at the top, into ``density``, the flat volume."""
    chosen = (shell.angle > np.pi / 2) & (np.abs(shell.x) < _STERNUM_REACH_MM)
    x, depth, width = shell.x[chosen], shell.depth[chosen], shell.width_across[chosen]
    t = shell.z[chosen] / np.float32(anatomy.lung_height_mm)
    half = profile(t, _STERNUM_HALF_WIDTH)
    tall = np.clip(np.minimum(t - 0.38, 0.89 - t) * anatomy.lung_height_mm / 4 + 0.5, 0, 1)
    thick = 5.5 * np.sqrt(np.maximum(1 - (x / (half + 3)) ** 4, 0.01))
    hu = density[shell.index[chosen]]
    for inset, value in ((0.0, 0.75 * anatomy.cortical_hu), (1.5, 0.75 * anatomy.marrow_hu)):
        across = np.clip((thick - inset - np.abs(depth - 6.0)) / width + 0.5, 0, 1)
        along = np.clip((half - inset - np.abs(x)) / 1.5 + 0.5, 0, 1)
        hu += across * along * tall * (np.float32(value) - hu)
    density[shell.index[chosen]] = hu


def paint_spine(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint vertebrae, discs, canal and processes, from behind the neck to the belly."""
    grid = canvas.grid
    low = (-48.0, 20.0, float(grid.z_mm[0]))
    box = canvas.box(low, (48.0, 2 * anatomy.cage_back_mm, float(grid.z_mm[-1])))
    if 0 in canvas.hu[box.part].shape:
        return
    x = np.abs(box.x - spine_x(anatomy, box.z))
    y = box.y - back_of_cage(anatomy, box.z) + 21.0
    size = profile(
        box.z / np.float32(anatomy.lung_height_mm), ((-0.2, 1.12), (0.3, 1.0), (0.7, 0.88), (1.0, 0.84), (1.3, 0.78))
    )
    phase = (0.985 * anatomy.lung_height_mm - box.z) / np.float32(anatomy.rib_pitch_mm)
    between = np.abs(phase - np.floor(phase) - 0.5) * 2
    _, ey, ex = grid.extent_mm
    rx, ry = 17.5 * size * (0.93 + 0.07 * (1 - between) ** 2 + 0.06 * between), 14.5 * size
    disc = np.clip((0.24 - between) * anatomy.rib_pitch_mm / 2 / grid.extent_mm[0] + 0.5, 0, 1)
    body = _ellipse(x, y, rx, ry, (ex, ey))
    core = _ellipse(x, y, rx - 1.5, ry - 1.5, (ex, ey))
    canvas.paint(box, body, anatomy.cortical_hu * 0.7 * (1 - disc) + 95.0 * disc)
    canvas.paint(box, core, (anatomy.marrow_hu - 20) * (1 - disc) + 85.0 * disc)
    _paint_arch(canvas, anatomy, box, (x, y), (size, between))


def _paint_arch(
    canvas: Canvas, anatomy: Anatomy, box: CanvasBox, at: tuple[Array, Array], shape: tuple[Array, Array]
) -> None:
    """Pedicles, laminae, canal, transverse and spinous processes."""
    (x, y), (size, between) = at, shape
    _, ey, ex = canvas.grid.extent_mm
    canal_y = y - 23.0 * size
    tall = np.clip((between - 0.30) * 8, 0, 1)
    ring = _ellipse(x, canal_y, 14.0 * size, 13.0 * size, (ex, ey))
    hole = _ellipse(x, canal_y, 9.5 * size, 8.5 * size, (ex, ey))
    canvas.paint(box, ring * (0.35 + 0.65 * tall) * (y > 8), anatomy.cortical_hu * 0.6)
    swept = canal_y - 4.0 - 0.42 * np.maximum(x - 10, 0)
    wing = np.clip((4.0 - np.abs(swept)) / ey + 0.5, 0, 1) * np.clip((31.0 * size - x) / ex + 0.5, 0, 1)
    wing = wing * np.clip((x - 9.0) / ex + 0.5, 0, 1) * np.clip((between - 0.55) * 8, 0, 1)
    canvas.paint(box, wing, anatomy.cortical_hu * 0.55)
    spinous = np.clip((3.2 - x) / ex + 0.5, 0, 1) * np.clip((38.0 * size - canal_y) / ey + 0.5, 0, 1)
    spinous = spinous * np.clip((canal_y - 8.0) / ey + 0.5, 0, 1)
    canvas.paint(box, spinous * (0.55 + 0.45 * (1 - tall)), anatomy.cortical_hu * 0.55)
    canvas.paint(box, hole, 25.0)


def _ellipse(x: Array, y: Array, rx: Array, ry: Array, extent: tuple[float, float]) -> Array:
    """Partial-volume cover of an ellipse in the plane."""
    u, v = x / rx, np.abs(y) / ry
    slope = u / rx * extent[0] + v / ry * extent[1]
    return np.asarray(np.clip((1 - u * u - v * v) / np.maximum(2 * slope, 1e-3) + 0.5, 0, 1), np.float32)


def paint_shoulders(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint collar bones, shoulder blades and the heads of the upper arms."""
    height = anatomy.lung_height_mm
    shell, marrow = anatomy.cortical_hu, anatomy.marrow_hu
    wall = anatomy.cage_half_width_mm + 10.0 + anatomy.muscle_mm
    joint_x, joint_z = 1.06 * wall * anatomy.shoulder_scale, 0.885 * height
    for side in (-1.0, 1.0):
        clavicle = [
            (side * 16.0, -0.36 * anatomy.cage_front_mm - 8.0, 0.875 * height),
            (side * 48.0, -0.36 * anatomy.cage_front_mm - 14.0, 0.885 * height + 0.15 * anatomy.clavicle_lift_mm),
            (side * 0.55 * joint_x, -24.0, 0.905 * height + 0.55 * anatomy.clavicle_lift_mm),
            (side * 0.80 * joint_x, -2.0, 0.925 * height + 0.9 * anatomy.clavicle_lift_mm),
            (side * 0.98 * joint_x, 2.0, 0.93 * height + anatomy.clavicle_lift_mm),
        ]
        blade_y = float(back_of_cage(anatomy, np.array([0.8 * height], np.float32))[0])
        spine_of_blade = [
            (side * 0.45 * joint_x, blade_y + 6.0, 0.83 * height),
            (side * 0.75 * joint_x, blade_y - 2.0, 0.88 * height),
            (side * 1.0 * joint_x, 16.0, 0.945 * height + 0.6 * anatomy.clavicle_lift_mm),
        ]
        neck = [(side * 0.82 * joint_x, 28.0, joint_z - 6.0), (side * 0.93 * joint_x, 14.0, joint_z - 3.0)]
        for path, radii in (
            (clavicle, (7.5, 6.2, 5.8, 6.0, 6.0)),
            (spine_of_blade, (2.5, 4.0, 6.0)),
            (neck, (7.0, 10.0)),
        ):
            canvas.paint_tube(path, radii, shell)
            canvas.paint_tube(path, [max(0.4, r - 2.2) for r in radii], marrow)
        coracoid = (side * 0.815 * joint_x, 0.0, joint_z + 9.0)
        canvas.paint_ellipsoid(coracoid, (7.0, 13.0, 5.5), marrow, tilt=-0.5 * side)
        canvas.paint_ellipsoid((side * joint_x * 1.06, 8.0, joint_z), (23.0, 22.0, 23.0), shell * 0.8)
        canvas.paint_ellipsoid((side * joint_x * 1.06, 8.0, joint_z), (21.5, 20.5, 21.5), marrow * 0.8)
    _paint_blades(canvas, anatomy)


def _paint_blades(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint the flat parts of the shoulder blades: thin triangles outside the ribs."""
    height = anatomy.lung_height_mm
    top, bottom = 0.92 * height, 0.50 * height
    reach, near = anatomy.cage_half_width_mm + 30.0, 0.3 * anatomy.cage_half_width_mm
    for left, right in ((-reach, -near), (near, reach)):
        box = canvas.box((left, 5.0, bottom), (right, anatomy.cage_back_mm + 32.0, top))
        if 0 not in canvas.hu[box.part].shape:
            _paint_blade(canvas, anatomy, box, (box.z - bottom) / (top - bottom))


def _paint_blade(canvas: Canvas, anatomy: Anatomy, box: CanvasBox, share: Array) -> None:
    """Paint the blade in ``box``; ``share`` is the height in it, 0 at the lower tip."""
    half, _, back = cage_axes(anatomy, box.z)
    gap = 17.0 + 4.0 * share
    # Above mid height the blade leaves the narrowing cage and stays in its own plane.
    half, back = (
        np.maximum(half, 0.86 * anatomy.cage_half_width_mm) + gap,
        np.maximum(back, 0.93 * anatomy.cage_back_mm) + gap,
    )
    u, v = np.abs(box.x) / half, (box.y - cage_centre(anatomy, box.z)) / back
    radial = np.sqrt(u * u + v * v) + 1e-6
    angle = np.arctan2(u, v)
    inner = 0.52 + anatomy.scapula_rotation_rad + 0.10 * (1 - share)
    outer = inner + 0.10 + 0.72 * share**0.8
    _, ey, ex = canvas.grid.extent_mm
    slope = (u / half * ex + np.abs(v) / back * ey) / radial + 1e-6
    rim = np.exp(-(((outer - angle) * 110.0 / 5.0) ** 2)) + 0.5 * np.exp(-(((angle - inner) * 110.0 / 4.0) ** 2))
    thick = (1.4 + 3.2 * rim) / np.sqrt(half * back)
    cover = np.clip((thick - np.abs(radial - 1)) / slope + 0.5, 0, np.minimum(1, 2 * thick / slope))
    cover = cover * np.clip((angle - inner) * 60 + 0.5, 0, 1) * np.clip((outer - angle) * 60 + 0.5, 0, 1)
    inside = np.clip(body_level(anatomy, box.x, box.y, box.z, inset=1.0).depth(ex, ey), 0, 1)
    canvas.paint(box, cover * inside, anatomy.cortical_hu * 0.6)
