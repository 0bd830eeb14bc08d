"""Options of every command that looks at a test set; each look is counted."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from duoscan.audit.ledger import Book, beside
from duoscan.interfaces.cli.paths import OUT_FILE

if TYPE_CHECKING:
    from collections.abc import Callable


def ledger_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--ledger`` and ``--new-test-set``, which :func:`book_beside` reads."""
    for option in (
        click.option("--new-test-set", is_flag=True, help="Lock the changed test rows as a new test set."),
        click.option(
            "--ledger",
            type=OUT_FILE,
            help="Where uses of the test set are counted; beside the manifest or table if left out.",
        ),
    ):
        command = option(command)
    return command


def book_beside(path: Path, ledger: Path | None, *, replaces: bool) -> Book:
    """Where looks at the test set of a file are counted: in the ledger named, else beside the file."""
    return Book(ledger or beside(path), command_line(), replaces=replaces)


def command_line() -> str:
    """What was typed; ``python -m duoscan`` is the same command."""
    name = Path(sys.argv[0]).name
    return shlex.join(["duoscan" if name == "__main__.py" else name, *sys.argv[1:]])
