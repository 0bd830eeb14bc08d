"""Orthanc sends studies to the node, as a modality does, and gets the reports back."""

from __future__ import annotations

import io
from pathlib import Path

from duoscan.interfaces.dicom.send import send_files, stored_files
from duoscan.interfaces.node.journal import Journal, State
from duoscan.interfaces.node.node import Node
from duoscan.interfaces.node.spool import Spool
from duoscan.terms import Modality
from node_parts import cohort, config, free_port, wait_until
from orthanc import needs_orthanc, running_orthanc


@needs_orthanc
def test_orthanc_stores_at_the_node_and_gets_the_reports(
    brightness_bundles: dict[Modality, Path], tmp_path: Path
) -> None:
    """Its modality entry for the node lets it send there, and lets the node store and ask."""
    port = free_port()
    files = cohort(tmp_path / "cohort")
    modalities = {"duoscan": ["DUOSCAN", "127.0.0.1", port]}
    (tmp_path / "orthanc").mkdir()
    with running_orthanc(tmp_path / "orthanc", DicomModalities=modalities) as orthanc:
        told = config(tmp_path / "spool", str(orthanc.peer), brightness_bundles, listen__port=port)
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
            wait_until(lambda: journal.counts()[State.REPORTED] == 6)
            reports = orthanc.find("Series", Modality="SR")
            assert {one["ParentStudy"] for one in reports} == set(studies)
            assert [len(one["Instances"]) for one in reports] == [1] * 6
            # Sent a second time, with the results that are part of the studies now, nothing comes of it.
            before = len(orthanc.ask("/instances"))
            for study in studies:
                orthanc.ask("/modalities/duoscan/store", {"Resources": [study], "Permissive": True})
            assert len(orthanc.ask("/instances")) == before
            assert journal.counts()[State.REPORTED] == 6
            results = sorted((told.spool / "results").rglob("*.dcm"))
            assert stored_files(results, orthanc.peer) == set(results)
        finally:
            node.stop()
            journal.close()
