"""In a terminal of 80 columns: progress is shown, and every line fits."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from duoscan.archives.archive import FoundStudy
from duoscan.interfaces.cli.pacs import _show
from duoscan.terms import Modality
from node_parts import cohort

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a terminal of its own is a thing of POSIX")

COLUMNS = 80


def in_terminal(*arguments: object, err_too: bool) -> str:
    """What a command shows there."""
    import pty
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, COLUMNS))
    shown = b""
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "CI"}}
    with subprocess.Popen(
        [sys.executable, "-m", "duoscan", *map(str, arguments)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs if err_too else subprocess.DEVNULL,
        env=environment | {"TERM": "xterm"},
    ) as process:
        os.close(theirs)
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # nobody writes any more
                break
            if not part:
                break
            shown += part
    os.close(ours)
    assert process.returncode in (0, 1)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).replace("\r\n", "\n")


@pytest.fixture
def words(tmp_path: Path, brightness_bundles: dict[Modality, Path]) -> list[object]:
    cohort(tmp_path / "c")
    bundles = brightness_bundles[Modality.CXR], "--ct-bundle", brightness_bundles[Modality.CT]
    return ["screen", tmp_path / "c" / "dicom", "--need-ct-all", "--no-quality-check", "--xray-bundle", *bundles]


def test_answers_fit(words: list[object]) -> None:
    lines = in_terminal(*words, err_too=False).splitlines()
    assert any("clinician asks" in line for line in lines)
    assert max(map(len, lines)) <= COLUMNS


@pytest.mark.parametrize("quiet", [False, True])
def test_progress(quiet: bool, words: list[object], tmp_path: Path) -> None:
    shown = in_terminal(*words, "--dicom-out", tmp_path / "out", *(["--quiet"] if quiet else []), err_too=True)
    for stage in ("Looking at files", "Answering CT studies", "Writing results"):
        assert (stage in shown) is not quiet
    written = len(list((tmp_path / "out").rglob("*.dcm")))
    told = f"{tmp_path / 'out'}: {written} DICOM objects of 6 studies written"
    assert (told in shown.replace("\n", "")) is not quiet


def test_a_study_can_be_copied_whole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("duoscan.interfaces.cli.tables._PIPED_WIDTH", COLUMNS)
    uid = "1.2." + "3" * 60
    _show([FoundStudy(uid, "P1", "20200102", ("CT", "SR"), "thorax", 12)])
    lines = capsys.readouterr().out.splitlines()
    assert lines == [uid, "  P1, 20200102, CT/SR, 12 instances, thorax", "1 studies"]
