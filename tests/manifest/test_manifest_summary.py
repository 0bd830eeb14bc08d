from __future__ import annotations

import json
from pathlib import Path

from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.manifest.summary import ManifestCounts, summarise
from duoscan.terms import Finding, Modality, Split


def record(number: int, **fields: object) -> ImageRecord:
    return ImageRecord.model_validate({"path": f"{number}.png", "modality": Modality.CT, "source": "s", **fields})


def test_counts_by_source_label_and_split() -> None:
    manifest = Manifest(
        Path(),
        (
            record(1, label=Finding.NORMAL, patient_id="p"),
            record(2, label=Finding.COVID, patient_id="p", split=Split.TEST),
            record(3, label=Finding.COVID, patient_id="p", split=Split.TEST),
            record(4, label=Finding.COVID, group="g", split=Split.TEST),
            record(5, label=Finding.COVID, group="g", split=Split.TRAIN),
            record(6),
        ),
    )
    summary = summarise(manifest)
    # p counts once over all rows although it is in two rows of the table.
    assert summary.total == ManifestCounts(images=6, patients=1, images_without_patient=3, groups=1)
    assert [(row.label, row.split, row.counts) for row in summary.rows] == [
        (Finding.COVID, Split.TRAIN, ManifestCounts(1, 0, 1, 1)),
        (Finding.COVID, Split.TEST, ManifestCounts(3, 1, 1, 1)),
        (Finding.NORMAL, None, ManifestCounts(1, 1, 0, 0)),
        (None, None, ManifestCounts(1, 0, 1, 0)),
    ]
    assert json.loads(json.dumps(summary.as_dict()))["rows"][1]["counts"]["patients"] == 1


def test_nothing_is_nothing() -> None:
    assert summarise(Manifest(Path())).total == ManifestCounts(0, 0, 0, 0)
