"""The node end to end, with a destination that counts what arrives."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from duoscan.interfaces.node.node import Node
from duoscan.terms import Modality
from node_parts import Archive, cohort, config, store, wait_until


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return cohort(tmp_path_factory.mktemp("cohort") / "c")


@pytest.fixture
def archive() -> Iterator[Archive]:
    running = Archive()
    yield running
    running.close()


@pytest.fixture
def start(archive: Archive, brightness_bundles: dict[Modality, Path], tmp_path: Path) -> Iterator[Any]:
    nodes = []

    def starter(**changes: Any) -> tuple[Node, io.StringIO]:
        log = io.StringIO()
        node = Node(config(tmp_path / "spool", archive, brightness_bundles, **changes), stream=log)
        nodes.append(node)
        node.start()
        return node, log

    yield starter
    for node in nodes:
        node.stop()


def test_every_study_is_reported_once(start: Any, archive: Archive, files: list[Path]) -> None:
    node, _log = start()
    assert store(node.port, files) == [0x0000] * len(files)
    wait_until(lambda: len(archive.reports()) == 6)
    studies = {str(dcmread(path, stop_before_pixels=True).StudyInstanceUID) for path in files}
    assert {str(one.StudyInstanceUID) for one in archive.reports()} == studies
    assert set(archive.arrivals.values()) == {1}
