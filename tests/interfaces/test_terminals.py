"""Names, words of servers and bundles on the terminal: nothing steers it, nothing ends with a traceback."""

from __future__ import annotations

import ast
import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import duoscan
from duoscan.errors import InputError
from duoscan.interfaces.cli import cli, main
from duoscan.interfaces.cli.tables import echo, table_console, visible
from duoscan.predictions import read_predictions

HOSTILE = "a\x1b[2J\x1b]0;x\x07\x9b31m\x85\u202egnp\u2066\u2028b\r\tc\udcff"
SHOWN = r"a\x1b[2J\x1b]0;x\x07\x9b31m\x85\u202egnp\u2066\u2028b\r\tc\xff"
NAMES = [
    *(b"M\xfcller.png", b"a\nb.png", b"tab\there.png", b"-dash.png", b"quo\"te'.png", b"\x1b[31m.png", b"=1+1.png"),
    *(b" lead.png", b"[b].png", b":skull:.png", "\u65e5\u672c\u2014\u00d7.png".encode(), "\u202egnp.png".encode()),
]


def test_what_steers_a_terminal_is_spelled_out() -> None:
    assert visible(HOSTILE) == SHOWN
    assert visible("Müller 日本 – 0.5 [0.4, 0.6]") == "Müller 日本 – 0.5 [0.4, 0.6]"


def test_every_line_and_table_is_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table

    echo(HOSTILE)
    echo(f"{HOSTILE}\nnext", err=True)
    said = capsys.readouterr()
    assert (said.out, said.err) == (f"{SHOWN}\n", f"{SHOWN}\nnext\n")

    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(f"{HOSTILE}[/b][link=http://elsewhere.example]:skull:\nnext")
    console = table_console()
    console.print(table)
    console.print(HOSTILE)
    shown = capsys.readouterr().out
    assert shown.count(SHOWN) == 4
    assert f"{SHOWN}[/b][link=http://elsewhere.example]:skull:\\nnext" in shown
    assert all(character.isprintable() or character == "\n" for character in shown)


def test_a_long_name_is_broken_and_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table

    table = Table("image", "patient")
    table.add_row("x" * 400, "y" * 400)
    table_console().print(table)
    shown = capsys.readouterr().out
    assert (shown.count("x"), shown.count("y")) == (400, 400)


def test_an_error_is_spelled_out_and_never_looks_like_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise InputError(f"{HOSTILE}\nduoscan: all is well")

    monkeypatch.setattr(cli, "main", fail)
    with pytest.raises(SystemExit):
        main(["screen"])
    assert capsys.readouterr().err == f"duoscan: {SHOWN}\n  duoscan: all is well\n"


def test_what_was_typed_is_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["predict", f"--{HOSTILE}"])  # a name that begins with a dash, of a pattern of the shell
    assert stopped.value.code == 2
    assert "\x1b" not in capsys.readouterr().err


def test_commands_print_through_one_place() -> None:
    folder = Path(duoscan.__file__).parent / "interfaces" / "cli"
    for path in folder.glob("*.py"):
        if path.name == "tables.py":
            continue
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        names = {ast.unparse(call) for call in calls}
        assert not names & {"click.echo", "click.secho", "print", "Console", "sys.stdout.write", "sys.stderr.write"}


@pytest.fixture(scope="module")
def hostile_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("named") / os.fsdecode(b"b\xff")
    folder.mkdir()
    for name in NAMES:
        Image.new("L", (64, 64)).save(folder / "x.png")
        (folder / "x.png").rename(folder / os.fsdecode(name))
    return folder


TERMINALS = {
    "utf-8": {"PYTHONIOENCODING": "utf-8"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


def terminal_with(name: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(duoscan.__file__).parents[1]), **TERMINALS[name]}


@pytest.mark.parametrize("terminal", TERMINALS)
def test_every_file_is_told_whatever_it_is_called(hostile_folder: Path, tmp_path: Path, terminal: str) -> None:
    """Black squares: each file is refused with a reason, which is all that a name is needed for."""
    table = tmp_path / os.fsdecode(b"\xfe.csv")
    words = ["predict", "--modality", "cxr", hostile_folder.name, "--csv", str(table)]
    command = [sys.executable, "-c", "from duoscan.interfaces.cli import main; main()", *words]
    done = subprocess.run(
        command, cwd=hostile_folder.parent, env=terminal_with(terminal), capture_output=True, check=False
    )
    assert done.returncode == 1
    # Nothing else is said beside the answers.
    assert done.stderr.startswith(b"%d pictures name no patient" % len(NAMES))
    assert done.stderr.count(b"\n") == 1
    assert b"\x1b" not in done.stdout
    assert rb"M\xfcller.png" in done.stdout
    assert {os.fsencode(Path(row.path).name) for row in read_predictions(table)} == set(NAMES)
    with table.open(encoding="utf-8", newline="") as stream:  # anybody's reader takes it
        assert len(list(csv.DictReader(stream))) == len(NAMES)


COMMANDS = {
    "import": ["import", "{folder}", "--modality", "cxr", "--out", "{out}/m.csv"],
    "screen": ["screen", "{folder}", "--modality", "cxr", "--csv", "{out}/a.csv", "--json", "{out}/a.json"],
    "deidentify": ["deidentify", "{folder}", "--out", "{out}/d", "--key-file", "{out}/key", "--new-key", "--show-paths",
                   "--mapping", "{out}/map.csv"],
    "data": ["data", "check", "{folder}"],
    "bundle": ["bundle", "{folder}/none.duoscan"],
    "evaluate": ["evaluate", "{folder}", "{table}"],
    "audit": ["audit", "{table}", "--out", "{out}/audit"],
    "split": ["split", "{table}", "--out", "{out}/s.csv"],
    "report": ["report", "{folder}", "--out", "{out}/r.html"],
    "card": ["card", "{folder}", "--out", "{out}/card"],
    "triage": ["triage", "{folder}", "{folder}", "--out", "{out}/triage"],
    "train": ["train", "{table}", "--run", "{out}/run"],
    "node": ["node", "status", "--spool", "{folder}"],
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_stumbles_over_a_name_on_an_ascii_terminal(
    hostile_folder: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / os.fsdecode(b"o\xff")
    table = tmp_path / os.fsdecode(b"t\xff.csv")
    table.write_text("path,label,modality,patient_id\nM\u00fcller\u202e.png,covid,cxr,=p\n", encoding="utf-8")
    words = [word.format(folder=hostile_folder, out=out, table=table) for word in COMMANDS[name]]
    for stream in ("stdout", "stderr"):
        opened = open(getattr(sys, f"__{stream}__").fileno(), "w", encoding="ascii", closefd=False)  # noqa: SIM115
        monkeypatch.setattr(sys, stream, opened)
    with pytest.raises(SystemExit) as stopped:
        main(words)
    sys.stderr.flush()
    assert stopped.value.code in {0, 1, 2, 3}
    assert "\x1b" not in "".join(capfd.readouterr())


def test_who_reads_the_first_line_only_ends_the_command_quietly() -> None:
    command = [sys.executable, "-c", "from duoscan.interfaces.cli import main; main()", "data", "list"]
    with subprocess.Popen(command, env=terminal_with("utf-8"), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.close()
        said = run.stderr.read()
    assert (run.returncode, said) == (1, b"")
