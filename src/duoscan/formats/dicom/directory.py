"""DICOMDIR: the files that a DICOM medium lists (PS3.3 F, PS3.10 8)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from duoscan.errors import UnreadableImageError
from duoscan.formats.dicom.header import dicom_errors, open_dicom

if TYPE_CHECKING:
    from collections.abc import Sequence

DICOMDIR = "DICOMDIR"

MAX_LISTED = 100_000
"""Files that one DICOMDIR may list."""

_DIRECTORY = "1.2.840.10008.1.3.10"

# What copying a medium adds to its names: a version (ISO 9660), a dot, an ending.
_ADDED = re.compile(r"(\.(DCM|DICOM|IMA))?\.?(;\d+)?$")


@dataclass(frozen=True)
class Listed:
    """One file that a DICOMDIR names.

    Attributes:
        name: The file ID, its components joined by slashes.
        path: Where it lies; ``None`` where it is refused.
        refusal: Why; empty where it is there.
    """

    name: str
    path: Path | None
    refusal: str = ""


def is_dicomdir(path: Path) -> bool:
    """Whether a file is named as a DICOMDIR (PS3.10 8.6), or as a copy of a medium names it."""
    return _ADDED.sub("", path.name.upper()) == DICOMDIR


def listed_files(dicomdir: Path) -> list[Listed]:
    """The files that the records of a DICOMDIR reference, each once, in the order of the records.

    A file ID that leads out of the folder of the DICOMDIR, by ``..``, an absolute path or a link, is refused.

    Raises:
        UnreadableImageError: It is missing, damaged, no DICOMDIR, or lists too many files.
    """
    with dicom_errors(dicomdir):
        dataset = open_dicom(dicomdir)
        if dataset.SOPClassUID != _DIRECTORY and "DirectoryRecordSequence" not in dataset:
            raise UnreadableImageError(dicomdir, "not a DICOMDIR; name the files themselves")
        records = dataset.get("DirectoryRecordSequence") or ()
        if len(records) > MAX_LISTED:
            raise UnreadableImageError(dicomdir, f"lists {len(records)} files; at most {MAX_LISTED} are read")
        named = [record.get("ReferencedFileID") for record in records]
    file_ids = dict.fromkeys(_components(file_id) for file_id in named if file_id)
    root = dicomdir.parent.resolve()
    folders: dict[Path, dict[str, str]] = {}
    return [_listed(parts, root, folders) for parts in file_ids]


def _components(file_id: str | Sequence[str]) -> tuple[str, ...]:
    parts = [file_id] if isinstance(file_id, str) else file_id
    return tuple(str(part).strip(" \0") for part in parts)


def _listed(parts: tuple[str, ...], root: Path, folders: dict[Path, dict[str, str]]) -> Listed:
    name = "/".join(parts)
    if not all(_is_plain(part) for part in parts):
        name = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)
        return Listed(name, None, "the DICOMDIR names a file outside its own folder; such files are not opened")
    path = _there(root, parts, folders)
    if path is None:
        return Listed(name, None, "the DICOMDIR lists this file, but it is not there; copy the whole medium")
    if not path.resolve().is_relative_to(root):
        return Listed(name, None, "the DICOMDIR names a file outside its own folder; such files are not opened")
    return Listed(name, path)


def _is_plain(part: str) -> bool:
    return part.isprintable() and part not in {"", ".", ".."} and not set(part) & set("/\\:")


def _there(root: Path, parts: tuple[str, ...], folders: dict[Path, dict[str, str]]) -> Path | None:
    """The file, also where a copy of the medium changed its names; ``folders`` holds what was looked up before."""
    path = Path(root, *parts)
    try:
        if path.is_file():
            return path
        path = root
        for part in parts:
            if path not in folders:
                folders[path] = _names_in(path)
            path /= folders[path][_ADDED.sub("", part.upper())]
        return path if path.is_file() else None
    except (OSError, KeyError):  # no such name, or one that is too long
        return None


def _names_in(folder: Path) -> dict[str, str]:
    """Names as the medium had them → as they are in its copy."""
    return {_ADDED.sub("", name.upper()): name for name in sorted(entry.name for entry in folder.iterdir())}
