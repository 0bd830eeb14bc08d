"""Heatmap overlays as files, one for each answered image."""

from __future__ import annotations

import io
from itertools import count
from typing import TYPE_CHECKING

from duoscan.files import make_folder, safe_name, write_bytes
from duoscan.imaging.heatmap import SeenMap, overlay

if TYPE_CHECKING:
    from pathlib import Path

    from duoscan.imaging.contract import PreprocessingContract
    from duoscan.inference.predictor import ImageFile


class HeatmapWriter:
    """Writes ``<number>-<patient>-<file>.png`` into a folder; does nothing without one.

    Args:
        folder: Where to write, or ``None``.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._numbers = count(1)
        if folder:
            make_folder(folder)

    def add(self, file: ImageFile, contract: PreprocessingContract) -> None:
        """Write the overlay of an answered image; a refused one has none."""
        if self._folder is None or file.answer is None or file.pixels is None:
            return
        name = safe_name(f"{file.row.patient_id or 'unknown'}-{file.path.stem}")
        picture = overlay(file.pixels, SeenMap(file.answer.activation, file.seen), contract)
        stream = io.BytesIO()
        picture.save(stream, format="PNG")
        write_bytes(self._folder / f"{next(self._numbers):04d}-{name}.png", stream.getvalue())
