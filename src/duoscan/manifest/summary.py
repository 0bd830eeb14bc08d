"""What a manifest holds: images and patients by source, modality, label and split."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from duoscan.terms import Finding, Split

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duoscan.manifest.records import ImageRecord, Manifest
    from duoscan.terms import Modality


@dataclass(frozen=True)
class ManifestCounts:
    """Images, and what is known of the people they show.

    Attributes:
        images: Rows.
        patients: Different patient ids; the same id counts once.
        images_without_patient: Rows without a patient id. Where there are any, ``patients`` is not the number
            of people.
        groups: Different groups that stand for patients among those rows.
    """

    images: int
    patients: int
    images_without_patient: int
    groups: int


@dataclass(frozen=True)
class SummaryRow:
    """The counts of one source, modality, label and split; ``None`` stands for rows without one."""

    source: str
    modality: Modality
    label: Finding | None
    split: Split | None
    counts: ManifestCounts


@dataclass(frozen=True)
class Summary:
    """Counts of a manifest, for printing and for reports.

    Attributes:
        total: Over all rows. Patients of the rows below do not add up to it where a patient is in several.
        rows: Sorted by source, modality, label and split.
    """

    total: ManifestCounts
    rows: tuple[SummaryRow, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data, fit for JSON."""
        return asdict(self)


def summarise(manifest: Manifest) -> Summary:
    """Count a manifest."""
    parts: dict[tuple[str, Modality, Finding | None, Split | None], list[ImageRecord]] = {}
    for record in manifest:
        parts.setdefault((record.source, record.modality, record.label, record.split), []).append(record)
    labels, splits = [*Finding, None], [*Split, None]
    rows = sorted(
        (SummaryRow(*key, counts=counts_of(records)) for key, records in parts.items()),
        key=lambda row: (row.source, row.modality, labels.index(row.label), splits.index(row.split)),
    )
    return Summary(counts_of(manifest), tuple(rows))


def counts_of(records: Iterable[ImageRecord]) -> ManifestCounts:
    """Count some records."""
    rows = list(records)
    anonymous = [record for record in rows if record.patient_id is None]
    return ManifestCounts(
        images=len(rows),
        patients=len({record.patient_id for record in rows if record.patient_id is not None}),
        images_without_patient=len(anonymous),
        groups=len({record.group for record in anonymous if record.group is not None}),
    )


def count_by(records: Iterable[ImageRecord]) -> dict[str, dict[str, int]]:
    """Images and patients of each source and label; the data summary of a bundle."""
    rows = list(records)
    images = Counter(f"{record.source}/{record.label}" for record in rows)
    units = Counter(f"{source}/{label}" for source, label, _ in {(r.source, r.label, r.unit) for r in rows})
    return {key: {"images": images[key], "patients_or_blocks": units[key]} for key in sorted(images)}
