"""A worker that is killed at any step loses nothing and does nothing twice; on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select

from duoscan.terms import Modality
from duoscan.worklist.store.listing import Listing, read_page
from duoscan.worklist.store.queue import JobState, job_counts
from duoscan.worklist.store.schema import TRAIL
from duoscan.worklist.store.store import Store
from duoscan.worklist.worker import Worker
from serve_parts import SETUP, InlineProcess, upload

_LEASE_S = 0.3
_WORK = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[6:]
from test_store_kill import work
work(Path(sys.argv[1]), sys.argv[2] or None, Path(sys.argv[3]), Path(sys.argv[4]), sys.argv[5])
"""


def work(root: Path, url: str | None, xray: Path, ct: Path, fatal: str) -> None:
    """Body of a process: work until there is nothing left, or the step is reached that is fatal."""

    def at(step: str) -> None:
        if step == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    store = Store(root, url)
    process = InlineProcess({Modality.CXR: xray, Modality.CT: ct}, store.scratch)
    worker = Worker(store, process, SETUP, lease_s=_LEASE_S, at=at)
    deadline = time.time() + 20
    while time.time() < deadline:
        with store.database.read() as connection:
            counts = job_counts(connection)
        if not counts[JobState.QUEUED] + counts[JobState.RUNNING]:
            return
        if not worker.step():
            time.sleep(0.05)


@pytest.mark.slow
def test_kill_minus_nine_at_each_step(
    store: Store, url: str | None, brightness_bundles: dict[Modality, Path], xray: Callable[..., bytes]
) -> None:
    upload(store, {"a.dcm": xray("p", 0.9), "q.dcm": xray("q", 0.1)})
    here = Path(__file__).parent
    bundles = [str(brightness_bundles[modality]) for modality in (Modality.CXR, Modality.CT)]
    told = [str(store.root), url or "", *bundles]
    killed = []
    for step in ("taken", "storing", "stored", "screened", "kept", "storing", "never"):
        command = [sys.executable, "-c", _WORK, *told, step, str(here), str(here.parent)]
        ended = subprocess.run(command, check=False, timeout=60, stderr=subprocess.PIPE)
        assert ended.returncode in {0, -signal.SIGKILL}, ended.stderr
        killed.append(ended.returncode == -signal.SIGKILL)
    assert killed == [True] * 6 + [False]
    with store.database.read() as connection:
        page = read_page(connection, Listing(), "", now=0)
        found = {row.patient_id: row.answer for row in page.cases}
        done = select(func.count()).where(TRAIL.c.action == "screen")
        assert connection.execute(done).scalar_one() == 2
    assert found.keys() == {"p", "q"}
    assert found["q"] == "negative"
