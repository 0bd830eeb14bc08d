"""Processes that share the work of a command, and leave it to the command to say that it was stopped."""

from __future__ import annotations

import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def worker_processes(workers: int, begin: Callable[[], None] | None = None) -> ProcessPoolExecutor:
    """A pool of processes that do not heed Ctrl-C, which a terminal sends to them as well as to the command.

    Args:
        workers: How many.
        begin: Called in each before its work.
    """
    # Forking a process that already runs threads is unsafe, and a fresh one starts in well under a second.
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin, initargs=(begin,))
    if hasattr(signal, "pthread_sigmask"):
        # They inherit it, so that none is ended while it starts either.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            pool.submit(_nothing)  # starts them
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pool


def _begin(begin: Callable[[], None] | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if begin is not None:
        begin()


def _nothing() -> None:
    """No work."""
