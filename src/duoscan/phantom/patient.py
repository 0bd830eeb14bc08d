"""One patient of a cohort, from seed to images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from duoscan.phantom.anatomy import Anatomy, sample_anatomy
from duoscan.phantom.ct import scan
from duoscan.phantom.lesions import Lesions, sample_lesions
from duoscan.phantom.volume import Volume, build_volume, ct_grid
from duoscan.phantom.xray import View, develop, expose, outline, project, sample_view, view_grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from duoscan.phantom.arrays import Array, Mask
    from duoscan.phantom.hospitals import Hospital
    from duoscan.terms import Finding


# A film shows the outline of the lung where the beam passes this much of it.
_LUNG_MASK_MM = 12.0
_LESION_MASK_MM = 6.0


@dataclass(frozen=True)
class Patient:
    """The images of one synthetic patient, and the truth about them.

    Attributes:
        anatomy: The body.
        lesions: The disease.
        view: How the film was taken.
        ct: The volume behind the CT, with its masks and its geometry.
        ct_hu: The CT as scanned, (D, H, W), slice 0 lowest.
        xray: The film, grey from 0 to 1, (S, S).
        xray_lung: Outline of the lungs on the film, what lies behind the heart included, (S, S).
        xray_lesion: Where the beam passes disease, (S, S).
    """

    anatomy: Anatomy
    lesions: Lesions
    view: View
    ct: Volume
    ct_hu: NDArray[np.int16]
    xray: Array
    xray_lung: Mask
    xray_lesion: Mask

    @property
    def severity(self) -> float:
        """Share of the lung that is diseased, counted in the CT's masks, 0 to 1."""
        return self.ct.severity


def simulate_patient(
    finding: Finding,
    hospital: Hospital,
    seed: tuple[int, int],
    *,
    slices: int = 32,
    ct_size: int = 256,
    xray_size: int = 512,
) -> Patient:
    """Make the CT and the X-ray of one patient.

    Every aspect has its own stream of random numbers, so that the same seed with another finding gives the same body,
    the same view and the same noise: disease is then the only difference.

    Args:
        finding: ``normal``, ``covid`` or ``pneumonia``.
        hospital: Where the images are taken.
        seed: The cohort's seed and the patient's number.
        slices: Slices of the CT.
        ct_size: Rows and columns of a slice.
        xray_size: Rows and columns of the film.
    """
    body, disease, aim, ct_noise, film_noise = (np.random.default_rng((*seed, stream)) for stream in range(5))
    anatomy = sample_anatomy(body)
    lesions = sample_lesions(finding, anatomy, disease)
    view = sample_view(anatomy, aim)
    grid = ct_grid(anatomy, slices, ct_size, field_scale=float(aim.uniform(0.97, 1.10)))
    ct = build_volume(anatomy, lesions, grid)
    film_volume = build_volume(anatomy, lesions, view_grid(anatomy, view, xray_size), fine_texture=False)
    measured = expose(project(film_volume, view, xray_size), hospital.imager, view, film_noise)
    return Patient(
        anatomy=anatomy,
        lesions=lesions,
        view=view,
        ct=ct,
        ct_hu=scan(ct, hospital.scanner, ct_noise),
        xray=develop(measured, anatomy, hospital.imager, view),
        xray_lung=outline(film_volume.lung_mask, film_volume.grid, view, xray_size, _LUNG_MASK_MM),
        xray_lesion=outline(film_volume.lesion_mask, film_volume.grid, view, xray_size, _LESION_MASK_MM),
    )
