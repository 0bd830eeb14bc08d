from __future__ import annotations

import logging
import warnings
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from duoscan.quiet import quiet


def test_drops_warnings_and_logs_and_restores_both(caplog: pytest.LogCaptureFixture) -> None:
    filters = list(warnings.filters)
    with quiet:
        warnings.warn("odd value JANE", stacklevel=1)
        logging.getLogger("pydicom").warning("odd value JANE")
    assert list(warnings.filters) == filters
    logging.getLogger("pydicom").warning("after")
    assert caplog.messages == ["after"]
    with pytest.warns(UserWarning, match="after"):
        warnings.warn("after", stacklevel=1)


def test_restores_after_an_error() -> None:
    filters = list(warnings.filters)
    with pytest.raises(ValueError, match="x"), quiet:
        raise ValueError("x")
    assert list(warnings.filters) == filters


def test_overlapping_threads_stay_silent_until_the_last_leaves() -> None:
    filters = list(warnings.filters)
    first_inside, second_inside, first_left = Event(), Event(), Event()

    def first() -> None:
        with quiet:
            first_inside.set()
            assert second_inside.wait(5)
        first_left.set()

    def second() -> None:
        assert first_inside.wait(5)
        with quiet:
            second_inside.set()
            assert first_left.wait(5)
            # Warnings are errors in this suite, so this raises unless it is still quiet.
            warnings.warn("odd", stacklevel=1)

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(first), pool.submit(second)]:
            future.result()
    assert list(warnings.filters) == filters
