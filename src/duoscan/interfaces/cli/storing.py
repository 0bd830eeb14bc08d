"""Files on their way into an archive, or out of it: how many, told also where it ends early."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from duoscan.interfaces.cli.progress import stages
from duoscan.interfaces.cli.tables import echo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from duoscan.archives.archive import Destination


def store_files(archive: Destination, files: Sequence[Path], where: str, *, quiet: bool = False) -> None:
    """Store files, and say how many are there.

    Args:
        archive: Where to.
        files: DICOM files.
        where: The archive as a person named it.
        quiet: Only say so where it ends early.

    Raises:
        TransferError: One was not stored; see :class:`duoscan.archives.archive.Destination`.
    """
    stored = 0

    def on_stored(_path: Path) -> None:
        nonlocal stored
        stored += 1
        on_tick()

    try:
        with stages(quiet=quiet) as (on_stage, on_tick):
            on_stage("Storing files", len(files))
            archive.store(files, on_stored)
    except BaseException:
        echo(f"{where}: {stored} of {len(files)} files stored", err=True)
        raise
    if not quiet:
        echo(f"{where}: {stored} files stored")


@contextmanager
def counting_fetched(title: str) -> Iterator[Callable[[Path], None]]:
    """What to call with each instance that came, while a study does; says how many came where it ends early."""
    came: set[Path] = set()

    def on_fetched(path: Path) -> None:
        came.add(path)
        on_tick()

    try:
        with stages() as (on_stage, on_tick):
            on_stage(f"Fetching {title}", None)
            yield on_fetched
    except BaseException:
        echo(f"{title}: ended early, {len(came)} instances came", err=True)
        raise
    echo(f"{title}: {len(came)} instances")
