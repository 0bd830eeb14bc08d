"""Where a command prints: every word and table goes through here, and nothing in it can steer the terminal."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

STOPPED = 130
"""Exit code of a command that a person stopped (Ctrl-C), as of a shell: 128 and the number of SIGINT."""

_PIPED_WIDTH = 170  # characters; a file or a pipe has no width, and 80 would break every cell

# C0 and C1 controls, marks that turn the direction of writing (Unicode TR36, 2.10), other ends of a line, and bytes
# of a file name that are no text (PEP 383).
_STEERING = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SPOKEN = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def visible(text: str) -> str:
    """Text from elsewhere in one line, as a terminal may show it: what would steer it is spelled out.

    Example:
        >>> visible("a\\x1b[2Jb.png")
        'a\\\\x1b[2Jb.png'
    """
    return _STEERING.sub(_spelled, text)


def visible_lines(text: str) -> str:
    """As :func:`visible`, of several lines."""
    return "\n".join(map(visible, text.split("\n")))


def echo(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print to standard output, or to standard error."""
    # Named, since click would put another encoding in the place of the terminal's where that is ASCII.
    click.echo(visible_lines(text), file=sys.stderr if err else sys.stdout, nl=nl)


def table_console(*, err: bool = False) -> Console:
    """Standard output, or standard error, wide where no terminal says how wide it is."""
    from rich.console import Console
    from rich.table import Table

    class VisibleConsole(Console):
        """Spells out in every cell, title and line what would steer the terminal, and cuts no cell short."""

        def print(self, *objects: Any, **options: Any) -> None:
            for column in (column for table in objects if isinstance(table, Table) for column in table.columns):
                column.overflow = "fold"
            super().print(*objects, **options)

        def render_str(self, text: str, *args: Any, **options: Any) -> Any:
            return super().render_str(visible(text), *args, **options)

    # A name in brackets or colons is a name, no markup and no picture.
    console = VisibleConsole(stderr=err, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    return console


def use_what_the_terminal_can_show() -> None:
    """Spell out characters that its encoding lacks, where Python would end with an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _spelled(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character) - 0xDC00 if "\udc80" <= character <= "\udcff" else ord(character)
    return _SPOKEN.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
