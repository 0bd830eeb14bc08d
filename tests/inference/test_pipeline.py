"""Work ahead of its consumer: in order, within bounds, and never stuck."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoscan.inference import pipeline
from duoscan.inference.pipeline import MOST_AHEAD, ahead

if TYPE_CHECKING:
    from collections.abc import Iterator

_TIMEOUT_S = 20


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


def test_results_come_in_order_though_work_ends_in_another(pool: ThreadPoolExecutor) -> None:
    def slow_first(number: int) -> int:
        time.sleep(0.02 if number % 2 == 0 else 0)
        return number

    assert list(ahead(pool, slow_first, range(40), lambda _: 0)) == list(range(40))


def test_no_more_is_begun_than_may_be(pool: ThreadPoolExecutor) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    stream = ahead(pool, lambda number: number, items(), lambda _: 0)
    assert next(stream) == 0
    assert len(taken) == MOST_AHEAD
    stream.close()


@given(sizes=st.lists(st.integers(0, 12), max_size=40))
def test_what_waits_is_bounded_and_nothing_gets_stuck(sizes: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as threads:
        patch.setattr(pipeline, "MAX_HELD_PIXELS", 10)
        lock, held, most = threading.Lock(), 0, 0

        def work(size: int) -> int:
            nonlocal held, most
            with lock:
                held += size
                most = max(most, held)
            return size

        seen = []
        done = threading.Event()

        def consume() -> None:
            nonlocal held
            for size in ahead(threads, work, sizes, lambda one: one):
                with lock:
                    held -= size
                seen.append(size)
            done.set()

        threading.Thread(target=consume, daemon=True).start()
        assert done.wait(_TIMEOUT_S), "stuck"
        assert seen == sizes
        # Below 10 one more may begin in each of two threads, and the one that is wanted next always may.
        assert most < 10 + 3 * 12


def test_what_fails_is_raised_at_its_turn_and_the_rest_is_given_up(pool: ThreadPoolExecutor) -> None:
    def work(number: int) -> int:
        if number == 3:
            msg = "the third"
            raise ValueError(msg)
        return number

    stream = ahead(pool, work, range(100), lambda _: 1)
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the third"):
        next(stream)
    assert pool.submit(lambda: "free").result(_TIMEOUT_S) == "free"
