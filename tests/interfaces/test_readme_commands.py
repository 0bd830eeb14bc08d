"""Every command that the README shows can be typed; those that need nothing but images are run on phantoms."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

from duoscan.interfaces.cli import COMMANDS, cli, main
from duoscan.manifest.table import read_manifest
from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.plan import FileFormat, PhantomOptions
from duoscan.terms import Modality

README = Path(__file__).parents[2] / "README.md"
_COMMAND = re.compile(r"(?:\$ )?(?:\.venv/bin/)?duoscan (.*)")
NEEDS_MORE = re.compile(r"runs/|models/|triage|ARCHIVE|\$W|node|serve|sp\.csv|cxr\.csv|dark|FILE|DIR")
"""A run, a policy, an archive, weights, a server that never ends, or a real data set."""


def shown() -> list[str]:
    """Arguments of each command line in a block or a line of code, without its remark."""
    parts = README.read_text(encoding="utf-8").split("\n```")  # text and blocks in turn
    lines = [line for block in parts[1::2] for line in block.splitlines()]
    lines += re.findall(r"`(duoscan [^`]+)`", "\n".join(parts[::2]))
    found = [_COMMAND.fullmatch(line.partition(" #")[0].strip()) for line in lines]
    return list(dict.fromkeys(match[1].strip() for match in found if match))


def written_out(line: str) -> list[list[str]]:
    """``pacs echo|find`` stands for two commands, and ``…`` for more words."""
    words = [word.removesuffix("…") for word in shlex.split(line) if word != "…"]
    ways = next((word.split("|") for word in words if "|" in word), [""])
    return [[way if "|" in word else word for word in words] for way in ways]


def parsed(words: list[str]) -> None:
    """Take the words apart as click does, down to the command itself."""
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group) and not words[0].startswith("-"):
        name, found, words = command.resolve_command(context, words)
        assert found is not None, name
        command = found
    with command.make_context(command.name, words, parent=context):
        pass


def test_the_readme_shows_most_commands() -> None:
    assert {line.split()[0] for line in shown()} >= set(COMMANDS) - {"decide", "samplesize"}


@pytest.mark.parametrize("line", shown())
def test_it_can_be_typed(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The files need not be there.
    monkeypatch.setattr(click.Path, "convert", lambda _self, value, _parameter, _context: value)
    for words in written_out(line):
        if "…" in line.split() and words[-1] == "ARCHIVE":
            parsed([*words, *{"fetch": ["1.2", "--out", "in"], "store": ["file"]}.get(words[1], [])])
        elif len(words) > 1:
            parsed(words)
        else:
            assert words[0] in COMMANDS  # in running text, only the name


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with what the README speaks of."""
    folder = tmp_path_factory.mktemp("home")
    size: dict[str, Any] = {"patients": 6, "seed": 3, "slices": 4, "ct_size": 96, "xray_size": 96}
    write_cohort(PhantomOptions(**size, formats=FileFormat.DICOM), folder / "STUDIES", workers=1)
    write_cohort(PhantomOptions(**size), folder / "incoming", workers=1)
    cohort = read_manifest(folder / "incoming" / "manifest.csv").where(modality=Modality.CXR)
    pictures = [cohort.file(record) for record in cohort]
    for number, picture in enumerate(pictures):
        place = folder / "images" / ("covid", "normal")[number % 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(picture.read_bytes())
    (folder / "asked.csv").write_text("patient_id,need_ct\nphantom-3-0001,yes\n", encoding="utf-8")
    (folder / "PATH").write_bytes(pictures[0].read_bytes())
    return folder


RUNNABLE = [line for line in shown() if len(line.split()) > 1 and not NEEDS_MORE.search(line)]


def test_they_run(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("DUOSCAN_USES", "")
    done = set()
    for line in RUNNABLE:
        for words in written_out(line):
            with pytest.raises(SystemExit) as ended:
                main([str(Path(word).expanduser()) if word.startswith("~") else word for word in words])
            said = capsys.readouterr()
            assert ended.value.code in (0, 1), f"duoscan {line}\n{said.err}"
            done.add(words[0])
    assert done >= {"import", "split", "screen", "predict", "deidentify", "data"}
