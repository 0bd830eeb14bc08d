"""What hospital IT installs: sample configurations, the systemd unit, the container file, the log's fields."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from docs_snippets import ROOT
from duoscan.archives.tls import Tls
from duoscan.worklist.config import read_config
from duoscan.worklist.journal import StudyState

DEPLOY = ROOT / "deploy"
SAMPLES = sorted(DEPLOY.glob("*.toml"))
UNIT = DEPLOY / "duoscan-node.service"
LOG_PAGE = ROOT / "docs" / "reference" / "log.md"
MOST_EXPOSED = 2.0
"""Of 10, as systemd-analyze reckons it."""


@pytest.fixture(scope="module")
def etc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """/etc/duoscan with certificates and credentials."""
    folder = tmp_path_factory.mktemp("etc")
    (folder / "tls").mkdir()
    authority = trustme.CA()
    own = authority.issue_cert("pacs.example.org")
    authority.cert_pem.write_to_path(folder / "tls" / "ca.pem")
    own.cert_chain_pems[0].write_to_path(folder / "tls" / "node.pem")
    own.private_key_pem.write_to_path(folder / "tls" / "node.key")
    (folder / "auth").write_text("bearer token\n", encoding="utf-8")
    (folder / "auth").chmod(0o600)
    return folder


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_is_read_and_its_destination_opened(sample: Path, etc: Path, tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(sample.read_text(encoding="utf-8").replace("/etc/duoscan", str(etc)), encoding="utf-8")
    config = read_config(path, {})
    assert config.destination.open()
    if isinstance(config.listen.tls, Tls):
        assert config.listen.tls.server_context()


def test_the_guide_names_every_sample() -> None:
    guide = (ROOT / "docs" / "guides" / "hospital.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"`deploy/([\w-]+\.toml)`", guide.partition("## 3")[0])) == [one.name for one in SAMPLES]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_the_unit_is_sound_and_little_exposed(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(
        UNIT.read_text(encoding="utf-8").replace("/opt/duoscan/bin/duoscan", sys.executable), encoding="utf-8"
    )
    verified = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", judged.stdout)
    assert exposure is not None, judged.stderr
    assert float(exposure[1]) <= MOST_EXPOSED


def test_the_container_file_is_linted() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint has no build for this machine")
    linted = subprocess.run(
        [hadolint, "--no-color", "--failure-threshold", "style", DEPLOY / "Containerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout


def test_the_container_listens_as_nobody_in_particular() -> None:
    lines = (DEPLOY / "Containerfile").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]
    assert any(line.startswith("HEALTHCHECK ") for line in lines)
    assert all(re.search(r":\d+\.\d+\.\d+-", line) for line in lines if line.startswith("FROM "))
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", "\n".join(lines), re.MULTILINE):
        assert all((ROOT / name).exists() for name in source.split())


def written_events() -> Iterator[tuple[str, set[str]]]:
    """Each event that the node's code writes, with its fields."""
    for folder in ("worklist", "interfaces/node"):
        for path in sorted((ROOT / "src" / "duoscan" / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("log.write"):
                    yield from _events_of(node)


def _events_of(call: ast.Call) -> Iterator[tuple[str, set[str]]]:
    """An event is a word, one of two words, or the state that a study came to."""
    fields: set[str] = set()
    for keyword in call.keywords:
        if keyword.arg == "uids" and isinstance(keyword.value, ast.Dict):
            fields |= {str(ast.literal_eval(key)) for key in keyword.value.keys if key is not None}
        elif keyword.arg not in {None, "uids"}:
            fields.add(str(keyword.arg))
    words = [
        one.value for one in ast.walk(call.args[0]) if isinstance(one, ast.Constant) and isinstance(one.value, str)
    ]
    for word in words:
        yield word, fields


def documented() -> tuple[dict[str, set[str]], set[str]]:
    """Events with their fields, and the fields that are explained."""
    rows = re.findall(r"^\| (`.+?) \| (.*?) \|(.*)$", LOG_PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    events = {name.strip("`"): set(re.findall(r"`(\w+)`", fields)) for name, fields, rest in rows if rest.strip()}
    return events, {field for name, _, rest in rows if not rest.strip() for field in re.findall(r"`(\w+)`", name)}


def test_every_event_and_field_of_the_log_is_documented() -> None:
    events, fields = documented()
    found = list(written_events())
    assert {"started", "stored", "screened", "sent", "association-rejected"} <= {event for event, _ in found}
    for event, used in found:
        assert event in events, f"{LOG_PAGE.name} lacks the event {event}"
        assert used <= events[event], f"{LOG_PAGE.name}: {event} lacks {used - events[event]}"
    ended = {str(StudyState.REPORTED), str(StudyState.UNANSWERED)}
    calculated = {"failed", "sending-failed"} | ended  # named by a variable
    assert set(events) == {event for event, _ in found} | calculated
    assert set().union(*events.values()) == fields
