"""What is known about each image: one record an image, a manifest a table of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, field_validator

from duoscan.predictions import IMAGE
from duoscan.terms import Finding, Modality, Split, names_nobody

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


_BOX = r"-?\d+(\.\d+)? -?\d+(\.\d+)? \d+(\.\d+)? \d+(\.\d+)?"
# Fields that came later: rows without them keep the fingerprint that runs and bundles already hold.
_LATER = frozenset({"lung_boxes", "site"})


class ImageRecord(BaseModel):
    """One image or slice. Field names are the manifest's column names.

    Unknown values are ``None``, never an empty string or a made-up one; so is a patient id that names nobody, as
    ``nan``, which would join strangers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    path: str = Field(min_length=1, description="relative to the manifest's root folder, forward slashes")
    modality: Modality
    label: Finding | None = None
    source: str = Field(default="unknown", min_length=1, description="data set or hospital the image came from")
    site: str | None = Field(default=None, description="hospital, host or machine within the source")
    patient_id: str | None = None
    study_id: str | None = None
    series_id: str | None = None
    view: str | None = None
    split: Split | None = Field(default=None, description="official split where the set has one, else the made one")
    group: str | None = Field(default=None, description="what must stay together where no patient id exists")
    finding: str | None = Field(default=None, description="the source's own label text")
    license: str | None = None
    lung_mask: str | None = Field(default=None, description="path of a lung mask, relative to the root")
    lung_boxes: str | None = Field(
        default=None,
        pattern=rf"^{_BOX}( \| {_BOX})*$",
        description="boxes around the lungs as 'x y width height' in pixels of the image, ' | ' between two",
    )
    original_name: str | None = None
    notes: str | None = None

    @field_validator("patient_id")
    @classmethod
    def _somebody(cls, value: str | None) -> str | None:
        return None if value is None or names_nobody(value) else value

    @property
    def boxes(self) -> tuple[tuple[float, float, float, float], ...]:
        """The lungs' boxes: left, top, width, height of each, in pixels of the image; none where unknown."""
        found = []
        for box in (self.lung_boxes or "").split(" | "):
            if box:
                left, top, width, height = map(float, box.split())
                found.append((left, top, width, height))
        return tuple(found)

    @property
    def unit(self) -> str:
        """Key of the patient, or of what stands for one: the group, else the image itself.

        Splits and bootstrap resample these units, never single images.
        """
        return self.patient_id or self.group or f"{IMAGE}{self.path}"


@dataclass(frozen=True)
class Manifest:
    """A table of image records and the folder their paths are relative to."""

    root: Path
    records: tuple[ImageRecord, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[ImageRecord]:
        return iter(self.records)

    def file(self, record: ImageRecord) -> Path:
        """Where a record's image lies."""
        return self.root / record.path

    def replace(self, records: Sequence[ImageRecord]) -> Manifest:
        """The same root with other records."""
        return Manifest(self.root, tuple(records))

    def where(
        self,
        *,
        split: Split | None = None,
        modality: Modality | None = None,
        sources: Sequence[str] | None = None,
    ) -> Manifest:
        """The records that meet every condition given."""
        return self.replace(
            [
                record
                for record in self.records
                if (split is None or record.split == split)
                and (modality is None or record.modality == modality)
                and (sources is None or record.source in sources)
            ]
        )

    def fingerprint(self) -> str:
        """SHA-256 over the records, independent of their order and of where the root lies.

        It binds a run to the rows it used, not to the image bytes.
        """
        digest = hashlib.sha256()
        for line in sorted(_stated(record) for record in self.records):
            digest.update(line.encode())
            digest.update(b"\n")
        return digest.hexdigest()


def _stated(record: ImageRecord) -> str:
    return record.model_dump_json(exclude={name for name in _LATER if getattr(record, name) is None})
