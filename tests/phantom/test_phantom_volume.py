"""The volume: tissue where it belongs, disease only in the lungs, truth that the masks bear out."""

from __future__ import annotations

import numpy as np
import pytest

from duoscan.phantom.anatomy import Anatomy, sample_anatomy
from duoscan.phantom.canvas import Canvas, Grid
from duoscan.phantom.lesions import LESION_THRESHOLD, NO_LESIONS, Lesions, sample_lesions
from duoscan.phantom.noise import smooth_noise
from duoscan.phantom.shape import lung_depth, profile
from duoscan.phantom.vessels import Tree, draw_tree, grow_vessels
from duoscan.phantom.volume import Volume, build_volume, ct_grid
from duoscan.terms import Finding


def _anatomy(seed: int = 3) -> Anatomy:
    return sample_anatomy(np.random.default_rng(seed))


def _volume(finding: Finding = Finding.NORMAL, seed: int = 3) -> Volume:
    anatomy = _anatomy(seed)
    lesions = sample_lesions(finding, anatomy, np.random.default_rng(seed))
    return build_volume(anatomy, lesions, ct_grid(anatomy, 16, 96))


@pytest.fixture(scope="module")
def healthy() -> Volume:
    return _volume()


@pytest.fixture(scope="module")
def covid() -> Volume:
    return _volume(Finding.COVID)


@pytest.fixture(scope="module")
def pneumonia() -> Volume:
    return _volume(Finding.PNEUMONIA)


def test_the_same_seed_gives_the_same_patient() -> None:
    assert _anatomy(5) == _anatomy(5)
    assert _anatomy(5) != _anatomy(6)
    assert np.array_equal(_volume(seed=5).intensity_hu, _volume(seed=5).intensity_hu)


