"""A hub that is not there is told in two seconds, and what works without one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from duoscan.errors import RecipeError
from duoscan.interfaces.cli import main
from duoscan.interfaces.cli.train import backbone_changes
from duoscan.training.backbones import build_backbone
from duoscan.training.classifier import build_classifier
from duoscan.training.hub import check_hub
from duoscan.training.recipe import read_recipe
from node_parts import free_port

SPEC = f"owner/name@{'0' * 40}"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duoscan.inference.hub.getproxies", dict)


@pytest.fixture
def silent() -> Iterator[int]:
    """A port whose queue is full: a connection is neither taken nor refused."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        with socket.socket() as one, socket.socket() as two:
            for each in (one, two):
                each.setblocking(False)
                each.connect_ex(listener.getsockname())
            yield listener.getsockname()[1]


def refused(monkeypatch: pytest.MonkeyPatch, port: int) -> str:
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    with pytest.raises(RecipeError) as caught:
        build_backbone(SPEC, pretrained=True, size=32)
    return str(caught.value)


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no connection to 127.0.0.1; offline these work: a folder" in refused(monkeypatch, free_port())


def test_nobody_answers(silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duoscan.inference.hub.WAIT_S", 0.2)
    assert "no connection to 127.0.0.1" in refused(monkeypatch, silent)


def test_offline_by_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refused(monkeypatch, free_port())


def test_one_that_answers_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")
        check_hub(SPEC)


@pytest.mark.parametrize("recipe", ["compact", "seed1"])
def test_plain_goes_with_a_recipe_that_wants_trained_weights(recipe: str) -> None:
    _, licence = build_classifier(read_recipe(f"{recipe}-ct", backbone_changes("plain:small")))
    assert licence == ""


def test_frozen_features_need_trained_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").touch()
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,modality,label,patient_id,source\na.png,ct,covid,p,s\n", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["shortcuts", str(manifest), "--run", str(tmp_path / "r"), "--backbone", "plain:small"])
    assert ended.value.code == 2
    assert "'plain:small' has no trained weights" in capsys.readouterr().err
