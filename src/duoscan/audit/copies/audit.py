"""What copies mean for a number measured on the data."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from duoscan.audit.copies.find import find_copies
from duoscan.audit.copies.verify import Kind
from duoscan.audit.result import AuditResult, AuditTable, Level
from duoscan.terms import Split

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from duoscan.audit.copies.groups import Copies
    from duoscan.manifest.records import ImageRecord, Manifest

NAME, TITLE = "copies", "Copies of one image"


def audit_copies(
    manifest: Manifest,
    *,
    on_image: Callable[[], None] = lambda: None,
    on_pair: Callable[[int, int], None] = lambda _done, _all: None,
    workers: int = 2,
) -> tuple[AuditResult, Copies]:
    """Look for copies and say what they mean.

    Args:
        manifest: Images of any source, split and label.
        on_image: Called once for each image.
        on_pair: Called with (done, all) while pairs are compared.
        workers: Processes.

    Raises:
        MissingExtraError: The extra ``evaluate`` is not installed.
    """
    copies = find_copies(manifest, on_image=on_image, on_pair=on_pair, workers=workers)
    return judge_copies(copies), copies


def judge_copies(copies: Copies) -> AuditResult:
    """Fail where copies stand on both sides of a test, or carry different labels; warn of all others.

    Images that could not be read are a warning: of an unread image nothing is known. With no image read at all,
    nothing was looked at.
    """
    read = len(copies.manifest) - len(copies.problems)
    if read == 0:
        return AuditResult(NAME, TITLE, Level.NOT_RUN, ("No image could be read; give images that can be.",))
    fatal = _fatal(copies)
    other = _other(copies, already=bool(fatal))
    level = Level.FAIL if fatal else Level.WARN if other else Level.PASS
    reasons = (*fatal, *other) or (f"No copies among {read} images.",)
    return AuditResult(NAME, TITLE, level, reasons, _facts(copies), _tables(copies))


def _fatal(copies: Copies) -> tuple[str, ...]:
    reasons = []
    crossing = [group for group in copies.groups if _crosses_test(group)]
    if crossing:
        reasons.append(
            f"{_images(crossing)} stand both in test and in another part, {_example(crossing[0], 'split')}: "
            "the test has been seen in training. Leave copies out (the de-duplicated manifest keeps the test image)."
        )
    if copies.conflicting:
        reasons.append(
            f"{_images(copies.conflicting)} carry different labels, {_example(copies.conflicting[0], 'label')}: "
            "at least one label is wrong. Ask the source, or leave the whole group out."
        )
    return tuple(reasons)


def _other(copies: Copies, *, already: bool) -> tuple[str, ...]:
    reasons = []
    if copies.groups and not already:
        reasons.append(
            f"{_images(copies.groups)} of one picture, {_example(copies.groups[0], 'split')}: "
            "they count one patient several times. Keep one of each group."
        )
    merged = copies.merged_units
    if merged:
        first, second = next((one, other) for one, other in sorted(merged.items()) if one != other)
        reasons.append(
            f"{len(merged)} patients or groups share images with another, e.g. '{first}' and '{second}': "
            f"they are at most {len(set(merged.values()))}. Merge their ids before splitting."
        )
    if copies.problems:
        path, problem = next(iter(copies.problems.items()))
        reasons.append(f"{len(copies.problems)} images could not be read and were not compared, e.g. {path}: {problem}")
    return tuple(reasons)


def _crosses_test(group: Sequence[ImageRecord]) -> bool:
    splits = {one.split for one in group if one.split is not None}
    return Split.TEST in splits and len(splits) > 1


def _images(groups: Sequence[Sequence[ImageRecord]]) -> str:
    count = sum(len(group) for group in groups)
    return f"{count} images in {len(groups)} group{'' if len(groups) == 1 else 's'} of copies"


def _example(group: Sequence[ImageRecord], field: str) -> str:
    """Two of a group that differ in a field, or its first two."""
    one, other = next(
        ((one, other) for one, other in pairwise(group) if getattr(one, field) != getattr(other, field)),
        (group[0], group[1]),
    )
    return f"e.g. {one.path} ({_spoken(one, field)}) and {other.path} ({_spoken(other, field)})"


def _spoken(record: ImageRecord, field: str) -> str:
    return str(getattr(record, field) or f"no {field}")


def _facts(copies: Copies) -> dict[str, Any]:
    groups = copies.groups
    return {
        "images": len(copies.manifest),
        "unreadable": len(copies.problems),
        "pairs": len(copies.pairs),
        "pairs_by_kind": _by_kind(copies),
        "groups": len(groups),
        "images_in_groups": sum(len(group) for group in groups),
        "groups_across_sources": sum(len({one.source for one in group}) > 1 for group in groups),
        "groups_across_splits": sum(len({one.split for one in group if one.split}) > 1 for group in groups),
        "groups_across_test": sum(_crosses_test(group) for group in groups),
        "groups_across_labels": len(copies.conflicting),
        "groups_across_patients": sum(len({one.unit for one in group}) > 1 for group in groups),
        "merged_units": len(copies.merged_units),
        "units_after_merging": len(set(copies.merged_units.values())),
    }


def _by_kind(copies: Copies) -> dict[str, int]:
    counted = Counter(pair.kind for pair in copies.pairs)
    return {kind.value: counted[kind] for kind in Kind}


def _tables(copies: Copies) -> tuple[AuditTable, ...]:
    if not copies.pairs:
        return ()
    records = {record.path: record for record in copies.manifest}
    rows = []
    for kind in Kind:
        own = [(records[pair.path_a], records[pair.path_b]) for pair in copies.pairs if pair.kind is kind]
        differing = [
            str(sum(getattr(one, field) != getattr(other, field) for one, other in own))
            for field in ("source", "split", "label", "unit")
        ]
        rows.append((kind.value, str(len(own)), *differing))
    columns = ("Kind", "Pairs", "across sources", "across splits", "across labels", "across patients")
    return (AuditTable("Pairs of copies", columns, tuple(rows)),)
