"""Cold start: wall time of ``duoscan screen`` on one image in a fresh process, median of repeated runs.

    python benchmarks/screen_cold.py IMAGE [--runs 11]

It also shows what the process loads: torch must not be among it. Other load on the machine is printed, since it decides
the figure. There is no rival that answers in two phases; the floor, an interpreter that imports onnxruntime and
numpy, is timed beside it in turn.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

FLOOR = "import numpy, onnxruntime"


def seconds(command: list[str]) -> float:
    """Wall time of one run; exit codes 0 and 1 (an image was refused) are answers."""
    started = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode not in {0, 1}:
        raise SystemExit(done.stderr)
    return time.perf_counter() - started


def main() -> None:
    """Time both, in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("--runs", type=int, default=11)
    arguments = parser.parse_args()
    screen = [str(Path(sys.executable).with_name("duoscan")), "screen", str(arguments.image), "--quiet"]
    floor = [sys.executable, "-c", FLOOR]
    times = [(seconds(screen), seconds(floor)) for _ in range(arguments.runs)]
    for name, column in zip(
        ("duoscan screen, one image", "floor: import onnxruntime"), zip(*times, strict=True), strict=True
    ):
        print(f"{name:28} median {statistics.median(column):.3f} s  min {min(column):.3f}  max {max(column):.3f}")
    code = f"from duoscan.interfaces.cli import main; main({screen[1:]!r})"
    trace = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], check=False, capture_output=True, text=True
    )
    torch_loaded = any(line.rsplit("|", 1)[-1].strip() == "torch" for line in trace.stderr.splitlines())
    print(f"torch imported: {torch_loaded}; {os.cpu_count()} cores, load average {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
