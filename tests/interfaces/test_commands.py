"""What all commands have in common."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from duoscan.interfaces.cli import main
from duoscan.interfaces.cli.ledger_options import command_line
from duoscan.manifest.table import read_manifest


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_the_package_is_a_command() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "duoscan", "--help"], capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout.startswith("Usage: python -m duoscan")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "all.csv"
    rows = [f"{name}{number}.png,ct,covid,{name}{number},{name}" for name in "abc" for number in range(4)]
    path.write_text("\n".join(["path,modality,label,patient_id,source", *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("named", [["--sources", "a,b"], ["--sources", "a", "--sources", "b"], ["--sources", "b, a,"]])
def test_sources_are_named_in_either_way(named: list[str], manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    assert run("split", manifest, "--out", out, *named) == 0
    assert {record.source for record in read_manifest(out, check_files=False)} == {"a", "b"}


@pytest.mark.parametrize("command", ["split", "shortcuts"])
def test_a_source_that_is_not_there_is_named(
    command: str, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(4):
        for name in "abc":
            (tmp_path / f"{name}{number}.png").touch()
    place = ("--out", tmp_path / "o.csv") if command == "split" else ("--run", tmp_path / "run")
    assert run(command, manifest, *place, "--sources", "a,", "--sources", "z") == 2
    assert "--sources: no rows of z (found: a, b, c)" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_complete(shell: str) -> None:
    """As the README says."""
    script = [
        sys.executable,
        "-c",
        "import sys; sys.argv[0] = 'duoscan'; from duoscan.interfaces.cli import main; main()",
    ]

    def said(instruction: str, **words: str) -> str:
        environment = os.environ | {"_DUOSCAN_COMPLETE": f"{shell}_{instruction}"} | words
        return subprocess.run(script, capture_output=True, text=True, check=True, timeout=60, env=environment).stdout

    assert "_DUOSCAN_COMPLETE" in said("source")
    if shell != "fish":  # which asks in another way
        assert "screen" in said("complete", COMP_WORDS="duoscan scr", COMP_CWORD="1")
        assert "--need-ct" in said("complete", COMP_WORDS="duoscan screen --need", COMP_CWORD="2")


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_alone_says_what_can_be_made() -> None:
    folder = Path(__file__).parents[2]
    # A make that runs these tests would have it tell of folders.
    told = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    shown = subprocess.run(
        ["make"], cwd=folder, env=told, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    text = (folder / "Makefile").read_text(encoding="utf-8")
    phony = {name for line in re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE) for name in line.split()}
    assert {line.split()[1] for line in shown.splitlines()} == phony


def test_a_page_names_the_command_however_it_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["somewhere/duoscan/__main__.py", "report", "runs/my run"])
    assert command_line() == "duoscan report 'runs/my run'"
