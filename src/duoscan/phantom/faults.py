"""Faults planted on request, each written down, so that an audit can be scored on what it finds."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from PIL import Image

from duoscan.rows import csv_text
from duoscan.terms import Split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from duoscan.manifest.records import ImageRecord

_SHARE_OF_PATIENTS = 0.05
_MARK_SHARE = 1 / 32


class Fault(StrEnum):
    """What can be wrong with a data set, on purpose."""

    CORNER_MARKER = "corner_marker"
    """A bright square in the upper left corner of every image of a positive patient."""

    PATIENT_ACROSS_SPLITS = "patient_across_splits"
    """Half of the CT slices of some patients stand in another split than the rest."""

    EXACT_COPY = "exact_copy"
    """Some images stand again, byte for byte, under another name, patient and split."""

    RECOMPRESSED_COPY = "recompressed_copy"
    """The same, saved again as JPEG."""

    RECROPPED_COPY = "recropped_copy"
    """The same, cropped at the edges and enlarged to the old size."""

    SOURCE_EQUALS_CLASS = "source_equals_class"
    """All positives come from one hospital and all others from the other."""


COPIES = (Fault.EXACT_COPY, Fault.RECOMPRESSED_COPY, Fault.RECROPPED_COPY)


@dataclass(frozen=True)
class PlantedFault:
    """One row of ``faults.csv``.

    Attributes:
        fault: Which.
        path: The image it lies in, as in the manifest.
        patient_id: Whose image that says it is.
        original: The image it was copied from; empty for other faults.
        detail: What was done.
    """

    fault: Fault
    path: str
    patient_id: str
    original: str = ""
    detail: str = ""


def mark_corner(image: NDArray[np.generic], value: float) -> None:
    """Burn a square into the upper left corner of every plane, (..., H, W), in place."""
    side = max(3, round(image.shape[-1] * _MARK_SHARE))
    image[..., side : 2 * side, side : 2 * side] = value


def spread_patients(
    records: Sequence[ImageRecord], rng: np.random.Generator
) -> tuple[list[ImageRecord], list[PlantedFault]]:
    """Put the upper half of some patients' CT slices into another split."""
    slices: dict[str, list[int]] = {}
    for place, record in enumerate(records):
        if record.modality == "ct":
            slices.setdefault(str(record.patient_id), []).append(place)
    changed, planted = list(records), []
    for patient in _some([name for name, places in slices.items() if len(places) > 1], rng):
        places = slices[patient]
        for place in places[len(places) // 2 :]:
            record = records[place]
            split = _other_split(record.split)
            changed[place] = record.model_copy(update={"split": split})
            planted.append(
                PlantedFault(Fault.PATIENT_ACROSS_SPLITS, record.path, patient, detail=f"{record.split} to {split}")
            )
    return changed, planted


def copy_images(
    fault: Fault,
    records: Sequence[ImageRecord],
    root: Path,
    new_patient: Callable[[], str],
    rng: np.random.Generator,
) -> tuple[list[ImageRecord], list[PlantedFault]]:
    """Copy the X-ray and the middle CT slice of some patients to invented patients in another split.

    Args:
        fault: One of :data:`COPIES`.
        records: Rows of the manifest, with raster images.
        root: Folder the rows' paths are relative to.
        new_patient: Gives the id of the next invented patient.
        rng: Chooses.

    Returns:
        The new rows and what was planted.
    """
    by_patient: dict[str, list[ImageRecord]] = {}
    for record in records:
        by_patient.setdefault(str(record.patient_id), []).append(record)
    rows, planted = [], []
    for patient in _some(list(by_patient), rng):
        name = new_patient()
        for modality in ("cxr", "ct"):
            own = [record for record in by_patient[patient] if record.modality == modality]
            if not own:
                continue
            original = own[len(own) // 2]
            suffix = "jpg" if fault is Fault.RECOMPRESSED_COPY else "png"
            path = f"cxr/{name}.{suffix}" if modality == "cxr" else f"ct/{name}/00.{suffix}"
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            detail = _copy(fault, root / original.path, root / path, rng)
            rows.append(
                original.model_copy(
                    update={
                        "path": path,
                        "patient_id": name,
                        "study_id": None,
                        "series_id": None,
                        "lung_mask": None,
                        "split": _other_split(original.split),
                    }
                )
            )
            planted.append(PlantedFault(fault, path, name, original.path, detail))
    return rows, planted


def _copy(fault: Fault, source: Path, target: Path, rng: np.random.Generator) -> str:
    """Make one copy and say how."""
    if fault is Fault.EXACT_COPY:
        shutil.copyfile(source, target)
        return "same bytes"
    with Image.open(source) as image:
        if fault is Fault.RECOMPRESSED_COPY:
            quality = int(rng.integers(45, 76))
            image.save(target, quality=quality)
            return f"JPEG quality {quality}"
        margins = [float(share) for share in rng.uniform(0.03, 0.08, 4)]
        left, top, right, bottom = (
            share * side for share, side in zip(margins, (*image.size, *image.size), strict=True)
        )
        box = (left, top, image.width - right, image.height - bottom)
        image.resize(image.size, Image.Resampling.LANCZOS, box=box).save(target, compress_level=1)
        return "cut left, top, right, bottom: " + ", ".join(f"{share:.1%}" for share in margins)


def _some(patients: Sequence[str], rng: np.random.Generator) -> list[str]:
    """One patient in twenty, at least one."""
    count = min(len(patients), max(1, round(_SHARE_OF_PATIENTS * len(patients))))
    return [patients[place] for place in sorted(rng.choice(len(patients), count, replace=False))]


def _other_split(split: Split | None) -> Split:
    return Split.TEST if split is not Split.TEST else Split.TRAIN


def faults_csv(planted: Iterable[PlantedFault]) -> str:
    """The table of planted faults."""
    columns = ("fault", "path", "patient_id", "original", "detail")
    return csv_text(columns, ([getattr(fault, column) for column in columns] for fault in planted))
