"""Several manifests as one: their rows under one root, each image once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from duoscan.manifest.problems import manifest_error
from duoscan.manifest.records import Manifest
from duoscan.manifest.table import moved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.manifest.records import ImageRecord


def joined(manifests: Sequence[Manifest]) -> Manifest:
    """One manifest of all rows; a row that two state alike stands once.

    Paths become relative to the nearest folder that all roots lie in. A patient id means the same person in all;
    whether the splits of a patient agree is not asked.

    Args:
        manifests: At least one; a single one comes back as it is.

    Raises:
        ManifestError: Two state different things of one image.
    """
    if len(manifests) == 1:
        return manifests[0]
    root = Path(os.path.commonpath([one.root.resolve() for one in manifests]))
    found: dict[str, ImageRecord] = {}
    problems = []
    for record in (record for one in manifests for record in moved(one, root)):
        path = os.path.normpath(root / record.path)
        before = found.setdefault(path, record)
        if before != record:
            fields = [name for name in type(record).model_fields if getattr(before, name) != getattr(record, name)]
            problems.append(f"{record.path}: two manifests differ in {', '.join(fields)}")
    if problems:
        raise manifest_error(f"{len(problems)} images stand in two manifests; keep one row of each", problems)
    return Manifest(root, tuple(found.values()))
