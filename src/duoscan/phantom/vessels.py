"""The branching vessels and airways of the lungs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from duoscan.phantom.shape import lung_depth

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from duoscan.phantom.anatomy import Anatomy
    from duoscan.phantom.arrays import Array
    from duoscan.phantom.canvas import Canvas, Grid


_VESSEL_HU = 40.0
_BRONCHUS_WALL_HU = -250.0
_BRONCHUS_AIR_HU = -980.0
_SUBDIVISIONS = 4
_AT_A_TIME = 16


@dataclass(frozen=True)
class Tree:
    """Tubes as a cloud of balls: centres (N, 3) in mm, order (x, y, z), and radii (N,) in mm."""

    centres_mm: Array
    radii_mm: Array

    def thicker_than(self, radius_mm: float) -> Tree:
        """The part whose radius is above a limit."""
        keep = self.radii_mm > radius_mm
        return Tree(self.centres_mm[keep], self.radii_mm[keep])


def sample_lung_points(anatomy: Anatomy, rng: np.random.Generator, count: int, margin_mm: float, side: int) -> Array:
    """Random points inside one lung (``side`` 1 left, -1 right), at least ``margin_mm`` below its surface."""
    found = np.zeros((0, 3), np.float32)
    low = np.array([8.0, -anatomy.cage_front_mm, 0.0])
    high = np.array([anatomy.cage_half_width_mm, anatomy.cage_back_mm + 8.0, anatomy.lung_height_mm])
    while len(found) < count:
        points = rng.uniform(low, high, (count * 4, 3)).astype(np.float32)
        points[:, 0] *= side
        found = np.concatenate([found, points[lung_depth(anatomy, *points.T) > margin_mm]])
    return found[:count]


def _grow(root: Array, targets: Array, rng: np.random.Generator) -> tuple[Array, NDArray[np.intp]]:
    """Connect every target to the cheapest point of the tree grown so far, nearest targets first, a few at a time.

    The price is the distance plus a share of the way back to the root, which gives long, gently forking branches.

    Returns:
        Points (N, 3), the root first, and for each point the number of the one it hangs on.
    """
    targets = targets[np.argsort(((targets - root) ** 2).sum(1))]
    total = 1 + len(targets) * _SUBDIVISIONS
    nodes = np.empty((total, 3), np.float32)
    parent = np.zeros(total, np.intp)
    way = np.zeros(total, np.float32)
    nodes[0] = root
    steps = (np.arange(1, _SUBDIVISIONS + 1, dtype=np.float32) / _SUBDIVISIONS)[None, :, None]
    bows = rng.standard_normal((len(targets), 1, 3), dtype=np.float32) * np.float32(0.06)
    count = 1
    for start in range(0, len(targets), _AT_A_TIME):
        batch = targets[start : start + _AT_A_TIME]
        # Axis by axis, because a sum over an axis of three is slow.
        dx, dy, dz = (nodes[None, :count, axis] - batch[:, axis, None] for axis in range(3))
        gap = np.sqrt(dx * dx + dy * dy + dz * dz)
        best = np.argmin(gap + np.float32(0.55) * way[:count], axis=1)
        length = gap[np.arange(len(batch)), best][:, None, None]
        origin = nodes[best][:, None]
        branch = origin + steps * (batch[:, None] - origin)
        branch += bows[start : start + len(batch)] * length * 4 * steps * (1 - steps)
        end = count + len(batch) * _SUBDIVISIONS
        own = np.arange(count, end).reshape(len(batch), _SUBDIVISIONS)
        nodes[count:end] = branch.reshape(-1, 3)
        parent[count:end] = np.column_stack([best, own[:, :-1]]).ravel()
        way[count:end] = (way[best][:, None] + steps[0, :, 0] * length[:, 0]).ravel()
        count = end
    return nodes, parent


def _balls(nodes: Array, parent: NDArray[np.intp], tip_radius_mm: float) -> Tree:
    """Calibres after Murray's law (flow is shared at forks), sampled densely along each branch."""
    hangs_on = parent.tolist()
    leaves = [1.0] * len(nodes)
    for place in set(hangs_on):
        leaves[place] = 0.0
    # A point comes after the one it hangs on, so going backwards counts the leaves beyond each point.
    for place in range(len(nodes) - 1, 0, -1):
        leaves[hangs_on[place]] += leaves[place]
    radius = tip_radius_mm * np.asarray(leaves, np.float32) ** np.float32(0.38)
    child = np.arange(1, len(nodes))
    a, b = nodes[parent[child]], nodes[child]
    length = np.sqrt(((b - a) ** 2).sum(1))
    repeats = np.maximum(1, np.ceil(length / np.maximum(1.0, 0.8 * radius[child]))).astype(np.intp)
    which = np.repeat(np.arange(len(child)), repeats)
    first = np.repeat(np.cumsum(repeats) - repeats, repeats)
    share = ((np.arange(len(which)) - first) / repeats[which]).astype(np.float32)[:, None]
    return Tree(a[which] + share * (b - a)[which], radius[child][which])


