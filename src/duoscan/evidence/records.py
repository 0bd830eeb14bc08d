"""The rows of a predictions table as a manifest, for what asks of images only what a table says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.manifest.records import ImageRecord, Manifest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from duoscan.predictions import Prediction


def records_of(rows: Iterable[Prediction], table: Path) -> Manifest:
    """One record a path, the first where it stands twice; rows without a modality are left out.

    Args:
        rows: Of the table.
        table: Where it lies; paths are taken to be relative to its folder.
    """
    records = {
        row.path: ImageRecord(
            path=row.path,
            modality=row.modality,
            label=row.label,
            source=row.source or "unknown",
            patient_id=row.patient_id,
            study_id=row.study_id,
            split=row.split,
        )
        for row in reversed(list(rows))
        if row.modality is not None
    }
    return Manifest(table.parent, tuple(reversed(list(records.values()))))
