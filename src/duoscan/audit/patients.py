"""The audit of patients: do images of one person stand on both sides of a split, as far as that can be told?

A model that has seen a patient's other images recognises the patient, and the number is too good (Roberts et al.,
Nature Machine Intelligence 2021, found this in many of the models they reviewed). Copies under other ids are found
by the audit of copies.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.audit.result import AuditResult, AuditTable, Level, worst
from duoscan.audit.small_grey import small_grey
from duoscan.errors import ImageError
from duoscan.evaluation.intervals import bootstrap
from duoscan.evaluation.metrics import Share
from duoscan.manifest.blocks import natural_order
from duoscan.manifest.crossing import splits_of_units
from duoscan.terms import Finding, Split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from duoscan.evaluation.intervals import Estimate
    from duoscan.manifest.records import ImageRecord, Manifest

NAME = "patients"
TITLE = "Patients and splits"

_SIZE = 32
_NAMED = 5
_CHANCE = 0.99
_FAR = 50
_FEWEST_NEIGHBOURS = 20
_RANDOM_PAIRS = 2000


@dataclass(frozen=True)
class _Part:
    """What one check adds to the result."""

    level: Level
    reasons: tuple[str, ...] = ()
    facts: tuple[tuple[str, Any], ...] = ()
    tables: tuple[AuditTable, ...] = ()


@dataclass(frozen=True)
class Neighbours:
    """Images without patient ids that follow each other in the order of their numbers.

    Attributes:
        source: Whose numbers.
        label: Of all of them.
        pairs: Neighbouring pairs that could be compared.
        alike: Which share of them is more alike than 99 % of the pairs far apart; 0.01 by chance.
        across: Neighbouring pairs that stand in different splits.
        across_alike: How many of those are that much alike.
    """

    source: str
    label: Finding | None
    pairs: int
    alike: Estimate
    across: int
    across_alike: int

    @property
    def shows_patients(self) -> bool:
        """Whether neighbours are alike more often than chance would have it."""
        return self.alike.low is not None and self.alike.low > 2 * (1 - _CHANCE)


def audit_patients(
    manifest: Manifest, *, on_image: Callable[[], None] = lambda: None, workers: int = 2, seed: int = 0
) -> AuditResult:
    """Look for patients in two splits, for images whose patient is unknown, and for patients with several labels.

    Images without patient ids are opened: where neighbours by number are more alike than images far apart, the
    numbers follow the patients, and neighbours in different splits are likely to be one patient cut apart.

    Args:
        manifest: Read with ``check_patients=False``, since a patient in two splits is what is looked for.
        on_image: Called after each image; those with a patient id are not opened.
        workers: Threads that read images.
        seed: Of the pairs far apart and of the resamples.

    Returns:
        ``fail`` where a patient or group is in two splits; ``warn`` where a patient is unknown or has several
        labels; ``not run`` where there are no splits and nothing else was found.
    """
    parts = [
        _crossing(manifest),
        _unknown(manifest),
        _neighbours(manifest, on_image, workers, seed),
        _several_labels(manifest),
        _several_sources(manifest),
    ]
    return AuditResult(
        NAME,
        TITLE,
        worst(part.level for part in parts),
        tuple(reason for part in parts for reason in part.reasons),
        {key: value for part in parts for key, value in part.facts},
        tuple(table for part in parts for table in part.tables),
    )


def _crossing(manifest: Manifest) -> _Part:
    """Units in more than one split, and how many units each split has."""
    splits = splits_of_units(manifest)
    if not any(splits.values()):
        reason = "no image has a split, so crossing cannot be checked; make splits with: duoscan split"
        return _Part(Level.NOT_RUN, (reason,), (("crossing", []), ("units_per_split", {})))
    crossing = {unit: found for unit, found in sorted(splits.items()) if len(found) > 1}
    facts = (
        ("crossing", [{"unit": unit, "splits": _in_order(found)} for unit, found in crossing.items()]),
        ("units_per_split", {split.value: sum(split in found for found in splits.values()) for split in Split}),
        ("images_without_split", sum(record.split is None for record in manifest)),
    )
    tables = [_split_table(manifest)]
    if not crossing:
        return _Part(Level.PASS, ("no patient or group is in two splits",), facts, tuple(tables))
    images = sum(record.unit in crossing for record in manifest)
    reason = (
        f"{len(crossing)} of {len(splits)} patients or groups, with {images} images, are in more than one split "
        f"({_some(crossing)}); split anew by patient with: duoscan split --ignore-splits"
    )
    rows = tuple((unit, ", ".join(_in_order(found))) for unit, found in crossing.items())
    tables.append(AuditTable("Patients or groups in more than one split", ("patient or group", "splits"), rows))
    return _Part(Level.FAIL, (reason,), facts, tuple(tables))


def _split_table(manifest: Manifest) -> AuditTable:
    rows = []
    for split in (*Split, None):
        own = [record for record in manifest if record.split is split]
        anonymous = [record for record in own if record.patient_id is None]
        if own:
            rows.append(
                (
                    "none" if split is None else split.value,
                    str(len(own)),
                    str(len({record.patient_id for record in own} - {None})),
                    str(len({record.group for record in anonymous} - {None})),
                    str(sum(record.group is None for record in anonymous)),
                )
            )
    columns = ("split", "images", "patients", "groups in their place", "images with neither")
    return AuditTable("Images and patients of each split", columns, tuple(rows))


def _unknown(manifest: Manifest) -> _Part:
    """Images whose patient is not known, by source."""
    counts: dict[str, list[int]] = {}
    for record in manifest:
        own = counts.setdefault(record.source, [0, 0, 0])
        own[0] += 1
        own[1] += record.patient_id is None
        own[2] += record.patient_id is None and record.group is None
    facts = (
        (
            "unknown_patients",
            {
                source: {"images": all_, "unknown": unknown, "share": unknown / all_, "without_group": alone}
                for source, (all_, unknown, alone) in sorted(counts.items())
            },
        ),
    )
    rows = tuple(
        (source, str(all_), f"{unknown} ({unknown / all_:.0%})", str(alone))
        for source, (all_, unknown, alone) in sorted(counts.items())
    )
    columns = ("source", "images", "patient unknown", "of these without a group")
    table = AuditTable("Images whose patient is unknown", columns, rows)
    total, unknown, alone = (sum(column) for column in zip(*counts.values(), strict=True)) if counts else (0, 0, 0)
    if not unknown:
        return _Part(Level.PASS, ("every image names its patient",), facts, (table,))
    sources = ", ".join(source for source, (_, own, _) in sorted(counts.items()) if own)
    reason = f"the patient of {unknown} of {total} images is unknown ({sources}): a patient can be in two splits unseen"
    if alone:
        reason += f"; {alone} of them have no group either; give them blocks with: duoscan import --block-size 20"
    return _Part(Level.WARN, (reason,), facts, (table,))


def _several_labels(manifest: Manifest) -> _Part:
    labels: dict[str, set[Finding]] = {}
    for record in manifest:
        if record.patient_id is not None and record.label is not None:
            labels.setdefault(record.patient_id, set()).add(record.label)
    several = {patient: [one.value for one in Finding if one in own] for patient, own in sorted(labels.items())}
    several = {patient: own for patient, own in several.items() if len(own) > 1}
    facts = (("patients_with_several_labels", several),)
    if not several:
        return _Part(Level.PASS, (), facts)
    reason = (
        f"{len(several)} of {len(labels)} patients carry several labels ({_some(several)}); a patient may change, "
        "but an id may also stand for two people: check them"
    )
    rows = tuple((patient, ", ".join(own)) for patient, own in several.items())
    return _Part(
        Level.WARN, (reason,), facts, (AuditTable("Patients with several labels", ("patient", "labels"), rows),)
    )


def _several_sources(manifest: Manifest) -> _Part:
    """Patient ids that two sources share; one person in both, or ids that are not told apart."""
    sources: dict[str, set[str]] = {}
    for record in manifest:
        if record.patient_id is not None:
            sources.setdefault(record.patient_id, set()).add(record.source)
    shared = {patient: sorted(own) for patient, own in sorted(sources.items()) if len(own) > 1}
    facts = (("patients_in_several_sources", shared),)
    if not shared:
        return _Part(Level.PASS, (), facts)
    reason = f"{len(shared)} patients are in several sources ({_some(shared)}): no source of theirs is external"
    return _Part(Level.WARN, (reason,), facts)


def _neighbours(manifest: Manifest, on_image: Callable[[], None], workers: int, seed: int) -> _Part:
    runs: dict[tuple[str, str, Finding | None], list[ImageRecord]] = {}
    for record in manifest:
        if record.patient_id is None:
            runs.setdefault((record.modality, record.source, record.label), []).append(record)
        else:
            on_image()
    found: list[Neighbours] = []
    for _, records in sorted(runs.items(), key=lambda item: tuple(map(str, item[0]))):
        ordered = sorted(records, key=natural_order)
        vectors = _vectors(manifest, ordered, on_image, workers)
        if len(ordered) > _FEWEST_NEIGHBOURS:
            found += _compare(ordered, vectors, seed)
    facts = (("neighbours", [_neighbours_json(one) for one in found]),)
    if not found:
        return _Part(Level.PASS, (), facts)
    rows = tuple(
        (
            one.source,
            str(one.label or "unlabelled"),
            str(one.pairs),
            f"{one.alike.value:.0%}"
            + ("" if one.alike.low is None else f" [{one.alike.low:.0%}, {one.alike.high:.0%}]"),
            str(one.across),
            str(one.across_alike),
        )
        for one in found
    )
    columns = ("source", "label", "neighbours", "much alike (1 % by chance)", "in two splits", "of these much alike")
    table = AuditTable("Neighbours by number among images without patient ids", columns, rows)
    return _Part(*_judge_neighbours(found), facts, (table,))


def _judge_neighbours(found: list[Neighbours]) -> tuple[Level, tuple[str, ...]]:
    hidden = [one for one in found if one.shows_patients]
    if not hidden:
        return Level.PASS, ("neighbours by number are no more alike than others, so numbers do not follow patients",)
    sources = ", ".join(sorted({one.source for one in hidden}))
    across, alike = sum(one.across for one in hidden), sum(one.across_alike for one in hidden)
    reason = f"{sources}: neighbours by number are much alike, so numbers follow patients that have no id"
    if not across:
        return Level.WARN, (f"{reason}; keep blocks of consecutive numbers in one split",)
    cut = f"{across} pairs of neighbours stand in different splits, {alike} of them much alike"
    return Level.WARN, (f"{reason}; {cut}: leave the images at such borders out, or get the ids",)


def _neighbours_json(one: Neighbours) -> dict[str, Any]:
    return {
        "source": one.source,
        "label": one.label,
        "pairs": one.pairs,
        # What was resampled are stretches of pairs; patients are just what is unknown here.
        "alike": {"value": one.alike.value, "low": one.alike.low, "high": one.alike.high},
        "across_splits": one.across,
        "across_splits_alike": one.across_alike,
    }


def _vectors(
    manifest: Manifest, records: list[ImageRecord], on_image: Callable[[], None], workers: int
) -> NDArray[np.float32]:
    """Small copies as vectors of mean 0 and length 1, shape (N, 1024); ``nan`` where an image cannot be read."""
    vectors = np.full((len(records), _SIZE * _SIZE), np.nan, dtype=np.float32)

    def one(record: ImageRecord) -> NDArray[np.float32] | None:
        try:
            return small_grey(manifest.file(record), _SIZE)
        except ImageError:
            return None

    with ThreadPoolExecutor(workers) as pool:
        for place, grey in enumerate(pool.map(one, records)):
            on_image()
            if grey is not None and grey.std() > 0:
                centred = grey.ravel() - grey.mean()
                vectors[place] = centred / np.linalg.norm(centred)
    return vectors


def _compare(ordered: list[ImageRecord], vectors: NDArray[np.float32], seed: int) -> list[Neighbours]:
    """Compare neighbours with pairs far apart; empty where too few can be compared."""
    rng = np.random.default_rng(seed)
    first, second = rng.integers(len(ordered), size=(2, _RANDOM_PAIRS))
    far = np.abs(first - second) > min(_FAR, len(ordered) // 3)
    by_chance = _likeness(vectors, first[far], second[far])
    places = np.arange(len(ordered) - 1)
    likeness = _likeness(vectors, places, places + 1)
    known = np.isfinite(likeness)
    if known.sum() < _FEWEST_NEIGHBOURS:
        return []
    alike = likeness > np.nanquantile(by_chance, _CHANCE)
    across = np.array([_are_apart(ordered[place], ordered[place + 1]) for place in places]) & known
    # Likeness runs in stretches, one a patient, so stretches of consecutive pairs are drawn together.
    units = [f"{place // _FEWEST_NEIGHBOURS:06d}" for place in places[known]]
    share = bootstrap(Share(alike[known]), units, seed=seed)["share"]
    record = ordered[0]
    return [
        Neighbours(record.source, record.label, int(known.sum()), share, int(across.sum()), int((across & alike).sum()))
    ]


def _likeness(
    vectors: NDArray[np.float32], first: NDArray[np.integer[Any]], second: NDArray[np.integer[Any]]
) -> NDArray[np.float32]:
    """Correlation of grey, shape (pairs,)."""
    return np.asarray(np.einsum("pd,pd->p", vectors[first], vectors[second]))


def _are_apart(one: ImageRecord, other: ImageRecord) -> bool:
    return None not in {one.split, other.split} and one.split is not other.split


def _in_order(splits: Iterable[Split]) -> list[str]:
    held = set(splits)
    return [split.value for split in Split if split in held]


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    rest = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(listed[:_NAMED]) + rest
