"""A real Orthanc for tests (Debian package orthanc), on loopback."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from duoscan.archives.send import Peer
from node_parts import free_port

ORTHANC = shutil.which("Orthanc")
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
CREDENTIALS = "basic test:test"
needs_orthanc = pytest.mark.skipif(
    ORTHANC is None or not DICOMWEB.exists(),
    reason="Orthanc (Debian packages orthanc, orthanc-dicomweb) is not installed",
)


class Orthanc:
    """A running Orthanc."""

    def __init__(self, http: int, dicom: int) -> None:
        self.http, self.peer = http, Peer("ORTHANC", "127.0.0.1", dicom)

    def ask(self, path: str, body: object = None) -> Any:
        """Its REST answer; a body makes it a POST."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data=data)
        request.add_header("Authorization", "Basic " + base64.b64encode(b"test:test").decode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def count(self) -> int:
        """Instances it holds."""
        return int(self.ask("/statistics")["CountInstances"])

    def address(self, way: str) -> str:
        """As a person names it, for ``dimse`` or ``web``."""
        return str(self.peer) if way == "dimse" else f"http://127.0.0.1:{self.http}/dicom-web"

    def find(self, level: str, **query: str) -> list[dict[str, Any]]:
        """Resources that match."""
        found: list[dict[str, Any]] = self.ask("/tools/find", {"Level": level, "Query": query, "Expand": True})
        return found


@contextmanager
def running_orthanc(folder: Path, **settings: object) -> Iterator[Orthanc]:
    """Start one in an empty folder; settings go before the defaults."""
    running = Orthanc(free_port(), free_port())
    defaults = {
        "Name": "test",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": running.http,
        "DicomPort": running.peer.port,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"test": "test"},
        "Plugins": [str(DICOMWEB)],
    }
    (folder / "orthanc.json").write_text(json.dumps(defaults | settings), encoding="utf-8")
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen([str(ORTHANC), str(folder / "orthanc.json")], stdout=log, stderr=log)
        try:
            _wait_until_it_answers(running, process)
            yield running
        finally:
            process.terminate()
            process.wait(20)


def _wait_until_it_answers(orthanc: Orthanc, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert process.poll() is None, "Orthanc ended; see its log"
        try:
            orthanc.ask("/system")
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("Orthanc did not start within 30 s")
