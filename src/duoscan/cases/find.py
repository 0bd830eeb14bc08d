"""Paths a person gives → images, each with what is known of its patient and modality."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from duoscan.errors import ImageError, InputError
from duoscan.files import read_bytes
from duoscan.formats.dicom.directory import is_dicomdir, listed_files
from duoscan.formats.zips import ZIP_SUFFIX, is_zip, unpack
from duoscan.reasons import Reason, ReasonCode
from duoscan.rows import csv_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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
class PatientRules:
    """How a file's patient is told, first match wins: table, pattern, folder below the given path.

    A DICOM file's own PatientID comes before the folder, but after table and pattern; see the screener.

    Attributes:
        table: File name or path → (patient, modality or ``None``).
        pattern: Regular expression with one group, searched in the path.
    """

    table: dict[str, tuple[str, str | None]]
    pattern: re.Pattern[str] | None = None

    def of(self, path: Path, name: str) -> tuple[str | None, str | None]:
        """Patient and modality that table or pattern give."""
        for key in (name, str(path), str(path.resolve()), path.name):
            if key in self.table:
                return self.table[key]
        if self.pattern and (match := self.pattern.search(name)):
            return match.group(1), None
        return None, None


NO_RULES = PatientRules({})


def collect(
    paths: Sequence[str | Path], rules: PatientRules = NO_RULES, unpack_into: Path | None = None
) -> list[FoundImage]:
    """All files below the given paths, in a stable order; only hidden files are left out.

    A DICOMDIR that is given by name stands for the files it lists; one that lies in a folder is only asked whether
    the files it lists are there.

    Args:
        paths: Files, folders, zips, DICOMDIRs.
        rules: How patients are told apart.
        unpack_into: A folder for the members of zips, which the caller removes when all is answered; where ``None``,
            zips stay closed.

    Raises:
        InputError: A path does not exist, or nothing is there.
    """
    if missing := [str(path) for path in paths if not Path(path).exists()]:
        raise InputError(f"no such file or folder: {', '.join(missing)}; check the spelling")
    found: dict[Path | str, FoundImage] = {}
    for image in _found(map(Path, paths), unpack_into):
        patient, modality = rules.of(image.path, image.name)
        key = image.name if image.refusal else image.path.resolve()
        found.setdefault(key, replace(image, patient_id=patient, modality=modality))
    if not found:
        raise InputError(f"no files in {', '.join(map(str, paths))}; name files or folders with images")
    return list(found.values())


def from_manifest(manifest: Manifest) -> list[FoundImage]:
    """The images of a manifest, with the patients (or blocks) and modalities it states."""
    return [
        FoundImage(manifest.file(record), record.path, record.patient_id or record.group, record.modality)
        for record in manifest
    ]


def folder_patient(path: Path, given: Sequence[str | Path]) -> str:
    """Patient by place: the nearest folder below a given path that is not named after a kind of image, else the file.

    Example:
        >>> folder_patient(Path("in/patient7/ct/003.png"), ["in"])
        'patient7'
        >>> folder_patient(Path("in/xray/a12.png"), ["in"])
        'a12'
    """
    for root in map(Path, given):
        if path.is_relative_to(root):
            for part in reversed(path.relative_to(root).parts[:-1]):
                if not _NOT_A_PATIENT.fullmatch(part):
                    return part.removesuffix(ZIP_SUFFIX)
    zipped = (part for part in reversed(path.parts[:-1]) if part.lower().endswith(ZIP_SUFFIX))
    return Path(next(zipped, path.name)).stem.removesuffix(".nii")


def _found(given: Iterable[Path], unpack_into: Path | None) -> Iterator[FoundImage]:
    """The files that the paths stand for, as they come."""
    for number, path in enumerate(given):
        if not path.is_file():
            for inner, file in enumerate(_files(path)):
                yield from _opened(file, unpack_into and unpack_into / f"{number}-{inner}")
        elif is_dicomdir(path):
            yield from _listed(path)
        else:
            yield from _opened(path, unpack_into and unpack_into / str(number))


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden:
            yield path


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


def read_patient_table(path: Path) -> dict[str, tuple[str, str | None]]:
    """A CSV with ``path, patient_id`` and perhaps ``modality`` → lookup by path.

    Raises:
        InputError: The file cannot be read, or lacks a column.
    """
    table = {}
    for row in _read_rows(path, ("path", "patient_id")):
        known = (row["patient_id"], row.get("modality") or None)
        # As written, and as meant from the table's own folder.
        table[row["path"]] = table[str((path.parent / row["path"]).resolve())] = known
    return table


_YES, _NO = {"yes", "y", "true", "1"}, {"no", "n", "false", "0", ""}


def read_need_ct(path: Path) -> set[str]:
    """A CSV with ``patient_id, need_ct`` (yes or no) → the patients for whom the clinician asks for CT.

    Raises:
        InputError: The file cannot be read, lacks a column, or holds another word than yes or no.
    """
    asked = set()
    for number, row in enumerate(_read_rows(path, ("patient_id", "need_ct")), start=2):
        word = row["need_ct"].strip().lower()
        if word not in _YES | _NO:
            raise InputError(f"{path}, row {number}: need_ct is '{row['need_ct']}'; write yes or no")
        if word in _YES:
            asked.add(row["patient_id"].strip())
    return asked


def _read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        text = read_bytes(path).decode("utf-8-sig")
        found, *lines = [line for line in csv_rows(text, ",") if line] or [[]]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a CSV table ({error}); give a UTF-8 CSV") from error
    if missing := [name for name in columns if name not in found]:
        raise InputError(f"{path}: lacks the column {', '.join(missing)}; found {', '.join(found) or 'nothing'}")
    return [dict(zip_longest(found, line[: len(found)], fillvalue="")) for line in lines]
