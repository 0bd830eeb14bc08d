"""What calls cost, in a process of its own whose peak of memory begins anew with each one; Linux only."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duoscan.archives.archive import Limits, StudyQuery
from duoscan.archives.opening import open_archive
from duoscan.archives.retrieve import PeerArchive
from duoscan.archives.web import WebArchive
from duoscan.errors import DuoscanError
from fuzz.trial import peak_bytes

MOST_BYTES = 512 * 2**20
"""What an attack over the network may make of a process."""

_MOST_S = 100.0


@dataclass(frozen=True)
class Cost:
    """What was said, and at what price.

    Attributes:
        said: The error; empty where there was none.
        peak: Most memory of the process while it lasted, in bytes.
        seconds: Wall time.
    """

    said: str
    peak: int
    seconds: float


class Caller:
    """Finds or fetches in a process of its own."""

    def __init__(self) -> None:
        command = [sys.executable, __file__]
        path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | path
        )

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def find(self, address: str, **limits: float) -> Cost:
        return self._cost({"address": address, "limits": limits})

    def fetch(self, address: str, out: Path, *, move_port: int | None = None, **limits: float) -> Cost:
        return self._cost({"address": address, "limits": limits, "out": str(out), "move_port": move_port})

    def _cost(self, call: dict[str, Any]) -> Cost:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        alarm = threading.Timer(_MOST_S, self._process.kill)
        alarm.start()
        try:
            self._process.stdin.write(json.dumps(call) + "\n")
            self._process.stdin.flush()
            cost = Cost(*json.loads(self._process.stdout.readline()))
        finally:
            alarm.cancel()
        sys.stdout.write(f"{cost.said[:90]!r}, peak {cost.peak / 2**20:.0f} MiB, {cost.seconds:.1f} s\n")  # pytest -rP
        return cost


STUDY = "1.2.826.0.1.3680043.8.498.1"


def _call(call: dict[str, Any]) -> Cost:
    archive = open_archive(call["address"], limits=Limits(**call["limits"]), move_port=call.get("move_port"))
    if isinstance(archive, PeerArchive):
        archive._timeout_s = 5
    if isinstance(archive, WebArchive):
        archive._service._pauses_s = (0.0,) * len(archive._service._pauses_s)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    started, said = time.perf_counter(), ""
    try:
        if "out" in call:
            archive.fetch(STUDY, Path(call["out"]))
        else:
            archive.find(StudyQuery())
    except DuoscanError as error:
        said = str(error)
    except MemoryError:
        said = "MemoryError"
    return Cost(said, peak_bytes(), time.perf_counter() - started)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30,) * 2)
    for line in sys.stdin:
        cost = _call(json.loads(line))
        sys.stdout.write(json.dumps([cost.said, cost.peak, cost.seconds]) + "\n")
        sys.stdout.flush()
