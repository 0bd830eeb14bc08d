"""A node that is killed again and again loses nothing."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from duoscan.terms import Modality
from node_kills import run_kills

# pynetdicom leaves the sockets of connections that came to nothing to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collect() -> Iterator[None]:
    yield
    gc.collect()


@pytest.mark.slow
def test_kill_minus_nine_loses_nothing_and_does_nothing_twice(
    brightness_bundles: dict[Modality, Path], tmp_path: Path
) -> None:
    """``benchmarks/node_kill.py`` does this fifty times."""
    outcome = run_kills(tmp_path, brightness_bundles, seed=int(os.environ.get("DUOSCAN_KILL_SEED", "0")), kills=5)
    assert outcome.problems == []
    assert outcome.kills == 5
    assert outcome.acknowledged == 3 * (1 + 6)
