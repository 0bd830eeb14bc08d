"""Whose the images are, once all files are known: studies join what names nobody, and contradictions are told."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from duoscan.cases.identify import ToldBy
from duoscan.manifest.patient_rules import joined_by_folder
from duoscan.reasons import Reason, ReasonCode

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from duoscan.cases.identify import Identified

Notes = dict[str, tuple[Reason, ...]]
"""What there is to say of each patient."""


def settle_patients(images: Sequence[Identified]) -> tuple[list[Identified], Notes]:
    """Give images that name nobody the patient of their study, else one of their own.

    A study shows one patient (PS3.3 A.1.2.2). So images that neither a person, nor their PatientID, nor a folder says
    whose they are, are of the one patient that other images of their study name, else of one patient called like the
    study. Without a study, or alone in one, a file is one patient, called by as much of its path as tells it from all
    others. Nothing that is said is overruled: a study under two patients stays so, and is told.

    Args:
        images: Of all files.

    Returns:
        The images in the same order, and what there is to say of their patients.
    """
    named: dict[str, set[str]] = defaultdict(set)
    unnamed: dict[str, set[str]] = defaultdict(set)
    stated = {str(one.file.row.patient_id) for one in images if one.told_by is not ToldBy.NAME}
    own = names_apart((one.given for one in images if one.told_by is ToldBy.NAME), stated)
    for one in images:
        if (study := one.file.row.study_id) is not None:
            is_unnamed = one.told_by is ToldBy.NAME
            patient = own[one.given] if is_unnamed else str(one.file.row.patient_id)
            (unnamed if is_unnamed else named)[study].add(patient)
    joined = {study: _patient_of(study, named[study], files) for study, files in unnamed.items()}
    settled = [_settled(one, own, joined) for one in images]
    return settled, _notes(settled)


def names_apart(paths: Iterable[str], taken: Collection[str] = ()) -> dict[str, str]:
    """The shortest end of each path, without its suffix, that is the end of no other path and not taken.

    Example:
        >>> names_apart(["in/train/a.png", "in/covid/a.png", "in/covid/b.png"])
        {'in/train/a.png': 'train/a', 'in/covid/a.png': 'covid/a', 'in/covid/b.png': 'b'}
    """
    ends = {path: _ends(path) for path in paths}
    counted = Counter(end for several in ends.values() for end in several)
    return {
        path: next((end for end in several if counted[end] == 1 and end not in taken), path)
        for path, several in ends.items()
    }


def _ends(path: str) -> list[str]:
    """The ends of a path from its file to the whole, without the file's suffix."""
    parts = PurePath(path).parts
    bare = [*parts[:-1], PurePath(path).stem.removesuffix(".nii")]
    return ["/".join(bare[start:]) for start in range(len(bare) - 1, -1, -1)]


def remarks_on(images: Iterable[Identified]) -> tuple[str, ...]:
    """What there is to tell of how patients were told apart: joined by folder, or named by nobody."""
    folders = {one.given: str(one.file.row.patient_id) for one in images if one.told_by is ToldBy.FOLDER}
    alone = {one.given for one in images if one.told_by is ToldBy.NAME and one.file.row.study_id is None}
    remarks = joined_by_folder(folders.values())
    if len(alone) > 1:
        text = f"{len(alone)} pictures name no patient, so each is a patient of its own"
        remarks += (f"{text}; --patients, --patient-pattern or --patient-by folder join them",)
    return remarks


def _patient_of(study: str, named: set[str], files: set[str]) -> str:
    """Whose the images of a study are that name nobody."""
    known = named or files
    return next(iter(known)) if len(known) == 1 else study


def _settled(one: Identified, own: Mapping[str, str], joined: Mapping[str, str]) -> Identified:
    row = one.file.row
    if one.told_by is not ToldBy.NAME:
        return one
    patient = own[one.given] if row.study_id is None else joined[row.study_id]
    return replace(one, file=replace(one.file, row=replace(row, patient_id=patient)))


def _notes(images: Iterable[Identified]) -> Notes:
    patients: dict[str, set[str]] = defaultdict(set)
    notes: dict[str, dict[Reason, None]] = defaultdict(dict)  # each once, in order
    folders: dict[str, set[str]] = defaultdict(set)
    for one in images:
        if one.file.row.study_id is not None:
            patients[one.file.row.study_id].add(str(one.file.row.patient_id))
        if one.nobody is not None and one.told_by is not ToldBy.PERSON:
            text = f"PatientID '{one.nobody}' names nobody; whose the images are was told by study, folder or file"
            notes[str(one.file.row.patient_id)][Reason(ReasonCode.IDENTITY, text)] = None
        if one.told_by is ToldBy.FOLDER:
            folders[str(one.file.row.patient_id)].add(one.given)
    for name, files in folders.items():
        if len(files) > 1:
            notes[name][Reason(ReasonCode.IDENTITY, f"{len(files)} pictures joined by folder")] = None
    for study, names in patients.items():
        # Not the other's name: what is said of one patient may leave this machine.
        text = f"study {study} is under {len(names)} patients; find out whom it shows"
        for name in names if len(names) > 1 else ():
            notes[name][Reason(ReasonCode.IDENTITY, text)] = None
    return {name: tuple(found) for name, found in notes.items()}
