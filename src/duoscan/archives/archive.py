"""Image archives as duoscan sees them: find studies, fetch one, store files; over DICOM's own network or DICOMweb.

``opening.open_archive`` turns what a person writes into one of the two; whoever only sends needs no more than a
:class:`Destination`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from duoscan.archives.tls import Tls
from duoscan.errors import InputError, TransferError
from duoscan.formats.limits import MAX_FILE_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_DATES = re.compile(r"\d{8}|\d{8}-(\d{8})?|-\d{8}")  # range matching, PS3.4 C.2.2.2.5
_UID = re.compile(r"[0-9.]{1,64}")  # old archives hold UIDs with leading zeroes
_MODALITY = re.compile(r"[A-Z0-9_]{1,16}")
_NAME_DIGITS = 32


@dataclass(frozen=True)
class StudyQuery:
    """What to look for; what is empty matches every study.

    Attributes:
        patient_id: PatientID; ``*`` and ``?`` stand for any characters.
        date: StudyDate as ``20200131``, or a range ``20200101-20200131``, ``20200101-``, ``-20200131``.
        modality: Modality in the study, e.g. ``CT``.
        study_uid: StudyInstanceUID.
    """

    patient_id: str = ""
    date: str = ""
    modality: str = ""
    study_uid: str = ""

    def check(self) -> None:
        """Refuse what no archive understands.

        Raises:
            InputError: A value has not the form of its attribute.
        """
        if self.date and not _DATES.fullmatch(self.date):
            raise InputError(f"date '{self.date}': write 20200131, or a range as 20200101-20200131")
        if self.modality and not _MODALITY.fullmatch(self.modality):
            raise InputError(f"modality '{self.modality}': write it as DICOM does, e.g. CT, CR or DX")
        if self.study_uid:
            check_uid(self.study_uid)


@dataclass(frozen=True)
class FoundStudy:
    """One study as the archive describes it; empty where it does not say."""

    study_uid: str
    patient_id: str = ""
    date: str = ""
    modalities: tuple[str, ...] = ()
    description: str = ""
    instances: int | None = None


@dataclass(frozen=True)
class Limits:
    """What a study may take at most; an archive is not trusted.

    Attributes:
        studies: Answers to one query.
        instances: Images and other objects of one study.
        instance_bytes: One of them; larger files are not opened anyway.
        study_bytes: All of them.
        seconds: One study.
        answer_seconds: One query, or the confirmation that an object is stored.
    """

    studies: int = 1000
    instances: int = 20_000
    instance_bytes: int = MAX_FILE_BYTES
    study_bytes: int = 32 * 2**30
    seconds: float = 3600.0
    answer_seconds: float = 600.0


NO_LIMITS_CHANGED = Limits()


@dataclass(frozen=True)
class Access:
    """How to be let in.

    Attributes:
        authorization: Value of the HTTP ``Authorization`` header; empty for none.
        ca_file: Certificates to trust in place of the system's.
        certificate: Our own, with its chain, where the other side asks for one.
        key: Its private key.

    Raises:
        InputError: A certificate comes without its key, or a key without its certificate.
    """

    authorization: str = field(default="", repr=False)
    ca_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise InputError("a certificate and its private key belong together; name both")

    @property
    def identity(self) -> tuple[str, str] | None:
        """Certificate and key, where there are both."""
        return (str(self.certificate), str(self.key)) if self.certificate and self.key else None

    @property
    def tls(self) -> Tls | None:
        """How a DICOM connection is secured; ``None`` leaves it in clear.

        Raises:
            InputError: Some of the three files are named, but not all.
        """
        if not (self.ca_file or self.certificate):
            return None
        if not (self.ca_file and self.certificate and self.key):
            raise InputError("TLS to a DICOM peer needs --ca-file, --certificate and --certificate-key")
        return Tls(certificate=self.certificate, key=self.key, ca=self.ca_file)


ANONYMOUS = Access()

OnStored = Callable[["Path"], None]


def ignore(_path: Path) -> None:
    """Nobody wants to hear what was stored."""


class Destination(Protocol):
    """Something that takes DICOM files."""

    def store(self, paths: Sequence[Path], on_stored: OnStored = ignore) -> None:
        """Store every file, in order; returns once all are stored.

        Args:
            paths: DICOM files.
            on_stored: Called with each file as soon as it is acknowledged.

        Raises:
            UnreachableError: It does not answer.
            TransferError: One was not stored; what was acknowledged stays there.
        """

    def holds(self, paths: Sequence[Path]) -> set[Path]:
        """Of these DICOM files, those whose SOPInstanceUID it says it has; none where it answers no such question.

        Raises:
            UnreachableError: It does not answer at all.
            TransferError: What it answers cannot be understood.
        """


class Archive(Destination, Protocol):
    """Something that also gives them back."""

    def echo(self) -> None:
        """Ask for a sign of life.

        Raises:
            UnreachableError: It does not answer, or lets us not in.
            TransferError: It answers that it will not.
        """

    def find(self, query: StudyQuery) -> list[FoundStudy]:
        """The studies that match.

        Raises:
            InputError: The query has not the form of its attributes.
            TransferError: The archive cannot be reached or does not answer.
        """

    def fetch(self, study_uid: str, out: Path, on_fetched: OnStored = ignore) -> list[Path]:
        """Write all instances of a study into a folder, named by the hash of their UIDs.

        Args:
            study_uid: Which.
            out: Folder.
            on_fetched: Called with each file as soon as it is there; an instance that comes twice is told twice.

        Raises:
            InputError: ``study_uid`` is no UID.
            TransferError: It did not come, or not whole; what came stays in the folder.
        """


def is_web_address(text: str) -> bool:
    """Whether a person names a DICOMweb service, and no DICOM peer."""
    return text.lower().startswith(("https://", "http://"))


def check_uid(uid: str) -> str:
    """The UID itself.

    Raises:
        InputError: It has characters that no UID has.
    """
    if not _UID.fullmatch(uid):
        raise InputError(
            "a study is named by its StudyInstanceUID: digits and dots, at most 64; see 'duoscan pacs find'"
        )
    return uid


def expected_instances(found: Sequence[FoundStudy], study_uid: str, where: str) -> int | None:
    """How many instances the one study that was looked for has; ``None`` where the archive does not say.

    An archive may name other studies, too, where it does not heed the UID in the query.

    Raises:
        TransferError: It does not name the study.
    """
    for study in found:
        if study.study_uid == study_uid:
            return study.instances
    others = f" among the {len(found)} it names" if found else ""
    raise TransferError(f"{where}: the study is not there{others}; see 'duoscan pacs find'")


def check_complete(written: Sequence[Path], expected: int | None, where: str) -> None:
    """An answer must not rest on half a study.

    Raises:
        TransferError: Fewer instances came than the archive says it holds, or none.
    """
    came = len(set(written))
    if came < (expected or 1):
        raise TransferError(f"{where}: {came} of {expected or 'some'} instances came; fetch the study again")


def instance_file(out: Path, sop_instance_uid: str) -> Path:
    """Where an instance is written; the name is a hash, because a UID from elsewhere may hold anything."""
    return out / f"{hashlib.sha256(sop_instance_uid.encode()).hexdigest()[:_NAME_DIGITS]}.dcm"
