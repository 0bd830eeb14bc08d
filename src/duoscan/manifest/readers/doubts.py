"""What there is to say of patient ids: those that name nobody, and studies that are under two of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from duoscan.manifest.readers.found import SkippedFile
from duoscan.terms import names_nobody

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duoscan.manifest.records import ImageRecord


def doubts_about(stated: Iterable[str | None], records: Iterable[ImageRecord]) -> tuple[SkippedFile, ...]:
    """Patient ids to look at.

    Args:
        stated: The ids as files or table have them, one an image.
        records: What became of the images; ids that name nobody are gone from them.
    """
    nobody = Counter(patient for patient in stated if patient and names_nobody(patient))
    patients: dict[str, set[str]] = defaultdict(set)
    for record in records:
        if record.patient_id is not None and record.study_id is not None:
            patients[record.study_id].add(record.patient_id)
    doubts = [
        SkippedFile(f"patient_id '{name}'", f"names nobody, so it joins no images (images: {count})")
        for name, count in sorted(nobody.items())
    ]
    doubts += [
        SkippedFile(f"study {study}", f"is under {len(names)} patients: {', '.join(sorted(names))}; whom does it show?")
        for study, names in sorted(patients.items())
        if len(names) > 1
    ]
    return tuple(doubts)
