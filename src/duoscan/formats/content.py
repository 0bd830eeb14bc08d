"""Whether a file is an image at all, by its first bytes: what is none is no patient."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from duoscan.formats.reader import IMAGE_SUFFIXES
from duoscan.formats.zips import ZIP_SUFFIX, is_zip

if TYPE_CHECKING:
    from pathlib import Path

_HEAD_BYTES = 512

# Pictures, also of kinds that are not read: they get their reason. ISO media (HEIC, AVIF) say ``ftyp`` at byte 4.
_PICTURE = re.compile(
    rb"\x89PNG|\xff\xd8\xff|GIF8|BM|II[*+]\0|MM\0[*+]|RIFF....WEBP|\0\0\0\x0cj[Pp]|\0\0\0\x0cJXL"
    rb"|\xff\x4f\xff\x51|\xff\x0a|....ftyp(hei|mif|avif|msf)",
    re.DOTALL,
)
# PS3.10 7.1; without the preamble, a data set begins with its first group, 0002 or 0008, in either byte order.
_DICOM = re.compile(rb".{128}DICM|[\x02\x08]\0..|\0\x08\0.", re.DOTALL)
_NIFTI = re.compile(rb".{344}n[i+]1\0|.{4}n[i+]2\0", re.DOTALL)

# What a viewer puts beside the images of a medium and names without an ending.
_SOMETHING_ELSE = re.compile(
    rb"%PDF|\x7fELF|MZ|\xd0\xcf\x11\xe0|PK|Rar!|7z\xbc\xaf|\x1f\x8b|SQLite format|\xca\xfe\xba\xbe|\xcf\xfa\xed\xfe"
)


def may_be_image(path: Path) -> bool:
    """Whether a file is an image or a zip, sound or damaged.

    The content decides. A name that promises an image makes one that is empty or damaged an unreadable image; so does
    a name without an ending, or with a number for one, as media and archives give them, unless the content is text or
    known for something else. A file that cannot be opened may be anything.

    Args:
        path: A regular file.
    """
    if path.name.lower().endswith((*IMAGE_SUFFIXES, ZIP_SUFFIX)) or is_zip(path):
        return True
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError:
        return True
    if any(known.match(head) for known in (_PICTURE, _DICOM, _NIFTI)):
        return True
    is_named_as_media = not path.suffix or path.suffix[1:].isdecimal()
    return is_named_as_media and not _SOMETHING_ELSE.match(head) and not _is_text(head)


def _is_text(head: bytes) -> bool:
    return bool(head) and not any(byte < 0x20 and byte not in b"\t\n\f\r\x1a\x1b" for byte in head)
