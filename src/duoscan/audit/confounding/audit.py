"""The audit of confounding: can the label be told without looking at a lung?

Models for COVID-19 were found to read the hospital, the mark or the border instead of the lung (DeGrave, Janizek
and Lee, Nature Machine Intelligence 2021; Maguolo and Nanni 2021). What can be told from a file's facts alone, a
network can learn as well, and a test set with the same fault will reward it.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.audit.confounding import association
from duoscan.audit.confounding.association import CramersV, independence_p, indices
from duoscan.audit.confounding.characteristics import Characteristic, Observed, Role, characteristics_of, observe
from duoscan.audit.confounding.prediction import (
    MIN_PATIENTS,
    Predicted,
    Target,
    auroc_among,
    predict_each,
    predict_together,
    smallest_seen,
)
from duoscan.audit.confounding.tables import characteristic_table, group_table, source_table
from duoscan.audit.result import AuditResult, AuditTable, Level, against, not_run, worst
from duoscan.errors import ImageError, MissingExtraError
from duoscan.evaluation.intervals import Estimate, bootstrap
from duoscan.terms import POSITIVE, Modality

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from duoscan.manifest.records import ImageRecord, Manifest

NAME = "confounding"
TITLE = "Label told by origin"

ALPHA = 0.001
"""Corrected p-value below which a finding counts.

It is meant to let about one of a hundred sound data sets raise an alarm. It is stricter than that because patients
scored by one predictor are not independent of each other, which spreads chance values of AUROC about a quarter
wider than the test assumes (seen with labels dealt out at random among real patients).
"""

WARN_AUROC = 0.50
"""Lower end of the interval above which it is a warning: chance is 0.5, so the whole interval lies above it."""

FAIL_AUROC = 0.70
"""Lower end above which it fails: a model of AUROC 0.90 could owe half its skill over chance to it."""

WARN_V, FAIL_V = 0.1, 0.5
"""Lower ends of Cramér's V: a small and a large association (Cohen, Statistical Power Analysis 1988)."""

_ALL = "all of these together"
_GROUP_TITLES = {Role.FILE: "source and file facts", Role.BORDER: "corners and frame"}
_NAMED = 3


@dataclass(frozen=True)
class _Finding:
    """One modality's part of the result."""

    level: Level
    reasons: list[str]
    facts: dict[str, Any]
    tables: list[AuditTable]


def audit_confounding(
    manifest: Manifest, *, on_image: Callable[[], None] = lambda: None, workers: int = 2, seed: int = 0
) -> AuditResult:
    """Measure how well source, file facts and picture borders tell covid from the rest, each modality apart.

    Files are read once, their pixels at 64 × 64 only. Predictors are cross-validated by patient. The level is
    decided by source × class (Cramér's V), by file facts, and by corners and frame; characteristics that
    disease changes too (the picture's mean and spread of grey, its compressed size) are shown only.

    Args:
        manifest: Rows without a label are left out.
        on_image: Called after each labelled image.
        workers: Threads that read files.
        seed: Of folds and resamples.

    Returns:
        ``not run`` where a class has fewer than five patients, since nothing could be told then.

    Raises:
        MissingExtraError: scikit-learn or scipy is not installed.
    """
    _check_installed()
    findings = {}
    for modality in Modality:
        records = [record for record in manifest.where(modality=modality) if record.label is not None]
        if records:
            read = list(_read(manifest.replace(records), workers, on_image))
            findings[modality] = _judge(modality, [one for one in read if isinstance(one, Observed)], read, seed)
    if not findings:
        return not_run(NAME, TITLE, "no image has a label; fill in the column 'label'")
    return AuditResult(
        NAME,
        TITLE,
        worst([finding.level for finding in findings.values()]),
        tuple(reason for finding in findings.values() for reason in finding.reasons),
        {str(modality): finding.facts for modality, finding in findings.items()},
        tuple(table for finding in findings.values() for table in finding.tables),
    )


def _check_installed() -> None:
    try:
        import scipy  # noqa: F401
        import sklearn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("evaluate", "the audit of confounding") from error


