"""Paths a person gives → images, each with what is known of its patient and modality."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from duoscan.errors import ImageError, InputError
from duoscan.formats.content import may_be_image
from duoscan.formats.dicom.directory import is_dicomdir, listed_files
from duoscan.formats.zips import is_zip, unpack
from duoscan.manifest.patient_rules import NO_RULES, folders_below, read_rows
from duoscan.manifest.readers.found import MASK_FOLDERS, walked
from duoscan.names import near_ids
from duoscan.reasons import Reason, ReasonCode

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from duoscan.manifest.patient_rules import PatientRules
    from duoscan.manifest.records import Manifest


@dataclass(frozen=True)
class FoundImage:
    """A file to be answered.

    Attributes:
        path: Where it lies.
        name: How it is named in answers: the path as the person gave it.
        patient_id: From the patients table or the pattern; ``None`` where only the file or its folder can tell.
        modality: From the patients table; ``None`` elsewhere.
        folder: The patient that its folder stands for, where that was asked for.
        refusal: Why the file is not opened, where that is known already; it becomes a row with this reason.
    """

    path: Path
    name: str
    patient_id: str | None = None
    modality: str | None = None
    folder: str | None = None
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
    stated, unmatched = rules.state([(image.path, image.name) for image in images], paths)
    known = (replace(image, **said._asdict()) for image, said in zip(images, stated, strict=True))
    return Found(tuple(known), tuple(others), unmatched)


def _spoken_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"nothing but what is no image ({names[0]}{more})"


def from_manifest(manifest: Manifest) -> Found:
    """The images of a manifest, with the patients (or blocks) and modalities it states."""
    images = [
        FoundImage(manifest.file(record), record.path, record.patient_id or record.group, record.modality)
        for record in manifest
    ]
    return Found(tuple(images))


def _is_mask(image: FoundImage, given: Sequence[str | Path]) -> bool:
    """Whether a picture lies among the masks of a data set, as ``import`` takes them."""
    below = folders_below(Path(image.name), given)
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


_YES, _NO = {"yes", "y", "true", "1"}, {"no", "n", "false", "0", ""}


def read_need_ct(path: Path) -> dict[str, bool]:
    """A CSV with ``patient_id, need_ct`` (yes or no) → whether the clinician asks for CT, for each patient in it.

    Raises:
        InputError: The file cannot be read, lacks a column, holds another word than yes or no, or two answers for one
            patient.
    """
    asked: dict[str, bool] = {}
    for number, cells in read_rows(path, ("patient_id", "need_ct")):
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
