"""Heatmap overlays as files, one for each answered image."""

from __future__ import annotations

import io
from itertools import count
from typing import TYPE_CHECKING

from duoscan.files import make_folder, safe_name, write_bytes
from duoscan.imaging.heatmap import SeenMap, overlay, peak_strength
from duoscan.imaging.heatmap_legend import with_legend

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from duoscan.imaging.contract import PreprocessingContract
    from duoscan.inference.predictor import ImageFile
    from duoscan.terms import Modality


class HeatmapWriter:
    """Writes ``<number>-<patient>-<file>.png`` into a folder; does nothing without one.

    Colours mean the same in all overlays of one modality; colour bar, P(covid) and threshold stand below.

    Args:
        folder: Where to write, or ``None``.
        thresholds: Operating point of each modality, on which the colours hang.

    Attributes:
        written: The overlays by the name of their image.
    """

    def __init__(self, folder: Path | None, thresholds: Mapping[Modality, float]) -> None:
        self._folder = folder
        self._thresholds = thresholds
        self._numbers = count(1)
        self.written: dict[str, Path] = {}
        if folder:
            make_folder(folder)

    def add(self, file: ImageFile, contract: PreprocessingContract) -> None:
        """Write the overlay of an answered image; a refused one has none."""
        probability = file.row.probability
        if self._folder is None or file.answer is None or file.pixels is None or probability is None:
            return
        name = safe_name(f"{file.row.patient_id or 'unknown'}-{file.path.stem}")
        threshold = self._thresholds[contract.modality]
        seen = SeenMap(file.answer.activation, file.seen)
        picture = overlay(file.pixels, seen, contract, peak_strength(probability, threshold))
        picture = with_legend(picture, probability, threshold)
        stream = io.BytesIO()
        picture.save(stream, format="PNG")
        path = self._folder / f"{next(self._numbers):04d}-{name}.png"
        write_bytes(path, stream.getvalue())
        self.written[file.row.path] = path
