"""The ledger of a test set: it is locked by its rows and images, and each use of it is counted.

Each look at a test set lets the next model be chosen by it (Dwork et al., Science 2015). A ledger is a file of
JSON lines that is only ever appended to, by default beside the manifest, e.g. ``cxr.csv.uses.jsonl``, where it goes
with the data. The same lines are kept for each user in one file, so that a copy of a table, the manifest that a run
holds and a changed test set are known again wherever they lie. It counts what duoscan is told of; whoever wants to
cheat can delete it.

A row of a test set is its image's bytes, label and modality; in a table, which holds no images, its file name,
patient, label and modality. For the count, two test sets are one where they share half the rows of the smaller.
"""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duoscan.errors import InputError
from duoscan.files import file_sha256, parse_json, read_bytes
from duoscan.formats.frame_names import split_frame
from duoscan.predictions import ROW_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from duoscan.manifest.records import ImageRecord, Manifest
    from duoscan.predictions import Prediction

SUFFIX = ".uses.jsonl"
OWN_LEDGER = "DUOSCAN_USES"
"""Variable that names the user's own ledger; set to nothing, none is kept."""

_KEYS = {"test_set", "kind", "rows", "at", "command", "model"}
_IDS = {"images", "names"}
_ID_DIGITS = 12
_SHARED = 1 / 2


@dataclass(frozen=True)
class Use:
    """One look at a test set.

    Attributes:
        test_set: SHA-256 over its rows.
        kind: Which test set of this ledger it is, e.g. ``cxr``; one of each kind is locked at a time.
        rows: How many rows it has.
        at: When, UTC, ISO 8601.
        command: What was typed.
        model: SHA-256 of the graph, of the predictions table, or of the recipe where models are yet to be trained;
            empty for probes, which are no model to choose.
        images: One name a row, made of its image's bytes, label and modality; empty where images are not at hand.
        names: One name a row, made of what a table says of it; old lines have neither.
    """

    test_set: str
    kind: str
    rows: int
    at: str
    command: str
    model: str
    images: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def shared(self, other: Use) -> float | None:
        """Share of the smaller test set that is in the other too; ``None`` where an old line names no rows."""
        has_images = bool(self.images and other.images)
        own, theirs = (set(one.images if has_images else one.names) for one in (self, other))
        if not own or not theirs:
            return None
        return len(own & theirs) / min(len(own), len(theirs))


@dataclass(frozen=True)
class Count:
    """How often a test set was used, the present use included.

    Attributes:
        use: The number of this use.
        models: Different models so far.
        before: Test sets of this kind that it replaced in its ledger.
        test_set: SHA-256 of it.
        changed: Uses before some of its rows were changed, added or left out; they count as well.
        note: Why this use could not be written down; empty where it was.
    """

    use: int
    models: int
    before: int
    test_set: str
    changed: int = 0
    note: str = ""

    @property
    def spoken(self) -> str:
        """For a person."""
        text = f"Use {self.use} of this test set, by {self.models} model{'' if self.models == 1 else 's'} so far"
        if self.changed:
            text += f", {self.changed} of them before rows were changed"
        if self.before:
            text += f"; it replaces {self.before} earlier test set{'' if self.before == 1 else 's'} of this manifest"
        return f"{text} ({self.note})" if self.note else text

    def to_json(self) -> dict[str, Any]:
        """As in ``metrics.json``."""
        return asdict(self)


def beside(path: Path) -> Path:
    """Where the ledger of a manifest or a table lies when no other place is named."""
    return path.with_name(path.name + SUFFIX)


def own_ledger() -> Path | None:
    """Where every use of this user is kept; ``None`` where none is to be kept."""
    if (stated := os.environ.get(OWN_LEDGER)) is not None:
        return Path(stated) if stated else None
    try:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    except RuntimeError:  # nobody's home
        return None
    return Path(state) / "duoscan" / "uses.jsonl"


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

    def look_at_images(self, tested: Manifest, model: str, kind: str, *, locks: bool = True) -> Look:
        """A model is to be measured on these rows of a manifest; the look counts once it was.

        Args:
            tested: The rows.
            model: As in :class:`Use`.
            kind: As in :class:`Use`.
            locks: Whether other rows of this kind are refused; ``False`` for rows that no part calls test.

        Raises:
            InputError: The locked test set is another one: rows or images were changed; or the ledger is damaged.
        """
        with ThreadPoolExecutor(2) as pool:
            files = list(pool.map(lambda record: _content(tested.file(record)), tested))
        pairs = zip(tested, files, strict=True)
        images = _ids([*(held or [one.path]), one.label, one.modality] for one, held in pairs)
        names = _ids(_named(record, record.patient_id or record.group) for record in tested)
        return self._look(Use(_digest(images), kind, len(tested), "", self.command, model, images, names), locks)

    def look_at_rows(self, tested: Sequence[Prediction], model: str, kind: str, *, locks: bool = True) -> Look:
        """The same for rows of a predictions table, whose images are at hand only as far as it states their SHA-256."""
        images: tuple[str, ...] = ()
        if all(row.sha256 for row in tested):
            images = _ids([row.sha256, split_frame(Path(row.path))[1], row.label, row.modality] for row in tested)
        names = _ids(
            _named(row, row.patient_id)
            if row.patient_id or not ROW_NAME.fullmatch(row.path)
            else [row.path, row.label, row.modality, row.probability]  # rows without a name are alike in all tables
            for row in tested
        )
        digest = _digest(images or names)
        return self._look(Use(digest, kind, len(tested), "", self.command, model, images, names), locks)

    def _look(self, use: Use, locks: bool) -> Look:
        use = use if locks else replace(use, kind=f"{use.kind}, not split")
        look = Look(self.path, use, replaces=self.replaces or not locks)
        look.check(read_uses(self.path))
        if (own := own_ledger()) is not None:
            read_uses(own)  # a damaged one is told of before the work
        return look


