"""What audits say of a run, kept inside it as RUN/evidence/001 and so on.

Nothing that ``duoscan train`` wrote is touched. Each audit is a new folder, laid out by :mod:`duoscan.audit.storage`,
that appears whole under the next number and is never written to again; the last one counts.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from duoscan.audit.storage import RESULTS_NAME, Audited, read_audit
from duoscan.files import make_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FOLDER = "evidence"
_NUMBERED = re.compile(r"\d{3,}")


class Entry:
    """A folder of evidence in the making.

    Attributes:
        draft: Where to write; gone once the entry stands.
        path: Where it stands; ``None`` until then.
    """

    def __init__(self, draft: Path) -> None:
        self.draft = draft
        self.path: Path | None = None


@contextmanager
def new_entry(run: Path) -> Iterator[Entry]:
    """A folder to write an audit into, which stands under the next number once the block is left without an error.

    Args:
        run: A finished run.

    Raises:
        OSError: The run's folder cannot be written to.
    """
    home = run / FOLDER
    make_folder(home)
    # As deep as it will stand, so that relative paths written into it hold.
    entry = Entry(Path(tempfile.mkdtemp(prefix=".", dir=home)))
    try:
        yield entry
        entry.path = _stand(entry.draft, home)
    finally:
        shutil.rmtree(entry.draft, ignore_errors=True)


def latest(run: Path) -> Path | None:
    """The newest evidence of a run; ``None`` where it holds none, or is no run but a table."""
    entries = _entries(run / FOLDER)
    return entries[-1] if entries else None


def read_audits(named: Sequence[Path], runs: Iterable[Path]) -> list[Audited]:
    """The audits in the named folders; where none is named, the newest that each run holds.

    Raises:
        InputError: A folder is damaged.
    """
    folders = named or [kept for run in runs if (kept := latest(run)) is not None]
    return [read_audit(folder) for folder in folders]


def _entries(home: Path) -> list[Path]:
    """Whole entries, oldest first."""
    if not home.is_dir():
        return []
    found = [one for one in home.iterdir() if _NUMBERED.fullmatch(one.name) and (one / RESULTS_NAME).exists()]
    return sorted(found, key=lambda one: int(one.name))


def _stand(draft: Path, home: Path) -> Path:
    """Rename the draft to the next number; another process may take one first."""
    while True:
        taken = [int(one.name) for one in home.iterdir() if _NUMBERED.fullmatch(one.name)]
        place = home / f"{max(taken, default=0) + 1:03d}"
        try:
            return draft.rename(place)
        except OSError:
            if not place.exists():
                raise
