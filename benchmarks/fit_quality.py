"""How often real images are found unfit by the pixel checks, and how often spoilt ones are.

Usage: ``python benchmarks/fit_quality.py --manifest MANIFEST.csv``. Nothing is fitted: the limits are set by hand.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duoscan.evaluation.intervals import bootstrap
from duoscan.formats.reader import read_image
from duoscan.imaging.quality.pixel_checks import why_unfit
from duoscan.manifest.table import read_manifest

if TYPE_CHECKING:
    from duoscan.evaluation.metrics import BoolArray, FloatArray
    from duoscan.formats.image import Pixels


@dataclass(frozen=True)
class Shares:
    """The share of images found unfit, by what was done to them."""

    unfit: dict[str, FloatArray]

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        """Shares under weights of shape (R, N), each of shape (R,)."""
        return {name: weights @ hit / weights.sum(axis=1) for name, hit in self.unfit.items()}

    def denominators(self) -> dict[str, BoolArray]:
        """Each share is over all images."""
        return {name: np.ones(len(hit), dtype=bool) for name, hit in self.unfit.items()}


def misused(pixels: Pixels) -> dict[str, Pixels]:
    """The image as it is, and spoilt in each way."""
    values = pixels.values
    noise = np.random.default_rng(0).random(values.shape, dtype=np.float32)
    spoilt = {
        "none": values,
        "exposure × 1/60": values / 60,
        "exposure × 20": np.clip(values * 20, 0, 1),
        "contrast / 40": values / 40 + np.float32(0.5),
        "noise": noise,
        "negative": 1 - values,
        "rotated by 90°": np.ascontiguousarray(np.rot90(values)),
    }
    return {name: replace(pixels, values=changed) for name, changed in spoilt.items()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="take each N-th image")
    arguments = parser.parse_args()
    manifest = read_manifest(arguments.manifest)
    records = manifest.records[:: arguments.every]
    units = [record.patient_id or record.group or record.path for record in records]
    rows = []
    for record in records:
        found = misused(read_image(manifest.file(record)))
        rows.append({name: why_unfit(pixels) is not None for name, pixels in found.items()})
    unfit = {name: np.array([row[name] for row in rows], dtype=float) for name in rows[0]}
    estimates = bootstrap(Shares(unfit), units)
    print(f"{len(records)} images of {len(set(units))} units found unfit, by what was done to them:")
    for name, estimate in estimates.items():
        print(f"  {name:<16} {estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]")


if __name__ == "__main__":
    main()
