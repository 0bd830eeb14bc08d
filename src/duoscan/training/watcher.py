"""Showing how far a training is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from duoscan.training.loop import EpochResult


@dataclass(frozen=True)
class TrainingWatcher:
    """Callbacks by which a caller shows progress; every one may be left out."""

    on_stage: Callable[[str, int], None] = lambda _name, _total: None
    on_tick: Callable[[], None] = lambda: None
    on_epoch: Callable[[EpochResult], None] = lambda _result: None
