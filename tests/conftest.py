"""Fixtures every test may use."""

from __future__ import annotations

import os
import socketserver
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

from duoscan.audit.ledger import OWN_LEDGER
from duoscan.terms import Modality
from stand_ins import write_brightness_bundles

pytest_plugins = ["bright_screener", "written_dicom", "written_runs"]

# What a test draws is part of it: the same examples on every machine, and no verdict that hangs on the clock. A test
# that asks for more or fewer examples asks for a multiple of ``settings.default.max_examples``, so that
# ``make explore`` multiplies it too.
_FIXED = settings(
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("fixed", _FIXED)
settings.register_profile(
    "explore",
    _FIXED,
    derandomize=False,
    database=DirectoryBasedExampleDatabase(".hypothesis/examples"),
    max_examples=2000,
)
settings.load_profile("fixed")  # ``--hypothesis-profile=explore`` comes later, and counts


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests of real images where the folder is not named."""
    if os.environ.get("DUOSCAN_DATA"):
        return
    skip = pytest.mark.skip(reason="real images not named: set DUOSCAN_DATA to their folder")
    for item in items:
        if item.get_closest_marker("data"):
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _umask_stays() -> Iterator[None]:
    """The node's command narrows it for the process it runs in, which here is that of the tests."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture(autouse=True, scope="session")
def _no_ledger_of_the_user() -> Iterator[None]:
    """Tests count nothing in the ledger of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(OWN_LEDGER, "")
        yield


@pytest.fixture(autouse=True, scope="session")
def _closed_sockets() -> Iterator[None]:
    """Close the sockets of refused connections; pynetdicom does not where it could not shut them down before."""
    from pynetdicom.transport import AssociationSocket

    shut_down = AssociationSocket._shutdown_socket

    def close(self: Any) -> None:
        left = self.socket
        shut_down(self)
        left.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AssociationSocket, "_shutdown_socket", close)
        yield


@pytest.fixture(autouse=True, scope="session")
def _servers_end_at_once() -> Iterator[None]:
    """A server of the standard library looks twice a second whether to end; a hundred tests would wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socketserver.BaseServer.serve_forever, "__defaults__", (0.02,))
        yield


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real images."""
    return Path(os.environ["DUOSCAN_DATA"]).resolve()


@pytest.fixture(scope="session")
def brightness_bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[Modality, Path]:
    """One bundle per modality that calls bright images positive."""
    folder = tmp_path_factory.mktemp("bundles")
    return write_brightness_bundles(folder)
