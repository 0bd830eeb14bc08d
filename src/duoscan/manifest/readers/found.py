"""What a reader hands back, and how folders are walked: no file is passed over without a word."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from duoscan.errors import ImageError, ManifestError
from duoscan.formats.dicom.geometry import MAX_FRAMES
from duoscan.formats.dicom.header import read_dicom_header
from duoscan.formats.frame_names import frame_path
from duoscan.terms import names_nobody

if TYPE_CHECKING:
    from collections.abc import Mapping

    from duoscan.manifest.records import Manifest
    from duoscan.terms import Finding, Modality

RASTER_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"})
MASK_FOLDERS = frozenset({"mask", "masks"})
# Left behind by archive tools; never images.
_LITTER = frozenset({"__MACOSX"})
_LINK_TO_A_FOLDER = "a link to a folder, which is not followed; give that folder itself"


@dataclass(frozen=True)
class SkippedFile:
    """A file, or a row of a table about files, that is not in the manifest, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Wishes:
    """What a person said beside the path.

    Attributes:
        modality: Where the images do not say it themselves.
        source: Name of the data set or hospital; the folder's name when not given.
        labels: Table of labels for a folder; class folders say what it leaves open.
        label_map: Their label → ours.
        columns: Our column → theirs, for tables.
        root: Folder the paths of a table are relative to.
    """

    modality: Modality | None = None
    source: str | None = None
    labels: Path | None = None
    label_map: Mapping[str, Finding] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    root: Path | None = None


@dataclass(frozen=True)
class Imported:
    """A manifest and everything that did not come into it.

    Attributes:
        manifest: What was read.
        skipped: Files that are there but not in the manifest.
        absent: Rows of a label table or of the set's own lists whose image is not there.
        doubts: Patient ids that were not taken as they stand, and ids or labels that contradict each other.
        remarks: How images were put together, where a person should know.
    """

    manifest: Manifest
    skipped: tuple[SkippedFile, ...] = ()
    absent: tuple[SkippedFile, ...] = ()
    doubts: tuple[SkippedFile, ...] = ()
    remarks: tuple[str, ...] = ()


def walk(root: Path) -> tuple[list[Path], list[SkippedFile]]:
    """Every file under a folder, sorted by path, and the entries that cannot be followed or written down.

    Hidden entries (a name that starts with a dot) and ``__MACOSX`` are no part of a data set and are left
    out.

    Raises:
        ManifestError: ``root`` is not a folder.
    """
    if not root.is_dir():
        raise ManifestError(f"{root}: no such folder; give the folder that holds the images")
    files: list[Path] = []
    skipped: list[SkippedFile] = []
    for path, why_not in walked(root):
        name = relative_name(path, root)
        if why_not:
            skipped.append(SkippedFile(name, why_not))
        elif name.isprintable() and name == name.strip():
            files.append(path)
        else:
            skipped.append(SkippedFile(repr(name), "the name cannot be written in a table; rename the file"))
    return files, skipped


def walked(root: Path) -> list[tuple[Path, str]]:
    """Every visible file under a folder by path, and every entry that is not opened, with the reason.

    Links to folders are not followed, so that no file comes twice and no loop goes on for ever.
    """
    found: list[tuple[Path, str]] = []

    def not_read(error: OSError) -> None:
        found.append((Path(error.filename), f"a folder that cannot be read ({error.strerror}); see its permissions"))

    for folder, names, leaves in os.walk(root, onerror=not_read):
        names[:] = [name for name in names if not name.startswith(".") and name not in _LITTER]
        links = [name for name in names if Path(folder, name).is_symlink()]
        found += [(Path(folder, name), _LINK_TO_A_FOLDER) for name in links]
        paths = (Path(folder, leaf) for leaf in leaves if not leaf.startswith("."))
        found += [(path, _why_not_opened(path)) for path in paths]
    return sorted(found)


def _why_not_opened(path: Path) -> str:
    """Why an entry that is no folder is no file either; empty where it is one."""
    try:
        if path.is_file():
            return ""
        return "a link that leads nowhere" if path.is_symlink() else "a pipe or a device, not a file"
    except OSError as error:
        return f"cannot be looked at ({error.strerror}); see the permissions of its folder"


def relative_name(path: Path, root: Path) -> str:
    """Path below ``root`` with forward slashes, as a manifest holds it."""
    return path.relative_to(root).as_posix()


def dicom_images(path: Path, root: Path, modality: Modality | None) -> list[dict[str, str | Modality | None]]:
    """The images of a DICOM file as fields of records, ``path`` among them: one, or one for each frame.

    Args:
        path: The file.
        root: What paths are relative to.
        modality: Taken when the header names none.

    Raises:
        ImageError: The file is not DICOM, holds no image or too many, or is of another modality.
    """
    header = read_dicom_header(path)
    if not header.rows:
        raise ImageError(path, "DICOM without an image")
    if header.modality is None and header.modality_code is not None:
        raise ImageError(path, f"modality {header.modality_code} is neither chest X-ray nor CT")
    known = header.modality or modality
    if known is None:
        raise ImageError(path, "the header names no modality; give --modality")
    if header.frames != len(header.planes):
        raise ImageError(path, f"claims {header.frames} frames; at most {MAX_FRAMES} are read")
    numbers = range(1, header.frames + 1)
    places = [path] if header.frames == 1 else [frame_path(path, number) for number in numbers]
    fields: dict[str, str | Modality | None] = {
        "modality": known,
        "patient_id": header.patient_id,
        "study_id": header.study_id,
        "series_id": header.series_id,
        "view": header.view,
        # A study shows one patient, also where the file does not say whom.
        "group": header.study_id if names_nobody(header.patient_id or "") else None,
        "notes": f"body part {header.body_part}" if header.body_part else None,
    }
    return [{**fields, "path": relative_name(place, root)} for place in places]


def why_skipped(path: Path, root: Path, error: ImageError) -> SkippedFile:
    """A file that could not be read, without its path twice."""
    return SkippedFile(relative_name(path, root), error.text)
