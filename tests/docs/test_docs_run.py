"""Every command and snippet of README and docs: blocks are run in a small world, commands in running text are typed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click
import pytest

from docs_snippets import ROOT, Snippet, inline_commands, pages, snippets, written_out
from docs_world import fill_archive, in_world, make_world
from duoscan.errors import DuoscanError
from duoscan.interfaces.cli import COMMANDS, cli
from duoscan.policies.assumptions import Assumptions
from duoscan.policies.policy import PolicyDraft
from duoscan.predictions import read_predictions
from duoscan.settings import Stated, validated
from duoscan.training.recipe import Recipe
from duoscan.worklist.config import NodeConfig
from orthanc import DICOMWEB, ORTHANC, Orthanc, running_orthanc

DONE = {0, 1, 3}
"""Done; done with something to see; the gate failed. 2 says that the command was wrong."""

READERS: tuple[type[Stated], ...] = (NodeConfig, Recipe, Assumptions, PolicyDraft)
NEEDS_ARCHIVE = re.compile(r"ARCHIVE|pacs\.example\.org")
HELP = "mend it, give tests/docs_world.py what it needs, or write '<!-- not run: why -->' on the line before the block"
PAGES = [page for page in pages() if snippets(page)]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("world")
    make_world(home)
    return home


@pytest.fixture(scope="module")
def archive(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc | None]:
    if ORTHANC is None or not DICOMWEB.exists():
        yield None
        return
    allowed = {f"DicomAlwaysAllow{what}": True for what in ("Store", "Find", "Get", "Move")}
    with running_orthanc(tmp_path_factory.mktemp("orthanc"), **allowed) as running:
        fill_archive(running, world)
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=named)
def test_the_blocks_of_a_page_run(
    page: Path, world: Path, archive: Orthanc | None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    blocks = [one for one in snippets(page) if not one.why_not]
    if archive is None and any(NEEDS_ARCHIVE.search(one.text) for one in blocks):
        pytest.skip("Orthanc (Debian packages orthanc, orthanc-dicomweb) is not installed")
    home = tmp_path / "home"
    shutil.copytree(world, home, symlinks=True)
    names: dict[str, object] = {}
    with in_world(home, archive) as here:
        for block in blocks:
            if block.language == "python":
                exec(compile(block.text, str(block), "exec"), names)
            for line in block.lines if block.is_typed else ():
                command, _, rest = line.removeprefix(".venv/bin/").partition(" ")
                if command != "duoscan":
                    check_other(line, block)
                    continue
                for words in written_out(rest):
                    code, said = here.run([*words, *more_words(words, here.study)])
                    said += capfd.readouterr().err
                    assert code in DONE, f"{block}: duoscan {' '.join(words)}\n{said}\n{HELP}"


def more_words(words: list[str], study: str) -> list[str]:
    """What ``…`` stands for in ``duoscan pacs echo|find|fetch|store ARCHIVE …``."""
    if words[0] != "pacs" or words[-1] != "ARCHIVE":
        return []
    return {"fetch": [study, "--out", "fetched"], "store": ["STUDIES"]}.get(words[1], [])


def check_other(line: str, where: object) -> None:
    """A program that is not ours alone: its target, or its options, must be there."""
    program, *words = line.split()
    if program == "make":
        targets = [word for word in words if word != "…" and "=" not in word]
        plan = subprocess.run(["make", "--dry-run", *targets], cwd=ROOT, capture_output=True, text=True, check=False)
        assert plan.returncode == 0, f"{where}: {line}\n{plan.stderr}"
    elif program == "python" and words[0].endswith(".py"):
        script = ROOT / words[0]
        assert script.is_file(), f"{where}: {line}: no such script"
        options = [word.partition("=")[0] for word in words if word.startswith("--")]
        text = script.read_text(encoding="utf-8")
        missing = [option for option in options if option not in text]
        assert not missing, f"{where}: {line}: {missing} are no options of the script"
    else:
        assert program == "python", f"{where}: no test runs '{line}'; {HELP}"


FILES = [one for page in pages() for one in snippets(page) if not one.is_typed and one.language != "python"]


@pytest.mark.parametrize("block", [one for one in FILES if not one.why_not], ids=str)
def test_a_file_that_is_shown_is_read(block: Snippet, tmp_path: Path) -> None:
    if block.language == "toml":
        faults = reading_faults(tomllib.loads(block.text))
        assert not faults, f"{block}: no settings: {faults}"
    elif block.language == "json":
        json.loads(block.text if block.text.startswith(("{", "[")) else f"{{{block.text}}}")
    elif block.language == "csv":
        table = tmp_path / "shown.csv"
        table.write_text(block.text, encoding="utf-8")
        assert read_predictions(table)
    else:
        assert not re.search(r"^ *\$? *duoscan ", block.text, re.MULTILINE), f"{block}: begins with no command; {HELP}"


def reading_faults(table: dict[str, object]) -> list[str]:
    """Why none of the readers takes it; nothing where one does."""
    faults = []
    for model in READERS:
        try:
            validated(model, table, Path("shown.toml"), DuoscanError)  # type: ignore[arg-type]
        except DuoscanError as fault:
            faults.append(str(fault))
        else:
            return []
    return faults


INLINE = [(named(page), line) for page in pages() for line in inline_commands(page)]


@pytest.mark.parametrize(("page", "line"), INLINE, ids=[f"{page} {line[:60]}" for page, line in INLINE])
def test_a_command_in_running_text_can_be_typed(page: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program, _, rest = line.partition(" ")
    if program != "duoscan":
        check_other(line, page)
        return
    # The files need not be there.
    monkeypatch.setattr(click.Path, "convert", lambda _self, value, _parameter, _context: value)
    for words in written_out(re.sub(r"\bCOMMAND\b", "bundle", re.sub(r"\bP\b", "0.1", rest))):
        try:
            parsed(words)
        except click.UsageError as fault:
            pytest.fail(f"{page}: {line}: {fault.format_message()}")


def parsed(words: list[str]) -> None:
    """Take the words apart as click does, down to the command itself; text may name a part of it."""
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name, found, words = command.resolve_command(context, words)
        assert found is not None, name
        command = found
    unfinished = (
        click.MissingParameter,
        click.BadOptionUsage,
        click.exceptions.NoArgsIsHelpError,
        click.exceptions.Exit,
    )
    with suppress(*unfinished), command.make_context(command.name, list(words), parent=context):
        pass


def test_the_readme_shows_most_commands() -> None:
    readme = ROOT / "README.md"
    lines = [line for one in snippets(readme) if one.is_typed for line in one.lines]
    text = "\n".join([*lines, *inline_commands(readme)])
    assert {name for name in COMMANDS if re.search(rf"duoscan {name}\b", text)} >= set(COMMANDS) - {
        "decide",
        "samplesize",
    }


def test_the_list_of_blocks_can_be_asked_for() -> None:
    listing = subprocess.run(
        [sys.executable, "-m", "docs_snippets"], cwd=ROOT / "tests", capture_output=True, text=True, check=True
    )
    not_run = [one for page in pages() for one in snippets(page) if one.why_not]
    assert f"{len(not_run)} not run" in listing.stdout
    assert all(str(one) in listing.stdout for one in not_run)
