"""Bundles on a model hub, against a stand-in that speaks as much of the hub's HTTP as the library asks for."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from huggingface_hub import constants

from duoscan.errors import BundleError, MissingExtraError, TransferError
from duoscan.inference.bundle import read_bundle
from duoscan.inference.hub import CARD, SUMS, Place, fetch, named_bundle, push
from duoscan.inference.shipped import load_bundle, shipped_path
from duoscan.interfaces.cli import main
from duoscan.run_files import BUNDLE_NAME
from duoscan.terms import Modality
from node_parts import free_port

REPOSITORY = "clinic/xray"


class StandIn(ThreadingHTTPServer):
    """Repositories in memory: by name, by commit, files by name."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Speaker)
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.created: list[dict[str, Any]] = []

    def found(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        commits = self.commits.get(repository, {})
        commit = list(commits)[-1] if revision == "main" and commits else revision
        return (commit, commits[commit]) if commit in commits else None


class Speaker(BaseHTTPRequestHandler):
    server: StandIn

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def json(self, document: Any) -> None:
        self.answer(200, json.dumps(document).encode(), Content_Type="application/json")

    def do_HEAD(self) -> None:
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path.partition("?")[0])
        if found is None or found[1] not in self.server.commits:
            self.answer(404, X_Error_Code="RepoNotFound")
            return
        state = self.server.found(found[1], found[2])
        if state is None:
            self.answer(404, X_Error_Code="RevisionNotFound")
            return
        commit, files = state
        if found[3] not in files:
            self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
            return
        content = files[found[3]]
        self.answer(200, content, X_Repo_Commit=commit, ETag=f'"{hashlib.sha256(content).hexdigest()}"')

    do_GET = do_HEAD  # noqa: N815 - the library's name

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/repos/create":
            stated = json.loads(body)
            self.server.created.append(stated)
            name = f"{stated['organization']}/{stated['name']}"
            self.server.commits.setdefault(name, {})
            self.json({"url": f"http://127.0.0.1/{name}"})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", self.path.partition("?")[0]):
            files = json.loads(body)["files"]
            modes = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in files]
            self.json({"files": modes})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", self.path.partition("?")[0]):
            lines = [json.loads(line) for line in body.splitlines()]
            files = {
                one["value"]["path"]: base64.b64decode(one["value"]["content"]) for one in lines if one["key"] == "file"
            }
            commit = hashlib.sha1(body).hexdigest()
            self.server.commits[found[1]][commit] = files
            self.json({"commitUrl": f"http://127.0.0.1/{found[1]}/commit/{commit}", "commitOid": commit})
        elif self.path == "/api/validate-yaml":
            self.json({"errors": [], "warnings": []})
        else:
            self.answer(404)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandIn]:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_stand_in")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with StandIn() as server:
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def stored(hub: StandIn) -> str:
    """The commit of a repository that holds a bundle."""
    return push(read_bundle(shipped_path(Modality.CXR)), Place(REPOSITORY), "# A card", is_private=True)


def said(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


def test_what_is_stored_comes_back_the_same(hub: StandIn, stored: str) -> None:
    assert "private" in {hub.created[0].get("visibility"), hub.created[0].get("private") and "private"}
    files = hub.commits[REPOSITORY][stored]
    assert set(files) == {BUNDLE_NAME, CARD, SUMS}
    found = fetch(Place(REPOSITORY, stored))
    assert found.commit == stored
    assert found.path.read_bytes() == shipped_path(Modality.CXR).read_bytes()
    assert files[SUMS].split()[0].decode() == hashlib.sha256(found.path.read_bytes()).hexdigest()


def test_screening_names_a_bundle_on_the_hub(hub: StandIn, stored: str) -> None:
    named = load_bundle(Path(f"hf:{REPOSITORY}@{stored}"), Modality.CXR)
    assert named.digest == load_bundle(None, Modality.CXR).digest
    hub.commits.clear()  # a commit that lies here is asked of nobody
    assert named_bundle(Path(f"hf:{REPOSITORY}@{stored}")).digest == named.digest


def test_push_and_pull_as_commands(hub: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said("bundle", "push", shipped_path(Modality.CXR), f"hf:{REPOSITORY}") == 0
    (commit,) = hub.commits[REPOSITORY]
    assert f"name it hf:{REPOSITORY}@{commit}" in capsys.readouterr().out
    card = hub.commits[REPOSITORY][commit][CARD].decode()
    assert card.startswith('---\nlicense: "unknown"\n')
    assert "Research software, not a medical device" in card
    assert said("bundle", "pull", f"hf:{REPOSITORY}", "--out", tmp_path / "m.duoscan") == 0
    assert f"commit {commit}" in capsys.readouterr().out
    assert read_bundle(tmp_path / "m.duoscan").info.modality is Modality.CXR
    assert said("bundle", tmp_path / "m.duoscan") == 0  # a file is shown without another word
    assert "sound" in capsys.readouterr().out


def test_an_exchanged_bundle_is_refused(hub: StandIn, stored: str) -> None:
    hub.commits[REPOSITORY]["0" * 40] = {
        **hub.commits[REPOSITORY][stored],
        BUNDLE_NAME: shipped_path(Modality.CT).read_bytes(),
    }
    with pytest.raises(BundleError, match="not the one that SHA256SUMS states"):
        fetch(Place(REPOSITORY, "0" * 40))


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("hf:clinic/other", "not there, or not for this account"),
        (f"hf:{REPOSITORY}@v9", "there is no such commit, branch or tag"),
        ("hf:clinic", "names no repository"),
        ("hf:../../etc", "names no repository"),
    ],
)
def test_what_is_not_there_is_said(place: str, says: str, stored: str) -> None:
    with pytest.raises(BundleError, match=says):
        named_bundle(Path(place))


def test_a_repository_without_a_bundle_is_said(hub: StandIn) -> None:
    hub.commits[REPOSITORY] = {"1" * 40: {CARD: b"of something else"}}
    with pytest.raises(BundleError, match="holds no model.duoscan"):
        fetch(Place(REPOSITORY))


def test_a_hub_that_is_not_there_is_said_at_once(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(TransferError, match="no connection to 127.0.0.1, and it is not in the cache"):
        fetch(Place(REPOSITORY))
    with pytest.raises(TransferError, match="no connection to 127.0.0.1, so nothing was stored"):
        push(read_bundle(shipped_path(Modality.CXR)), Place(REPOSITORY), "", is_private=True)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"duoscan\[hub\]"):
        named_bundle(Path(f"hf:{REPOSITORY}"))
