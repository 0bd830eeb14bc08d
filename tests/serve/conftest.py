"""Each test of the store runs on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import create_engine, text
from starlette.testclient import TestClient

from duoscan.interfaces.serve.app import build_app
from duoscan.interfaces.serve.config import ServeConfig
from duoscan.worklist.store.schema import METADATA
from duoscan.worklist.store.store import Store
from serve_parts import POSTGRES, SETUP, postgres


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    if POSTGRES is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str | None:
    """Address of an empty database."""
    if request.param == "sqlite":
        return None
    found: str = request.getfixturevalue("postgres_url")
    engine = create_engine(found.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        METADATA.drop_all(connection)
        connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
    engine.dispose()
    return found


@pytest.fixture
def store(url: str | None, tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "room", url)
    yield opened
    opened.close()


@pytest.fixture
def xray(write_dicom: Callable[..., Path]) -> Callable[..., bytes]:
    """A radiograph of a patient as a DICOM file; the models of tests call bright ones positive."""

    def draw(patient: str, brightness: float, seed: int = 0) -> bytes:
        values = brightness * 4095 + np.random.default_rng(seed).uniform(-200, 200, (64, 64))
        values[0, :2] = 0, 4095  # the whole range is there
        stored = np.clip(values, 0, 4095).astype(np.uint16)
        names = {"PatientID": patient, "SOPInstanceUID": f"1.2.{seed}.{round(brightness * 1000)}"}
        return write_dicom(stored, StudyInstanceUID=f"1.2.{sum(patient.encode())}", **names).read_bytes()

    return draw


@pytest.fixture
def room(tmp_path: Path) -> Iterator[tuple[Store, TestClient]]:
    """A room on SQLite, and what asks its server."""
    store = Store(tmp_path / "room")
    app = build_app(store, ServeConfig(folder=store.root, names=("testserver",)), SETUP)
    with TestClient(app, follow_redirects=False) as client:
        yield store, client
    store.close()
