"""``duoscan node``."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from duoscan.errors import InputError, MissingExtraError
from duoscan.interfaces.cli.tables import echo

if TYPE_CHECKING:
    from duoscan.worklist.journal import Journal

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group("node", invoke_without_command=True)
@click.option("--config", "config_file", type=_FILE, help="TOML file; docs/node.md lists its keys.")
@click.option("--spool", type=_FOLDER, help="In place of the file's spool.")
@click.option("--port", type=click.IntRange(0, 65535), help="In place of the file's listen.port.")
@click.option("--ae-title", help="In place of the file's listen.ae_title.")
@click.option("--send", metavar="ADDRESS", help="In place of the file's destination.address.")
@click.option("--log-identifiers", is_flag=True, help="Write UIDs to the log as they are, not as keyed hashes.")
@click.pass_context
def node_command(
    context: click.Context,
    *,
    config_file: Path | None,
    spool: Path | None,
    port: int | None,
    ae_title: str | None,
    send: str | None,
    log_identifiers: bool,
) -> None:
    """Listen for DICOM studies, screen each patient's once they are complete, send the results.

    \b
    Exit code: 0 stopped by SIGTERM or SIGINT; 1 a fault of the node itself, start it again;
    2 the command or its configuration was wrong.
    """
    if context.invoked_subcommand is not None:
        return
    if config_file is None:
        raise InputError("nothing to run: name the configuration with --config, see docs/node.md")
    for module in ("pynetdicom", "highdicom"):
        if find_spec(module) is None:
            raise MissingExtraError("dicom", "duoscan node")
    from duoscan.interfaces.node.node import Node
    from duoscan.worklist.config import read_config
    from duoscan.worklist.log import silence_libraries

    overrides = {
        "spool": str(spool) if spool else None,
        "listen.port": port,
        "listen.ae_title": ae_title,
        "destination.address": send,
        "log_identifiers": log_identifiers or None,
    }
    config = read_config(config_file, overrides)
    os.umask(0o077)  # what is received is for this account alone
    silence_libraries()
    node = Node(config)
    threading.excepthook = lambda raised: node.log_fault(raised.exc_value or SystemExit())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: node.ask_to_stop())
    try:
        node.start()
        is_well = node.wait()
    finally:
        node.stop()
    sys.exit(0 if is_well else 1)


_SPOOL = click.option("--spool", type=_FOLDER, required=True, help="Folder of the node.")


@node_command.command("status")
@_SPOOL
@click.option("--json", "as_json", is_flag=True, help="The same as JSON, for a monitor.")
def status_command(*, spool: Path, as_json: bool) -> None:
    """Count the studies in each state and list those given up, with the reason; the node may run meanwhile.

    \b
    Exit code: 0 nothing was given up; 1 something was.
    """
    from duoscan.worklist.journal import StudyState

    with closing(_journal(spool)) as journal:
        counts, failed = journal.counts(), journal.studies_in(StudyState.FAILED)
    if as_json:
        given_up = [{"study": study.key, "reason": study.reason} for study in failed]
        echo(json.dumps({"studies": counts, "given_up": given_up}, indent=1))
    else:
        for state, count in counts.items():
            echo(f"{state:<12}{count:>8}")
        for study in failed:
            echo(f"{study.key}: {study.reason}")
    sys.exit(1 if failed else 0)


@node_command.command("retry")
@click.argument("keys", nargs=-1)
@_SPOOL
def retry_command(*, keys: tuple[str, ...], spool: Path) -> None:
    """Take studies up again that were given up: those named by their keys from ``status``, else all."""
    with closing(_journal(spool)) as journal:
        taken = journal.retry(keys, now=time.time())
    if missing := set(keys) - set(taken):
        raise InputError(f"not given up or not there: {', '.join(sorted(missing))}; see duoscan node status")
    echo(f"{len(taken)} studies taken up again")


def _journal(folder: Path) -> Journal:
    from duoscan.worklist.journal import Journal
    from duoscan.worklist.spool import Spool

    path = Spool(folder).journal
    if not path.is_file():
        raise InputError(f"{folder}: no spool of a node; check the path")
    return Journal(path)
