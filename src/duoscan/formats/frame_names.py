"""Names of single images in files that hold several: ``study.dcm#12`` is the twelfth frame, counted from 1."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_FRAME = re.compile(r"(.+)#([1-9]\d{0,5})")


def frame_path(path: Path, number: int) -> Path:
    """The name of one frame, as a path.

    Args:
        path: The file.
        number: Of the frame, from 1, as in ReferencedFrameNumber (PS3.3 table 10-3).

    Example:
        >>> from pathlib import Path
        >>> frame_path(Path("in/study.dcm"), 12).as_posix()
        'in/study.dcm#12'
    """
    return path.with_name(f"{path.name}#{number}")


def split_frame(path: Path) -> tuple[Path, int | None]:
    """The file that a path means, and the number of the frame where it means one.

    A file whose own name ends so is meant itself.

    Example:
        >>> from pathlib import Path
        >>> split_frame(Path("in/study.dcm#12"))[1]
        12
        >>> split_frame(Path("in/study.dcm"))[1] is None
        True
    """
    match = _FRAME.fullmatch(path.name)
    if match is None or path.is_file():
        return path, None
    return path.with_name(match[1]), int(match[2])