@dataclass(frozen=True)
class Look:
    """A use of a test set that counts once its rows are measured; one that ends with an error before is none.

    Attributes:
        path: The ledger.
        use: What will be written; ``at`` is filled in then.
        replaces: Whether the test set may take the place of a locked one.
    """

    path: Path
    use: Use
    replaces: bool = False

    def check(self, uses: Sequence[Use]) -> None:
        """Refuse other rows than those that are locked.

        Raises:
            InputError: The locked test set is another one.
        """
        locked = next((one for one in reversed(uses) if one.kind == self.use.kind and one.names), None)
        if locked is None or self.replaces or locked.test_set == self.use.test_set:
            return
        raise InputError(
            f"{self.path}: the test set '{self.use.kind}' is locked as {locked.test_set[:12]} ({locked.rows} rows, "
            f"{locked.at}), but its rows or images now give {self.use.test_set[:12]} ({self.use.rows} rows); put back "
            "what was changed, or begin a new test set with --new-test-set, which is counted as well"
        )

    def count(self) -> Count:
        """Write the use down and count it; safe with several processes.

        Returns:
            The count over this ledger and the user's own. Where neither can be written, it is counted with a note
            that it was not written down.

        Raises:
            InputError: The locked test set is another one by now, or a ledger is damaged.
        """
        use, own, note = replace(self.use, at=datetime.now(UTC).isoformat()), own_ledger(), ""
        try:
            uses = _append(self.path, use, self.check)
        except OSError as error:
            uses = read_uses(self.path)
            self.check(uses)
            note = f"not written down: {self.path} cannot be written, {error.strerror}"
        replaced = {one.test_set for one in uses if one.kind == use.kind and one.names} - {use.test_set}
        if own is not None and own.absolute() != self.path.absolute():
            try:
                own.parent.mkdir(parents=True, exist_ok=True)
                uses, note = [*uses, *_append(own, use)], ""
            except OSError:
                uses += read_uses(own)
        return _count([*uses, use], use, len(replaced), note)


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


def _append(path: Path, use: Use, check: Callable[[Sequence[Use]], None] = lambda _: None) -> list[Use]:
    """Write one line if nothing speaks against it; the rows of a test set stand in its first one alone."""
    with _locked(path) as descriptor:
        uses = _parse(_read_all(descriptor), path)
        check(uses)
        is_known = any(one.test_set == use.test_set and one.names for one in uses)
        stated = {key: value for key, value in asdict(use).items() if not (is_known and key in _IDS)}
        os.write(descriptor, (json.dumps(stated, ensure_ascii=False) + "\n").encode("utf-8", "surrogateescape"))
        os.fsync(descriptor)
    return uses


def _count(uses: Iterable[Use], use: Use, replaced: int, note: str) -> Count:
    once = {(one.at, one.command, one.model, one.test_set): one for one in uses}.values()
    shares = {key: one.shared(use) for key, one in {(one.test_set, one.kind): one for one in once}.items()}
    same = [one for one in once if _is_same(one, use, shares[one.test_set, one.kind])]
    # Digests of images and of names are never equal, and an old line's is of another kind.
    alike = [one for one in same if one.names and bool(one.images) == bool(use.images)]
    changed = sum(one.test_set != use.test_set for one in alike)
    return Count(len(same), len({one.model for one in same} - {""}), replaced, use.test_set, changed, note)


def _is_same(one: Use, use: Use, share: float | None) -> bool:
    return one.kind == use.kind if share is None else share >= _SHARED


def _parse(content: bytes, path: Path) -> list[Use]:
    uses: list[Use] = []
    rows: dict[str, dict[str, tuple[str, ...]]] = {}
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
        try:
            stated = parse_json(line)
        except ValueError:
            stated = None
        if not _is_use(stated):
            raise InputError(f"{path}: line {number} is no use of a test set; put the file back as it was")
        if set(stated) >= _IDS:
            rows[stated["test_set"]] = {key: tuple(stated[key]) for key in _IDS}
        uses.append(Use(**stated | rows.get(stated["test_set"], {})))
    return uses


def _is_use(stated: Any) -> bool:
    if not isinstance(stated, dict) or set(stated) not in (_KEYS, _KEYS | _IDS):
        return False
    ids = [stated.get(key, []) for key in _IDS]
    texts = [stated[key] for key in _KEYS - {"rows"}]
    return (
        isinstance(stated["rows"], int)
        and all(isinstance(one, list) for one in ids)
        and all(isinstance(one, str) for one in [*texts, *chain(*ids)])
    )


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


def _named(row: ImageRecord | Prediction, patient: str | None) -> list[str | None]:
    """What a table says of a row; folders may differ between two places."""
    return [row.path.replace("\\", "/").rpartition("/")[2], patient, row.label, row.modality]


def _content(path: Path) -> list[str | int | None]:
    """SHA-256 of a file and the frame of it that is meant; nothing where it cannot be read."""
    file, frame = split_frame(path)
    try:
        return [file_sha256(file), frame]
    except OSError:
        return []


def _ids(rows: Iterable[Sequence[str | float | None]]) -> tuple[str, ...]:
    """One short name a row, sorted: order does not count."""
    return tuple(sorted(hashlib.sha256(json.dumps(row).encode()).hexdigest()[:_ID_DIGITS] for row in rows))


def _digest(ids: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()
