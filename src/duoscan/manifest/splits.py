"""Train, validation and test parts that no patient crosses.

What is dealt out are units, never single images: the patient, else the group that stands for one, else the
image (`ImageRecord.unit`). A patient whose id appears in several sources or under several labels is one unit.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from duoscan.errors import InputError
from duoscan.manifest.crossing import check_no_patient_crosses, splits_of_units
from duoscan.manifest.dealing import Stratum, deal
from duoscan.terms import Split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from duoscan.manifest.records import ImageRecord, Manifest

DEFAULT_FRACTIONS: Mapping[Split, float] = {Split.TRAIN: 0.7, Split.VAL: 0.1, Split.TEST: 0.2}
MIN_FOLDS = 3


def split_by_patient(
    manifest: Manifest,
    fractions: Mapping[Split, float] = DEFAULT_FRACTIONS,
    seed: int = 0,
    *,
    keep_official: bool = True,
) -> Manifest:
    """Give every row a split so that no patient crosses, stratified as patients allow.

    Strata are source, modality and label. The result depends on the seed and on the rows, not on their order.

    Args:
        manifest: Rows with or without a split.
        fractions: Share of the images for each split; they sum to 1. A split that is left out gets none.
        seed: Of the shuffle.
        keep_official: Rows that have a split keep it, and all rows of their patients get the same; where every
            row has one, nothing changes. Otherwise splits are made anew.

    Raises:
        InputError: The fractions are not shares that sum to 1.
        ManifestError: A patient is in two official splits.
    """
    _check_fractions(fractions)
    official: dict[str, Split] = {}
    if keep_official:
        check_no_patient_crosses(manifest)
        official = {unit: splits.pop() for unit, splits in splits_of_units(manifest).items() if splits}
    return _with_splits(manifest, fractions, seed, official, _unit)


def random_by_image_split(
    manifest: Manifest, fractions: Mapping[Split, float] = DEFAULT_FRACTIONS, seed: int = 0
) -> Manifest:
    """THE FAULT, ON PURPOSE: a split by image, which puts images of one patient on both sides.

    It exists only so that an audit can show how much better the same model looks on such a split. Numbers
    from it are never results. Everything but ``split`` is unchanged, so the crossing patients can still be
    found, and `read_manifest` refuses the result.

    Args:
        manifest: Rows; a split they have is ignored.
        fractions: Share of the images for each split; they sum to 1.
        seed: Of the shuffle.

    Raises:
        InputError: The fractions are not shares that sum to 1.
    """
    _check_fractions(fractions)
    return _with_splits(manifest, fractions, seed, {}, _path)


def grouped_folds(manifest: Manifest, folds: int = 5, seed: int = 0) -> list[Manifest]:
    """Cross-validation folds that no patient crosses, stratified by source, modality and label as patients allow.

    In fold k, part k is ``test``, part k + 1 (after the last comes the first) is ``val`` and the rest is
    ``train``. Over all folds each row is in ``test`` exactly once. Official splits are ignored.

    Args:
        manifest: Rows; a split they have is ignored.
        folds: Number of parts, at least 3.
        seed: Of the shuffle.

    Raises:
        InputError: Fewer than 3 folds, or fewer patients than folds.
    """
    units = {record.unit for record in manifest}
    if folds < MIN_FOLDS:
        raise InputError(f"{folds} folds leave no part to train on; use at least {MIN_FOLDS}")
    if len(units) < folds:
        raise InputError(f"{len(units)} patients cannot be cut into {folds} folds; use fewer folds")
    part_of = deal(_images_of(manifest, _unit), [1 / folds] * folds, seed, {})

    def split_in(fold: int, part: int) -> Split:
        return {0: Split.TEST, 1: Split.VAL}.get((part - fold) % folds, Split.TRAIN)

    return [
        manifest.replace([_in_split(record, split_in(fold, part_of[record.unit])) for record in manifest])
        for fold in range(folds)
    ]


def empty_parts(manifest: Manifest, parts: Iterable[Split]) -> list[str]:
    """Which labels have no image in a part, in words, with how few patients or blocks they are of; mostly why.

    Args:
        manifest: Rows with a split. Those without a label are not looked at.
        parts: Which should hold images of every modality and label that is there.
    """
    units: dict[tuple[str, str], dict[str, ImageRecord]] = {}
    there = set()
    for record in manifest:
        if record.label is not None:
            units.setdefault((record.modality, record.label), {})[record.unit] = record
            there.add((record.split, record.modality, record.label))
    return [
        f"{part} has no {modality} image of {label}, of which there are {_spoken(held.values())} to deal out"
        for part in parts
        for (modality, label), held in sorted(units.items())
        if (part, modality, label) not in there
    ]


MORE_UNITS = (
    "say whose the images are with: duoscan import --patients, --patient-pattern or --patient-by folder; or make "
    "blocks smaller with its --block-size"
)
"""What helps where patients or blocks are too few to deal out."""


def _spoken(units: Iterable[ImageRecord]) -> str:
    """How many patients, blocks and single images stand for themselves."""
    kinds = Counter(
        "patients" if record.patient_id else "blocks" if record.group else "single images" for record in units
    )
    return " and ".join(f"{count} {kind}" for kind, count in sorted(kinds.items(), reverse=True))


def _check_fractions(fractions: Mapping[Split, float]) -> None:
    text = ", ".join(f"{split} {share:g}" for split, share in fractions.items())
    if not set(fractions) <= set(Split) or min(fractions.values(), default=0) < 0:
        raise InputError(f"fractions {text}: use shares from 0 to 1 for {', '.join(Split)}")
    if abs(sum(fractions.values()) - 1) > 1e-6:
        raise InputError(f"fractions {text}: they sum to {sum(fractions.values()):g}, not 1; change one of them")


def _with_splits(
    manifest: Manifest,
    fractions: Mapping[Split, float],
    seed: int,
    official: Mapping[str, Split],
    unit_of: Callable[[ImageRecord], str],
) -> Manifest:
    # In the order of the enumeration, so that the caller's order of keys changes nothing.
    splits = [split for split in Split if fractions.get(split, 0) > 0 or split in official.values()]
    shares = [fractions.get(split, 0.0) for split in splits]
    taken = {unit: splits.index(split) for unit, split in official.items()}
    part_of = deal(_images_of(manifest, unit_of), shares, seed, taken)
    return manifest.replace([_in_split(record, splits[part_of[unit_of(record)]]) for record in manifest])


def _unit(record: ImageRecord) -> str:
    return record.unit


def _path(record: ImageRecord) -> str:
    return record.path


def _images_of(manifest: Manifest, unit_of: Callable[[ImageRecord], str]) -> dict[str, Counter[Stratum]]:
    units: dict[str, Counter[Stratum]] = {}
    for record in manifest:
        units.setdefault(unit_of(record), Counter())[record.source, record.modality, record.label or ""] += 1
    return units


def _in_split(record: ImageRecord, split: Split) -> ImageRecord:
    return record if record.split is split else record.model_copy(update={"split": split})
