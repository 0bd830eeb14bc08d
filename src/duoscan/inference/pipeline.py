"""Read → judge → prepare in worker threads while the model runs in the caller's, in order and within bounds.

Decoding releases the interpreter lock, so two threads keep a model fed that runs in a third. What they finish before
it is wanted waits, and a decoded image may take a hundred megabytes; so no more than so many are begun ahead, and
none is begun while what waits is beyond a bound, but for the one that is wanted next.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Condition
from typing import TYPE_CHECKING, Generic, TypeVar

from duoscan.formats.open_files import kept_open

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from concurrent.futures import Executor, Future

THREADS = 2
MOST_AHEAD = 16
"""Items begun before the one that is wanted is done."""

MAX_HELD_PIXELS = 32_000_000
"""Of decoded images that wait for the model; those of a batch are rarely a fifth of it."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def worker_threads() -> Iterator[Executor]:
    """Threads for :func:`ahead`, with files kept open that hold several images."""
    with kept_open, ThreadPoolExecutor(THREADS) as pool:
        yield pool


def ahead(
    pool: Executor,
    work: Callable[[Item], Result],
    items: Iterable[Item],
    pixels: Callable[[Result], int],
) -> Generator[Result]:
    """Results in the order of the items, worked out ahead of the one that is asked for.

    Args:
        pool: Where ``work`` runs; it may be shared with other work.
        work: Called once an item; what it raises is raised here, at that item's turn.
        items: Taken as they are needed, in the caller's thread.
        pixels: How many decoded pixels a result holds.

    Close it before the pool, which would otherwise wait for work that waits for its turn.
    """
    turns = _Turns(work, pixels)
    waiting: deque[Future[Result]] = deque()
    stream = enumerate(items)
    try:
        while True:
            while len(waiting) < MOST_AHEAD and (entry := next(stream, None)) is not None:
                waiting.append(pool.submit(turns.run, *entry))
            if not waiting:
                return
            result = waiting.popleft().result()
            turns.taken(result)
            yield result
    finally:
        turns.end()
        for future in waiting:
            future.cancel()


class _Turns(Generic[Item, Result]):
    """Whose turn it is, and how much waits."""

    def __init__(self, work: Callable[[Item], Result], pixels: Callable[[Result], int]) -> None:
        self._work = work
        self._pixels = pixels
        self._changed = Condition()
        self._held = 0
        self._wanted = 0
        self._is_over = False

    def run(self, number: int, item: Item) -> Result:
        # The one that is wanted next never waits, or nobody would make room.
        with self._changed:
            self._changed.wait_for(lambda: self._held < MAX_HELD_PIXELS or number == self._wanted or self._is_over)
        result = self._work(item)
        with self._changed:
            self._held += self._pixels(result)
        return result

    def taken(self, result: Result) -> None:
        with self._changed:
            self._held -= self._pixels(result)
            self._wanted += 1
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
