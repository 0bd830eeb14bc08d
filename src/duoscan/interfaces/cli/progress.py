"""Progress on standard error, so that standard output holds the results alone."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress


class Stages:
    """One bar a stage; a caller's callbacks."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars

    def on_stage(self, name: str, images: int) -> None:
        """A stage begins."""
        self._bars.add_task(name, total=images)

    def on_image(self) -> None:
        """One image is done."""
        self._bars.advance(self._bars.task_ids[-1])


@contextmanager
def stages() -> Iterator[Stages]:
    """Bars that stand below one another."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from duoscan.interfaces.cli.tables import table_console

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=table_console(err=True)) as progress:
        yield Stages(progress)
