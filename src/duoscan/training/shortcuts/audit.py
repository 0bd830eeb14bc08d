"""The audit: which probes keep the skill, what a split by image adds, what another source leaves of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from duoscan.audit.result import AuditResult, AuditTable, Level, worst
from duoscan.errors import ManifestError
from duoscan.evaluation.intervals import Estimate, bootstrap, paired_difference
from duoscan.evaluation.retained import BY_PERCENTILES, FAIL_RETAINED, LEAST_SKILL, WARN_RETAINED, Retained
from duoscan.terms import Split
from duoscan.training.shortcuts.features import (
    BORDERS,
    HISTOGRAM,
    LUNGS_ERASED,
    LUNGS_ONLY,
    MASKED,
    THUMBNAIL,
    WHOLE,
    ProbeFeatures,
)
from duoscan.training.shortcuts.learned import (
    LearnedAuroc,
    dealt_anew,
    learn_across,
    learn_by_folds,
    learn_by_split,
    reference_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duoscan.evaluation.sample import BoolArray, FloatArray
    from duoscan.manifest.records import ImageRecord

NAME, TITLE = "shortcuts", "Skill without the lung"
CONTROL = "random-labels"

# What shows no lung is judged in full; a thumbnail or histogram may show dense disease, so it warns at most.
_NO_LUNG = (BORDERS, LUNGS_ERASED)
_BLURRED = (THUMBNAIL, HISTOGRAM)
SPOKEN = {
    WHOLE: "whole image",
    BORDERS: "outer 10 % of each side only",
    LUNGS_ERASED: "lungs erased",
    LUNGS_ONLY: "lungs only",
    THUMBNAIL: "8 × 8 thumbnail",
    HISTOGRAM: "grey histogram",
}


@dataclass(frozen=True)
class Scores:
    """Scores of the measured rows by probe.

    Attributes:
        records: N measured records.
        by_probe: Probe → (N,); the whole image among them.
        control: (N,); scores of what learned random labels from the whole image.
        control_labels: (N,); the random labels of the measured rows. The control is measured against these and not
            against the true ones: where classes lie far apart, any direction tells them apart, up or down.
        how: How they came about, in words.
    """

    records: tuple[ImageRecord, ...]
    by_probe: Mapping[str, FloatArray]
    control: FloatArray
    control_labels: BoolArray
    how: str


def quick_scores(features: ProbeFeatures, seed: int) -> Scores:
    """Scores of a logistic regression on each probe's features.

    On the test rows where the manifest has all three splits, else out of fold by patient.

    Raises:
        ManifestError: Only one class is there.
    """
    records, reference = features.records, reference_of(features.records)
    counts = Counter(reference.tolist())
    if min(counts.get(True, 0), counts.get(False, 0)) < 10:
        found = f"{counts.get(True, 0)} covid images and {counts.get(False, 0)} others"
        raise ManifestError(f"{found}; at least ten of either are needed to learn from")
    shuffled = reference_of(dealt_anew(records, seed))
    whole = features.by_probe[WHOLE]
    if {record.split for record in records} >= set(Split):
        is_tested = np.array([record.split is Split.TEST for record in records])
        return Scores(
            tuple(record for record in records if record.split is Split.TEST),
            {name: learn_by_split(values, records, reference) for name, values in features.by_probe.items()},
            learn_by_split(whole, records, shuffled),
            shuffled[is_tested],
            "fitted on the training part, strength chosen on validation, measured on test",
        )
    units = [record.unit for record in records]
    return Scores(
        records,
        {name: learn_by_folds(values, reference, units, seed) for name, values in features.by_probe.items()},
        learn_by_folds(whole, shuffled, units, seed),
        shuffled,
        "out of fold, five folds by patient",
    )


def audit_shortcuts(scores: Scores, features: ProbeFeatures | None = None, *, seed: int = 0) -> AuditResult:
    """Judge scores that were learned from probes.

    It fails where the lower end of the skill retained without any lung is above ``FAIL_RETAINED``, or where that of
    the control with random labels is above ``LEAST_SKILL``, since then patients are known again. It warns above
    ``WARN_RETAINED``. Where the upper end without any lung reaches ``FAIL_RETAINED`` that is no pass but ``not known``.

    Args:
        scores: By probe.
        features: For the comparison of splits and sources; left out where ``None``.
        seed: Of resamples and folds.
    """
    reference, units = reference_of(scores.records), [record.unit for record in scores.records]
    whole = scores.by_probe[WHOLE]
    measured = {
        name: bootstrap(Retained(reference, score, whole), units, seed=seed) for name, score in scores.by_probe.items()
    }
    control = bootstrap(LearnedAuroc(scores.control_labels, scores.control), units, seed=seed)["auroc"]
    judged = [_of_control(control), _of_whole(measured[WHOLE]["auroc"])]
    if measured[WHOLE]["auroc"].value >= LEAST_SKILL:
        judged += [_of_probe(name, measured[name]) for name in (*_NO_LUNG, *_BLURRED) if name in measured]
    reasons = [text for level, text in judged if level is not Level.PASS]
    if not set(MASKED) <= measured.keys():
        reasons.append("lungs erased and lungs only were left out: they need a lung mask for every image")
    tables = [_probe_table(measured, control, scores)]
    facts = {
        "how": scores.how,
        "images": len(scores.records),
        "patients": len(set(units)),
        CONTROL: control.to_json(),
        "probes": {name: {key: one.to_json() for key, one in own.items()} for name, own in measured.items()},
    }
    if features is not None:
        for name, (table, figures) in _comparisons(features, seed).items():
            tables.append(table)
            facts[name] = figures
    level = worst(level for level, _ in judged)
    return AuditResult(NAME, TITLE, level, tuple(reasons) or (_fine(measured),), facts, tuple(tables))


def _of_control(auroc: Estimate) -> tuple[Level, str]:
    # It may lie a little above 0.5 by chance, once in forty.
    if (auroc.value if auroc.low is None else auroc.low) > LEAST_SKILL:
        text = f"the control with random labels has AUROC {auroc.spoken()}, not chance: images leak between parts"
        return Level.FAIL, text
    return Level.PASS, ""


def _of_whole(auroc: Estimate) -> tuple[Level, str]:
    if auroc.value < LEAST_SKILL:
        return Level.WARN, f"whole images give AUROC {auroc.spoken()}: there is no skill that a probe could retain"
    return Level.PASS, ""


def _of_probe(name: str, measured: Mapping[str, Estimate]) -> tuple[Level, str]:
    retained = measured["retained"]
    low = retained.low if retained.low is not None else retained.value
    text = f"{SPOKEN[name]}: {retained.spoken()} of the skill is left (AUROC {measured['auroc'].spoken()})"
    if low > FAIL_RETAINED and name in _NO_LUNG:
        return Level.FAIL, f"{text}; the classes can be told without any lung, so the figure is no evidence of disease"
    if low > WARN_RETAINED:
        return Level.WARN, f"{text}; part of the figure may come from something else than disease"
    if name in _NO_LUNG and (retained.high is None or retained.high >= FAIL_RETAINED):
        return Level.NOT_KNOWN, f"not known: {text}, which may be {FAIL_RETAINED:g} or more; test on more patients"
    return Level.PASS, text


def _fine(measured: Mapping[str, Mapping[str, Estimate]]) -> str:
    left = [f"{SPOKEN[name]} {measured[name]['retained'].spoken()}" for name in _NO_LUNG if name in measured]
    return f"retained skill where no lung is seen: {'; '.join(left)}"


def _probe_table(measured: Mapping[str, Mapping[str, Estimate]], control: Estimate, scores: Scores) -> AuditTable:
    rows = [
        (SPOKEN[name], measured[name]["auroc"].spoken(), "–" if name == WHOLE else measured[name]["retained"].spoken())
        for name in SPOKEN
        if name in measured
    ]
    rows.append(("whole image, random labels learned and asked", control.spoken(), "–"))
    title = f"Skill by what is shown: {len(scores.records)} images, {scores.how}"
    return AuditTable(title, ("shown", "AUROC", f"retained skill, {BY_PERCENTILES}"), tuple(rows))


def _comparisons(features: ProbeFeatures, seed: int) -> dict[str, tuple[AuditTable, dict[str, object]]]:
    found = {"split_by_image": _split_by_image(features, seed)}
    sources = _two_class_sources(features.records)
    if len(sources) > 1:
        found["sources"] = _between_sources(features, sources, seed)
    return found


def _split_by_image(features: ProbeFeatures, seed: int) -> tuple[AuditTable, dict[str, object]]:
    """Folds by image against folds by patient, on the same images, so the difference is paired."""
    reference = reference_of(features.records)
    units = [record.unit for record in features.records]
    by_group = {
        "by patient": learn_by_folds(features.by_probe[WHOLE], reference, units, seed),
        "by image": learn_by_folds(features.by_probe[WHOLE], reference, [str(i) for i in range(len(units))], seed),
    }
    metrics = {name: LearnedAuroc(reference, score) for name, score in by_group.items()}
    alone = {name: bootstrap(one, units, seed=seed)["auroc"] for name, one in metrics.items()}
    added = paired_difference((metrics["by image"], units), (metrics["by patient"], units), seed=seed)["auroc"]
    rows = [(name, one.spoken()) for name, one in alone.items()]
    rows.append(("by image minus by patient", added.spoken()))
    table = AuditTable("What a split by image adds (five folds, same images)", ("folds", "AUROC"), tuple(rows))
    return table, {name.replace(" ", "_"): one.to_json() for name, one in (*alone.items(), ("added", added))}


def _two_class_sources(records: Sequence[ImageRecord], least: int = 10) -> list[str]:
    counts = Counter((record.source, bool(known)) for record, known in zip(records, reference_of(records), strict=True))
    sources = sorted({record.source for record in records})
    return [name for name in sources if min(counts[name, True], counts[name, False]) >= least]


def _between_sources(
    features: ProbeFeatures, sources: Sequence[str], seed: int
) -> tuple[AuditTable, dict[str, object]]:
    """Trained on a row's source, tested on a column's; within one source out of fold; patients in both are left out."""
    matrix, left_out = {}, {}
    for test in sources:
        for train in sources:
            matrix[train, test] = _across(features, {train}, test, seed)
        left_out[test] = _across(features, set(sources) - {test}, test, seed)
    rows = [(train, *(matrix[train, test].spoken() for test in sources)) for train in sources]
    rows.append(("all others", *(left_out[test].spoken() for test in sources)))
    figures: dict[str, object] = {
        "matrix": {train: {test: matrix[train, test].to_json() for test in sources} for train in sources},
        "leave_one_out": {test: left_out[test].to_json() for test in sources},
    }
    title = "AUROC: trained on a row's source, tested on a column's"
    return AuditTable(title, ("trained on", *sources), tuple(rows)), figures


def _across(features: ProbeFeatures, train: set[str], test: str, seed: int) -> Estimate:
    records, values = features.records, features.by_probe[WHOLE]
    inside = np.array([record.source == test for record in records])
    tested = [record for record in records if record.source == test]
    units = [record.unit for record in tested]
    reference = reference_of(tested)
    if train == {test}:
        scores = learn_by_folds(values[inside], reference, units, seed)
    else:
        known = set(units)
        fitted = np.array([record.source in train and record.unit not in known for record in records])
        labels = reference_of(records)[fitted]
        if labels.all() or not labels.any():
            note = "one class only is left to learn from"
            return Estimate(float("nan"), None, None, len(tested), len(known), note=note)
        scores = learn_across(values[fitted], labels, values[inside])
    return bootstrap(LearnedAuroc(reference, scores), units, seed=seed)["auroc"]
