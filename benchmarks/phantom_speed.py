"""How long a synthetic cohort takes.

    python benchmarks/phantom_speed.py [--patients 20] [--workers 2] [--format png]

Prints the median seconds of one patient in one process, its parts, and the pace of a pool, with the load of the machine
while it was measured: a busy machine makes every number worse.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duoscan.phantom.anatomy import sample_anatomy
from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.lesions import sample_lesions
from duoscan.phantom.patient_files import write_patient
from duoscan.phantom.plan import FileFormat, PhantomOptions, plan_patients
from duoscan.phantom.volume import build_volume, ct_grid
from duoscan.phantom.xray import project, sample_view, view_grid
from duoscan.terms import Finding

if TYPE_CHECKING:
    from collections.abc import Callable


def _median(work: Callable[[], object], repeats: int = 5) -> tuple[float, float]:
    """Median wall and processor seconds; the first call warms caches and does not count."""
    work()
    wall, processor = [], []
    for _ in range(repeats):
        started, used = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - started)
        processor.append(time.process_time() - used)
    return statistics.median(wall), statistics.median(processor)


def _parts() -> dict[str, Callable[[], object]]:
    rng = np.random.default_rng(0)
    anatomy = sample_anatomy(rng)
    lesions, view = sample_lesions(Finding.COVID, anatomy, rng), sample_view(anatomy, rng)
    grid = view_grid(anatomy, view, 512)
    volume = build_volume(anatomy, lesions, grid, fine_texture=False)
    return {
        "CT volume, 32 x 256 x 256": lambda: build_volume(anatomy, lesions, ct_grid(anatomy, 32, 256)),
        f"X-ray volume, {' x '.join(map(str, grid.shape))}": lambda: build_volume(
            anatomy, lesions, grid, fine_texture=False
        ),
        "projection to 512 x 512": lambda: project(volume, view, 512),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--format", choices=[one.value for one in FileFormat], default="png")
    given = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    for name, work in _parts().items():
        wall, processor = _median(work)
        print(f"{name}: {wall:.3f} s (processor {processor:.3f} s)")
    options = PhantomOptions(patients=given.patients, seed=0, formats=FileFormat(given.format))
    with tempfile.TemporaryDirectory() as folder:
        plans = iter(plan_patients(options) * 2)
        wall, processor = _median(lambda: write_patient(next(plans), options, Path(folder)), min(given.patients, 15))
        print(f"one patient, written: {wall:.3f} s (processor {processor:.3f} s)")
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        write_cohort(options, Path(folder) / "cohort", workers=given.workers)
        each = (time.perf_counter() - started) / given.patients
    print(f"{given.workers} workers: {each:.3f} s a patient, start included; 1,000 take {each * 1000 / 60:.1f} min")
    print(f"load after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
