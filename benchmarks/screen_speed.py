"""From files to answers: wall time, processor time and memory of ``duoscan screen`` in a fresh process.

    python benchmarks/screen_speed.py [--slices 300] [--size 512] [--runs 5] [--against OTHER_CHECKOUT/src]
    python benchmarks/screen_speed.py --images FOLDER [--most 500] [--runs 5] [--against OTHER_CHECKOUT/src]

Without ``--images`` one CT study is screened, a phantom written as one DICOM file a slice. Everything is counted:
start of the interpreter, reading, sorting, selection, answer, output. Wall time depends on what else the machine does,
so its load is printed, and processor time, which depends on it less, stands beside it; on C idle cores a run takes at
least processor time / C.
``--against`` runs another version's sources in turn with these.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

RUN = "import sys; from duoscan.interfaces.cli import main; main(sys.argv[1:])"


@dataclass(frozen=True)
class Run:
    """What one run took: seconds, seconds of all cores, and the largest resident memory in MB."""

    wall_s: float
    processor_s: float
    memory_mb: float


def environment(sources: Path) -> dict[str, str]:
    """That of this process, with these sources."""
    return dict(os.environ) | {"PYTHONPATH": str(sources)}


def measured(study: Path, out: Path, sources: Path) -> Run:
    """Screen once, with these sources."""
    command = [sys.executable, "-c", RUN, "screen", str(study), "--quiet", "--json", str(out)]
    started = time.perf_counter()
    child = subprocess.Popen(command, env=environment(sources))
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in {0, 1}:
        raise SystemExit(f"duoscan screen ended with {child.returncode}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def summary(out: Path) -> str:
    """What was answered, from the JSON that was written, by this version or one before the stored case."""
    if not out.exists():
        return "no answer"
    document = json.loads(out.read_text(encoding="utf-8"))
    cases = document.get("cases") or document["patients"]
    counts = Counter(case["answer"] for case in cases)
    studies = [
        study
        for case in cases
        for study in case.get("studies") or [case[phase] for phase in ("xray", "ct") if phase in case]
    ]
    total = sum(study.get("probability") or 0 for study in studies)
    return f"{', '.join(f'{count} {answer}' for answer, count in sorted(counts.items()))}; P(covid) sums to {total:.4f}"


def show(name: str, runs: list[Run], answer: str) -> None:
    """Print one line of medians and extremes."""
    walls, processors, memory = zip(*((run.wall_s, run.processor_s, run.memory_mb) for run in runs), strict=True)
    print(
        f"{name:8} wall median {statistics.median(walls):6.2f} s (min {min(walls):.2f}, max {max(walls):.2f})  "
        f"processor median {statistics.median(processors):6.2f} s  memory at most {max(memory):.0f} MB  [{answer}]"
    )


def phantom(arguments: argparse.Namespace, folder: Path, versions: dict[str, Path]) -> Path:
    """One CT study, made by a process of its own: a child's memory is counted from that of the one that starts it."""
    made = ["phantom", "--patients", "1", "--seed", "5", "--format", "dicom", "--xray-size", "64", "--workers", "1"]
    size = ["--slices", str(arguments.slices), "--ct-size", str(arguments.size)]
    command = [sys.executable, "-c", RUN, *made, *size, "--out", str(folder / "cohort")]
    subprocess.run(command, check=True, capture_output=True, env=environment(versions["this"]))
    (study,) = (folder / "cohort" / "dicom").glob("*/ct")
    return study


def pictures(arguments: argparse.Namespace, folder: Path) -> Path:
    """Links to the first images of a folder, each a patient of its own by its name."""
    linked = folder / "images"
    linked.mkdir()
    for image in sorted(path for path in arguments.images.iterdir() if path.is_file())[: arguments.most]:
        (linked / image.name).symlink_to(image.resolve())
    return linked


def main() -> None:
    """Write the study and time the versions in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--most", type=int, default=500)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--against", type=Path)
    arguments = parser.parse_args()
    versions = {"this": Path(__file__).resolve().parents[1] / "src"}
    if arguments.against:
        versions["other"] = arguments.against
    with tempfile.TemporaryDirectory() as folder:
        inputs = pictures(arguments, Path(folder)) if arguments.images else phantom(arguments, Path(folder), versions)
        out = Path(folder) / "answers.json"
        runs: dict[str, list[Run]] = {name: [] for name in versions}
        answers = {}
        for _ in range(arguments.runs):
            for name, sources in versions.items():
                runs[name].append(measured(inputs, out, sources))
                answers[name] = summary(out)
    for name in versions:
        show(name, runs[name], answers[name])
    what = f"{arguments.most} images" if arguments.images else f"{arguments.slices} × {arguments.size}²"
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.2f}; {what}")


if __name__ == "__main__":
    main()
