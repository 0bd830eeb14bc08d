"""Progress on standard error, so that standard output holds the results alone."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from duoscan.interfaces.cli.tables import table_console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def stages(*, quiet: bool = False) -> Iterator[tuple[Callable[[str, int | None], None], Callable[[], None]]]:
    """One bar a stage: what to call when one begins, with its name and how many steps it has, and after each step.

    Args:
        quiet: Show none; nor is any shown where standard error is no terminal.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = table_console(err=True)
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as progress:

        def on_stage(name: str, steps: int | None) -> None:
            progress.add_task(name, total=steps)

        yield on_stage, lambda: progress.advance(progress.task_ids[-1])
