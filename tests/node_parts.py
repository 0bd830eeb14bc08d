"""A destination that counts, and what else tests of the node share."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification

from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.plan import FileFormat, PhantomOptions
from duoscan.terms import Modality
from duoscan.worklist.config import NodeConfig
from duoscan.worklist.spool import Spool


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(condition: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


class Archive:
    """Takes structured reports and captures, counts how often each arrives, and answers C-FIND."""

    def __init__(self) -> None:
        self.arrivals: Counter[str] = Counter()
        self.objects: dict[str, Dataset] = {}
        self.queries = 0
        self.refuse: Callable[[Dataset], int] = lambda _dataset: 0x0000
        self._lock = threading.Lock()
        entity = AE("ARCHIVE")
        for sop_class in (ComprehensiveSRStorage, SecondaryCaptureImageStorage):
            entity.add_supported_context(sop_class, ExplicitVRLittleEndian)
        entity.add_supported_context(Verification)
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_C_FIND, self._find)]
        self._server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port = int(self._server.server_address[1])

    @property
    def peer(self) -> str:
        return f"ARCHIVE@127.0.0.1:{self.port}"

    def reports(self) -> list[Dataset]:
        with self._lock:
            return [one for one in self.objects.values() if one.Modality == "SR"]

    def _store(self, event: Any) -> int:
        dataset = event.dataset
        uid = str(event.request.AffectedSOPInstanceUID)
        with self._lock:
            self.arrivals[uid] += 1
            if status := self.refuse(dataset):
                return status
            self.objects[uid] = dataset
        return 0x0000

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        self.queries += 1
        uid = str(event.identifier.SOPInstanceUID)
        if uid in self.objects:
            answer = Dataset()
            answer.SOPInstanceUID = uid
            yield 0xFF00, answer

    def close(self) -> None:
        self._server.shutdown()


def screenings(spool: Spool) -> dict[str, int]:
    """How often each patient's case was screened to the end: once for each set of images."""
    return {folder.name: len(list(folder.iterdir())) for folder in spool.results.iterdir()}


def cohort(folder: Path, patients: int = 3, slices: int = 3) -> list[Path]:
    """DICOM files of synthetic patients, an X-ray and a CT study each."""
    options = PhantomOptions(
        patients=patients, seed=6, slices=slices, ct_size=64, xray_size=96, formats=FileFormat.DICOM
    )
    write_cohort(options, folder, workers=1)
    return sorted((folder / "dicom").rglob("*.dcm"))


def config(spool: Path, archive: Archive | str, bundles: dict[Modality, Path], **changes: Any) -> NodeConfig:
    table: dict[str, Any] = {
        "spool": spool,
        "destination": {"address": archive if isinstance(archive, str) else archive.peer},
        "listen": {"port": 0, "min_free_mb": 0, "timeout_s": 5},
        "study": {"quiet_s": 0.3},
        "models": {"xray_bundle": bundles[Modality.CXR], "ct_bundle": bundles[Modality.CT], "check_quality": False},
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            table[section] = {**table[section], name: value}
        else:
            table[section] = value
    return NodeConfig.model_validate(table)


@contextmanager
def calling(
    port: int, calling_title: str = "SENDER", called: str = "DUOSCAN", *, timeout_s: float = 10, **options: Any
) -> Iterator[Any]:
    """An association with the node that proposes every class it takes."""
    from duoscan.interfaces.node.listener import SOP_CLASSES

    entity = AE(calling_title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = timeout_s
    entity.add_requested_context(Verification)
    for sop_class in SOP_CLASSES:
        entity.add_requested_context(sop_class, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title=called, **options)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        # What its threads hold is garbage, and may be collected by the test, once they have ended.
        for thread in (association, association.dul):
            if thread.is_alive():
                thread.join(10)


def store(port: int, files: list[Path], **options: Any) -> list[int | None]:
    """Send files over one association; the status of each."""
    with calling(port, **options) as association:
        assert association.is_established
        return [association.send_c_store(dcmread(path)).get("Status") for path in files]
