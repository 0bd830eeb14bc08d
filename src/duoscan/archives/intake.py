"""What an archive sends: written to the disk while it arrives, counted, and looked at as any file is."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from duoscan.archives.archive import ignore, instance_file
from duoscan.errors import ImageError, TransferError
from duoscan.files import make_folder
from duoscan.formats.dicom.guards import read_guarded
from duoscan.formats.dicom.header import dicom_errors
from duoscan.quiet import quiet

if TYPE_CHECKING:
    from duoscan.archives.archive import Limits, OnStored

_PREAMBLE_BYTES, _PREFIX = 128, b"DICM"  # PS3.10 7.1
_IDENTITY = ("StudyInstanceUID", "SOPInstanceUID")


class Intake:
    """The instances of one study.

    Args:
        study_uid: Which.
        out: Folder that they are written into; made if it is not there.
        limits: What they may take.
        on_kept: Called with each instance once it is in its place.
    """

    def __init__(self, study_uid: str, out: Path, limits: Limits, on_kept: OnStored = ignore) -> None:
        self.written: list[Path] = []
        self._on_kept = on_kept
        self._study_uid, self._out, self._limits = study_uid, out, limits
        self._bytes = 0
        make_folder(out)

    def begin(self) -> Arrival:
        """One more instance arrives.

        Raises:
            TransferError: It is one too many.
        """
        if len(self.written) >= self._limits.instances:
            raise TransferError(f"more than {self._limits.instances} instances; raise the limit")
        return Arrival(self, self._out)

    def count(self, size: int, of_instance: int) -> None:
        """So many bytes came; so many of this instance in all.

        Raises:
            TransferError: They are too many.
        """
        self._bytes += size
        if self._bytes > self._limits.study_bytes or of_instance > self._limits.instance_bytes:
            raise TransferError("the study is larger than allowed; the archive is at fault, or the limit too low")

    def kept(self, path: Path) -> None:
        """One is in its place."""
        self.written.append(path)
        self._on_kept(path)

    def place(self, path: Path) -> Path:
        """Where an instance that has arrived belongs.

        Raises:
            TransferError: It is no DICOM file, beyond the bounds of one, or of another study.
        """
        with path.open("rb") as stream:
            if stream.read(_PREAMBLE_BYTES + len(_PREFIX))[_PREAMBLE_BYTES:] != _PREFIX:
                raise TransferError("what came is no DICOM file; see the log of the archive")
        try:
            with quiet, dicom_errors(path):
                header = read_guarded(path, stop_before_pixels=True, only=_IDENTITY)
                study_uid, uid = str(header.StudyInstanceUID), str(header.SOPInstanceUID)
        except ImageError as error:
            raise TransferError(f"what came is no DICOM that is taken: {error.text}") from error
        if study_uid != self._study_uid:
            raise TransferError("an instance of another study came; see the log of the archive")
        return instance_file(self._out, uid)


class Arrival:
    """An instance that is arriving; kept, or gone when left.

    Args:
        intake: What it belongs to.
        out: Folder on the same disk as its place.
    """

    def __init__(self, intake: Intake, out: Path) -> None:
        self._intake, self._size = intake, 0
        handle, name = tempfile.mkstemp(dir=out, prefix=".arriving.")
        self._path = Path(name)
        self._stream = os.fdopen(handle, "wb")

    def __enter__(self) -> Arrival:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    def write(self, content: bytes) -> None:
        """More of it.

        Raises:
            TransferError: It is too large.
        """
        self._size += len(content)
        self._intake.count(len(content), self._size)
        self._stream.write(content)

    def keep(self) -> Path:
        """It is all there: put it in its place.

        Raises:
            TransferError: It is not what was asked for.
        """
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        place = self._intake.place(self._path)
        self._path.replace(place)
        self._intake.kept(place)
        return place

    def drop(self) -> None:
        """Nothing stays of it that was not kept."""
        self._stream.close()
        self._path.unlink(missing_ok=True)
