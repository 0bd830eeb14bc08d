"""The X-ray: Beer–Lambert through the volume, then what a digital system does to the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from duoscan.phantom.volume import Volume, projection_grid

if TYPE_CHECKING:
    from collections.abc import Callable

    from duoscan.phantom.anatomy import Anatomy
    from duoscan.phantom.arrays import Array, Mask
    from duoscan.phantom.canvas import Grid


# Linear attenuation of water at the mean energy of a 120 kV beam, about 65 keV (NIST XCOM: 0.20 per cm).
WATER_ATTENUATION_PER_MM = 0.0200
# Calcium absorbs the softer beam of radiography more than that of CT, on which Hounsfield units are defined.
BONE_FACTOR = 2.0
LAYER_MM = 5.0
_FINEST_SAMPLES = 224
_COARSEST_SAMPLES = 96
_LAYERS_PER_SLAB = 4
_AIR_GAP_MM = 30.0


@dataclass(frozen=True)
class Imager:
    """How a hospital's X-ray system looks; the synthetic sources differ in this.

    Attributes:
        photons: Mean photons per pixel without a patient, in units that set the grain.
        scatter: Scattered share of all photons behind the patient.
        equalisation: How much large-scale contrast is compressed, 0 to 1.
        detail: How much edges are enhanced.
        width: Width of the display curve, in units of optical depth.
        blur: Unsharpness of the detector, 0 to 1.
    """

    photons: float
    scatter: float
    equalisation: float
    detail: float
    width: float
    blur: float


@dataclass(frozen=True)
class View:
    """How one film was taken.

    Attributes:
        position: ``PA`` (detector in front) or ``AP`` (detector behind).
        source_distance_mm: From focus to detector.
        field_mm: Side of the square film, measured in the patient's middle.
        centre_mm: Centre of the film, (x, z).
        turn: Tangent of the patient's rotation about the long axis.
        tilt: Tangent of the beam's tilt towards the feet.
        roll_deg: Rotation of the patient in the film's plane.
        exposure: Photons relative to the imager's mean.
        brightness: Shift of the display curve, in units of optical depth.
        contrast: Display width relative to the imager's.
    """

    position: str
    source_distance_mm: float
    field_mm: float
    centre_mm: tuple[float, float]
    turn: float
    tilt: float
    roll_deg: float
    exposure: float
    brightness: float
    contrast: float


def sample_view(anatomy: Anatomy, rng: np.random.Generator) -> View:
    """Draw how a film was taken: three of ten are AP, as from a portable unit."""
    portable = rng.random() < 0.3
    spread = 1.6 if portable else 1.0
    height, half = anatomy.lung_height_mm, anatomy.cage_half_width_mm
    middle = 0.5 * (0.88 * anatomy.dome_right_mm - 48.0 + height)
    return View(
        position="AP" if portable else "PA",
        source_distance_mm=float(rng.uniform(1000, 1300)) if portable else 1800.0,
        field_mm=max(2 * half * float(rng.uniform(1.18, 1.36)), height * 1.12),
        centre_mm=(float(rng.normal(0, 5.0 * spread)), middle + float(rng.normal(0, 7.0 * spread))),
        turn=float(rng.normal(0, 0.03 * spread)),
        tilt=float(rng.normal(0.05 if portable else 0.0, 0.03 * spread)),
        roll_deg=float(rng.normal(0, 1.3 * spread)),
        exposure=float(np.exp(rng.normal(0, 0.25))),
        brightness=float(rng.normal(0, 0.12)),
        contrast=float(np.exp(rng.normal(0, 0.09))),
    )


def view_grid(anatomy: Anatomy, view: View, size: int) -> Grid:
    """The grid to build the volume on for a film of ``size`` pixels: what its beam passes, and no more.

    Two pixels share a sample: edges are soft over more than a pixel anyway, and the time is quartered.
    """
    step = view.field_mm / min(max(size // 2, _COARSEST_SAMPLES), _FINEST_SAMPLES)
    x, z = view.centre_mm
    # The beam is widest at the detector; 160 mm is more than half the depth of any trunk.
    distance = view.source_distance_mm
    widest = distance / (distance - _AIR_GAP_MM - 160.0)
    reach = 0.5 * view.field_mm * widest + 160.0 * max(abs(view.turn), abs(view.tilt)) + 2 * step
    return projection_grid(anatomy, (x - reach, x + reach), (z - reach, z + reach), (step, LAYER_MM))


def attenuation_per_mm(intensity_hu: Array) -> Array:
    """Linear attenuation per mm.

    By the definition of the Hounsfield unit, 0 HU is water and -1000 HU nothing. What lies above 100 HU is calcium,
    whose share counts :data:`BONE_FACTOR` times.
    """
    relative = intensity_hu / np.float32(1000)
    calcium = np.maximum(relative - np.float32(0.1), 0)
    total = 1 + relative + calcium * np.float32(BONE_FACTOR - 1)
    return np.asarray(np.maximum(total * np.float32(WATER_ATTENUATION_PER_MM), 0), np.float32)


def project(volume: Volume, view: View, size: int) -> Array:
    """Line integrals of attenuation along the diverging beam.

    The volume is cut into slabs across the beam. Each slab is summed and enlarged as its distance to the detector
    demands; turning and tilting the patient shift the slabs against each other, which is exact for small angles.

    Args:
        volume: On a :func:`view_grid`.
        view: Geometry.
        size: Rows and columns of the film.

    Returns:
        Optical depth, (size, size), row 0 at the head, column 0 at the patient's right.
    """
    return _project(lambda layers: attenuation_per_mm(volume.intensity_hu[:, layers]).sum(1), volume.grid, view, size)


def outline(mask: Mask, grid: Grid, view: View, size: int, least_mm: float) -> Mask:
    """Where on the film the beam of :func:`project` passes at least ``least_mm`` of what is masked, (size, size)."""
    if not mask.any():
        return np.zeros((size, size), np.bool_)
    half = max(1, size // 2)
    thickness = _project(
        lambda layers: mask[:, layers].sum(1, dtype=np.uint8).astype(np.float32), grid, view, half, 2 * _LAYERS_PER_SLAB
    )
    fine = Image.fromarray(thickness).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(np.asarray(fine) >= least_mm, np.bool_)


def _project(
    slab_of: Callable[[slice], Array], grid: Grid, view: View, size: int, layers_per_slab: int = _LAYERS_PER_SLAB
) -> Array:
    """Sum along the beam the sums ``slab_of`` gives for some of the layers."""
    film = np.zeros((size, size), np.float32)
    layer_mm, step_mm = grid.spacing_mm[1], grid.spacing_mm[2]
    front, back = float(grid.y_mm[0]), float(grid.y_mm[-1])
    detector = front - _AIR_GAP_MM if view.position == "PA" else back + _AIR_GAP_MM
    middle = 0.5 * (front + back)
    for start in range(0, len(grid.y_mm), layers_per_slab):
        layers = slice(start, start + layers_per_slab)
        slab = slab_of(layers)
        y = float(grid.y_mm[layers].mean())
        reach = view.source_distance_mm
        half = 0.5 * view.field_mm * (reach - abs(y - detector)) / (reach - abs(middle - detector))
        x = view.centre_mm[0] - view.turn * (y - middle) - float(grid.x_mm[0])
        z = float(grid.z_mm[-1]) - view.centre_mm[1] + view.tilt * (y - middle)
        box = (
            (x - half) / step_mm + 0.5,
            (z - half) / step_mm + 0.5,
            (x + half) / step_mm + 0.5,
            (z + half) / step_mm + 0.5,
        )
        upright = Image.fromarray(slab[::-1] * np.float32(layer_mm))
        film += np.asarray(upright.resize((size, size), Image.Resampling.BILINEAR, box=box))
    return np.asarray(np.maximum(_rotate(film, view.roll_deg), 0), np.float32)


def _rotate(film: Array, angle_deg: float) -> Array:
    """Rotate about the middle; the edges are repeated outwards first, so that no corner is empty."""
    margin = film.shape[0] // 16
    padded = np.pad(film, margin, mode="edge")
    turned = Image.fromarray(padded).rotate(angle_deg, Image.Resampling.BILINEAR)
    return np.asarray(turned)[margin:-margin, margin:-margin]


def _smooth(image: Array, radius_px: float) -> Array:
    """Blur by going to a coarser grid and back; Pillow's filters do not take floating point."""
    size = image.shape[0]
    coarse = max(2, round(size / radius_px))
    small = Image.fromarray(image).resize((coarse, coarse), Image.Resampling.HAMMING)
    return np.asarray(small.resize((size, size), Image.Resampling.BICUBIC))


