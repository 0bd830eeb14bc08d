"""One synthetic patient's anatomy: the numbers everything else is built from.

Axes are DICOM's patient axes (PS3.3 C.7.6.2.1.1): x grows to the patient's left, y to the back, z to the head.
The origin lies on the midline, in the middle of the rib cage, at the lowest point of the lungs. Lengths are in mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Variant:
    """A harmless or chronic find that patients of every class can have.

    Attributes:
        kind: ``nodule``, ``granuloma`` (calcified) or ``band`` (plate atelectasis).
        centre_mm: Where it lies, (x, y, z).
        radius_mm: Radius of a nodule, half thickness of a band.
    """

    kind: str
    centre_mm: tuple[float, float, float]
    radius_mm: float


@dataclass(frozen=True)
class Anatomy:
    """The sampled shape of one thorax; nothing in it depends on disease.

    Attributes:
        female: Whether breasts are drawn, and which means the sizes are sampled around.
        age_years: Drives calcified cartilage, the width of the aorta and emphysema.
        lung_height_mm: From the lowest recess to the apex.
        cage_half_width_mm: Inner half width of the rib cage where it is widest.
        cage_front_mm: Inner half depth in front of the origin.
        cage_back_mm: Inner half depth behind the origin.
        cage_exponent: Exponent of the cage's superellipse; 2 is an ellipse, more is boxier.
        dome_right_mm: Height of the right diaphragm's dome; a shallow breath raises it.
        dome_left_mm: Height of the left dome.
        heart_scale: Size of the heart relative to the mean.
        heart_tilt_rad: Angle of the heart's long axis below the horizontal.
        heart_shift_mm: Shift of the heart to the left.
        aorta_radius_mm: Radius of the ascending aorta.
        aortic_knob_mm: How far the arch reaches to the left.
        fat_front_mm: Subcutaneous fat in front.
        fat_side_mm: Subcutaneous fat at the sides.
        fat_back_mm: Subcutaneous fat behind.
        muscle_mm: Thickness of the wall's muscle outside the ribs.
        shoulder_scale: Width of the shoulders relative to the chest.
        breast_mm: Depth of the breasts; 0 draws none.
        rib_pitch_mm: Distance between vertebrae, and so between rib heads.
        rib_drop_mm: How far the first rib falls from its head to its front end.
        rib_drop_step_mm: How much more each following rib falls.
        rib_half_height_mm: Half height of a rib.
        cortical_hu: Density of compact bone.
        marrow_hu: Density of spongy bone.
        cartilage_calcification: Share of calcified costal cartilage, 0 to 1.
        spine_curve_mm: Sideways deviation of the spine in its middle.
        scapula_rotation_rad: How far the shoulder blades are rolled away from the spine.
        clavicle_lift_mm: Height of the outer end of the collar bones over the inner end.
        lung_hu: Density of normal lung at mid height.
        lung_gradient_hu: How much denser the lowest (back) lung is than the front.
        dependent_hu: Density that poorly aired lung adds along the back, a harmless find that looks like ground glass.
        emphysema: Strength of emphysema in the upper lobes, 0 to 1.
        vessel_scale: Calibre of the lung's vessels relative to the mean.
        stomach_gas_mm: Radius of the gas bubble under the left dome; 0 draws none.
        variants: Nodules and bands.
        texture_seed: Seed of everything random that is drawn later for this patient.
    """

    female: bool
    age_years: int
    lung_height_mm: float
    cage_half_width_mm: float
    cage_front_mm: float
    cage_back_mm: float
    cage_exponent: float
    dome_right_mm: float
    dome_left_mm: float
    heart_scale: float
    heart_tilt_rad: float
    heart_shift_mm: float
    aorta_radius_mm: float
    aortic_knob_mm: float
    fat_front_mm: float
    fat_side_mm: float
    fat_back_mm: float
    muscle_mm: float
    shoulder_scale: float
    breast_mm: float
    rib_pitch_mm: float
    rib_drop_mm: float
    rib_drop_step_mm: float
    rib_half_height_mm: float
    cortical_hu: float
    marrow_hu: float
    cartilage_calcification: float
    spine_curve_mm: float
    scapula_rotation_rad: float
    clavicle_lift_mm: float
    lung_hu: float
    lung_gradient_hu: float
    dependent_hu: float
    emphysema: float
    vessel_scale: float
    stomach_gas_mm: float
    variants: tuple[Variant, ...]
    texture_seed: int


def _normal(rng: np.random.Generator, mean: float, sd: float, limit: float = 2.2) -> float:
    """A normal draw that cannot leave ``mean ± limit·sd``."""
    return mean + sd * float(np.clip(rng.standard_normal(), -limit, limit))


def _sample_variants(rng: np.random.Generator, height_mm: float, half_width_mm: float) -> tuple[Variant, ...]:
    """Nodules in three of ten patients, bands in two of ten."""
    kinds: list[tuple[str, float]] = []
    if rng.random() < 0.3:
        count = int(rng.integers(1, 4))
        kinds += [("granuloma" if rng.random() < 0.3 else "nodule", float(rng.uniform(2.0, 5.5))) for _ in range(count)]
    if rng.random() < 0.2:
        kinds.append(("band", float(rng.uniform(0.9, 2.0))))
    variants = []
    for kind, radius_mm in kinds:
        side = 1.0 if rng.random() < 0.5 else -1.0
        x_mm = side * half_width_mm * float(rng.uniform(0.45, 0.85))
        y_mm = float(rng.uniform(-45.0, 45.0))
        level = rng.uniform(0.3, 0.4) if kind == "band" else rng.uniform(0.35, 0.85)
        variants.append(Variant(kind, (x_mm, y_mm, height_mm * float(level)), radius_mm))
    return tuple(variants)


def sample_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw one patient.

    The means are those of adults; spreads are wide enough that no two phantoms look alike.
    """
    female = bool(rng.random() < 0.5)
    age_years = int(rng.integers(22, 88))
    size = _normal(rng, 1.0, 0.045)
    fatness = _normal(rng, 0.0, 1.0)
    height = _normal(rng, 272.0 if female else 298.0, 12.0) * size
    half_width = _normal(rng, 125.0 if female else 138.0, 5.0) * size
    breath = _normal(rng, 0.0, 0.022)
    dome_right = height * (0.285 + breath)
    old = (age_years - 22) / 66
    return Anatomy(
        female=female,
        age_years=age_years,
        lung_height_mm=height,
        cage_half_width_mm=half_width,
        cage_front_mm=_normal(rng, 84.0 if female else 92.0, 7.0) * size,
        cage_back_mm=_normal(rng, 74.0 if female else 80.0, 4.0) * size,
        cage_exponent=_normal(rng, 2.45, 0.12),
        dome_right_mm=dome_right,
        dome_left_mm=dome_right - _normal(rng, 13.0, 5.0),
        heart_scale=_normal(rng, 0.96 + 0.10 * old, 0.07) * size,
        heart_tilt_rad=_normal(rng, 0.60, 0.12),
        heart_shift_mm=_normal(rng, 0.0, 5.0),
        aorta_radius_mm=_normal(rng, 13.5 + 3.0 * old, 1.2),
        aortic_knob_mm=_normal(rng, 25.0 + 8.0 * old, 3.0),
        fat_front_mm=max(4.0, 13.0 + 6.5 * fatness),
        fat_side_mm=max(4.0, 13.0 + 7.5 * fatness),
        fat_back_mm=max(4.0, 11.0 + 5.0 * fatness),
        muscle_mm=_normal(rng, 13.0 if female else 18.0, 3.0),
        shoulder_scale=_normal(rng, 1.0, 0.04),
        breast_mm=max(12.0, 30.0 + 9.0 * fatness + _normal(rng, 0.0, 5.0)) if female else 0.0,
        rib_pitch_mm=height * _normal(rng, 0.0785, 0.0022),
        rib_drop_mm=_normal(rng, 40.0, 5.0),
        rib_drop_step_mm=_normal(rng, 10.0, 1.5),
        rib_half_height_mm=_normal(rng, 6.2, 0.5),
        cortical_hu=_normal(rng, 880.0 - 150.0 * old, 70.0),
        marrow_hu=_normal(rng, 260.0 - 90.0 * old, 30.0),
        cartilage_calcification=float(np.clip(_normal(rng, old - 0.35, 0.25), 0.0, 1.0)),
        spine_curve_mm=_normal(rng, 0.0, 3.5),
        scapula_rotation_rad=_normal(rng, 0.0, 0.12),
        clavicle_lift_mm=_normal(rng, 16.0, 8.0),
        lung_hu=_normal(rng, -848.0, 18.0),
        lung_gradient_hu=_normal(rng, 60.0, 15.0),
        dependent_hu=float(rng.uniform(60.0, 260.0)) if rng.random() < 0.4 else 0.0,
        emphysema=float(rng.uniform(0.3, 1.0)) if rng.random() < 0.06 + 0.16 * old else 0.0,
        vessel_scale=_normal(rng, 1.0, 0.10),
        stomach_gas_mm=float(rng.uniform(14.0, 30.0)) if rng.random() < 0.75 else 0.0,
        variants=_sample_variants(rng, height, half_width),
        texture_seed=int(rng.integers(2**63)),
    )
