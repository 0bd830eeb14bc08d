"""A spool that is copied and restored elsewhere, as the page on backup says: nothing lost, nothing reported twice."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from test_deploy import documented

from duoscan.interfaces.node.node import Node
from duoscan.terms import Modality
from duoscan.worklist.journal import Journal, StudyState
from duoscan.worklist.spool import Spool
from node_parts import Archive, cohort, config, screenings, store, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


def reported(spool: Path) -> int:
    journal = Journal(Spool(spool).journal)
    try:
        return journal.counts()[StudyState.REPORTED]
    finally:
        journal.close()


def test_a_restored_spool_goes_on_where_the_backup_was_made(
    brightness_bundles: dict[Modality, Path], tmp_path: Path
) -> None:
    files = cohort(tmp_path / "cohort", patients=2)
    patients = [[path for path in files if name in str(path)] for name in ("-0001", "-0002")]
    archive, log = Archive(), io.StringIO()
    first, second = tmp_path / "spool", tmp_path / "restored"
    try:
        # One patient is finished, the other only received when the node is stopped and copied.
        node = Node(config(first, archive, brightness_bundles), stream=log)
        node.start()
        store(node.port, patients[0])
        wait_until(lambda: reported(first) == 2)
        node.stop()
        node = Node(config(first, archive, brightness_bundles, study__quiet_s=3600), stream=log)
        node.start()
        store(node.port, patients[1])
        node.stop()
        shutil.copytree(first, second)
        shutil.rmtree(first)

        node = Node(config(second, archive, brightness_bundles), stream=log)
        node.start()
        # What is sent again after the restore changes nothing.
        assert set(store(node.port, patients[0])) == {0x0000}
        wait_until(lambda: reported(second) == 4)
        node.stop()
    finally:
        archive.close()
    assert set(screenings(Spool(second)).values()) == {1}
    assert len(archive.reports()) == 4
    assert set(archive.arrivals.values()) == {1}
    check_lines_are_documented(log.getvalue())


def check_lines_are_documented(log: str) -> None:
    """Whatever was logged stands on the page."""
    events, _ = documented()
    for line in map(json.loads, log.splitlines()):
        fields = set(line) - {"time", "event"}
        assert line["event"] in events
        assert fields <= events[line["event"]]
