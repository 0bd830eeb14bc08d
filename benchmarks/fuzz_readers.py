"""Fuzz every reader of files from elsewhere; coverage-guided where atheris is installed (extra ``[dev]``).

    python benchmarks/fuzz_readers.py [--inputs 200000] [--seed 0] [--target all | NAME …] [--out fuzz]

Each reader runs in a process of its own that may grow by 1 GB of address space and dies after 5 s of processor time on
one input. A file that the reader neither answers nor refuses by an ``InputError``, that exhausts the memory or the
time, or that ends the process is a finding, and is kept under OUT/findings with what went wrong. OUT/summary.json and a
table tell for each reader: inputs, refused ones, covered edges of Python code, slowest input, growth at the peak, and
findings. The exit code is 1 where there are any. Other load on the machine makes inputs slower and is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import mmap
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

GROWTH_BYTES = 2**30
PROCESSOR_SECONDS = 5
WALL_SECONDS = 60
MOST_KEPT = 5
"""Findings of one kind that are kept, of one reader."""

_COUNTS = struct.Struct("<QQQdd")
"""Inputs, refused, peak bytes, seconds and processor seconds of the slowest; in a file that outlives the process."""


@dataclass
class Result:
    """What fuzzing one reader gave."""

    target: str
    inputs: int = 0
    refused: int = 0
    edges: int = 0
    slowest_s: float = 0.0
    slowest_processor_s: float = 0.0
    growth_mib: int = 0
    findings: int = 0
    wall_s: float = 0.0
    guided: bool = False


def main() -> None:
    """Fuzz and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=200_000, help="of all readers together, by their weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", nargs="+", default=["all"], help="names, or all")
    parser.add_argument("--out", type=Path, default=Path("fuzz"))
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given.target[0], given.inputs, given.seed, given.worker)
        return
    from fuzz.targets import TARGETS

    chosen = [target for target in TARGETS if {"all", target.name} & set(given.target)]
    if unknown := set(given.target) - {"all", *(target.name for target in TARGETS)}:
        raise SystemExit(f"no target {unknown}; there are {', '.join(target.name for target in TARGETS)}")
    weights = sum(target.weight for target in chosen)
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors", flush=True)
    results = []
    for target in chosen:
        inputs = math.ceil(given.inputs * target.weight / weights)
        results.append(fuzz(target.name, inputs, given.seed, given.out))
        print(line(results[-1]), flush=True)
    print(f"{sum(one.inputs for one in results):,} inputs, {sum(one.findings for one in results)} findings")
    print(f"load after: {os.getloadavg()[0]:.1f}")
    summary = {"seed": given.seed, "load": os.getloadavg()[0], "results": [asdict(one) for one in results]}
    (given.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    sys.exit(1 if any(one.findings for one in results) else 0)


def line(one: Result) -> str:
    """One row of the table."""
    return (
        f"{one.target:22} {one.inputs:7,} inputs  {one.refused / max(1, one.inputs):4.0%} refused  "
        f"{one.edges:6,} edges  "
        f"slowest {one.slowest_s:5.2f} s ({one.slowest_processor_s:.2f} s processor)  +{one.growth_mib:4} MiB  "
        f"{one.findings} findings  {one.wall_s:.0f} s"
    )


def fuzz(name: str, inputs: int, seed: int, out: Path) -> Result:
    """Fuzz one reader, in processes that are started again after each that died."""
    place = (out / name.replace(", ", "-").replace(" ", "-")).resolve()
    shutil.rmtree(place, ignore_errors=True)
    (place / "findings").mkdir(parents=True)
    started, done, result = time.perf_counter(), 0, Result(name)
    for attempt in range(200):
        command = [sys.executable, __file__, "--worker", str(place), "--target", name]
        command += ["--inputs", str(inputs - done), "--seed", str(seed + attempt)]
        with (place / "log").open("wb") as log:
            process = subprocess.run(command, check=False, stdout=log, stderr=subprocess.STDOUT)
        _add(result, place)
        done = result.inputs
        if process.returncode != 0:
            _keep_fatal(place, process.returncode)
        if done >= inputs or (process.returncode == 0 and attempt):
            break
    result.findings = len(list((place / "findings").glob("*.bin")))
    result.wall_s = time.perf_counter() - started
    return result


def _add(result: Result, place: Path) -> None:
    inputs, refused, peak, slowest, processor = _COUNTS.unpack((place / "counts").read_bytes())
    result.inputs += inputs
    result.refused += refused
    result.growth_mib = max(result.growth_mib, peak // 2**20)
    if slowest > result.slowest_s:
        result.slowest_s, result.slowest_processor_s = round(slowest, 3), round(processor, 3)
    # libFuzzer's own count, from its last line of status.
    words = (place / "log").read_text(encoding="utf-8", errors="replace").split()
    covered = [int(after) for word, after in pairwise(words) if word == "cov:" and after.isdigit()]
    result.edges = max([result.edges, *covered])
    result.guided = result.guided or bool(covered)


def _keep_fatal(place: Path, code: int) -> None:
    """The input at which a process died lies where the reader read it."""
    why = f"ended by signal {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    log = (place / "log").read_text(encoding="utf-8", errors="replace")[-3000:]
    current = place / "current"
    if current.exists():
        _keep(place / "findings", current.read_bytes(), f"{why}\n{log}")


def _keep(folder: Path, content: bytes, why: str) -> None:
    from fuzz.trial import name_of

    kind = name_of(why.partition("\n")[0].encode())[:6]
    if len(list(folder.glob(f"{kind}-*.bin"))) < MOST_KEPT:
        (folder / f"{kind}-{name_of(content)}.bin").write_bytes(content)
        (folder / f"{kind}-{name_of(content)}.txt").write_text(why + "\n", encoding="utf-8")


def work(name: str, inputs: int, seed: int, place: Path) -> None:
    """Fuzz one reader in this process."""
    try:
        import atheris
    except ImportError:
        atheris = None
    with atheris.instrument_imports(include=["duoscan", "pydicom", "PIL"]) if atheris else contextlib.nullcontext():
        from fuzz.targets import TARGETS
        from fuzz.trial import Trial
    target = next(one for one in TARGETS if one.name == name)
    scratch = Path(tempfile.mkdtemp(prefix="fuzz-"))
    (scratch / "seeds").mkdir()
    (scratch / "files").mkdir()
    seeds = target.seeds(scratch / "seeds")
    trial = _Watched(Trial(target, scratch / "files"), place)
    for content in seeds:
        trial.read(content, counted=False)
    trial.bound()
    if atheris is None:
        rng = random.Random(seed)  # noqa: S311  (to be repeated, not to be secret)
        for _ in range(inputs):
            trial.read(target.mutate(rng, rng.choice(seeds)))
        shutil.rmtree(scratch)
        return
    corpus = place / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, content in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(content)

    def mutated(content: bytes, most: int, number: int) -> bytes:
        rng = random.Random(number)  # noqa: S311
        if rng.random() < 0.3:
            return atheris.Mutate(content, most)
        # What reaches new code is mostly broken early; half the files start whole again.
        return target.mutate(rng, rng.choice(seeds) if rng.random() < 0.5 else content)[:most]

    options = [f"-runs={inputs}", f"-seed={seed + 1}", "-max_len=200000", "-timeout=0", "-rss_limit_mb=0"]
    options += ["-len_control=0", f"-artifact_prefix={place}/", str(corpus)]
    atheris.Setup(["fuzz", *options], trial.read, custom_mutator=mutated)
    atheris.Fuzz()


class _Watched:
    """A trial whose costs and faults are written down as they come, and whose process dies at a hang."""

    def __init__(self, trial: object, place: Path) -> None:
        self._trial, self._place = trial, place
        (place / "counts").write_bytes(bytes(_COUNTS.size))
        with (place / "counts").open("r+b") as stream:
            self._counts = mmap.mmap(stream.fileno(), _COUNTS.size)
        self._inputs = self._refused = self._peak = 0
        self._slowest = self._processor = 0.0
        self._base = 0

    def bound(self) -> None:
        """From here on count growth, and allow no more than ``GROWTH_BYTES`` of it."""
        from fuzz.trial import peak_bytes

        self._base = peak_bytes()
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + GROWTH_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def read(self, content: bytes, *, counted: bool = True) -> None:
        """Read one input."""
        from fuzz.trial import peak_bytes

        (self._place / "current").write_bytes(content)
        # libFuzzer handles signals too; here they must end the process, also within a native decoder.
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, PROCESSOR_SECONDS)
        signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
        with contextlib.redirect_stderr(io.StringIO()):
            outcome = self._trial.read(content)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if outcome.fault:
            _keep(self._place / "findings", content, outcome.fault)
        if not counted:
            return
        self._inputs += 1
        self._refused += outcome.refused
        if outcome.seconds > self._slowest:
            self._slowest, self._processor = outcome.seconds, outcome.processor
            (self._place / "slowest").write_bytes(content)
        if self._inputs % 64 == 1:
            self._peak = max(0, peak_bytes() - self._base)
        self._counts[:] = _COUNTS.pack(self._inputs, self._refused, self._peak, self._slowest, self._processor)


if __name__ == "__main__":
    main()