def hilum(anatomy: Anatomy, side: int) -> tuple[float, float, float]:
    """Where the pulmonary artery enters a lung; the left one lies higher."""
    z = anatomy.lung_height_mm * (0.60 if side > 0 else 0.575)
    return side * (37.0 + 4.0 * (side > 0)), 6.0, z


def grow_vessels(anatomy: Anatomy) -> Tree:
    """Arteries and veins of both lungs."""
    rng = np.random.default_rng((anatomy.texture_seed, 1))
    trees = []
    for side in (-1, 1):
        x, y, z = hilum(anatomy, side)
        for root, count, tip in (((x, y, z), 320, 0.70), ((side * 30.0, 14.0, z - 32.0), 240, 0.66)):
            targets = sample_lung_points(anatomy, rng, count, 6.0, side)
            grown = _grow(np.asarray(root, np.float32), targets, rng)
            trees.append(_balls(*grown, tip * anatomy.vessel_scale))
    return Tree(np.concatenate([t.centres_mm for t in trees]), np.concatenate([t.radii_mm for t in trees]))


def grow_airways(anatomy: Anatomy) -> Tree:
    """Bronchi of both lungs down to a radius of about one millimetre."""
    rng = np.random.default_rng((anatomy.texture_seed, 2))
    trees = []
    for side in (-1, 1):
        x, y, z = hilum(anatomy, side)
        targets = sample_lung_points(anatomy, rng, 60, 14.0, side)
        grown = _grow(np.asarray((x, y + 8.0, z - 4.0), np.float32), targets, rng)
        trees.append(_balls(*grown, 0.95))
    return Tree(np.concatenate([t.centres_mm for t in trees]), np.concatenate([t.radii_mm for t in trees]))


def draw_tree(canvas: Canvas, tree: Tree, hu: float, *, scale: float = 1.0) -> None:
    """Paint a tree into the lungs; ``scale`` multiplies the radii.

    A ball's share of a sample is the chord through it over the sample's extent along y, times how far the sample lies
    inside the ball's outline in the plane: thin vessels then weigh what they should in a projection with coarse y.
    """
    cover = np.zeros(canvas.grid.shape, np.float32).reshape(-1)
    touched = []
    radii = tree.radii_mm * np.float32(scale)
    edges = [0.0, 1.2, 2.0, 3.0, 4.5, 20.0]
    for low, high in pairwise(edges):
        chosen = (radii > low) & (radii <= high)
        if chosen.any():
            touched.append(_splat(canvas.grid, cover, tree.centres_mm[chosen], radii[chosen]))
    where = np.concatenate(touched)
    density = canvas.hu.reshape(-1)
    # A sample that several balls touch stands in ``where`` more than once and gets the same value each time.
    old = density[where]
    density[where] = old + cover[where] * canvas.lung.reshape(-1)[where] * (np.float32(hu) - old)


def _splat(grid: Grid, cover: Array, centres: Array, radii: Array) -> NDArray[np.intp]:
    """Raise the flat ``cover`` to the share each ball fills, for balls of about one size; returns where."""
    axes = (grid.z_mm, grid.y_mm, grid.x_mm)
    spacing, extent = grid.spacing_mm, grid.extent_mm
    offsets, nearest = [], []
    for axis, step, size, column in zip(axes, spacing, extent, (2, 1, 0), strict=True):
        near = np.rint((centres[:, column] - axis[0]) / step).astype(np.intp)
        reach = int(np.floor((float(radii.max()) + size / 2) / step + 0.5))
        index = near[:, None] + np.arange(-reach, reach + 1)
        delta = np.abs(axis[0] + index * np.float32(step) - centres[:, column, None])
        inside = (index >= 0) & (index < len(axis))
        nearest.append(np.where(inside, index, 0))
        slack = size / 4 if axis is grid.z_mm else 0.0
        offsets.append(np.where(inside, np.maximum(delta - slack, 0), 1e3).astype(np.float32))
    dz, dy, dx = offsets[0][:, :, None, None], offsets[1][:, None, :, None], offsets[2][:, None, None, :]
    flat_sq = dz**2 + dx**2
    chord = np.sqrt(np.maximum((radii**2)[:, None, None, None] - flat_sq, 0.05))
    deep = np.clip((chord - dy) / np.float32(extent[1]) + 0.5, 0, np.minimum(1, 2 * chord / np.float32(extent[1])))
    flat = np.clip((radii[:, None, None, None] - np.sqrt(flat_sq)) / np.float32(extent[2]) + 0.5, 0, 1)
    iz, iy, ix = nearest[0][:, :, None, None], nearest[1][:, None, :, None], nearest[2][:, None, None, :]
    where = (iz * grid.shape[1] + iy) * grid.shape[2] + ix
    share = (flat * deep).astype(np.float32)
    touched = share > 0.02
    np.maximum.at(cover, where[touched], share[touched])
    return np.asarray(where[touched], np.intp)
