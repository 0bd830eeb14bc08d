"""Fixtures every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests of real images where the folder is not named."""
    if os.environ.get("DUOSCAN_DATA"):
        return
    skip = pytest.mark.skip(reason="real images not named: set DUOSCAN_DATA to their folder")
    for item in items:
        if "data" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real images."""
    return Path(os.environ["DUOSCAN_DATA"]).resolve()
