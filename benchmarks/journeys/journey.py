"""One newcomer's way through the program: each command as it is typed, what a person sees, how long it took."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PHANTOMS = "phantom --slices 4 --ct-size 96 --xray-size 160"
LINES = 14
FAULTY = 2
"""Exit code of a command that was wrong."""


class Journey:
    """Types commands in a folder of its own.

    Args:
        home: The folder.
        source: Folder that holds the package; the installed one where ``None``.
        lines: Of what each command says, how many are shown.
    """

    def __init__(self, home: Path, source: Path | None, lines: int) -> None:
        self.home, self._lines = home, lines
        self._environment = os.environ | {"DUOSCAN_USES": "", "COLUMNS": "100"}
        if source is not None:
            self._environment["PYTHONPATH"] = str(source.resolve())
        self.commands, self.by_hand, self.wrong = 0, 0, 0

    def hand(self, what: str) -> None:
        """Something that a person has to do without the program."""
        self.by_hand += 1
        print(f"\n# by hand: {what}")

    def type(self, line: str) -> str:
        """Type a command of duoscan and see what it says."""
        self.commands += 1
        print(f"\n$ duoscan {line}")
        began = time.perf_counter()
        done = self._run(line)
        said = [*done.stdout.splitlines(), *done.stderr.splitlines()]
        cut = [f"  … {len(said) - self._lines} more lines"] if len(said) > self._lines else []
        print("\n".join([*(f"  {row}" for row in said[: self._lines]), *cut]))
        self.wrong += done.returncode == FAULTY
        print(f"  [exit {done.returncode}, {time.perf_counter() - began:.1f} s]")
        return done.stdout

    def prepare(self, line: str) -> None:
        """What lies there before the person comes; no part of the journey."""
        self._run(line).check_returncode()

    def start(self, line: str) -> subprocess.Popen[str]:
        """Type a command that runs until it is told to stop; what it says goes to ``node.log``."""
        self.commands += 1
        print(f"\n$ duoscan {line} &")
        with (self.home / "node.log").open("w") as log:
            return subprocess.Popen(
                self._words(line), cwd=self.home, env=self._environment, stdout=log, stderr=log, text=True
            )

    def _words(self, line: str) -> list[str]:
        return [sys.executable, "-m", "duoscan", *shlex.split(line)]

    def _run(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._words(line), cwd=self.home, env=self._environment, capture_output=True, text=True, check=False
        )


@contextmanager
def journey(what: str) -> Iterator[Journey]:
    """A journey in a new folder, told of at its end.

    Args:
        what: Who goes, in a line.
    """
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--src", type=Path, help="folder with another version of the package, e.g. OTHER/src")
    parser.add_argument("--lines", type=int, default=LINES, help="of what each command says, how many are shown")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        going = Journey(Path(folder), options.src, options.lines)
        print(what)
        yield going
        print(
            f"\n{going.commands} commands, {going.by_hand} things done by hand, {going.wrong} commands that were wrong"
        )
