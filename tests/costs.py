"""What a call costs in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

MOST_BYTES = 512 * 2**20
"""What an attack over the network may make of a process."""

_CODE = """
import json, os, resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30,) * 2)
from fuzz.trial import peak_bytes
from duoscan.archives.archive import Limits, StudyQuery, open_archive
from duoscan.errors import DuoscanError
from pathlib import Path
address, out, limits, code = sys.argv[1:]
archive, out = open_archive(address, limits=Limits(**json.loads(limits))), Path(out)
if hasattr(archive, "_timeout_s"):
    archive._timeout_s = 5
before, started, said = peak_bytes(), time.perf_counter(), ""
try:
    eval(code)
except DuoscanError as error:
    said = str(error)
except MemoryError:
    said = "MemoryError"
print(json.dumps([said, before, peak_bytes(), time.perf_counter() - started]))
sys.stdout.flush()
os._exit(0)  # threads of pynetdicom's may be left
"""


@dataclass(frozen=True)
class Cost:
    """What was said, and at what price.

    Attributes:
        said: The error; empty where there was none.
        before: Peak memory before the call, in bytes.
        peak: After it.
        seconds: Wall time of the call.
    """

    said: str
    before: int
    peak: int
    seconds: float


def cost_of(code: str, address: str, out: Path, **limits: float) -> Cost:
    """Run an expression on ``archive`` and ``out``; Linux only."""
    command = [sys.executable, "-c", _CODE, address, str(out), json.dumps(limits), code]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert ran.returncode == 0, ran.stderr[-2000:]
    cost = Cost(*json.loads(ran.stdout.splitlines()[-1]))
    sys.stdout.write(f"{cost.said[:90]!r}, peak {cost.peak / 2**20:.0f} MiB, {cost.seconds:.1f} s\n")  # pytest -rP
    return cost
