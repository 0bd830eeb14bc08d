"""Before anything is left out: copies are found, test rows put away, and borrowed images given back.

A copy of a left-out image among the training images makes a figure of memory. So does a class that a source took from
another one: darkcovidnet's covid images are ieee8023's, and what tells them from its own normal ones is the source.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from duoscan.audit.copies.find import find_copies
from duoscan.audit.copies.groups import Copies, CopyPair, deduplicate, merge_patients
from duoscan.audit.copies.verify import Kind
from duoscan.errors import InputError, ManifestError
from duoscan.files import read_bytes, write_text
from duoscan.rows import csv_rows, csv_text
from duoscan.terms import Split

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from duoscan.manifest.records import ImageRecord, Manifest
    from duoscan.terms import Finding

_BORROWED = 1 / 2
_COLUMNS = ("path_a", "path_b", "kind", "evidence")


@dataclass(frozen=True)
class Cleaned:
    """Rows that a yardstick may use.

    Attributes:
        manifest: Labelled rows of one modality, without test rows and borrowed images.
        copies: Among these.
        test_rows: How many rows were put away since the manifest calls them test.
        borrowed: Source, label, whose images they are, and how many rows went.
    """

    manifest: Manifest
    copies: Copies
    test_rows: int
    borrowed: tuple[tuple[str, Finding, str, int], ...]

    def to_json(self) -> dict[str, Any]:
        """As in ``yardstick.json``."""
        across = sum(len({one.source for one in group}) > 1 for group in self.copies.groups)
        return {
            "images": len(self.manifest),
            "patients": len({one.unit for one in self.merged()}),
            "sources": dict(sorted(Counter(one.source for one in self.manifest).items())),
            "test_rows_put_away": self.test_rows,
            "groups_of_copies": len(self.copies.groups),
            "groups_of_copies_across_sources": across,
            "patients_joined": len(self.copies.merged_units),
            "borrowed": [
                {"source": source, "label": label, "from": lender, "images": count}
                for source, label, lender, count in self.borrowed
            ],
        }

    def merged(self) -> Manifest:
        """All rows, patients that share an image under one id."""
        return merge_patients(self.manifest, self.copies)

    def parted(self, is_left_out: Callable[[ImageRecord], bool]) -> Parted:
        """Rows to learn from and rows to ask, that share no image and no patient.

        Of copies one image stays, on the left-out side where one is there; copies with different labels all go. Then
        the training side loses every patient that the left-out side has.
        """
        marked = self.manifest.replace(
            [one.model_copy(update={"split": Split.TEST if is_left_out(one) else Split.TRAIN}) for one in self.manifest]
        )
        kept, dropped = deduplicate(marked, Copies(marked, self.copies.pairs))
        left_out = kept.where(split=Split.TEST)
        units = {one.unit for one in left_out}
        learned = [one for one in kept.where(split=Split.TRAIN) if one.unit not in units]
        shared = len(kept) - len(left_out) - len(learned)
        learned = [one.model_copy(update={"split": None}) for one in learned]
        gone = {one.path for one in dropped}
        of_training = sum(one.split is Split.TRAIN and one.path in gone for one in marked)
        return Parted(kept.replace(learned), left_out, of_training, len(dropped) - of_training, shared)


@dataclass(frozen=True)
class Parted:
    """Two sides without a common image or patient.

    Attributes:
        learned: Rows to learn from, without splits.
        left_out: Rows to ask, all of the split test.
        copies_of_training: Training images that went as copies or as other images of a copied patient.
        copies_of_left_out: Left-out images that went as copies of each other.
        shared: Training images that went since their patient is on the left-out side.
    """

    learned: Manifest
    left_out: Manifest
    copies_of_training: int
    copies_of_left_out: int
    shared: int


def cleaned(
    manifest: Manifest,
    cache: Path,
    on_image: Callable[[], None] = lambda: None,
    on_pair: Callable[[int, int], None] = lambda _done, _all: None,
    *,
    workers: int = 1,
) -> Cleaned:
    """Put test rows away, look for copies, and take a class from a source that borrowed it.

    More than half of a source's images of one label being copies of another source's, where that one has them for the
    smaller part, the label's images are that one's, and leave this source.

    Args:
        manifest: Labelled rows of one modality.
        cache: Folder in which the copies that were found stay; they are not looked for again.
        on_image: Called after each image that was read for the search of copies.
        on_pair: Called with (done, all) while pairs are compared.
        workers: Processes.

    Raises:
        ManifestError: Images cannot be read; every one is named.
        MissingExtraError: OpenCV or scikit-learn is not installed.
    """
    own = manifest.replace([one for one in manifest if one.split is not Split.TEST])
    copies = _found_before(own, cache)
    if copies is None:
        copies = find_copies(own, on_image=on_image, on_pair=on_pair, workers=workers)
        if copies.problems:
            problems = [f"{path}: {why}" for path, why in sorted(copies.problems.items())]
            raise ManifestError(f"{len(problems)} images cannot be read; mend or remove these rows:", problems)
        table = [(one.path_a, one.path_b, one.kind, one.evidence) for one in copies.pairs]
        write_text(_copies_path(own, cache), csv_text(_COLUMNS, table))
    borrowed = _borrowed(own, copies)
    lenders = {(source, label): lender for source, label, lender, _ in borrowed}
    kept = own.replace([one for one in own if (one.source, one.label) not in lenders])
    paths = {one.path for one in kept}
    pairs = tuple(one for one in copies.pairs if {one.path_a, one.path_b} <= paths)
    return Cleaned(kept, Copies(kept, pairs), len(manifest) - len(own), borrowed)


def _borrowed(manifest: Manifest, copies: Copies) -> tuple[tuple[str, Finding, str, int], ...]:
    sizes = Counter((one.source, one.label) for one in manifest)
    shared: Counter[tuple[str, Finding | None, str]] = Counter()
    for group in copies.groups:
        sources = {one.source for one in group}
        shared.update((one.source, one.label, other) for one in group for other in sources - {one.source})
    found = []
    for (source, label, lender), count in sorted(shared.items(), key=lambda item: tuple(map(str, item[0]))):
        back = shared[lender, label, source] / max(1, sizes[lender, label])
        share = count / sizes[source, label]
        if label is not None and share > _BORROWED and share > back:
            found.append((source, label, lender, sizes[source, label]))
    return tuple(found)


def _copies_path(manifest: Manifest, cache: Path) -> Path:
    return cache / f"copies-{manifest.fingerprint()[:16]}.csv"


def _found_before(manifest: Manifest, cache: Path) -> Copies | None:
    path = _copies_path(manifest, cache)
    if not path.exists():
        return None
    try:
        rows = list(csv_rows(read_bytes(path).decode("utf-8"), ","))[1:]
        pairs = tuple(CopyPair(one, other, Kind(kind), evidence) for one, other, kind, evidence in rows)
    except ValueError as error:
        raise InputError(f"{path}: not what was written there ({error}); delete it, and it is made anew") from error
    return Copies(manifest, pairs)
