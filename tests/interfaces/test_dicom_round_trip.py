"""Orthanc as the PACS: a study is stored there, fetched, screened, and the results come back linked to it."""

from __future__ import annotations

import base64
import gc
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from duoscan.errors import InputError, TransferError
from duoscan.interfaces.cli import main
from duoscan.interfaces.dicom.send import Peer, send_files
from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.plan import FileFormat, PhantomOptions
from duoscan.terms import Modality

ORTHANC = shutil.which("Orthanc")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Pacs:
    """A running Orthanc."""

    def __init__(self, http: int, dicom: int) -> None:
        self.http, self.peer = http, Peer("ORTHANC", "127.0.0.1", dicom)

    def ask(self, path: str, body: object = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data=data)
        request.add_header("Authorization", "Basic " + base64.b64encode(b"test:test").decode())
        with urllib.request.urlopen(request, timeout=20) as answer:
            content: bytes = answer.read()
        return content

    def find(self, **query: str) -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(
            self.ask("/tools/find", {"Level": "Instance", "Query": query, "Expand": True})
        )
        return found


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pacs]:
    folder = tmp_path_factory.mktemp("orthanc")
    running = Pacs(free_port(), free_port())
    settings = {
        "Name": "test",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": running.http,
        "DicomPort": running.peer.port,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"test": "test"},
        "Plugins": [],
        "DicomAlwaysAllowStore": True,
    }
    (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen([str(ORTHANC), str(folder / "orthanc.json")], stdout=log, stderr=log)
        try:
            wait_until_it_answers(running, process)
            yield running
        finally:
            process.terminate()
            process.wait(20)


def wait_until_it_answers(pacs: Pacs, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        assert process.poll() is None, "Orthanc ended; see its log"
        try:
            pacs.ask("/system")
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("Orthanc did not start within 20 s")


@pytest.mark.skipif(ORTHANC is None, reason="Orthanc (Debian package orthanc) is not installed")
def test_store_screen_send_back_query_and_retrieve(
    pacs: Pacs, brightness_bundles: dict[Modality, Path], tmp_path: Path
) -> None:
    options = PhantomOptions(patients=3, seed=4, slices=4, ct_size=64, xray_size=96, formats=FileFormat.DICOM)
    write_cohort(options, tmp_path / "cohort", workers=1)
    sources = sorted((tmp_path / "cohort" / "dicom").rglob("*.dcm"))
    send_files(sources, pacs.peer)
    stored = pacs.find()
    assert len(stored) == len(sources) == 3 * (1 + 4)

    incoming = tmp_path / "incoming"
    incoming.mkdir()
    for number, one in enumerate(stored):
        (incoming / f"{number}.dcm").write_bytes(pacs.ask(f"/instances/{one['ID']}/file"))
    models = [str(brightness_bundles[modality]) for modality in (Modality.CXR, Modality.CT)]
    arguments = ["screen", str(incoming), "--need-ct-all", "--quiet", "--dicom-out", str(tmp_path / "out")]
    peer = f"ORTHANC@127.0.0.1:{pacs.peer.port}"
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--send", peer, "--xray-bundle", models[0], "--ct-bundle", models[1]])
    assert ended.value.code in {0, None}

    reports = pacs.find(Modality="SR")
    captures = pacs.find(SeriesDescription="duoscan heatmaps")
    assert len(reports) == 6  # an X-ray study and a CT study of each patient
    assert len(captures) == 3 * (1 + 3)
    studies = {str(pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID) for path in sources}
    for one in reports:
        path = tmp_path / "back.dcm"
        path.write_bytes(pacs.ask(f"/instances/{one['ID']}/file"))
        assert str(pydicom.dcmread(path).StudyInstanceUID) in studies

    # Answering and sending once more adds nothing.
    with pytest.raises(SystemExit):
        main([*arguments, "--send", peer, "--xray-bundle", models[0], "--ct-bundle", models[1]])
    assert len(pacs.find()) == len(sources) + 6 + 12


# pynetdicom leaves the socket of a refused connection to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_peer_that_is_not_there(tmp_path: Path) -> None:
    options = PhantomOptions(patients=3, seed=4, slices=4, ct_size=32, xray_size=32, formats=FileFormat.DICOM)
    write_cohort(options, tmp_path / "cohort", workers=1)
    one = next((tmp_path / "cohort" / "dicom").rglob("*.dcm"))
    with pytest.raises(TransferError, match="no association"):
        send_files([one], Peer("NOBODY", "127.0.0.1", free_port()), timeout_s=2)
    gc.collect()


@pytest.mark.parametrize(
    "text", ["ORTHANC", "A@host", "A@host:0", "A@host:70000", "much-too-long-a-title@host:104", ""]
)
def test_what_names_no_peer(text: str) -> None:
    with pytest.raises(InputError, match="TITLE@host:port"):
        Peer.parse(text)
