"""A peer that answers queries wrongly; what a good one does, Orthanc shows elsewhere."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
import trustme
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind as Find,
)
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelGet as Get,
)

from duoscan.archives.archive import Access, Limits, StudyQuery
from duoscan.archives.opening import open_archive
from duoscan.archives.retrieve import PeerArchive
from duoscan.archives.send import Peer
from duoscan.errors import TransferError

STUDY = "1.2.826.0.1.3680043.8.498.1"


class Pacs:
    """A peer that finds one study and sends what it was told to."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.count = 0
        self.sends: list[pydicom.Dataset] = []
        entity = AE("PACS")
        entity.add_supported_context(Find)
        entity.add_supported_context(Get)
        entity.add_supported_context(CTImageStorage, scu_role=True, scp_role=True)
        handlers = [(evt.EVT_C_FIND, self.find), (evt.EVT_C_GET, self.get)]
        self.server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=context)

    @property
    def peer(self) -> Peer:
        return Peer("PACS", "127.0.0.1", self.server.socket.getsockname()[1])

    def archive(self, **limits: float) -> PeerArchive:
        return PeerArchive(self.peer, Limits(**limits), timeout_s=10)  # type: ignore[arg-type]

    def find(self, event: Any) -> Iterator[tuple[int, pydicom.Dataset | None]]:
        for _ in range(3):
            answer = pydicom.Dataset()
            answer.StudyInstanceUID, answer.ModalitiesInStudy = STUDY, ["CT", "SR"]
            answer.NumberOfStudyRelatedInstances = self.count
            yield 0xFF00, answer

    def get(self, event: Any) -> Iterator[Any]:
        yield len(self.sends)
        for one in self.sends:
            yield 0xFF00, one


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    running = Pacs()
    yield running
    running.server.shutdown()


def dataset(number: int, study: str = STUDY, size: int = 16) -> pydicom.Dataset:
    one = pydicom.Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.SOPClassUID, one.SOPInstanceUID, one.StudyInstanceUID = CTImageStorage, f"{STUDY}.{number}", study
    one.PatientID = "CANARY"
    one.add_new("PixelData", "OB", bytes(size))
    return one


def test_a_study_comes_whole_and_under_names_of_ours(pacs: Pacs, tmp_path: Path) -> None:
    pacs.sends, pacs.count = [dataset(1), dataset(2)], 2
    written = pacs.archive().fetch(STUDY, tmp_path)
    assert [pydicom.dcmread(path).SOPInstanceUID for path in written] == [f"{STUDY}.1", f"{STUDY}.2"]
    assert all(path.parent == tmp_path and path.stem.isalnum() for path in written)


def test_a_peer_that_names_another_study_has_not_the_one_that_is_asked_for(pacs: Pacs, tmp_path: Path) -> None:
    pacs.sends, pacs.count = [dataset(1, study="1.2.3")], 1
    with pytest.raises(TransferError, match="the study is not there among the 3 it names"):
        pacs.archive().fetch("1.2.3", tmp_path)


def test_queries_stop_at_the_limit(pacs: Pacs) -> None:
    found = pacs.archive(studies=2).find(StudyQuery())
    assert len(found) == 2
    assert found[0].modalities == ("CT", "SR")


@pytest.mark.parametrize(
    ("sends", "limits", "why"),
    [
        ([dataset(1, study="1.2.3")], {}, "another study"),
        ([dataset(1), dataset(2)], {"instances": 1}, "more than 1 instances"),
        ([dataset(1, size=100_000)], {"instance_bytes": 50_000}, "larger than allowed"),
        ([dataset(1)], {}, "1 of 2 instances came"),
        ([], {}, "0 of 2 instances came"),
    ],
)
def test_what_comes_is_not_trusted(
    pacs: Pacs, tmp_path: Path, sends: list[pydicom.Dataset], limits: dict[str, float], why: str
) -> None:
    pacs.sends, pacs.count = sends, 2
    with pytest.raises(TransferError, match=why) as caught:
        pacs.archive(**limits).fetch(STUDY, tmp_path)
    assert "CANARY" not in str(caught.value)


class Deserter:
    """A peer that ends the association once it has stored one object, or is asked anything."""

    def __init__(self) -> None:
        self.gone = threading.Event()
        entity = AE("PACS")
        entity.add_supported_context(Find)
        entity.add_supported_context(CTImageStorage)
        handlers = [(evt.EVT_C_STORE, self.store), (evt.EVT_C_FIND, self.find)]
        self.server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.archive = PeerArchive(Peer("PACS", "127.0.0.1", self.server.socket.getsockname()[1]), timeout_s=3)

    def store(self, event: Any) -> int:
        threading.Timer(0.2, self.leave, [event.assoc]).start()
        return 0x0000

    def find(self, event: Any) -> Iterator[tuple[int, pydicom.Dataset | None]]:
        event.assoc.abort()
        yield 0x0000, None

    def leave(self, association: Any) -> None:
        association.abort()
        self.gone.set()

    def await_it(self, _path: Path) -> None:
        assert self.gone.wait(10)
        time.sleep(0.2)  # until the abort is noticed on our side


@pytest.fixture
def deserter() -> Iterator[Deserter]:
    running = Deserter()
    yield running
    running.server.shutdown()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.dcm" for number in range(1, 4)]
    for number, path in enumerate(paths, start=1):
        dataset(number).save_as(path, enforce_file_format=True)
    return paths


def test_what_was_not_sent_any_more_is_told(deserter: Deserter, files: list[Path]) -> None:
    with pytest.raises(TransferError, match=r"2\.dcm: not sent.*1 more"):
        deserter.archive.store(files, deserter.await_it)


def test_a_peer_that_ends_the_association_over_a_query_is_taken_to_have_nothing(
    deserter: Deserter, files: list[Path]
) -> None:
    assert deserter.archive.holds(files) == set()


def test_a_file_that_is_no_dicom_is_named(deserter: Deserter, files: list[Path]) -> None:
    files[1].write_bytes(b"no DICOM")
    with pytest.raises(TransferError, match=r"2\.dcm: damaged DICOM file"):
        deserter.archive.store(files)


def test_a_connection_is_secured_on_both_sides(tmp_path: Path) -> None:
    authority, ca_file, ours = trustme.CA(), tmp_path / "ca.pem", tmp_path / "ours.pem"
    authority.cert_pem.write_to_path(ca_file)
    authority.issue_cert("duoscan.test").private_key_and_cert_chain_pem.write_to_path(ours)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    running = Pacs(context)
    running.sends, running.count = [dataset(1)], 1
    archive = open_archive(str(running.peer), Access("", ca_file, ours, ours))
    assert len(archive.fetch(STUDY, tmp_path / "in")) == 1
    running.server.shutdown()