def expose(optical_depth: Array, imager: Imager, view: View, rng: np.random.Generator) -> Array:
    """What the detector measures: Beer–Lambert, scatter and photon noise.

    Args:
        optical_depth: Line integrals from :func:`project`.
        imager: The system.
        view: Exposure.
        rng: Source of the noise.

    Returns:
        Photons relative to the open beam, above 0.
    """
    primary = np.exp(-optical_depth)
    veil = _smooth(primary, optical_depth.shape[0] / 12) * np.float32(imager.scatter / (1 - imager.scatter))
    total = primary + np.maximum(veil, 0)
    photons = np.float32(imager.photons * view.exposure)
    # A Poisson count this large is a normal one whose variance is its mean.
    noise = rng.standard_normal(total.shape, dtype=np.float32) * np.sqrt(total / photons)
    noisy = total + noise
    if imager.blur > 0:
        share = np.float32(imager.blur)
        noisy = noisy * (1 - share) + share * _smooth(noisy, 2.0)
    return np.asarray(np.maximum(noisy, 1e-5), np.float32)


def develop(measured: Array, anatomy: Anatomy, imager: Imager, view: View) -> Array:
    """The picture a reader sees: logarithm, equalisation, edge enhancement, display curve; bone is bright.

    The curve's middle comes from the patient's thickness, never from the film itself, so that disease does not
    shift the brightness of what is not diseased.

    Returns:
        Grey from 0 (black) to 1, (H, W).
    """
    scatter = np.float32(imager.scatter / (1 - imager.scatter))
    density = -np.log(measured / (1 + scatter))
    large = _smooth(density, density.shape[0] / 10)
    fine = density - _smooth(density, 6.0)
    wall = 2 * (10 + anatomy.muscle_mm) + anatomy.fat_front_mm + anatomy.fat_back_mm + 16
    chest = anatomy.cage_front_mm + anatomy.cage_back_mm
    centre = WATER_ATTENUATION_PER_MM * (wall + 0.50 * chest) * 0.93
    flat = density - np.float32(imager.equalisation) * (large - np.float32(centre)) + np.float32(imager.detail) * fine
    width = imager.width * view.contrast
    grey = 1 / (1 + np.exp(-(flat - np.float32(centre + view.brightness)) / np.float32(width)))
    return np.asarray(grey, np.float32)
