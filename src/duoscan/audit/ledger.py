"""The ledger of a test set: it is locked by the hash of its rows and images, and each use of it is counted.

Each look at a test set lets the next model be chosen by it (Dwork et al., Science 2015). A ledger is a file of
JSON lines that is only ever appended to, by default beside the manifest, e.g. ``cxr.csv.uses.jsonl``. It counts
what duoscan is told of; whoever wants to cheat can delete it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from duoscan.errors import InputError
from duoscan.files import parse_json, read_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from duoscan.manifest.records import ImageRecord, Manifest
    from duoscan.predictions import Prediction

SUFFIX = ".uses.jsonl"
_KEYS = {"test_set", "kind", "rows", "at", "command", "model"}
_MISSING = "missing"


@dataclass(frozen=True)
class Use:
    """One look at a test set.

    Attributes:
        test_set: SHA-256 over its rows and the bytes of its images.
        kind: Which test set of this ledger it is, e.g. ``cxr``; one of each kind is locked at a time.
        rows: How many rows it has.
        at: When, UTC, ISO 8601.
        command: What was typed.
        model: SHA-256 of the graph, of the predictions table, or of the recipe where models are yet to be trained;
            empty for probes, which are no model to choose.
    """

    test_set: str
    kind: str
    rows: int
    at: str
    command: str
    model: str


@dataclass(frozen=True)
class Count:
    """How often a test set was used, the present use included.

    Attributes:
        use: The number of this use.
        models: Different models so far.
        before: Test sets of this kind that it replaced.
        test_set: SHA-256 of it.
        note: Why this use could not be written down; empty where it was.
    """

    use: int
    models: int
    before: int
    test_set: str
    note: str = ""

    @property
    def spoken(self) -> str:
        """For a person."""
        text = f"Use {self.use} of this test set, by {self.models} model{'' if self.models == 1 else 's'} so far"
        if self.before:
            text += f"; it replaces {self.before} earlier test set{'' if self.before == 1 else 's'} of this manifest"
        return f"{text} ({self.note})" if self.note else text

    def to_json(self) -> dict[str, Any]:
        """As in ``metrics.json``."""
        return asdict(self)


def beside(path: Path) -> Path:
    """Where the ledger of a manifest or a table lies when no other place is named."""
    return path.with_name(path.name + SUFFIX)


def digest_of_images(manifest: Manifest) -> str:
    """SHA-256 over what decides a measurement of these rows, and over the bytes of their images.

    Order, folder and remarks do not count; a changed label, patient, path or image does.
    """
    with ThreadPoolExecutor(2) as pool:
        files = list(pool.map(lambda record: _image_hash(manifest.file(record)), manifest))
    return _digest([*_identity(record), held] for record, held in zip(manifest, files, strict=True))


def digest_of_rows(rows: Iterable[Prediction]) -> str:
    """The same for rows of a predictions table, which names images and does not hold them."""
    return _digest([row.path, row.unit, row.label or "", row.modality or "", row.source or ""] for row in rows)


@dataclass(frozen=True)
class Book:
    """Which ledger to write into, and what for.

    Attributes:
        path: The ledger.
        command: What was typed.
        replaces: Whether another test set may take the place of the locked one.
    """

    path: Path
    command: str
    replaces: bool = False

    def count_images(self, tested: Manifest, model: str, kind: str) -> Count:
        """Write down that a model answers these rows of a manifest; see :func:`record_use`."""
        return self._count(Use(digest_of_images(tested), kind, len(tested), "", self.command, model))

    def count_rows(self, tested: Sequence[Prediction], model: str, kind: str) -> Count:
        """Write down that a predictions table is measured on these rows; see :func:`record_use`."""
        return self._count(Use(digest_of_rows(tested), kind, len(tested), "", self.command, model))

    def _count(self, use: Use) -> Count:
        return record_use(self.path, use, replaces=self.replaces)


def record_use(path: Path, use: Use, *, replaces: bool = False) -> Count:
    """Write one use down and count it; safe with several processes.

    Args:
        path: The ledger; made where it is missing.
        use: What to write; ``at`` is filled in where it is empty.
        replaces: Whether another test set of this kind may take the place of the locked one.

    Returns:
        The count. Where the ledger cannot be written, it is counted with a note that it was not written down.

    Raises:
        InputError: The locked test set is another one: rows or images were changed; or the ledger is damaged.
    """
    use = replace(use, at=use.at or datetime.now(UTC).isoformat(timespec="seconds"))
    try:
        with _locked(path) as descriptor:
            uses = _parse(_read_all(descriptor), path)
            _check_lock(path, uses, use, replaces=replaces)
            line = json.dumps(asdict(use), ensure_ascii=False) + "\n"
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
    except OSError as error:
        uses = read_uses(path)
        _check_lock(path, uses, use, replaces=replaces)
        return _count([*uses, use], use, note=f"not written down: {path} cannot be written, {error.strerror}")
    return _count([*uses, use], use)


def read_uses(path: Path) -> list[Use]:
    """Every use in a ledger, oldest first; none where there is no ledger.

    Raises:
        InputError: A line is no use.
    """
    try:
        content = read_bytes(path)
    except OSError:
        return []
    return _parse(content, path)


def _check_lock(path: Path, uses: list[Use], use: Use, *, replaces: bool) -> None:
    own = [one for one in uses if one.kind == use.kind]
    if not own or replaces or own[-1].test_set == use.test_set:
        return
    locked = own[-1]
    raise InputError(
        f"{path}: the test set '{use.kind}' is locked as {locked.test_set[:12]} ({locked.rows} rows, {locked.at}), "
        f"but its rows or images now give {use.test_set[:12]} ({use.rows} rows); put back what was changed, or begin "
        "a new test set with --new-test-set, which is counted as well"
    )


def _count(uses: list[Use], use: Use, note: str = "") -> Count:
    own = [one for one in uses if one.kind == use.kind]
    same = [one for one in own if one.test_set == use.test_set]
    others = {one.test_set for one in own} - {use.test_set}
    return Count(len(same), len({one.model for one in same} - {""}), len(others), use.test_set, note)


def _parse(content: bytes, path: Path) -> list[Use]:
    uses = []
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
        try:
            stated = parse_json(line)
        except ValueError:
            stated = None
        if not isinstance(stated, Mapping) or set(stated) != _KEYS:
            raise InputError(f"{path}: line {number} is no use of a test set; put the file back as it was")
        uses.append(Use(**stated))
    return uses


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The ledger, open for reading and appending, and held by this process alone.

    Windows has no advisory lock of this kind; there two uses at the same moment may get the same number.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        try:
            import fcntl
        except ImportError:
            pass
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)  # releases the lock


def _read_all(descriptor: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    parts = []
    while part := os.read(descriptor, 1 << 20):
        parts.append(part)
    return b"".join(parts)


def _identity(record: ImageRecord) -> list[str]:
    return [record.path, record.unit, record.label or "", record.modality, record.source]


def _image_hash(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return _MISSING


def _digest(rows: Iterable[list[str]]) -> str:
    digest = hashlib.sha256()
    for line in sorted(json.dumps(row) for row in rows):
        digest.update(line.encode())
        digest.update(b"\n")
    return digest.hexdigest()
