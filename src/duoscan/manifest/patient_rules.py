"""Whose an image is by what a person says: a table of patients, a pattern for paths, or one folder a patient."""

from __future__ import annotations

import csv
import os
import posixpath
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from duoscan.errors import InputError
from duoscan.files import read_bytes
from duoscan.formats.zips import ZIP_SUFFIX
from duoscan.names import finding_named, modality_named, split_named
from duoscan.rows import csv_rows
from duoscan.terms import names_nobody

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from duoscan.terms import Finding

# Folder names that say what the images are, or which class or part they are of, but not whose they are.
_KIND = re.compile(r"(x-?rays?|ct-?scans?|dicom|images?|png|jpe?g|slices?|series.*|study.*)", re.IGNORECASE)
_CLASS = re.compile(r"(non-?)?covid.*", re.IGNORECASE)


class TableRow(NamedTuple):
    """What a patients table says of one file.

    Attributes:
        patient_id: Whose; ``None`` where the table names nobody.
        modality: In the table's words.
        written: How a person finds the row; empty for rows that no person wrote.
    """

    patient_id: str | None
    modality: str | None = None
    written: str = ""


class StatedPatient(NamedTuple):
    """What a person's rules say of one file.

    Attributes:
        patient_id: By table or pattern, which come before what the file says of itself.
        modality: By the table, in its words.
        folder: The patient that the folder stands for, which comes after it; ``None`` where nobody asked for that.
    """

    patient_id: str | None
    modality: str | None = None
    folder: str | None = None


@dataclass(frozen=True)
class PatientRules:
    """How patients are told apart, first match wins: table, pattern, the file itself, then the folder if asked for.

    Attributes:
        table: File name or path → its row; patient and modality are enough.
        pattern: Regular expression with one group, searched in the path.
        by_folder: Whether all that lies in one folder is of one patient.
        label_map: Names of class folders that a person explained; they are no patients.
    """

    table: Mapping[str, TableRow | tuple[str | None, str | None]] = field(default_factory=dict)
    pattern: re.Pattern[str] | None = None
    by_folder: bool = False
    label_map: Mapping[str, Finding] = field(default_factory=dict)

    def row_of(self, path: Path, name: str) -> TableRow | None:
        """The table's row of a file, by its path."""
        keys = (name, str(path), os.path.realpath(path))
        return next((TableRow(*self.table[key]) for key in keys if key in self.table), None)

    def state(
        self, files: Sequence[tuple[Path, str]], given: Sequence[str | Path]
    ) -> tuple[list[StatedPatient], tuple[str, ...]]:
        """What there is to say of each file, and in words each row of the table that is about none of them.

        Args:
            files: Where each lies, and how it is named: the path as the person gave it.
            given: The paths that the person gave.

        Raises:
            InputError: The pattern never matches, or a row of the table is about several files of one name.
        """
        rows = self._rows_of(files)
        by_pattern = [self._matched(name) for _, name in files]
        if self.pattern and not any(by_pattern):
            raise InputError(
                f"the patient pattern '{self.pattern.pattern}' matches none of {len(files)} paths, such as "
                f"{files[0][1] if files else 'none'}; correct it or leave it out"
            )
        stated = [
            StatedPatient(
                (row and row.patient_id) or patient,
                row and row.modality,
                folder_patient(Path(name), given, self.label_map) if self.by_folder else None,
            )
            for row, patient, (_, name) in zip(rows, by_pattern, files, strict=True)
        ]
        used = {row.written for row in rows if row}
        written = dict.fromkeys(TableRow(*row).written for row in self.table.values())
        return stated, tuple(f"{row} is the path of no image" for row in written if row and row not in used)

    def _rows_of(self, files: Sequence[tuple[Path, str]]) -> list[TableRow | None]:
        """The row of each file by its path; a row that is so of none is of the file that bears its name."""
        rows = [self.row_of(path, name) for path, name in files]
        used = {row for row in rows if row}
        named: dict[str, list[int]] = {}
        for place, (path, _) in enumerate(files):
            if rows[place] is None and path.name in self.table and TableRow(*self.table[path.name]) not in used:
                named.setdefault(path.name, []).append(place)
        for leaf, places in named.items():
            if len(several := dict.fromkeys(files[place] for place in places)) > 1:  # but for frames of one file
                both = " and ".join(name for _, name in [*several][:2])
                raise InputError(
                    f"the patients table says '{leaf}', which is {both}; write the path of the one it means"
                )
            for place in places:
                rows[place] = TableRow(*self.table[leaf])
        return rows

    def _matched(self, name: str) -> str | None:
        match = self.pattern.search(name) if self.pattern else None
        return (match.group(1) or "").strip() or None if match else None


NO_RULES = PatientRules()


