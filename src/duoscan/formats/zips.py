"""Zipped studies, unpacked within limits: what a zip claims of itself is never believed."""

from __future__ import annotations

import io
import os
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from duoscan.errors import UnreadableImageError
from duoscan.files import BoundedReader, safe_name

if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

ZIP_SUFFIX = ".zip"

MAX_MEMBERS = 20_000
"""Files in one zip; a study of several CT series has a few thousand."""

MAX_DIRECTORY_BYTES = 8 * 2**20
"""The directory of a zip, 46 bytes and a name a file."""

MAX_MEMBER_BYTES = 512 * 2**20
"""One file unpacked; a multi-frame CT of 1,000 slices has as much."""

MAX_TOTAL_BYTES = 4 * 2**30
"""All files unpacked."""

MAX_RATIO = 200
"""Unpacked over packed bytes of one file; images of air reach a hundred, bombs a thousand."""

RATIO_FROM_BYTES = 2**20
"""Smaller files may have any ratio."""

_CHUNK = 2**16
_ENCRYPTED = 0x1
_LITTER = frozenset({"__MACOSX"})


@dataclass(frozen=True)
class Unpacked:
    """One member of a zip.

    Attributes:
        name: As in the zip, forward slashes.
        path: Where it was unpacked to; ``None`` where it was refused.
        refusal: Why; empty where it was unpacked.
    """

    name: str
    path: Path | None
    refusal: str = ""


def is_zip(path: Path) -> bool:
    """Whether a file claims to be a zip: by its suffix, or by its first bytes where it has none."""
    if path.suffix:
        return path.suffix.lower() == ZIP_SUFFIX
    try:
        with path.open("rb") as stream:
            return stream.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def unpack(archive: Path, folder: Path) -> list[Unpacked]:
    """Unpack the files of a zip under names of our own, so that no name in it can lead anywhere.

    A member is refused, and the others go on, where it is encrypted, a link or a device, a zip itself, named with
    ``..`` or an absolute path, named as one before it, damaged, or beyond a limit. Nothing is read of the members of a
    zip that has too many.

    Args:
        archive: The zip.
        folder: Where to; the caller removes it.

    Returns:
        One entry for each file but hidden ones, in the order of names.

    Raises:
        UnreadableImageError: It is no zip, is damaged, or has too many members.
    """
    try:
        with _DirectoryReader(io.FileIO(archive)) as stream, zipfile.ZipFile(stream) as opened:
            left, found = MAX_TOTAL_BYTES, []
            names: set[str] = set()
            for number, member in enumerate(_members(opened, archive)):
                unpacked = _unpack_member(opened, member, folder / f"{number:05d}", left, names)
                names.add(unpacked.name)
                left -= unpacked.path.stat().st_size if unpacked.path else 0
                found.append(unpacked)
            return found
    except UnreadableImageError:
        raise
    except Exception as error:
        # Directories of zips can be wrong in ways that raise errors of many types.
        raise UnreadableImageError(archive, f"damaged zip ({type(error).__name__}); copy or make it again") from error


class _DirectoryReader(BoundedReader):
    """A zip as ``zipfile`` reads it: its directory, which becomes objects at one go, may not be endless."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read so many bytes, or less at the end.

        Raises:
            zipfile.BadZipFile: They are more than any directory needs.
        """
        if size is None or size < 0 or size > MAX_DIRECTORY_BYTES:
            left = os.fstat(self.fileno()).st_size - self.tell()
            if left > MAX_DIRECTORY_BYTES:
                msg = "its directory is too large"
                raise zipfile.BadZipFile(msg)
        return super().read(size)


def _members(opened: zipfile.ZipFile, archive: Path) -> list[zipfile.ZipInfo]:
    """The files in a zip, by name.

    Raises:
        UnreadableImageError: There are too many.
    """
    members = [member for member in opened.infolist() if not _is_folder(member) and not _is_hidden(member)]
    if len(members) > MAX_MEMBERS:
        raise UnreadableImageError(archive, f"a zip of {len(members)} files; at most {MAX_MEMBERS} are read")
    return sorted(members, key=lambda one: one.filename)


def _is_folder(member: zipfile.ZipInfo) -> bool:
    return member.filename.endswith("/")  # ``is_dir`` fails on a member without a name


def _is_hidden(member: zipfile.ZipInfo) -> bool:
    parts = _parts(member)
    return any(part in _LITTER or (part.startswith(".") and part != "..") for part in parts)


def _unpack_member(
    opened: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, left: int, names: set[str]
) -> Unpacked:
    name = _printable(member.filename)
    why = _SAME_NAME if name in names else _why_refused(member)
    if why:
        return Unpacked(name, None, why)
    # A folder of its own keeps the last part of the name, which says what the file is, and collides with nothing.
    path = folder / safe_name(_parts(member)[-1])
    folder.mkdir(parents=True)
    try:
        with opened.open(member) as packed, path.open("wb") as out:
            why = _copied(packed, out, member, left)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, NotImplementedError) as error:
        why = f"damaged in the zip ({type(error).__name__}); make the zip again"
    if not why and path.suffix.lower() != ZIP_SUFFIX and is_zip(path):
        why = _NESTED
    if why:
        path.unlink(missing_ok=True)
        return Unpacked(name, None, why)
    return Unpacked(name, path)


_SAME_NAME = "another file in the zip has the same name; zip the files anew, each under its own"
_NESTED = "a zip inside a zip; unpack it first"


def _why_refused(member: zipfile.ZipInfo) -> str | None:
    """What can be told before a byte is unpacked."""
    parts = _parts(member)
    mode = member.external_attr >> 16
    if not parts or parts[0] == "/" or ".." in parts or ":" in parts[0]:
        return "its name leads out of the zip; a study's files have plain names"
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG}:
        return "a link or device, no file; zip the file itself"
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        return "packed in a way that studies are not; zip it anew"
    if member.flag_bits & _ENCRYPTED:
        return "encrypted; unpack it first"
    if parts[-1].lower().endswith(ZIP_SUFFIX):
        return _NESTED
    return None


def _copied(packed: IO[bytes], out: IO[bytes], member: zipfile.ZipInfo, left: int) -> str:
    """Copy what really comes out, whatever the zip says of sizes; why it was stopped, or nothing."""
    size = 0
    while chunk := packed.read(_CHUNK):
        size += len(chunk)
        if size > MAX_MEMBER_BYTES:
            return f"more than {MAX_MEMBER_BYTES // 2**20} MiB unpacked; give the file itself"
        if size > left:
            return f"the zip becomes more than {MAX_TOTAL_BYTES // 2**30} GiB; give its files themselves"
        if size > max(RATIO_FROM_BYTES, MAX_RATIO * member.compress_size):
            return f"unpacks to more than {MAX_RATIO} times its size, which no image does"
        out.write(chunk)
    return ""


def _parts(member: zipfile.ZipInfo) -> tuple[str, ...]:
    """Folders and name, also where a program for Windows wrote them."""
    return PurePosixPath(member.filename.replace("\\", "/")).parts


def _printable(name: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)
