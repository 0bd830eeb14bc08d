"""Whether a patient stands in more than one split: the fault that makes numbers look too good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.manifest.problems import manifest_error
from duoscan.terms import Split

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duoscan.errors import ManifestError
    from duoscan.manifest.records import ImageRecord, Manifest
    from duoscan.predictions import Prediction


def splits_of_units(records: Iterable[ImageRecord | Prediction]) -> dict[str, set[Split]]:
    """The splits each unit (patient, or what stands for one) has rows in; rows without one are left out."""
    found: dict[str, set[Split]] = {}
    for record in records:
        splits = found.setdefault(record.unit, set())
        if record.split is not None:
            splits.add(record.split)
    return found


def crossing_problems(records: Iterable[ImageRecord | Prediction]) -> list[str]:
    """One line for each unit in two or more splits, sorted by unit."""
    return [
        f"patient or group '{unit}' is in {' and '.join(split for split in Split if split in splits)}"
        for unit, splits in sorted(splits_of_units(records).items())
        if len(splits) > 1
    ]


def check_no_patient_crosses(manifest: Manifest) -> None:
    """Refuse a manifest in which a patient, or a group that stands for one, is in two splits.

    Raises:
        ManifestError: Names each such patient with its splits.
    """
    problems = crossing_problems(manifest)
    if problems:
        raise crossing_error(problems)


def crossing_error(problems: list[str]) -> ManifestError:
    """The error for units that cross."""
    return manifest_error(
        f"{len(problems)} patients are in more than one split; give each patient one split, "
        "or make splits anew with: duoscan split --ignore-splits",
        problems,
    )
