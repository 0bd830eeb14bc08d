"""Progress on standard error, so that standard output holds the results alone."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from duoscan.interfaces.cli.tables import table_console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def stages() -> Iterator[tuple[Callable[[str, int], None], Callable[[], None]]]:
    """One bar a stage: what to call when one begins, with its name and how many images it has, and after each image."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=table_console(err=True)) as progress:

        def on_stage(name: str, images: int) -> None:
            progress.add_task(name, total=images)

        yield on_stage, lambda: progress.advance(progress.task_ids[-1])
