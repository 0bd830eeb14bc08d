"""The same images in several tables: found by name, so that models are compared on the same rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from duoscan.errors import InputError
from duoscan.predictions import ROW_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from duoscan.evidence.subject import Subject
    from duoscan.predictions import Prediction


def aligned(subjects: Sequence[Subject], *, only_shared: bool = False) -> tuple[list[Subject], list[str]]:
    """The subjects with one name an image, and labels and patients where only the first states them.

    Images are known by path; where tables write other folders before them, by file name, if no table holds one twice.

    Args:
        subjects: As they were read; the first one's labels and patients fill those that others lack.
        only_shared: Whether to keep only images that all of them answered.

    Returns:
        The subjects, and what was done, one sentence each.

    Raises:
        InputError: No image is shared, and only those are wanted.
    """
    said = []
    paths = [_paths(subject.predictions) for subject in subjects]
    if not set.intersection(*paths) and (by_name := _by_file_name(paths)):
        subjects = [_renamed(subject) for subject in subjects]
        said.append(f"Images are known by file name, for paths differ; {by_name} are in all.")
    known = {row.path: row for row in subjects[0].predictions if not ROW_NAME.fullmatch(row.path)}
    found = [subjects[0]]
    for subject in subjects[1:]:
        rows = tuple(_filled(row, known.get(row.path)) for row in subject.predictions)
        found.append(replace(subject, predictions=rows))
        if count := sum(after != before for after, before in zip(rows, subject.predictions, strict=True)):
            said.append(f"{subject.name}: {count} rows take the label or patient they lack from {subjects[0].name}.")
        if differ := sum(row.path in known and known[row.path].label is not row.label for row in rows):
            said.append(f"{subject.name}: {differ} images carry another label than in {subjects[0].name}.")
    return _shared(found, said) if only_shared else (found, said)


def _paths(rows: Iterable[Prediction]) -> set[str]:
    return {row.path for row in rows if not ROW_NAME.fullmatch(row.path)}


def _by_file_name(paths: Sequence[set[str]]) -> int:
    """How many file names are in all; 0 where a name stands twice in one, so that it says nothing."""
    names = [{_file_name(path) for path in own} for own in paths]
    if any(len(own) != len(named) for own, named in zip(paths, names, strict=True)):
        return 0
    return len(set.intersection(*names))


def _file_name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def _renamed(subject: Subject) -> Subject:
    rows = tuple(
        row if ROW_NAME.fullmatch(row.path) else replace(row, path=_file_name(row.path)) for row in subject.predictions
    )
    return replace(subject, predictions=rows)


def _filled(row: Prediction, known: Prediction | None) -> Prediction:
    """The row with what another table says of its image and it does not."""
    if known is None or (row.label is not None and row.patient_id is not None):
        return row
    return replace(row, label=row.label or known.label, patient_id=row.patient_id or known.patient_id)


def _shared(subjects: Sequence[Subject], said: list[str]) -> tuple[list[Subject], list[str]]:
    answered = [_paths(row for row in subject.predictions if row.is_answered) for subject in subjects]
    shared = set.intersection(*answered)
    if not shared:
        raise InputError("no image was answered by all, so nothing is shared; leave --only-shared out")
    kept = []
    for subject in subjects:
        places = [place for place, row in enumerate(subject.predictions) if row.path in shared]
        said.append(f"{subject.name}: {len(subject.predictions) - len(places)} rows are left out, not answered by all.")
        kept.append(
            replace(
                subject,
                predictions=tuple(subject.predictions[place] for place in places),
                files=tuple(subject.files[place] for place in places),
            )
        )
    return kept, said
