"""A screening as a JSON document, and back: ``read_screening(write_screening(s)) == s``.

The same document is what ``duoscan screen --json`` writes, what the node keeps of a patient and what reports read.
Activation maps lie beside it as one compressed file.
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from duoscan.cases.case import Screening
from duoscan.errors import InputError
from duoscan.files import parse_json, read_bytes, write_bytes, write_text
from duoscan.imaging.heatmap import SeenMap
from duoscan.imaging.preprocess import Box
from duoscan.terms import NOTICE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    Maps = Mapping[str, SeenMap]

FORMAT = "duoscan-screening"
VERSION = 2
MAX_MAP_BYTES = 2**30
"""Of all activation maps of a file as they unpack; those of 100,000 images take a tenth."""

_ADAPTER = TypeAdapter(Screening)
_HEAD = ("format", "version", "notice")
_NAMES, _SEEN = "names", "seen"
_NOT_KNOWN = (-1, -1, -1, -1)


def screening_document(screening: Screening) -> dict[str, Any]:
    """The document as plain dictionaries, lists, texts and numbers; what is not known is left out."""
    content: dict[str, Any] = _ADAPTER.dump_python(screening, exclude_defaults=True)
    return {"format": FORMAT, "version": VERSION, "notice": NOTICE, **content}


def screening_text(screening: Screening) -> str:
    """The document as JSON text."""
    # Names of files need not be valid Unicode, so json escapes them and not pydantic, which would refuse.
    return json.dumps(screening_document(screening), indent=1, allow_nan=False) + "\n"


def write_screening(screening: Screening, path: Path) -> None:
    """Write the document."""
    write_text(path, screening_text(screening))


def read_screening(path: Path) -> Screening:
    """Read the document.

    Raises:
        InputError: It is missing, no such document, of another version, or a value in it is not what it may be.
    """
    try:
        content = read_bytes(path)
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}); name the file of 'duoscan screen --json'"
        raise InputError(msg) from error
    return parse_screening(content, str(path))


def parse_screening(content: bytes, where: str) -> Screening:
    """As :func:`read_screening`, from the bytes of a document that stands ``where``."""
    again = "screen again with --json"
    try:
        document = parse_json(content)
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({error}); {again}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f"{where}: not the answers of 'duoscan screen --json'; {again}")
    if document.get("version") != VERSION:
        raise InputError(f"{where}: version {document.get('version')}, this duoscan reads {VERSION}; {again}")
    try:
        return _ADAPTER.validate_python({key: value for key, value in document.items() if key not in _HEAD})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the document"
        raise InputError(f"{where}: not as duoscan writes it ({place}: {first['msg']}); {again}") from error


def write_maps(maps: Maps, path: Path) -> None:
    """Write activation maps by the name of their image.

    Args:
        maps: By the name of an image.
        path: By convention it ends in ``.npz``.
    """
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {str(number): one.values for number, one in enumerate(maps.values())}
    arrays[_SEEN] = np.array([one.seen or _NOT_KNOWN for one in maps.values()], np.int32).reshape(-1, 4)
    arrays[_NAMES] = np.frombuffer(json.dumps(list(maps)).encode(), np.uint8)
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_bytes(path, buffer.getvalue())


def read_maps(path: Path) -> dict[str, SeenMap]:
    """Read what :func:`write_maps` wrote.

    Raises:
        InputError: It is missing, damaged or too large.
    """
    again = "screen again with --maps"
    try:
        with zipfile.ZipFile(path) as archive:
            is_too_large = sum(entry.file_size for entry in archive.infolist()) > MAX_MAP_BYTES
        if not is_too_large:
            with np.load(path, allow_pickle=False) as archive:
                names = [str(name) for name in json.loads(archive[_NAMES].tobytes())]
                seen = archive[_SEEN].tolist() if _SEEN in archive.files else [_NOT_KNOWN] * len(names)
                boxes = [None if box[0] < 0 else Box(*box) for box in seen]
                maps = [np.asarray(archive[str(number)], np.float32) for number in range(len(names))]
                return dict(zip(names, map(SeenMap, maps, boxes), strict=True))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {again}") from error
    except Exception as error:
        # A zip of arrays can be wrong in ways that raise errors of many types.
        raise InputError(f"{path}: no activation maps ({type(error).__name__}); {again}") from error
    raise InputError(f"{path}: unpacks to more than {MAX_MAP_BYTES // 2**20} MiB; {again}")
