"""The X-ray: Beer–Lambert by hand, geometry by hand, and a display that shifts nothing else."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from duoscan.phantom.anatomy import sample_anatomy
from duoscan.phantom.canvas import Grid
from duoscan.phantom.hospitals import HOSPITALS
from duoscan.phantom.volume import Volume
from duoscan.phantom.xray import (
    BONE_FACTOR,
    WATER_ATTENUATION_PER_MM,
    View,
    attenuation_per_mm,
    develop,
    expose,
    outline,
    project,
    sample_view,
    view_grid,
)

STRAIGHT = View(
    position="PA",
    source_distance_mm=1e7,  # so far away that the beam is parallel
    field_mm=100.0,
    centre_mm=(0.0, 0.0),
    turn=0.0,
    tilt=0.0,
    roll_deg=0.0,
    exposure=1.0,
    brightness=0.0,
    contrast=1.0,
)


def _grid(reach: float = 80.0, step: float = 1.0) -> Grid:
    axis = np.arange(-reach, reach + step, step).astype(np.float32)
    return Grid(axis, np.arange(-40, 41, 5.0).astype(np.float32), axis, (step, 5.0, step))


def _volume(grid: Grid) -> Volume:
    empty = np.zeros(grid.shape, np.bool_)
    return Volume(np.full(grid.shape, -1000.0, np.float32), grid.spacing_mm, grid, empty, empty.copy())


def test_attenuation_follows_the_hounsfield_unit() -> None:
    found = attenuation_per_mm(np.array([-1000.0, -500.0, 0.0, 100.0, 600.0], np.float32))
    # 600 HU: water, 0.6 of it on top, and the 0.5 above 100 HU counted (factor - 1) times more.
    bone = 1.6 + 0.5 * (BONE_FACTOR - 1)
    assert found == pytest.approx([w * WATER_ATTENUATION_PER_MM for w in (0, 0.5, 1, 1.1, bone)], abs=1e-7)


def test_a_slab_of_water_attenuates_as_beer_and_lambert_say() -> None:
    volume = _volume(_grid())
    volume.intensity_hu[:, 4:12] = 0.0
    depth = project(volume, STRAIGHT, 50)
    # 8 layers of 5 mm are 40 mm of water: 40 · 0.02 = 0.8, and exp(-0.8) = 0.449 of the photons pass.
    assert depth == pytest.approx(0.8, abs=1e-4)
    quiet = dataclasses.replace(HOSPITALS[0].imager, scatter=0.0, photons=1e12, blur=0.0)
    measured = expose(depth, quiet, STRAIGHT, np.random.default_rng(0))
    assert measured == pytest.approx(math.exp(-0.8), abs=1e-3)


def test_layers_along_the_beam_add_up() -> None:
    volume = _volume(_grid())
    volume.intensity_hu[:, :4] = 0.0  # 20 mm of water
    volume.intensity_hu[:, 10:] = -800.0  # 35 mm of lung at a fifth of water
    assert project(volume, STRAIGHT, 50) == pytest.approx((20 + 35 * 0.2) * 0.02, abs=1e-4)


def test_head_is_up_and_the_patients_right_is_on_the_left() -> None:
    volume = _volume(_grid())
    high_right = np.ix_(volume.grid.z_mm > 25, np.ones(17, np.bool_), volume.grid.x_mm < -25)
    volume.intensity_hu[high_right] = 0.0
    film = project(volume, STRAIGHT, 100)
    assert film[:20, :20].mean() > 1
    assert film[60:].max() == pytest.approx(0, abs=1e-3)
    assert film[:, 60:].max() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(("position", "wider"), [("PA", False), ("AP", True)])
def test_what_lies_far_from_the_detector_is_magnified(position: str, wider: bool) -> None:
    volume = _volume(_grid())
    volume.intensity_hu[:, 0, np.abs(volume.grid.x_mm) < 20] = 0.0  # a plate in front
    view = dataclasses.replace(STRAIGHT, position=position, source_distance_mm=500.0)
    # The field is measured in the middle, 70 mm from the detector. Slabs hold four layers, so the plate is taken at
    # y = -32.5 mm, 37.5 or 102.5 mm from it: its 39 mm appear as 39·430/462.5 = 36.3 mm or 39·430/397.5 = 42.2 mm.
    width = (project(volume, view, 200)[100] > 0.05).sum() * 100 / 200
    assert width == pytest.approx(39 * 430 / (397.5 if wider else 462.5), abs=1.0)


def test_turning_the_patient_shifts_front_against_back() -> None:
    volume = _volume(_grid())
    volume.intensity_hu[:, :2, 78:83] = 0.0
    turned = dataclasses.replace(STRAIGHT, turn=0.2)
    straight, shifted = (
        float((film.sum(0) * np.arange(200)).sum() / film.sum())
        for film in (project(volume, view, 200) for view in (STRAIGHT, turned))
    )
    # Slabs hold four layers, so the bar in front is taken at y = -32.5 mm: 0.2 · 32.5 = 6.5 mm are 13 pixels.
    assert abs(shifted - straight) == pytest.approx(13, abs=1.0)


def test_an_outline_is_where_enough_is_passed() -> None:
    grid = _grid()
    mask = np.zeros(grid.shape, np.bool_)
    mask[:, :8, grid.x_mm < 0] = True  # 40 mm on the patient's right
    found = outline(mask, grid, STRAIGHT, 100, 12.0)
    assert found[:, :48].all()
    assert not found[:, 53:].any()
    assert not outline(mask, grid, STRAIGHT, 100, 50.0).any()


def test_fewer_photons_make_more_noise() -> None:
    depth = np.full((64, 64), 1.0, np.float32)
    spread = []
    for photons in (1e4, 1e6):
        imager = dataclasses.replace(HOSPITALS[0].imager, photons=photons, scatter=0.0, blur=0.0)
        spread.append(expose(depth, imager, STRAIGHT, np.random.default_rng(1)).std())
    # The standard deviation of a count is its root: a hundredth of the photons, ten times the noise.
    assert spread[0] / spread[1] == pytest.approx(10, rel=0.02)
    assert spread[0] == pytest.approx(math.sqrt(math.exp(-1) / 1e4), rel=0.05)


def test_dense_is_bright_and_the_rest_of_the_film_keeps_its_grey() -> None:
    anatomy = sample_anatomy(np.random.default_rng(0))
    imager = dataclasses.replace(HOSPITALS[0].imager, scatter=0.0)
    depth = np.full((128, 128), 1.5, np.float32)
    dense = depth.copy()
    dense[40:60, 40:60] += 0.5
    plain, marked = (develop(np.exp(-film), anatomy, imager, STRAIGHT) for film in (depth, dense))
    assert marked[50, 50] > plain[50, 50] + 0.05
    assert marked[110:, 110:] == pytest.approx(plain[110:, 110:], abs=1e-3)
    assert 0 <= marked.min() <= marked.max() <= 1


@pytest.mark.parametrize("seed", range(6))
def test_the_grid_holds_all_the_beam_passes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    anatomy = sample_anatomy(rng)
    view = dataclasses.replace(sample_view(anatomy, rng), roll_deg=0.0)
    grid = view_grid(anatomy, view, 64)
    full = Volume(np.zeros(grid.shape, np.float32), grid.spacing_mm, grid, np.ones((1,)) > 0, np.ones((1,)) > 0)
    film = project(full, view, 64)
    # Water everywhere: were the beam to leave the grid, the film would be thinner at its edge.
    assert film == pytest.approx(len(grid.y_mm) * grid.spacing_mm[1] * WATER_ATTENUATION_PER_MM, rel=1e-3)
