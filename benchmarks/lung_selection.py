"""How many slices with known lung the selection keeps, and how many without it lets through.

    DUOSCAN_DATA=FOLDER python benchmarks/lung_selection.py [--patients 24] [--slices 48]

Synthetic patients of every hospital and class, whose lung area is known slice by slice; and, where ``DUOSCAN_DATA``
names the real images, the LUNA16 slices (grey of −1000 to 400 HU, turned back). Intervals are exact and count slices;
those of one synthetic patient are alike, so that they are too narrow for patients.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import binomtest

from duoscan.formats.dicom.pixels import read_dicom
from duoscan.imaging.lung_selection import measure_lung
from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.plan import FileFormat, PhantomOptions

BANDS_MM2 = ((0, 0), (1, 1500), (1500, 4000), (4000, 10**9))


def show(name: str, kept: list[bool]) -> None:
    """One line: slices kept of all, with an interval."""
    if kept:
        low, high = binomtest(sum(kept), len(kept)).proportion_ci()
        print(f"{name:44} {sum(kept):5} of {len(kept):5} kept, {np.mean(kept):.3f} [{low:.3f}, {high:.3f}]")


def phantoms(patients: int, slices: int) -> None:
    """Slices by their area of lung."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "cohort"
        options = PhantomOptions(
            patients=patients, seed=77, slices=slices, ct_size=256, xray_size=64, formats=FileFormat.DICOM
        )
        write_cohort(options, out)
        with (out / "slices.csv").open(encoding="utf-8") as stream:
            truth = [(row["patient_id"], int(row["slice"]), float(row["lung_mm2"])) for row in csv.DictReader(stream)]
        found = [
            (area, measure_lung(read_dicom(out / f"dicom/{patient}/ct/{number:03d}.dcm").values).has_lung)
            for patient, number, area in truth
        ]
    for low, high in BANDS_MM2:
        name = (
            f"{low / 100:.0f} to {high / 100:.0f} cm² of lung" if 0 < high < 10**9 else f"{low / 100:.0f} cm² and more"
        )
        name = name if high else "no lung"
        show(f"phantom, {name}", [kept for area, kept in found if low <= area < max(high, 1)])


def luna(folder: Path) -> None:
    """The real slices, all together."""
    kept = []
    for path in sorted((folder / "ct" / "luna16").glob("*.jpg")):
        with Image.open(path) as image:
            kept.append(measure_lung(np.asarray(image.convert("L"), np.float32) / 255 * 1400 - 1000).has_lung)
    show("LUNA16, one slice a scan", kept)


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=24)
    parser.add_argument("--slices", type=int, default=48)
    arguments = parser.parse_args()
    phantoms(arguments.patients, arguments.slices)
    if folder := os.environ.get("DUOSCAN_DATA"):
        luna(Path(folder))


if __name__ == "__main__":
    main()
