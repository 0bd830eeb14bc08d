"""``duoscan serve`` as a person starts it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from duoscan.errors import InputError
from duoscan.interfaces.cli import main
from duoscan.terms import Modality
from duoscan.worklist.store.backup import restore_backup, write_backup
from duoscan.worklist.store.listing import Listing, read_page
from duoscan.worklist.store.store import Store
from serve_parts import upload, work_off, worker

Bundles = dict[Modality, Path]
Xray = Callable[..., bytes]


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


@pytest.fixture
def filled(tmp_path: Path, brightness_bundles: Bundles, xray: Xray) -> Path:
    """Folder of a room with one answered case."""
    store = Store(tmp_path / "room")
    upload(store, {"a.dcm": xray("P1", 0.2)})
    work_off(worker(store, brightness_bundles))
    store.close()
    return store.root


def test_a_backup_is_the_room_again(filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backup, again = tmp_path / "room.tar", tmp_path / "again"
    assert run("serve", "--folder", filled, "backup", backup) == 0
    assert backup.stat().st_mode & 0o077 == 0
    assert run("serve", "--folder", filled, "backup", backup) == 2
    assert run("serve", "--folder", again, "restore", backup) == 0
    assert run("serve", "--folder", filled, "restore", backup) == 2
    store = Store(again)
    with store.database.read() as connection:
        (case,) = read_page(connection, Listing(), "", now=0).cases
    store.close()
    assert (case.patient_id, case.answer) == ("P1", "negative")
    kept = sorted(path.name for path in (filled / "images").glob("??/*"))
    assert sorted(path.name for path in (again / "images").glob("??/*")) == kept
    assert run("serve", "--folder", again, "check-trail") == 0
    assert "lines sound" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["../x", "/etc/x", "images/aa/../../x", "images/ab/" + "ab" * 32, "other"])
def test_a_backup_of_something_else_is_refused_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    (tmp_path / "content").write_bytes(b"x")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "content", name)
    with pytest.raises(InputError):
        restore_backup(tmp_path / "x.tar", tmp_path / "deep" / "room")
    assert not (tmp_path / "deep" / "room").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"content", "x.tar", "deep"}


def test_there_is_no_backup_of_no_room(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no reading room"):
        write_backup(tmp_path, tmp_path / "x.tar")


def test_an_unknown_key_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "serve.toml").write_text("portt = 1\n", encoding="utf-8")
    assert run("serve", "--config", tmp_path / "serve.toml") == 2
    assert "did you mean 'port'" in capsys.readouterr().err


def test_an_admin_may_get_a_new_link(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("serve", "--folder", filled, "admin-link") == 0
    assert re.search(r"/link/[\w-]{43}\n", capsys.readouterr().out)
    assert run("serve", "--folder", filled, "admin-link", "anna") == 2


@pytest.mark.slow
def test_it_starts_screens_and_stops_with_an_open_stream(
    tmp_path: Path, brightness_bundles: Bundles, xray: Xray
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path / "serve.toml"
    models = [
        f'{name}_bundle = "{brightness_bundles[one]}"' for name, one in (("xray", Modality.CXR), ("ct", Modality.CT))
    ]
    lines = [f'folder = "{tmp_path / "room"}"', f"port = {port}", "[models]", *models, "check_quality = false"]
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "duoscan", "serve", "--config", str(config)]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        link = process.stdout.readline().strip().rpartition(": ")[2]
        process.stdout.readline()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            _wait(lambda: _answers(client))
            password = {"password": "correct horse battery", "again": "correct horse battery"}
            assert client.post(link, data=password).status_code == 303
            csrf = re.search(r'name="csrf" content="([^"]+)"', client.get("/").text)[1]  # type: ignore[index]
            sent = {"X-CSRF-Token": csrf}
            begun = client.post("/api/v1/uploads", headers=sent).json()["id"]
            where = f"/api/v1/uploads/{begun}"
            client.put(f"{where}/files/0?name=a.dcm", content=xray("P1", 0.2), headers=sent)
            assert client.post(f"{where}/complete", headers=sent).status_code == 202
            _wait(lambda: "answered" in [one["state"] for one in client.get("/api/v1/cases").json()["cases"]])
            with client.stream("GET", "/events") as stream:
                assert next(stream.iter_lines()) == "retry: 2000"
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) in {0, -signal.SIGTERM}
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def _wait(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
