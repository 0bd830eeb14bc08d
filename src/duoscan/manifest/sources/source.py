"""What every adapter of a public data set states and does."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from duoscan.errors import ManifestError
from duoscan.manifest.readers.class_folders import from_class_folders
from duoscan.manifest.readers.found import Imported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from duoscan.terms import Finding, Modality

# An archive often unpacks into a folder of its own name, which a person may have put into another.
_MOST_FOLDERS_ABOVE = 3


@dataclass(frozen=True)
class SourceInfo:
    """What is known of a public data set.

    Attributes:
        name: Short name; the ``source`` of its records and the word for ``--source``.
        title: The name its authors gave it.
        modalities: What it holds.
        expected: Label → images in the release that `counted` names; empty where the set still changed.
        counted: Which release the numbers are of.
        licence: As its authors state it, or that they do not.
        citation: The publication to cite.
        where: Public page it can be had from.
        layout: What lies in its folder, in one line.
        caution: What is easily misunderstood about its labels or patients.
    """

    name: str
    title: str
    modalities: tuple[Modality, ...]
    licence: str
    citation: str
    where: str
    layout: str
    caution: str
    expected: Mapping[Finding, int] = field(default_factory=dict)
    counted: str = "the published release"


@dataclass(frozen=True)
class Source:
    """An adapter: what is known of the set, where in a folder it begins, and how it is read.

    Attributes:
        info: What is known of the set.
        begins_here: Whether this folder is where the set's own layout begins.
        read_layout: Reads the set from that folder.
    """

    info: SourceInfo
    begins_here: Callable[[Path], bool]
    read_layout: Callable[[Path], Imported]

    def find(self, root: Path) -> Path | None:
        """The folder where the set's layout begins: ``root`` or one at most three levels below, nearest first."""
        waiting = deque([(root, 0)])
        while waiting:
            folder, depth = waiting.popleft()
            if self.begins_here(folder):
                return folder
            if depth < _MOST_FOLDERS_ABOVE:
                waiting += [(child, depth + 1) for child in sorted(folder.iterdir()) if child.is_dir()]
        return None

    def read(self, root: Path) -> Imported:
        """Read the set as it lies after it was downloaded and unpacked.

        Raises:
            ManifestError: The set is not there; says how its folder looks and where to get it.
        """
        begin = self.find(root) if root.is_dir() else None
        if begin is None:
            raise ManifestError(
                f"{root}: no {self.info.title} here; it should hold {self.info.layout}; get it from {self.info.where}"
            )
        return self.read_layout(begin)


@dataclass(frozen=True)
class SourceCheck:
    """A folder against what is known of its set.

    Attributes:
        info: What is known.
        imported: What was read.
        found: Label → images read; ``None`` stands for rows without a label.
    """

    info: SourceInfo
    imported: Imported
    found: Mapping[Finding | None, int]

    @property
    def is_complete(self) -> bool:
        """Whether every image is there that the set's lists name, and the counts are the known ones."""
        known = dict(self.info.expected)
        return not self.imported.absent and (not known or known == dict(self.found))


def check_source(source: Source, root: Path) -> SourceCheck:
    """Read a set and count it.

    Raises:
        ManifestError: The set is not there or cannot be read.
    """
    imported = source.read(root)
    return SourceCheck(source.info, imported, Counter(record.label for record in imported.manifest))


def holds(*names: str) -> Callable[[Path], bool]:
    """A rule for `Source.begins_here`: the folder holds all these files or folders."""
    return lambda folder: all((folder / name).exists() for name in names)


def read_class_folders(info: SourceInfo, folder: Path) -> Imported:
    """Read a set that is a folder for each class."""
    imported = from_class_folders(folder, info.modalities[0], info.name)
    records = [record.model_copy(update={"license": info.licence}) for record in imported.manifest]
    return Imported(imported.manifest.replace(records), imported.skipped)
