"""One reader against one file: what counts as a fault, and what it cost."""

from __future__ import annotations

import hashlib
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from duoscan.errors import InputError

if TYPE_CHECKING:
    from fuzz.targets import Target

MOST_SECONDS = 5.0
"""A file that takes longer hangs."""

MOST_BYTES = 2**30
"""A file that makes a process larger by more is a bomb."""


@dataclass(frozen=True)
class Outcome:
    """What one file did.

    Attributes:
        fault: What went wrong, with the place; empty where the reader answered or refused.
        refused: Whether the reader refused it.
        seconds: Wall time.
        processor: Processor time of this process.
    """

    fault: str
    refused: bool
    seconds: float
    processor: float


class Trial:
    """A folder in which one reader reads one file after the other.

    Args:
        target: The reader.
        folder: Empty.
    """

    def __init__(self, target: Target, folder: Path) -> None:
        self.target = target
        self.path = folder / target.file
        target.beside(folder)

    def read(self, content: bytes) -> Outcome:
        """Write the file and read it."""
        self.path.write_bytes(content)
        fault, refused = "", False
        started, used = time.perf_counter(), time.process_time()
        try:
            self.target.read(self.path)
        except InputError as error:
            refused = True
            # A refusal because memory ran out came too late.
            fault = _place("memory", error) if _ran_out_of_memory(error) else ""
        except Exception as error:  # noqa: BLE001  (finding these is what it is for)
            fault = _place(type(error).__name__, error)
        seconds, processor = time.perf_counter() - started, time.process_time() - used
        if not fault and processor > MOST_SECONDS:
            fault = f"hang: {processor:.1f} s of processor time"
        return Outcome(fault, refused, seconds, processor)


def _ran_out_of_memory(error: BaseException | None) -> bool:
    seen = 0
    while error is not None and seen < 20:
        if isinstance(error, MemoryError):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False


def _place(kind: str, error: Exception) -> str:
    """The kind and where it came from, one line; equal faults give equal text."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "duoscan" in frame.filename] or frames
    return f"{kind} at {'/'.join(Path(ours[-1].filename).parts[-2:])}:{ours[-1].lineno} from {frames[-1].name}"


def peak_bytes() -> int:
    """Most memory this process ever held, on Linux; 0 elsewhere."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def name_of(content: bytes) -> str:
    """A short name for a file by its content."""
    return hashlib.sha256(content).hexdigest()[:12]
