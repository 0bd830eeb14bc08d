"""``duoscan pacs echo``: who answers, who refuses whom, and who is not there."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification

from duoscan.archives.credentials import VARIABLE
from duoscan.interfaces.cli import main
from node_parts import free_port
from orthanc import CREDENTIALS, needs_orthanc, running_orthanc

# pynetdicom leaves the sockets of connections that came to nothing to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@contextmanager
def serving(sop_class: Any = Verification, **settings: Any) -> Iterator[int]:
    """An application of pynetdicom's called PACS; its port."""
    entity = AE("PACS")
    entity.add_supported_context(sop_class)
    entity.require_called_aet = True
    for name, value in settings.items():
        setattr(entity, name, value)
    server = entity.start_server(("127.0.0.1", 0), block=False)
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def echo(address: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["pacs", "echo", address])
    return int(ended.value.code or 0)


def test_one_that_answers(capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as port:
        assert echo(f"PACS@127.0.0.1:{port}") == 0
    assert capsys.readouterr().out == f"PACS@127.0.0.1:{port}: answers\n"


@pytest.mark.parametrize(
    ("settings", "title", "why"),
    [
        ({"require_calling_aet": ["FRIEND"]}, "PACS", "rejected, it does not know DUOSCAN"),
        ({}, "PACKS", "rejected, it is not called PACKS"),
        ({"sop_class": StudyRootQueryRetrieveInformationModelFind}, "PACS", "it ended the connection"),
    ],
)
def test_one_that_refuses(settings: dict[str, Any], title: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(**settings) as port:
        assert echo(f"{title}@127.0.0.1:{port}") == 2
    assert why in capsys.readouterr().err


@pytest.mark.parametrize("address", ["PACS@127.0.0.1:{}", "http://127.0.0.1:{}/dicom-web"])
def test_a_closed_port(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert echo(address.format(free_port())) == 2
    said = capsys.readouterr().err
    assert "no connection" in said
    assert "rejected" not in said


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "does it want TLS"),
        (struct.pack(">BBLBBBB", 3, 0, 4, 0, 2, 3, 2), "rejected, it has too many associations"),  # PS3.8 9.3.4
        (struct.pack(">BBLBBBB", 3, 0, 4, 0, 1, 2, 2), "rejected, Protocol version not supported"),
    ],
)
def test_one_that_hangs_up(answer: bytes, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(2**16)
                connection.sendall(answer)

        threading.Thread(target=hang_up, daemon=True).start()
        assert echo(f"PACS@127.0.0.1:{listener.getsockname()[1]}") == 2
    assert why in capsys.readouterr().err


@needs_orthanc
@pytest.mark.parametrize("way", ["dimse", "web"])
def test_a_real_archive(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_orthanc(tmp_path) as pacs:
        address = pacs.address(way)
        if way == "web":
            assert echo(address) == 2
            assert "HTTP status 401" in capsys.readouterr().err
            monkeypatch.setenv(VARIABLE, CREDENTIALS)
        assert echo(address) == 0
