"""The disease can be learned from the images and the class cannot be told from anything else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from duoscan.phantom.hospitals import HOSPITALS
from duoscan.phantom.patient import Patient, simulate_patient
from duoscan.terms import Finding

_FINDINGS = (Finding.NORMAL, Finding.COVID, Finding.PNEUMONIA)


@pytest.fixture(scope="module")
def patients() -> list[tuple[Finding, Patient]]:
    """Eight bodies, each with every finding: what differs between the classes is the disease alone."""
    return [
        (finding, simulate_patient(finding, HOSPITALS[body % 2], (77, body), slices=10, ct_size=48, xray_size=64))
        for body in range(1, 9)
        for finding in _FINDINGS
    ]


def _auroc(positive: list[float], negative: list[float]) -> float:
    """Share of pairs in the right order, ties half (Mann–Whitney)."""
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    return sum(pairs) / len(pairs)


def _split(
    patients: list[tuple[Finding, Patient]], measure: Callable[[Patient], float]
) -> tuple[list[float], list[float]]:
    values = [(finding, float(measure(patient))) for finding, patient in patients]
    return (
        [value for finding, value in values if finding is Finding.COVID],
        [value for finding, value in values if finding is Finding.NORMAL],
    )


def _glass_in_the_back(patient: Patient) -> float:
    """Share of the lower lung behind with the density of ground glass."""
    depth = np.broadcast_to(patient.ct.grid.y_mm[None, :, None], patient.ct.lung_mask.shape)
    region = patient.ct.lung_mask & (depth > 20)
    hu = patient.ct_hu[region]
    return float(np.mean((hu > -740) & (hu < -300)))


def test_ground_glass_shows_on_ct(patients: list[tuple[Finding, Patient]]) -> None:
    assert _auroc(*_split(patients, _glass_in_the_back)) > 0.9


def test_disease_brightens_the_lungs_on_the_x_ray(patients: list[tuple[Finding, Patient]]) -> None:
    films: dict[Finding, list[float]] = {finding: [] for finding in _FINDINGS}
    for finding, patient in patients:
        films[finding].append(float(patient.xray[patient.xray_lung].mean()))
    for finding in (Finding.COVID, Finding.PNEUMONIA):
        # The same body without disease is the control, so every pair must rise.
        assert all(ill > well for ill, well in zip(films[finding], films[Finding.NORMAL], strict=True))


@pytest.mark.parametrize(
    "nuisance",
    [
        lambda patient: patient.xray[~patient.xray_lung].mean(),
        lambda patient: patient.xray[:6].mean(),
        lambda patient: patient.xray_lung.sum(),
        lambda patient: patient.ct_hu[~patient.ct.lung_mask].mean(),
        lambda patient: patient.ct_hu[:, 0].std(),
        lambda patient: patient.ct.spacing_mm[1],
    ],
    ids=["grey outside", "top of the film", "lung size", "HU outside", "noise at the edge", "field of view"],
)
def test_nothing_but_the_lungs_tells_the_class(
    patients: list[tuple[Finding, Patient]], nuisance: Callable[[Patient], float]
) -> None:
    covid, normal = _split(patients, nuisance)
    spread = np.std(normal) + 1e-9
    # The same bodies: the classes differ by far less than patients do.
    assert np.abs(np.subtract(covid, normal)).max() < 0.5 * spread
    assert 0.35 < _auroc(covid, normal) < 0.65