def _read(manifest: Manifest, workers: int, on_image: Callable[[], None]) -> Iterator[Observed | ImageError]:
    """Each image's characteristics, or why it cannot be read; only numbers are kept in memory."""

    def one(record: ImageRecord) -> Observed | ImageError:
        try:
            return observe(record, manifest.file(record))
        except ImageError as error:
            return error

    with ThreadPoolExecutor(workers) as pool:  # decoding releases the interpreter lock
        for found in pool.map(one, manifest):
            on_image()
            yield found


def _judge(modality: Modality, images: list[Observed], read: list[Observed | ImageError], seed: int) -> _Finding:
    name = modality.spoken
    target = Target(
        np.array([image.record.label is POSITIVE for image in images], dtype=np.bool_),
        tuple(image.record.unit for image in images),
        seed,
    )
    unreadable = len(read) - len(images)
    facts: dict[str, Any] = {
        "images": len(images),
        "patients": len(set(target.units)),
        "positive_images": int(target.positive.sum()),
        "unreadable": unreadable,
    }
    covid, rest = target.patients()
    if min(covid, rest) < MIN_PATIENTS or len(_GROUP_TITLES) / comb(covid + rest, covid) > ALPHA:
        reason = (
            f"{name}: {covid} patients with covid and {rest} without are too few: even if a file told them all "
            f"apart, it could be chance; give {MIN_PATIENTS} of each at least, better 10"
        )
        return _Finding(Level.NOT_RUN, [reason], facts, [])
    source = _sources(name, images, seed)
    predicted = _predictions(name, images, target)
    left_out = [f"{name}: {unreadable} images cannot be read and are left out"] if unreadable else []
    return _Finding(
        worst([source.level, predicted.level]),
        [*against((one.level, text) for one in (source, predicted) for text in one.reasons), *left_out],
        facts | source.facts | predicted.facts,
        [*source.tables, *predicted.tables],
    )


def _sources(name: str, images: list[Observed], seed: int) -> _Finding:
    """Source × class, each patient counted once per source and label."""
    rows = sorted({(image.record.unit, image.record.source, str(image.record.label)) for image in images})
    units, sources, labels = (list(column) for column in zip(*rows, strict=True))
    (first, source_names), (second, _) = indices(sources), indices(labels)
    table = source_table(name, images)
    if len(source_names) < 2:
        reason = f"{name}: all images are of one source; whether it joins several hospitals the manifest does not say"
        return _Finding(Level.PASS, [reason], {"sources": source_names}, [table])
    v = bootstrap(CramersV(first, second), units, seed=seed)["cramers_v"]
    p = independence_p(first, second)
    low = v.value if v.low is None else v.low
    level = _level(low, p, WARN_V, FAIL_V)
    alone = [
        source
        for source in source_names
        if len({label for one, label in zip(sources, labels, strict=True) if one == source}) == 1
    ]
    reason = f"{name}: source and label go together by Cramér's V {_interval(v)} (p {_p(p)})"
    if alone:
        reason += f"; of one class only: {', '.join(alone)}"
    if level is Level.PASS:
        shape = len(source_names), len(set(labels))
        seen = association.smallest_seen(len(rows), shape, ALPHA) if min(shape) > 1 else float("inf")
        reason += (
            f"; of so few patients ({len(set(units))}) no association would mostly be found"
            if seen > 1
            else f"; of {len(set(units))} patients, less than V {seen:.2f} is easily missed"
        )
    else:
        reason += "; compare classes within one source, or test on sources that hold both"
    facts = {"sources": source_names, "cramers_v": v.to_json() | {"p": p}, "one_class_sources": alone}
    return _Finding(level, [reason], facts, [table])


