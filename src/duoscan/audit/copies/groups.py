"""Copies as groups, the patients they join, and a manifest without them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from duoscan.terms import Split

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from duoscan.audit.copies.verify import Kind
    from duoscan.manifest.records import ImageRecord, Manifest

_KEPT_FIRST = (Split.TEST, Split.VAL, Split.TRAIN, None)


@dataclass(frozen=True)
class CopyPair:
    """Two images that are one: a row of ``copies.csv``.

    Attributes:
        path_a: One image, as in the manifest.
        path_b: The other.
        kind: How.
        evidence: The figures, for a person.
    """

    path_a: str
    path_b: str
    kind: Kind
    evidence: str


@dataclass(frozen=True)
class Dropped:
    """An image that is left out, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Copies:
    """What was found in a manifest.

    Attributes:
        manifest: The manifest.
        pairs: All pairs, sorted by path.
        problems: Images that could not be read, with the reason.
    """

    manifest: Manifest
    pairs: tuple[CopyPair, ...]
    problems: dict[str, str] = field(default_factory=dict)

    @cached_property
    def groups(self) -> tuple[tuple[ImageRecord, ...], ...]:
        """Images that are copies of each other, directly or through others; in the manifest's order."""
        together = connected((pair.path_a, pair.path_b) for pair in self.pairs)
        found: dict[str, list[ImageRecord]] = {}
        for record in self.manifest:
            if record.path in together:
                found.setdefault(together[record.path], []).append(record)
        return tuple(tuple(group) for group in found.values())

    @cached_property
    def conflicting(self) -> tuple[tuple[ImageRecord, ...], ...]:
        """Groups with more than one label."""
        return tuple(group for group in self.groups if len({one.label for one in group if one.label}) > 1)

    @cached_property
    def merged_units(self) -> dict[str, str]:
        """Patient or group → the name it shares with those it has copies with; only where there are several.

        The name is the first of them by the alphabet.
        """
        return connected(
            (group[0].unit, one.unit) for group in self.groups for one in group[1:] if one.unit != group[0].unit
        )


def connected(links: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Name → the first name, by the alphabet, of all it is linked with directly or through others.

    >>> connected([("b", "a"), ("c", "b"), ("x", "y")])
    {'b': 'a', 'a': 'a', 'c': 'a', 'x': 'x', 'y': 'x'}
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for one, other in links:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return {name: root(name) for name in parent}


def merge_patients(manifest: Manifest, copies: Copies) -> Manifest:
    """Give patients that share an image one id, so that splits and resamples keep them together.

    Where any of those joined is a patient id, all their rows get a patient id; groups that stand for unknown
    patients, and single images, are joined as groups. Splits are left as they are; make them anew with
    ``duoscan split --ignore-splits``, or use :func:`deduplicate`.
    """
    merged = copies.merged_units
    has_patient = {merged[one.unit] for one in manifest if one.unit in merged and one.patient_id}
    return manifest.replace([_merged(record, merged, has_patient) for record in manifest])


def _merged(record: ImageRecord, merged: dict[str, str], has_patient: set[str]) -> ImageRecord:
    name = merged.get(record.unit)
    if name is None:
        return record
    return record.model_copy(update={"patient_id" if name in has_patient else "group": name})


def deduplicate(manifest: Manifest, copies: Copies) -> tuple[Manifest, tuple[Dropped, ...]]:
    """A manifest with one image of each group, and patients that share images under one id.

    The rules, in this order:

    1. A group whose images carry different labels is dropped whole: nobody knows which label is right.
    2. Of any other group one image stays: a test image before a validation image before a training image, so the
       test set stays what it was and the model has not seen it; among equals the first of the manifest.
    3. Where patients joined by copies stand in several splits, their rows stay only in the first of test, validation,
       training: else other images of a test patient would remain in training.

    Args:
        manifest: The manifest the copies were found in.
        copies: What was found.

    Returns:
        The manifest, and what was left out of it, in the manifest's order.
    """
    dropped: dict[str, str] = {}
    for group in copies.groups:
        if group in copies.conflicting:
            labels = ", ".join(sorted({str(one.label) for one in group if one.label}))
            dropped |= {one.path: f"copies of it carry the labels {labels}" for one in group}
        else:
            kept = min(group, key=_place)
            dropped |= {one.path: f"copy of {kept.path}" for one in group if one is not kept}
    first = _first_split(manifest, copies.merged_units)
    for record in manifest:
        name = copies.merged_units.get(record.unit)
        if record.path not in dropped and name is not None and record.split is not first[name]:
            dropped[record.path] = f"its patient has a copy in the part '{first[name]}'"
    kept_rows = manifest.replace([record for record in manifest if record.path not in dropped])
    listed = tuple(Dropped(record.path, dropped[record.path]) for record in manifest if record.path in dropped)
    return merge_patients(kept_rows, copies), listed


def _first_split(manifest: Manifest, merged: dict[str, str]) -> dict[str, Split | None]:
    found: dict[str, list[ImageRecord]] = {}
    for record in manifest:
        if record.unit in merged:
            found.setdefault(merged[record.unit], []).append(record)
    return {name: _first(rows) for name, rows in found.items()}


def _first(rows: Sequence[ImageRecord]) -> Split | None:
    return min(rows, key=_place).split


def _place(record: ImageRecord) -> int:
    return _KEPT_FIRST.index(record.split)