def test_lung_is_lung_and_air_is_air(healthy: Volume) -> None:
    # Parenchyma of a healthy adult lies near -850 HU; vessels in the mask raise the mean, not the median.
    assert -930 < np.median(healthy.intensity_hu[healthy.lung_mask]) < -780
    corners = healthy.intensity_hu[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert np.all(corners < -950)


def test_every_tissue_is_there_and_in_range(healthy: Volume) -> None:
    hu = healthy.intensity_hu
    body = hu > -500
    assert hu.min() > -1100
    assert hu.max() < 1400
    for low, high, least in ((-130, -60, 0.05), (20, 90, 0.2), (250, 1400, 0.01)):  # fat, soft tissue, bone
        assert np.mean((hu[body] > low) & (hu[body] < high)) > least


def test_both_lungs_have_the_volume_of_lungs(healthy: Volume) -> None:
    voxel_ml = np.prod(healthy.spacing_mm) / 1000
    middle = healthy.lung_mask.shape[2] // 2
    for side in (healthy.lung_mask[..., :middle], healthy.lung_mask[..., middle:]):
        assert 800 < side.sum() * voxel_ml < 5000


def test_a_healthy_patient_has_no_lesion(healthy: Volume) -> None:
    assert not healthy.lesion_mask.any()
    assert healthy.severity == 0


@pytest.mark.parametrize("finding", [Finding.COVID, Finding.PNEUMONIA])
def test_disease_changes_nothing_but_the_lung_it_fills(
    finding: Finding, healthy: Volume, request: pytest.FixtureRequest
) -> None:
    ill: Volume = request.getfixturevalue(finding.value)
    changed = np.abs(ill.intensity_hu - healthy.intensity_hu) > 1
    assert ill.lesion_mask.any()
    assert np.array_equal(ill.lung_mask, healthy.lung_mask)
    # Partial-volume samples at the pleura hold a little lung although the mask leaves them out.
    assert np.mean(changed & ~healthy.lung_mask) < 0.01
    assert not np.any(ill.lesion_mask & ~ill.lung_mask)
    assert np.all(ill.intensity_hu[ill.lesion_mask] >= healthy.intensity_hu[ill.lesion_mask] - 60)


def test_severity_is_counted_in_the_masks(covid: Volume) -> None:
    assert covid.severity == covid.lesion_mask.sum() / covid.lung_mask.sum()
    assert 0 < covid.severity < 0.8


def test_covid_is_bilateral_and_behind(covid: Volume) -> None:
    middle = covid.lesion_mask.shape[2] // 2
    assert covid.lesion_mask[..., :middle].any()
    assert covid.lesion_mask[..., middle:].any()
    depth = covid.grid.y_mm[None, :, None]
    ill, lung = (np.broadcast_to(depth, mask.shape)[mask].mean() for mask in (covid.lesion_mask, covid.lung_mask))
    assert ill > lung


def test_pneumonia_stays_in_one_lobe(pneumonia: Volume) -> None:
    middle = pneumonia.lesion_mask.shape[2] // 2
    sides = [pneumonia.lesion_mask[..., :middle].any(), pneumonia.lesion_mask[..., middle:].any()]
    assert sorted(sides) == [False, True]


def test_ground_glass_is_lighter_than_consolidation(covid: Volume, pneumonia: Volume) -> None:
    glass, solid = (np.median(volume.intensity_hu[volume.lesion_mask]) for volume in (covid, pneumonia))
    assert -780 < glass < -350
    assert solid > glass


@pytest.mark.parametrize("seed", range(8))
def test_covid_always_has_foci_on_both_sides(seed: int) -> None:
    lesions = sample_lesions(Finding.COVID, _anatomy(seed), np.random.default_rng(seed))
    assert {np.sign(blob.centre_mm[0]) for blob in lesions.blobs} == {-1.0, 1.0}


def test_no_disease_is_drawn_for_a_healthy_patient() -> None:
    assert sample_lesions(Finding.NORMAL, _anatomy(), np.random.default_rng(0)) is NO_LESIONS
    assert Lesions(Finding.NORMAL) == NO_LESIONS
    assert 0 < LESION_THRESHOLD < 1


def test_a_profile_meets_its_knots_and_ends_flat() -> None:
    knots = ((0.0, 1.0), (1.0, 3.0), (4.0, 2.0))
    found = profile(np.array([-5.0, 0.0, 1.0, 4.0, 9.0], np.float32), knots)
    # 512 samples on 4 units: a knot lies at most 0.004 from a sample, and the slope there is below 2.
    assert found == pytest.approx([1.0, 1.0, 3.0, 2.0, 2.0], abs=0.01)


def test_noise_has_the_promised_moments_and_repeats() -> None:
    field = smooth_noise(np.random.default_rng(0), 10.0)
    assert field.values.mean() == pytest.approx(0, abs=1e-4)
    assert field.values.std() == pytest.approx(1, abs=1e-3)
    axis = np.linspace(0, 30, 7, dtype=np.float32)
    # 48 cells of 5 mm: the field is the same 240 mm further on.
    assert field.on(axis + 240, axis, axis) == pytest.approx(field.on(axis, axis, axis), abs=1e-3)


def test_a_ball_is_painted_with_its_volume() -> None:
    axis = np.arange(-20, 20.5, 1.0, np.float32)
    canvas = Canvas(Grid(axis, axis, axis, (1.0, 1.0, 1.0)))
    canvas.paint_ellipsoid((0.0, 0.0, 0.0), (10.0, 10.0, 10.0), 0.0)
    # From -1000 to 0 HU inside: the sum over 1000 counts samples; a ball of 10 mm has 4189 mm³.
    assert (canvas.hu + 1000).sum() / 1000 == pytest.approx(4 / 3 * np.pi * 10**3, rel=0.02)


def test_a_tube_is_painted_with_its_cross_section() -> None:
    axis = np.arange(-20, 20.5, 1.0, np.float32)
    canvas = Canvas(Grid(axis, axis, axis, (1.0, 1.0, 1.0)))
    canvas.paint_tube([(0.0, 0.0, -40.0), (0.0, 0.0, 40.0)], 6.0, 0.0)
    # Every plane holds π·6² = 113 mm².
    assert (canvas.hu[20] + 1000).sum() / 1000 == pytest.approx(np.pi * 36, rel=0.02)


def test_a_thin_vessel_weighs_what_it_should_along_coarse_layers() -> None:
    fine, coarse = np.arange(-20, 20.5, 1.0, np.float32), np.arange(-18, 19, 6.0, np.float32)
    canvas = Canvas(Grid(fine, coarse, fine, (1.0, 6.0, 1.0)))
    canvas.lung[:] = 1
    line = np.zeros((200, 3), np.float32)
    line[:, 2] = np.linspace(-30, 30, 200)
    draw_tree(canvas, Tree(line, np.full(200, 2.0, np.float32)), 0.0)
    # The chord through its middle is 4 mm; a layer of 6 mm is filled to two thirds.
    assert (canvas.hu[20, :, 20] + 1000).sum() * 6 / 1000 == pytest.approx(4.0, rel=0.05)


def test_vessels_grow_inside_the_lungs_and_taper() -> None:
    anatomy = _anatomy()
    tree = grow_vessels(anatomy)
    inside = lung_depth(anatomy, *tree.centres_mm.T) > -1
    assert inside.mean() > 0.8  # the rest are the roots, which start in the mediastinum
    outer = np.abs(tree.centres_mm[:, 0]) > 0.75 * anatomy.cage_half_width_mm
    inner = np.abs(tree.centres_mm[:, 0]) < 0.45 * anatomy.cage_half_width_mm
    assert tree.radii_mm[outer].max() < 0.5 * tree.radii_mm[inner].max()