def _predictions(name: str, images: list[Observed], target: Target) -> _Finding:
    characteristics, constant = characteristics_of(images)
    singles = predict_each({one.title: one.columns() for one in characteristics}, target)
    groups = predict_together(_groups(characteristics), target)
    role_of = {one.title: one.role for one in characteristics}
    judged = [found for found in singles if role_of[found.title] is not Role.CONTENT]
    said: list[tuple[Level, str]] = []
    seen = smallest_seen(*target.patients(), ALPHA / max(1, len(groups)))
    for found in groups:
        members = [one for one in judged if _GROUP_TITLES[role_of[one.title]] == found.title]
        if not members:  # everything together is shown; its parts decide
            continue
        own, alarms = _level_of(found), [one for one in members if _level_of(one) is not Level.PASS]
        # One strong characteristic can drown among weak ones, so each is judged by itself as well.
        spoken = [(_level_of(one), _spoken(one, _level_of(one), [], seen)) for one in alarms]
        if own is not Level.PASS or not alarms:
            spoken = [(worst([own, *map(_level_of, alarms)]), _spoken(found, own, members, seen))]
        said += [(level, f"{name}: {text}") for level, text in spoken]
    inside = _within_sources(images, groups, target)
    facts = {
        "groups": [found.to_json() for found in groups],
        "characteristics": [found.to_json() | {"role": role_of[found.title].value} for found in singles],
        "same_in_all_images": constant,
        "within_sources": {source: estimate.to_json() for source, estimate in inside.items()},
        "smallest_auroc_seen": seen,
        "thresholds": {"alpha": ALPHA, "warn_auroc": WARN_AUROC, "fail_auroc": FAIL_AUROC},
    }
    by_title = {one.title: one for one in characteristics}
    tables = [
        group_table(name, groups, inside),
        characteristic_table(name, [(found, by_title[found.title]) for found in singles], target.positive),
    ]
    return _Finding(worst(level for level, _ in said), [*against(said)], facts, tables)


def _groups(characteristics: list[Characteristic]) -> dict[str, list[Any]]:
    parts = {
        title: [one.columns() for one in characteristics if one.role is role] for role, title in _GROUP_TITLES.items()
    }
    parts[_ALL] = [columns for part in parts.values() for columns in part]
    return {title: part for title, part in parts.items() if part}


def _within_sources(images: list[Observed], groups: list[Predicted], target: Target) -> dict[str, Estimate]:
    """AUROC of everything together among the images of each source with enough patients of both classes."""
    together = next((found for found in groups if found.title == _ALL), None)
    if together is None:
        return {}
    sources = np.array([image.record.source for image in images])
    held = {}
    for source, _ in sorted(Counter(sources.tolist()).items()):
        chosen = sources == source
        units = tuple(unit for unit, is_chosen in zip(target.units, chosen, strict=True) if is_chosen)
        if min(Target(target.positive[chosen], units).patients()) >= MIN_PATIENTS:
            held[source] = auroc_among(chosen, together.scores, target)
    return held


def _level_of(found: Predicted) -> Level:
    if found.is_above(FAIL_AUROC, ALPHA):
        return Level.FAIL
    return Level.WARN if found.is_above(WARN_AUROC, ALPHA) else Level.PASS


def _level(low: float, p: float, warn: float, fail: float) -> Level:
    if p >= ALPHA or low <= warn:
        return Level.PASS
    return Level.FAIL if low > fail else Level.WARN


def _spoken(found: Predicted, level: Level, members: list[Predicted], seen: float) -> str:
    text = f"covid told from the rest by {found.title} alone: AUROC {_interval(found.auroc)}"
    if level is Level.PASS:
        return f"{text}, no more than chance gives{_still_possible(found.auroc, seen)}"
    strongest = [f"{one.title} {one.auroc.value:.2f}" for one in members[:_NAMED]]
    named = f" (strongest: {', '.join(strongest)})" if strongest else ""
    return f"{text}{named}; a model can learn this instead of the disease: even it out, or test where it differs"


def _still_possible(auroc: Estimate, seen: float) -> str:
    """A wide interval around chance is no proof of soundness, nor is a test that could have found little."""
    missed = f"; of {auroc.units} patients, what tells less than AUROC {seen:.2f} is easily missed"
    if auroc.high is None or auroc.high <= WARN_AUROC:
        return missed
    return f"; up to {auroc.high:.2f} cannot be ruled out{missed}"


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2f} (no interval: {estimate.note})"
    return estimate.spoken(2)


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
