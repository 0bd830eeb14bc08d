"""A person stops a screening: the patients who are finished keep their answers."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duoscan.cases.case import Screening


class ScreeningStopped(KeyboardInterrupt):
    """A screening was stopped (Ctrl-C), and this is what it had finished.

    Args:
        screening: Patients all of whose images were looked at, and answered where the rule needs it; the images of all
            others are named in it as unfinished.
    """

    def __init__(self, screening: Screening) -> None:
        self.screening = screening
        super().__init__()


@dataclass
class Stop:
    """Whether a person asked to stop, and which images were not done by then.

    Attributes:
        is_asked: Nothing more is to be begun.
        images: Names of images without which their patients have no answer.
    """

    is_asked: bool = False
    images: set[str] = field(default_factory=set)

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """A block that a person may stop."""
        try:
            yield
        except KeyboardInterrupt:
            self.is_asked = True
