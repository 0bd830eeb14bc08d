"""``duoscan node``: its configuration, its exit codes, and what it says of its studies."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydicom import dcmread

from duoscan.errors import InputError
from duoscan.interfaces.cli import main
from duoscan.terms import Modality
from duoscan.worklist.config import NodeConfig, read_config
from duoscan.worklist.journal import Journal, StudyState
from duoscan.worklist.received import Received
from duoscan.worklist.spool import Spool
from node_parts import cohort, free_port, store

MINIMAL = 'spool = "spool"\n[destination]\naddress = "ARCHIVE@127.0.0.1:104"\n'
PAGE = Path(__file__).parents[2] / "docs" / "node.md"


@pytest.fixture(autouse=True)
def _logs_again() -> Iterator[None]:
    """The command silences the process it runs in."""
    yield
    logging.disable(logging.NOTSET)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


def write(folder: Path, text: str) -> Path:
    path = folder / "node.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "[listen]\nport = 1\nae_title = 'A'\n")
    config = read_config(
        path, {"listen.port": 2, "listen.ae_title": None, "spool": "other", "destination.address": None}
    )
    assert (config.listen.port, config.listen.ae_title, config.spool) == (2, "A", Path("other"))
    assert config.destination.address.startswith("ARCHIVE@")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL + "[listen]\nprot = 1\n", r"listen\.prot: unknown key; did you mean 'port'\?"),
        (MINIMAL + "[listen]\npeers = ['10.0.0.300']\n", r"listen\.peers: .*10\.0\.0\.300"),
        (MINIMAL + "[listen]\nae_title = 'much too long a title'\n", r"listen\.ae_title"),
        (MINIMAL + "[study]\nneed_ct = 'maybe'\n", r"study\.need_ct"),
        (MINIMAL.replace("@127.0.0.1", ""), r"destination\.address: .*write TITLE@host:port"),
        (MINIMAL + "ca_file = 'not-there.pem'\n", r"destination\.ca_file: Path does not point to a file"),
        ('spool = "x"\n', "destination: Field required"),
        ("spool = ", "not a TOML file"),
    ],
)
def test_a_wrong_configuration_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_config(write(tmp_path, text), {})


@pytest.mark.parametrize(
    ("address", "admitted"),
    [("127.0.0.1", True), ("::ffff:127.0.0.1", True), ("10.1.2.3", True), ("10.2.2.3", False), ("fe80::1%eth0", False)],
)
def test_peers_are_addresses_and_networks(address: str, admitted: bool, tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "[listen]\npeers = ['127.0.0.1', '10.1.0.0/16']\n")
    assert read_config(path, {}).listen.admits(address) is admitted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name the configuration with --config"),
        (("--config", "nothing.toml"), "nothing.toml: cannot be read"),
        (("status", "--spool", "nowhere"), "no spool of a node"),
    ],
)
def test_a_wrong_command_is_exit_code_2(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("node", *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_wrong_bundle_is_found_before_anything_is_accepted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = MINIMAL.replace('"spool"', f"'{tmp_path / 'spool'}'") + "[models]\nct_bundle = 'nothing.duoscan'\n"
    assert run("node", "--config", write(tmp_path, text)) == 2
    assert "nothing.duoscan: cannot be read" in capsys.readouterr().err


def test_status_and_retry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spool = Spool(tmp_path / "spool")
    spool.root.mkdir()
    journal = Journal(spool.journal)
    for number in range(3):
        image = Received(f"1.2.{number}", f"1.2.3.{number}", "1.2", "somebody", is_ct=False)
        journal.add(image, "", now=0, quiet_s=0)
    assert run("node", "status", "--spool", spool.root) == 0
    assert re.search(r"receiving +3\n", capsys.readouterr().out)
    journal.put_back(image.study, StudyState.FAILED, now=0, retry_at=9e9, reason="it would not", attempts=3)
    assert run("node", "status", "--spool", spool.root) == 1
    said = capsys.readouterr().out
    assert f"{image.study}: it would not" in said
    assert "somebody" not in said
    assert run("node", "status", "--spool", spool.root, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["given_up"] == [{"study": image.study, "reason": "it would not"}]
    assert told["studies"] == journal.counts()
    assert told["studies"]["receiving"] == 2
    assert run("node", "retry", "no-such-key", "--spool", spool.root) == 2
    assert run("node", "retry", image.study, "--spool", spool.root) == 0
    again = journal.study(image.study)
    assert again is not None
    assert (again.state, again.attempts) == (StudyState.RECEIVING, 0)
    assert journal.next_to_screen(now=1.0, memory_s=0) is not None
    journal.close()


def test_it_says_nothing_but_its_log_and_sigterm_ends_it(
    brightness_bundles: dict[Modality, Path], tmp_path: Path
) -> None:
    """Odd values, which libraries would quote in warnings, are among what it receives."""
    image = dcmread(cohort(tmp_path / "cohort")[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = "072495.0449"
        image.PatientBirthDate, image.PatientAge, image.PatientName = "4.7.1950", "seventy", "Secret^Name^^^^^^"
        image.save_as(tmp_path / "odd.dcm")
    bundles = "\n".join(
        f"{name} = '{brightness_bundles[kind]}'"
        for name, kind in (("xray_bundle", Modality.CXR), ("ct_bundle", Modality.CT))
    )
    text = f"[study]\nquiet_s = 0.2\n[listen]\nmin_free_mb = 0\n[models]\ncheck_quality = false\n{bundles}\n"
    path = write(tmp_path, MINIMAL + text)
    code = "from duoscan.interfaces.cli import main; main()"
    port = free_port()
    command = [sys.executable, "-c", code, "node", "--config", str(path), "--spool", str(tmp_path / "s")]
    with subprocess.Popen([*command, "--port", str(port)], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = [process.stderr.readline()]
        assert '"started"' in said[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert store(port, [tmp_path / "odd.dcm"]) == [0x0000]
        for line in process.stderr:
            said.append(line)
            if '"screened"' in line or "failed" in line:
                break
        os.kill(process.pid, signal.SIGTERM)
        said += process.stderr.readlines()
        assert process.wait(30) == 0
    assert [json.loads(line)["event"] for line in said[:4]] == ["started", "stored", "screening", "screened"]
    assert json.loads(said[-1])["event"] == "stopped"
    for value in ("072495", "4.7.1950", "seventy", "Name", str(image.PatientID)):
        assert value not in "".join(said)


def _keys(model: Any, prefix: str = "") -> list[str]:
    """Every key of the configuration."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        nested = [kind for kind in kinds if hasattr(kind, "model_fields")]
        found += [key for kind in nested for key in _keys(kind, f"{prefix}{name}.")] or [f"{prefix}{name}"]
    return found


def test_the_page_names_every_key_and_its_example_is_sound() -> None:
    text = PAGE.read_text(encoding="utf-8")
    example = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert example is not None
    NodeConfig.model_validate(tomllib.loads(example.group(1)))
    for key in _keys(NodeConfig):
        assert f"`{key}`" in text, key
    assert len(_keys(NodeConfig)) > 30
