"""The share of lung involved is that of phantoms, whose truth is known, however dense disease is and where it lies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from duoscan.imaging.involvement import measure_involvement
from duoscan.imaging.lung_selection import reduced
from duoscan.phantom.anatomy import sample_anatomy
from duoscan.phantom.ct import scan
from duoscan.phantom.hospitals import HOSPITALS
from duoscan.phantom.lesions import NO_LESIONS, Lesions, sample_lesions
from duoscan.phantom.volume import build_volume, ct_grid
from duoscan.terms import Finding

CONSOLIDATED = 0.95
Measured = tuple[float, float, list[np.ndarray]]  # truth, share, slices


def measured(kind: str, seed: int, slices: int = 24, size: int = 128) -> Measured:
    """One patient: without disease, with foci of ground glass, or with the same foci consolidated up to the pleura."""
    anatomy = sample_anatomy(np.random.default_rng((seed, 0)))
    lesions: Lesions = NO_LESIONS
    if kind != "normal":
        lesions = sample_lesions(Finding.COVID, anatomy, np.random.default_rng((seed, 1)))
    if kind == "consolidated":
        blobs = [replace(blob, fill=CONSOLIDATED, paving=0.0) for blob in lesions.blobs]
        lesions = replace(lesions, blobs=tuple(blobs))
    volume = build_volume(anatomy, lesions, ct_grid(anatomy, slices, size))
    hu = scan(volume, HOSPITALS[seed % 2].scanner, np.random.default_rng((seed, 2)))
    small = [reduced(one.astype(np.float32)) for one in hu]
    found = measure_involvement(small)
    assert found is not None
    return volume.severity, found.share, small


@pytest.fixture(scope="module")
def one() -> Measured:
    return measured("consolidated", 3)


@pytest.mark.parametrize("kind", ["normal", "ground glass", "consolidated"])
def test_the_share_is_about_that_of_the_phantom(kind: str) -> None:
    truth, share, _ = measured(kind, 11)
    assert share == pytest.approx(truth, abs=0.08)


@pytest.mark.slow
def test_the_mean_error_is_below_three_hundredths() -> None:
    errors = {kind: [share - truth for truth, share, _ in (measured(kind, seed, 32, 256) for seed in range(50, 62))]
              for kind in ("normal", "ground glass", "consolidated")}  # fmt: skip
    everything = np.concatenate(list(errors.values()))
    assert np.abs(everything).mean() < 0.03
    assert np.abs(everything).max() < 0.12


def test_consolidated_lung_is_not_lost(one: Measured) -> None:
    """What is aerated alone tells far less: there the threshold loses the lung."""
    truth, share, slices = one
    aerated = [(image > -1000) & (image < -300) for image in slices]
    dense = [air & (image > -740) for air, image in zip(aerated, slices, strict=True)]
    by_threshold = sum(map(np.sum, dense)) / sum(map(np.sum, aerated))
    assert abs(share - truth) < abs(by_threshold - truth)


def test_left_is_as_good_as_right_and_every_slice_may_be_given_twice(one: Measured) -> None:
    _, share, slices = one
    mirrored = measure_involvement([image[:, ::-1] for image in slices])
    assert mirrored is not None
    assert mirrored.share == pytest.approx(share, abs=0.02)
    weighted = measure_involvement(slices, [2.0] * len(slices))
    assert weighted is not None
    assert weighted.share == pytest.approx(share)


def test_without_lung_nothing_is_measured() -> None:
    air = np.full((128, 128), -1000.0, np.float32)
    body = air.copy()
    body[30:100, 20:110] = 40.0
    assert measure_involvement([]) is None
    assert measure_involvement([air, body]) is None


@pytest.mark.parametrize("shape", [(8, 8), (1, 200), (200, 3), (64, 96)])
def test_no_picture_is_too_odd(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).normal(-500, 600, shape).astype(np.float32)
    found = measure_involvement([noise, noise])
    assert found is None or 0 <= found.share <= 1
