"""Groups that stand for patients where a set published no patient ids.

Why blocks: such sets number their images in the order they were taken from the scans, so that neighbouring
numbers are often slices of one patient. The SARS-CoV-2 CT-scan set (Soares et al. 2020) is the known case:
2,482 slices of 120 patients, about 20 a patient, numbered but without ids. A split by image puts neighbours
on both sides, and a model then recognises the patient instead of the disease. Blocks of consecutive numbers
keep most neighbours together. They do not replace ids: a patient whose slices lie across the border of two
blocks can still be split.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from duoscan.errors import InputError
from duoscan.terms import Modality

if TYPE_CHECKING:
    from duoscan.manifest.records import ImageRecord, Manifest

# About the mean number of slices a patient in the SARS-CoV-2 CT-scan set.
DEFAULT_BLOCK_SIZE = 20
_BLOCK = re.compile(r"/block-\d+$")


def blocks_where_usual(manifest: Manifest) -> Manifest:
    """Blocks for CT alone: a patient has many slices, but mostly one radiograph."""
    blocked = {record.path: record for record in assign_blocks(manifest.where(modality=Modality.CT))}
    return manifest.replace([blocked.get(record.path, record) for record in manifest])


def assign_blocks(manifest: Manifest, block_size: int = DEFAULT_BLOCK_SIZE) -> Manifest:
    """Give every row without ``patient_id`` and ``group`` the group ``<source>/<label>/block-<k>``.

    Rows of one source and label are put in the order of the numbers in their (original) file names (``Covid
    (2)`` before ``Covid (10)``), names without numbers by the alphabet, and cut into blocks. A block never
    reaches over two modalities, two official splits or two folders, for numbers often start anew in each.

    Args:
        manifest: Rows with a patient id or a group already are left alone.
        block_size: Most images in a block, at least 1.

    Raises:
        InputError: ``block_size`` is below 1.
    """
    if block_size < 1:
        raise InputError(f"block size {block_size} is below 1; use about the number of slices a patient has")
    runs: dict[tuple[str, str], dict[tuple[str, ...], list[ImageRecord]]] = {}
    for record in manifest:
        if record.patient_id is None and record.group is None:
            names = (record.source, record.label or "unlabelled")
            parts = runs.setdefault(names, {})
            folder = str(PurePosixPath(record.path).parent)
            parts.setdefault((record.modality, record.split or "", folder), []).append(record)
    groups: dict[str, str] = {}
    for (source, label), parts in runs.items():
        block = 0
        for part in sorted(parts):
            ordered = sorted(parts[part], key=natural_order)
            for start in range(0, len(ordered), block_size):
                for record in ordered[start : start + block_size]:
                    groups[record.path] = f"{source}/{label}/block-{block}"
                block += 1
    return manifest.replace(
        [
            record.model_copy(update={"group": groups[record.path]}) if record.path in groups else record
            for record in manifest
        ]
    )


def is_block(unit: str) -> bool:
    """Whether what stands for a patient is a block of :func:`assign_blocks`, which may hold several or part of one."""
    return _BLOCK.search(unit) is not None


def natural_order(record: ImageRecord) -> tuple[list[tuple[int, str]], str]:
    """Key that sorts rows as a person reads their (original) file names: ``Covid (2)`` before ``Covid (10)``."""
    name = record.original_name or PurePosixPath(record.path).name
    pieces = re.findall(r"\d+|\D+", PurePosixPath(name).stem)
    # Numbers sort by value; the path decides between equal names in different folders.
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces], record.path
