"""Where a command prints its tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_PIPED_WIDTH = 170  # characters; a file or a pipe has no width, and 80 would break every cell


def table_console() -> Console:
    """Standard output, wide where no terminal says how wide it is."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    return console
