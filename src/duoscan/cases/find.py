"""Paths a person gives → images, each with what is known of its patient and modality."""

from __future__ import annotations

import csv
import os
import posixpath
import re
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from duoscan.errors import ImageError, InputError
from duoscan.files import read_bytes
from duoscan.formats.content import may_be_image
from duoscan.formats.dicom.directory import is_dicomdir, listed_files
from duoscan.formats.zips import ZIP_SUFFIX, is_zip, unpack
from duoscan.manifest.names import near_ids
from duoscan.manifest.readers.found import MASK_FOLDERS, walked
from duoscan.reasons import Reason, ReasonCode
from duoscan.rows import csv_rows
from duoscan.terms import names_nobody

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from duoscan.manifest.records import Manifest

# Folder names that say what the images are, not whose they are.
_NOT_A_PATIENT = re.compile(
    r"(cxr|x-?rays?|ct|ct-?scans?|dicom|images?|png|jpe?g|covid.*|non-?covid.*|normal|pneumonia|other|train|val|test"
    r"|slices?|series.*|study.*)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class FoundImage:
    """A file to be answered.

    Attributes:
        path: Where it lies.
        name: How it is named in answers: the path as the person gave it.
        patient_id: From the patients table, the pattern or the folder; ``None`` where only the file can tell.
        modality: From the patients table; ``None`` elsewhere.
        refusal: Why the file is not opened, where that is known already; it becomes a row with this reason.
    """

    path: Path
    name: str
    patient_id: str | None = None
    modality: str | None = None
    refusal: Reason | None = None


@dataclass(frozen=True)
class Found:
    """What the paths that a person gave stand for.

    Attributes:
        images: To be answered, or with the reason why they are not opened.
        not_images: Names of files beside them that are no images; nobody's.
        unmatched: What the person typed about patients and matches no file, in words.
    """

    images: tuple[FoundImage, ...]
    not_images: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[FoundImage]:
        return iter(self.images)

    def __len__(self) -> int:
        return len(self.images)


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


@dataclass(frozen=True)
class PatientRules:
    """How a file's patient is told, first match wins: table, pattern, folder below the given path.

    A DICOM file's own PatientID comes before the folder, but after table and pattern; see the screener.

    Attributes:
        table: File name or path → its row; patient and modality are enough.
        pattern: Regular expression with one group, searched in the path.
    """

    table: Mapping[str, TableRow | tuple[str | None, str | None]]
    pattern: re.Pattern[str] | None = None

    def row_of(self, path: Path, name: str) -> TableRow | None:
        """The table's row of a file."""
        keys = (name, str(path), os.path.realpath(path), path.name)
        return next((TableRow(*self.table[key]) for key in keys if key in self.table), None)

    def matched(self, name: str) -> str | None:
        """The patient that the pattern finds in a name."""
        match = self.pattern.search(name) if self.pattern else None
        return (match.group(1) or "").strip() or None if match else None


NO_RULES = PatientRules({})


def collect(paths: Sequence[str | Path], rules: PatientRules = NO_RULES, unpack_into: Path | None = None) -> Found:
    """All files below the given paths, in a stable order; only hidden files are left out.

    A DICOMDIR that is given by name stands for the files it lists; one that lies in a folder is only asked whether
    the files it lists are there. What is no image by its content, or a mask of one, is named, and nobody's. Links to
    folders, links that lead nowhere and folders that may not be read are images that were not opened.

    Args:
        paths: Files, folders, zips, DICOMDIRs.
        rules: How patients are told apart.
        unpack_into: A folder for the members of zips, which the caller removes when all is answered; where ``None``,
            zips stay closed.

    Raises:
        InputError: A path does not exist, nothing is there but what is no image, or the pattern never matches.
    """
    if missing := [str(path) for path in paths if not Path(path).exists()]:
        raise InputError(f"no such file or folder: {', '.join(missing)}; check the spelling")
    found: dict[Path | str, FoundImage] = {}
    for image in _found(map(Path, paths), unpack_into):
        found.setdefault(image.name if image.refusal else image.path.resolve(), image)
    images: list[FoundImage] = []
    others: list[str] = []
    for image in found.values():
        if image.refusal or (may_be_image(image.path) and not _is_mask(image, paths)):
            images.append(image)
        else:
            others.append(image.name)
    if not images:
        what = f"{_spoken_names(others)} in" if others else "no files in"
        raise InputError(f"{what} {', '.join(map(str, paths))}; name files or folders with images")
    stated, unmatched = _with_patients(images, rules)
    return Found(stated, tuple(others), unmatched)


def _spoken_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"nothing but what is no image ({names[0]}{more})"


def _with_patients(images: Sequence[FoundImage], rules: PatientRules) -> tuple[tuple[FoundImage, ...], tuple[str, ...]]:
    """The images with what table or pattern say of them, and the rows of the table that are about none.

    Raises:
        InputError: The pattern never matches.
    """
    rows = [rules.row_of(image.path, image.name) for image in images]
    by_pattern = [rules.matched(image.name) for image in images]
    if rules.pattern and not any(by_pattern):
        raise InputError(
            f"the patient pattern '{rules.pattern.pattern}' matches none of {len(images)} paths, such as "
            f"{images[0].name}; correct it or leave it out"
        )
    stated = tuple(
        replace(image, patient_id=(row and row.patient_id) or patient, modality=row and row.modality)
        for image, row, patient in zip(images, rows, by_pattern, strict=True)
    )
    used = {row.written for row in rows if row}
    written = dict.fromkeys(TableRow(*row).written for row in rules.table.values())
    unmatched = [row for row in written if row and row not in used]
    return stated, tuple(f"{row} is the path of no image" for row in unmatched)


def from_manifest(manifest: Manifest) -> Found:
    """The images of a manifest, with the patients (or blocks) and modalities it states."""
    images = [
        FoundImage(manifest.file(record), record.path, record.patient_id or record.group, record.modality)
        for record in manifest
    ]
    return Found(tuple(images))


def folder_patient(path: Path, given: Sequence[str | Path]) -> str | None:
    """Patient by place: the nearest folder below a given path, or zip, that is not named after a kind of image.

    Example:
        >>> folder_patient(Path("in/patient7/ct/003.png"), ["in"])
        'patient7'
        >>> folder_patient(Path("in/xray/a12.png"), ["in"]) is None
        True
    """
    for folders in _folders_below(path, given):
        for part in reversed(folders):
            if not _NOT_A_PATIENT.fullmatch(part):
                return part.removesuffix(ZIP_SUFFIX)
    zipped = (part for part in reversed(path.parts[:-1]) if part.lower().endswith(ZIP_SUFFIX))
    archive = next(zipped, None)
    return None if archive is None else Path(archive).stem


def _folders_below(path: Path, given: Sequence[str | Path]) -> list[tuple[str, ...]]:
    """The folders between each given path that holds a file and the file."""
    return [path.relative_to(root).parts[:-1] for root in map(Path, given) if path.is_relative_to(root)]


def _is_mask(image: FoundImage, given: Sequence[str | Path]) -> bool:
    """Whether a picture lies among the masks of a data set, as ``import`` takes them."""
    below = _folders_below(Path(image.name), given)
    return bool(below) and all(MASK_FOLDERS & {part.lower() for part in folders} for folders in below)


def _found(given: Iterable[Path], unpack_into: Path | None) -> Iterator[FoundImage]:
    """The files that the paths stand for, as they come."""
    for number, path in enumerate(given):
        if path.is_dir():
            for inner, (file, why_not) in enumerate(walked(path)):
                if why_not:
                    yield FoundImage(file, str(file), refusal=Reason(ReasonCode.NOT_OPENED, why_not))
                else:
                    yield from _opened(file, unpack_into and unpack_into / f"{number}-{inner}")
        elif not path.is_file():
            yield FoundImage(path, str(path), refusal=Reason(ReasonCode.NOT_OPENED, "a pipe or a device, not a file"))
        elif is_dicomdir(path):
            yield from _listed(path)
        else:
            yield from _opened(path, unpack_into and unpack_into / str(number))


def _opened(path: Path, unpack_into: Path | None) -> Iterator[FoundImage]:
    """The file itself, the members of a zip, or what is wrong with a DICOMDIR that lies in a folder."""
    if is_dicomdir(path):
        yield from (image for image in _listed(path) if image.refusal)
    elif unpack_into is None or not is_zip(path):
        yield FoundImage(path, str(path))
    else:
        yield from _unpacked(path, unpack_into)


def _unpacked(archive: Path, folder: Path) -> Iterator[FoundImage]:
    try:
        members = unpack(archive, folder)
    except ImageError as error:
        yield FoundImage(archive, str(archive), refusal=error.reason)
        return
    for member in members:
        name = f"{archive}/{member.name}"
        if member.path is None:
            yield FoundImage(archive, name, refusal=Reason(ReasonCode.NOT_OPENED, member.refusal))
        elif not is_dicomdir(member.path):  # all of the zip is looked at anyway
            yield FoundImage(member.path, name)


def _listed(dicomdir: Path) -> Iterator[FoundImage]:
    """The files that a DICOMDIR lists."""
    try:
        listed = listed_files(dicomdir)
    except ImageError as error:
        yield FoundImage(dicomdir, str(dicomdir), refusal=error.reason)
        return
    for one in listed:
        if one.path is None:
            name = f"{dicomdir.parent / one.name}"
            yield FoundImage(dicomdir, name, refusal=Reason(ReasonCode.NOT_OPENED, one.refusal))
        else:
            yield FoundImage(one.path, str(one.path))


def read_patient_table(path: Path) -> dict[str, TableRow]:
    r"""A CSV with ``path, patient_id`` and perhaps ``modality`` → lookup by path.

    Paths may be written with ``/`` or ``\``, from the table's own folder or as they are given to the command.

    Raises:
        InputError: The file cannot be read, lacks a column, or gives one file to two patients.
    """
    table: dict[str, TableRow] = {}
    for number, cells in _read_rows(path, ("path", "patient_id")):
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


_YES, _NO = {"yes", "y", "true", "1"}, {"no", "n", "false", "0", ""}


def read_need_ct(path: Path) -> dict[str, bool]:
    """A CSV with ``patient_id, need_ct`` (yes or no) → whether the clinician asks for CT, for each patient in it.

    Raises:
        InputError: The file cannot be read, lacks a column, holds another word than yes or no, or two answers for one
            patient.
    """
    asked: dict[str, bool] = {}
    for number, cells in _read_rows(path, ("patient_id", "need_ct")):
        word = cells["need_ct"].lower()
        if word not in _YES | _NO:
            raise InputError(f"{path}, row {number}: need_ct is '{cells['need_ct']}'; write yes or no")
        if asked.setdefault(cells["patient_id"], word in _YES) is not (word in _YES):
            raise InputError(f"{path}, row {number}: another row says the opposite of {cells['patient_id']}; keep one")
    return asked


def unmatched_patients(typed: Iterable[str], patients: Collection[str]) -> tuple[str, ...]:
    """Which of the patients that a person typed are not there, in words; an id that is nearly the same is named.

    Example:
        >>> unmatched_patients(["734", "P2"], ["00734", "P2"])
        ("need CT: no patient '734'; '00734' is there",)
    """
    near = near_ids((one for one in typed if one not in patients), patients)
    return tuple(
        "; ".join([f"need CT: no patient '{one}'", *(f"'{other}' is there" for other in others)])
        for one, others in near.items()
    )


def _read_rows(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Rows that hold anything, by the number that a spreadsheet shows, without outer spaces."""
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
