"""Time and peak memory of ``duoscan audit`` without a model, on a manifest or on invented images.

    python benchmarks/audit_speed.py MANIFEST
    python benchmarks/audit_speed.py --invent 3500
    python benchmarks/audit_speed.py --invent 35000 2> stages.txt    # the bars say how long each stage took

Invented images are smooth random fields, no two alike, as JPEG of 512 × 512 pixels: they cost what radiographs cost to
read and to compare. With ``--size 128`` reading costs little, and what does not grow linearly shows all the more. Peak
memory is that of the largest process.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

FINEST = 21  # pixels between two values of a field


def draw(number: int, folder: Path, size: int) -> None:
    """Write one image, which its number decides."""
    rng = np.random.default_rng(number)
    coarse = rng.uniform(0, 255, (size // FINEST, size // FINEST)).astype(np.float32)
    field = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))
    field = field + rng.normal(0, 6, field.shape)
    Image.fromarray(field.clip(0, 255).astype(np.uint8)).save(folder / f"{number:06d}.jpg", quality=90)


def invent(folder: Path, count: int, size: int) -> Path:
    """Write ``count`` images of as many patients, half of them covid, and their manifest."""
    with ProcessPoolExecutor() as pool:
        deque(pool.map(partial(draw, folder=folder, size=size), range(count), chunksize=64), maxlen=0)
    with (folder / "manifest.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "modality", "label", "source", "patient_id", "split"])
        for number in range(count):
            label = "covid" if number % 2 else "normal"
            split = ("train", "train", "val", "test")[number // 2 % 4]
            writer.writerow([f"{number:06d}.jpg", "cxr", label, f"source-{number // 8 % 3}", f"p{number}", split])
    return folder / "manifest.csv"


def measure(manifest: Path) -> None:
    """Audit once and print what it took."""
    with manifest.open(encoding="utf-8") as stream:
        rows = sum(1 for _ in stream) - 1
    command = [str(Path(sys.executable).with_name("duoscan")), "audit", str(manifest)]
    start, busy = time.perf_counter(), _busy_seconds()
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    seconds, busy = time.perf_counter() - start, _busy_seconds() - busy
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        f"{rows} images: {seconds:.0f} s, processors busy for {busy:.0f} s, {1000 * busy / rows:.1f} ms an image, "
        f"peak {peak_mb:.0f} MB; "
        f"exit code {done.returncode}; {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}"
    )


def _busy_seconds() -> float:
    """Processor time of all that was started and has ended: what is needed, whatever else the machine does."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Audit a manifest, or images invented for the purpose."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", nargs="?", type=Path)
    parser.add_argument("--invent", type=int, help="how many images to make")
    parser.add_argument("--size", type=int, default=512, help="pixels a side of these")
    asked = parser.parse_args()
    if asked.manifest:
        measure(asked.manifest)
    if asked.invent:
        with tempfile.TemporaryDirectory() as folder:
            measure(invent(Path(folder), asked.invent, asked.size))


if __name__ == "__main__":
    main()
