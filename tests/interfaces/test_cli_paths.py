"""Every path that a command writes to is checked before its work."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from duoscan.interfaces.cli import cli, main
from duoscan.interfaces.cli.paths import OutPath

if TYPE_CHECKING:
    from collections.abc import Iterator

# Read, and looked for by the command itself: it says more than that they are missing.
READ = {
    "adapt labels",
    "adapt root",
    "bundle show files",
    "compare targets",
    "deidentify key_file",  # made with --new-key, before anything else, and never written over
    "deidentify paths",
    "import labels",
    "import lung_boxes",
    "import root",
    "node config_file",
    "node spool",
    "node status spool",
    "node retry spool",
    "predict bundle",
    "predict paths",
    "report runs",
    "screen ct_bundle",
    "screen paths",
    "screen xray_bundle",
    "serve folder",  # made, or taken up as it is
    "shortcuts manifest",
    "split-fault manifest",
    "train manifest",
    "yardstick manifests",
}
WRITTEN_WORDS = {"out", "csv", "json", "heatmaps", "sheet", "mapping"}


def commands(group: click.Group, *before: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*before, name), command
        if isinstance(command, click.Group):
            yield from commands(command, *before, name)


PATHS = {
    " ".join([*words, str(parameter.name)]): (words, parameter)
    for words, command in commands(cli)
    for parameter in command.params
    if isinstance(parameter.type, click.Path)
}
WRITTEN = {name: found for name, found in PATHS.items() if isinstance(found[1].type, OutPath)}


def test_every_path_is_read_or_checked_before_it_is_written() -> None:
    unknown = {
        name
        for name, (_, parameter) in PATHS.items()
        if not isinstance(parameter.type, OutPath) and not getattr(parameter.type, "exists", False)
    }
    assert unknown == READ


def test_no_option_that_names_an_output_is_plain_text() -> None:
    plain = {
        " ".join([*words, parameter.opts[0]])
        for words, command in commands(cli)
        for parameter in command.params
        if WRITTEN_WORDS & set(parameter.opts[0].strip("-").split("-"))
        and not (isinstance(parameter, click.Option) and parameter.is_flag)
        and not isinstance(parameter.type, OutPath)
    }
    assert plain == {"yardstick --leave-out"}  # names a source


@pytest.mark.parametrize("name", WRITTEN)
def test_a_pipe_is_refused_in_one_line_and_stays(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words, parameter = WRITTEN[name]
    os.mkfifo(tmp_path / "pipe")
    option = [parameter.opts[0]] if isinstance(parameter, click.Option) else []
    with pytest.raises(SystemExit) as stopped:
        main([*words, *option, str(tmp_path / "pipe"), *needed(words, parameter, tmp_path)])
    said = capfd.readouterr().err
    assert stopped.value.code == 2
    assert said.startswith(f"duoscan: {' '.join([*option, str(tmp_path / 'pipe')])}: ")
    assert said.count("\n") == 1
    assert (tmp_path / "pipe").is_fifo()


def needed(words: tuple[str, ...], tested: click.Parameter, tmp_path: Path) -> Iterator[str]:
    """What click asks for beside the tested option, which was given first and is read first."""
    command = dict(commands(cli))[words]
    for parameter in command.params:
        if parameter.required and parameter is not tested:
            yield from [parameter.opts[0]] * isinstance(parameter, click.Option)
            yield str(tmp_path)


def test_a_disk_that_fills_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "answers.csv")

    monkeypatch.setattr(cli, "main", full)
    with pytest.raises(SystemExit) as stopped:
        main(["screen"])
    assert stopped.value.code == 2
    assert capfd.readouterr().err == ("duoscan: answers.csv: No space left on device; what was written before stands\n")
