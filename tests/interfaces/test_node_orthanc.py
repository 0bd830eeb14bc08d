"""Orthanc sends studies to the node, as a modality does, and gets the reports back."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from duoscan.archives.credentials import VARIABLE
from duoscan.archives.send import send_files
from duoscan.interfaces.node.node import Node
from duoscan.terms import Modality
from duoscan.worklist.journal import Journal, StudyState
from duoscan.worklist.spool import Spool
from node_parts import cohort, config, free_port, wait_until
from orthanc import CREDENTIALS, needs_orthanc, running_orthanc


def stranger(path: Path, folder: Path) -> Path:
    """A copy with a SOPInstanceUID that nobody knows."""
    image = dcmread(path)
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    image.save_as(folder / "stranger.dcm")
    return folder / "stranger.dcm"


@needs_orthanc
@pytest.mark.slow
@pytest.mark.parametrize("way", ["dimse", "web"])
def test_orthanc_stores_at_the_node_and_gets_the_reports(
    way: str, brightness_bundles: dict[Modality, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its modality entry for the node lets it send there, and lets the node store and ask."""
    monkeypatch.setenv(VARIABLE, CREDENTIALS)
    port = free_port()
    files = cohort(tmp_path / "cohort")
    modalities = {"duoscan": ["DUOSCAN", "127.0.0.1", port]}
    (tmp_path / "orthanc").mkdir()
    with running_orthanc(tmp_path / "orthanc", DicomModalities=modalities) as orthanc:
        objects = {"destination__objects": ["sr", "heatmap", "gsps"]}
        told = config(tmp_path / "spool", orthanc.address(way), brightness_bundles, listen__port=port, **objects)
        node = Node(told, stream=io.StringIO())
        journal = Journal(Spool(told.spool).journal)
        try:
            node.start()
            send_files(files, orthanc.peer)
            studies = orthanc.ask("/studies")
            assert len(studies) == 6
            orthanc.ask("/modalities/duoscan/echo", {})
            for study in studies:
                assert orthanc.ask("/modalities/duoscan/store", study)["FailedInstancesCount"] == 0
            wait_until(lambda: journal.counts()[StudyState.REPORTED] == 6)
            reports = orthanc.find("Series", Modality="SR")
            assert {one["ParentStudy"] for one in reports} == set(studies)
            assert [len(one["Instances"]) for one in reports] == [1] * 6
            assert len(orthanc.find("Instance", Modality="PR")) == 3
            # Sent a second time, with the results that are part of the studies now, nothing comes of it.
            before = orthanc.count()
            for study in studies:
                orthanc.ask("/modalities/duoscan/store", {"Resources": [study], "Permissive": True})
            assert orthanc.count() == before
            assert journal.counts()[StudyState.REPORTED] == 6
            # What is asked for where an acknowledgement was lost.
            results = sorted((told.spool / "results").rglob("*.dcm"))
            assert told.destination.open().holds([*results, files[0], stranger(files[0], tmp_path)]) == {
                *results,
                files[0],
            }
        finally:
            node.stop()
            journal.close()