def folder_patient(
    path: Path, given: Sequence[str | Path], label_map: Mapping[str, Finding] | None = None
) -> str | None:
    """Patient by place: the nearest folder below a given path, or zip, that is not named after a kind of image.

    Folders of classes and splits above it belong to the name, for numbering often starts anew in each.

    Args:
        path: Of a file, as the person gave it.
        given: The paths that the person gave.
        label_map: Names of class folders beside those that are known.

    Example:
        >>> folder_patient(Path("in/patient7/ct/003.png"), ["in"])
        'patient7'
        >>> folder_patient(Path("in/covid/7/003.png"), ["in"])
        'covid/7'
        >>> folder_patient(Path("in/xray/a12.png"), ["in"]) is None
        True
    """
    for folders in folders_below(path, given):
        names = [part for part in folders if not _is_kind(part)]
        while names and _is_class(names[-1], label_map):
            names.pop()
        if names:
            own = names.pop().removesuffix(ZIP_SUFFIX)
            return "/".join([*(name for name in names if _is_class(name, label_map)), own])
    zipped = (part for part in reversed(path.parts[:-1]) if part.lower().endswith(ZIP_SUFFIX))
    archive = next(zipped, None)
    return None if archive is None else Path(archive).stem


def folders_below(path: Path, given: Iterable[str | Path]) -> list[tuple[str, ...]]:
    """The folders between each given path that holds a file and the file."""
    places = _places(tuple(map(str, given)))
    roots = sorted((root for root in (path, *path.parents) if root in places), key=places.__getitem__)
    return [path.relative_to(root).parts[:-1] for root in roots]


@lru_cache(maxsize=4)
def _places(given: tuple[str, ...]) -> dict[Path, int]:
    """Each given path and its place among them; asked once a file, and there may be as many paths as files."""
    return {Path(root): place for place, root in reversed(list(enumerate(given)))}


def joined_by_folder(patients: Iterable[str]) -> tuple[str, ...]:
    """Tell which patients their folder alone joined.

    Args:
        patients: Of each picture of which the folder says whose it is.

    Example:
        >>> joined_by_folder(["anna", "bert", "anna"])
        ('2 pictures joined as patient anna by folder',)
    """
    counted = Counter(patients)
    return tuple(f"{count} pictures joined as patient {name} by folder" for name, count in counted.items() if count > 1)


def pattern_of(text: str, called: str) -> re.Pattern[str]:
    """A pattern that a person typed.

    Args:
        text: Regular expression.
        called: What the person calls it, for messages.

    Raises:
        InputError: It is no regular expression, or has not one group.
    """
    try:
        compiled = re.compile(text)
    except re.error as error:
        raise InputError(f"{called} '{text}' is not a regular expression ({error})") from error
    if compiled.groups != 1:
        raise InputError(f"{called} '{text}' has {compiled.groups} groups; give exactly one, in ( )")
    return compiled


def read_patient_table(path: Path) -> dict[str, TableRow]:
    r"""A CSV with ``path, patient_id`` and perhaps ``modality`` → lookup by path.

    Paths may be written with ``/`` or ``\``, from the table's own folder or as they are given to the command.

    Raises:
        InputError: The file cannot be read, lacks a column, or gives one file to two patients.
    """
    table: dict[str, TableRow] = {}
    for number, cells in read_rows(path, ("path", "patient_id")):
        patient = cells["patient_id"]
        if not cells["path"]:
            raise InputError(f"{path}, row {number}: the path is empty; give that of an image, or remove the row")
        known = None if names_nobody(patient) else patient
        row = TableRow(known, cells.get("modality") or None, f"{path.name}, row {number}: '{cells['path']}'")
        written = {posixpath.normpath(form) for form in (cells["path"], cells["path"].replace("\\", "/"))}
        # As written, and as meant from the table's own folder.
        for key in {*written, *(str((path.parent / form).resolve()) for form in written)}:
            first = table.setdefault(key, row)
            if first[:2] != row[:2]:
                raise InputError(
                    f"{path}, row {number}: '{cells['path']}' is of {patient or 'nobody'}, another row says "
                    f"{first.patient_id or 'nobody'}; keep one"
                )
    return table


def read_rows(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Rows that hold anything, by the number that a spreadsheet shows, without outer spaces.

    Raises:
        InputError: The file cannot be read, or lacks one of the columns.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
        lines = [[cell.strip() for cell in line] for line in csv_rows(text, ",")]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a CSV table ({error}); give a UTF-8 CSV") from error
    filled = [(number, line) for number, line in enumerate(lines, start=1) if any(line)]
    found = filled[0][1] if filled else []
    if missing := [name for name in columns if name not in found]:
        raise InputError(f"{path}: lacks the column {', '.join(missing)}; found {', '.join(found) or 'nothing'}")
    return [(number, dict(zip_longest(found, line[: len(found)], fillvalue=""))) for number, line in filled[1:]]


def _is_kind(folder: str) -> bool:
    return bool(_KIND.fullmatch(folder)) or modality_named(folder) is not None


def _is_class(folder: str, label_map: Mapping[str, Finding] | None) -> bool:
    named = finding_named(folder, label_map) or split_named(folder)
    return named is not None or bool(_CLASS.fullmatch(folder))
