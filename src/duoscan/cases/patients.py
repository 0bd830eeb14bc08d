"""Whose the images are, once all files are known: studies join what names nobody, and contradictions are told."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from duoscan.cases.identify import ToldBy
from duoscan.reasons import Reason, ReasonCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from duoscan.cases.identify import Identified

Notes = dict[str, tuple[Reason, ...]]
"""What there is to say of each patient."""


def settle_patients(images: Sequence[Identified]) -> tuple[list[Identified], Notes]:
    """Give images that name nobody the patient of their study.

    A study shows one patient (PS3.3 A.1.2.2). So images that neither a person, nor their PatientID, nor a folder says
    whose they are, are of the one patient that other images of their study name, else of one patient called like the
    study. Nothing that is said is overruled: a study under two patients stays so, and is told.

    Args:
        images: Of all files.

    Returns:
        The images in the same order, and what there is to say of their patients.
    """
    named: dict[str, set[str]] = defaultdict(set)
    unnamed: dict[str, set[str]] = defaultdict(set)
    for one in images:
        if (study := one.file.row.study_id) is not None:
            (unnamed if one.told_by is ToldBy.NAME else named)[study].add(str(one.file.row.patient_id))
    joined = {study: _patient_of(study, named[study], files) for study, files in unnamed.items()}
    settled = [_settled(one, joined) for one in images]
    return settled, _notes(settled)


def _patient_of(study: str, named: set[str], files: set[str]) -> str:
    """Whose the images of a study are that name nobody."""
    known = named or files
    return next(iter(known)) if len(known) == 1 else study


def _settled(one: Identified, joined: Mapping[str, str]) -> Identified:
    row = one.file.row
    if one.told_by is not ToldBy.NAME or row.study_id is None:
        return one
    return replace(one, file=replace(one.file, row=replace(row, patient_id=joined[row.study_id])))


def _notes(images: Iterable[Identified]) -> Notes:
    patients: dict[str, set[str]] = defaultdict(set)
    notes: dict[str, dict[Reason, None]] = defaultdict(dict)  # each once, in order
    for one in images:
        if one.file.row.study_id is not None:
            patients[one.file.row.study_id].add(str(one.file.row.patient_id))
        if one.nobody is not None and one.told_by is not ToldBy.PERSON:
            text = f"PatientID '{one.nobody}' names nobody; whose the images are was told by study, folder or file"
            notes[str(one.file.row.patient_id)][Reason(ReasonCode.IDENTITY, text)] = None
    for study, names in patients.items():
        # Not the other's name: what is said of one patient may leave this machine.
        text = f"study {study} is under {len(names)} patients; find out whom it shows"
        for name in names if len(names) > 1 else ():
            notes[name][Reason(ReasonCode.IDENTITY, text)] = None
    return {name: tuple(found) for name, found in notes.items()}
