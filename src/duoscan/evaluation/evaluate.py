"""Predictions → one evaluation: each metric with interval and baseline, and what it was measured on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import InputError
from duoscan.evaluation.binary import measure_binary
from duoscan.evaluation.calibration import CalibrationResult, measure_calibration
from duoscan.evaluation.delong import CHANCE
from duoscan.evaluation.intervals import DEFAULT_RESAMPLES, Estimate, bootstrap, spoken_interval
from duoscan.evaluation.metrics import (
    METRIC_NAMES,
    BinaryMetrics,
    ClassMetrics,
    Confusion,
    MetricSet,
    Share,
    majority_baseline,
    majority_class_baseline,
)
from duoscan.evaluation.predictive_values import PredictiveValues, predictive_values
from duoscan.evaluation.repeats import repeat_notes
from duoscan.evaluation.sample import (
    Sample,
    check_measurable,
    measurable,
    named_patients,
    sample_of,
    spoken_units,
    units_word,
)
from duoscan.notebook import shown
from duoscan.terms import ANSWERS, POSITIVE, Decision, Finding, Split

if TYPE_CHECKING:
    from duoscan.evaluation.prior_shift import PriorShift
    from duoscan.evaluation.subgroups import Subgroups
    from duoscan.predictions import Prediction

FORMAT = "duoscan-evaluation"
VERSION = 1
DEFAULT_THRESHOLD = 0.5
UNKNOWN = "unknown"
NOT_ASKED = frozenset({Decision.SET_ASIDE, Decision.NOT_READ})
"""What is neither answered nor refused: no answer was wanted of the image."""

METHOD = (
    "AUROC by DeLong summed by patient; average precision, Brier score, MAE and proportions by their spread between "
    "patients and Student's t, proportions in which a patient counts once by Clopper–Pearson; "
    "else percentile bootstrap over patients"
)
"""Of the intervals; a number's note names its own."""

MIN_CLASSES = 3  # two classes are what the binary block already shows
FEW_PATIENTS = 20  # below this, percentile intervals are clearly too narrow

Interval = Callable[[MetricSet, Sequence[str]], dict[str, Estimate]]


@dataclass(frozen=True)
class BinaryResult:
    """Covid against the rest on some rows.

    Attributes:
        images: Images measured.
        patients: Patients they show, or blocks and images where no patient is named; see ``people``.
        classes: Images by reference label.
        metrics: Estimates by metric.
        baseline: The same metrics of always answering the majority class.
        majority: That class: ``covid`` or ``not covid``.
        confusion: Counts of images.
        sample: The measured rows.
        resamples: Resamples of patients behind each interval.
        seed: Seed of the resamples.
    """

    images: int
    patients: int
    classes: dict[str, int]
    metrics: dict[str, Estimate]
    baseline: dict[str, float]
    majority: str
    confusion: Confusion
    sample: Sample
    resamples: int
    seed: int

    @cached_property
    def calibration(self) -> CalibrationResult:
        """Whether P(covid) means what it says; measured when asked for, since it takes longer than all the rest."""
        return measure_calibration(self.sample, resamples=self.resamples, seed=self.seed)

    @cached_property
    def predictive_values(self) -> list[PredictiveValues]:
        """PPV and NPV where covid is as common as stated, from 1 to 50 %, at the same operating point."""
        return predictive_values(self.sample, resamples=self.resamples, seed=self.seed)

    @property
    def people(self) -> str:
        """How many patients the images show, in words, and what stands for patients where they are not named."""
        return spoken_units(self.sample.units)

    @property
    def units_word(self) -> str:
        """What was counted as patients, in one word."""
        return units_word(self.sample.units)

    def to_json(self) -> dict[str, Any]:
        """As in files; what is undefined is ``null``."""
        return {
            "images": self.images,
            "patients": self.patients,
            "people": self.people,
            "classes": self.classes,
            "majority": self.majority,
            "metrics": _metrics_json(self.metrics, self.baseline),
            "confusion": {"labels": [POSITIVE, f"not {POSITIVE}"], "rows": self.confusion.rows()},
            "calibration": self.calibration.to_json(),
        }


@dataclass(frozen=True)
class ClassResult:
    """A model of three or more classes, judged by its most probable class.

    Attributes:
        classes: The model's classes.
        images: Images measured: those whose reference is one of the classes.
        excluded: Answered images whose reference is no class of the model or that lack class probabilities.
        metrics: Estimates by metric.
        baseline: The same metrics of always answering the most common class.
        confusion: Counts, reference by row, answer by column.
    """

    classes: tuple[Finding, ...]
    images: int
    excluded: int
    metrics: dict[str, Estimate]
    baseline: dict[str, float]
    confusion: list[list[int]]

    def to_json(self) -> dict[str, Any]:
        """As in files; what is undefined is ``null``."""
        return {
            "images": self.images,
            "excluded": self.excluded,
            "metrics": _metrics_json(self.metrics, self.baseline),
            "confusion": {"labels": list(self.classes), "rows": self.confusion},
        }


@dataclass(frozen=True)
class Counts:
    """What the table held.

    Attributes:
        rows: All rows.
        unlabelled: Rows without a reference; they take no part in anything below.
        unreadable: Labelled rows that were refused, by reference label; in the coverage only.
        set_aside: Labelled rows of sound images that are not what is answered, by reference label.
        not_read: Labelled rows that nobody had need of, by reference label.
        without_patient: Measured images that carry no patient and so stand for themselves.
        sources: Measured images by source.
        modalities: Measured images by modality.
        splits: Measured images by split.
    """

    rows: int
    unlabelled: int
    unreadable: dict[str, int]
    set_aside: dict[str, int]
    not_read: dict[str, int]
    without_patient: int
    sources: dict[str, int]
    modalities: dict[str, int]
    splits: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """As in files."""
        return dict(vars(self))


@dataclass(frozen=True)
class Evaluation:
    """The evidence on one predictions table.

    Attributes:
        threshold: Operating point on P(covid); ``None`` where the table's own decisions were measured.
        threshold_origin: Where it comes from, in words.
        overall: All measured rows together.
        coverage: Share of labelled images that were answered, of those an answer was wanted of; refused images are
            no part of the metrics, so the two are read together.
        counts: What the table held.
        by_source: The same for the rows of each source.
        multiclass: Where the table holds three or more class probabilities.
        resamples: Resamples of patients behind each interval.
        seed: Seed of the resamples.
        notes: What a reader must know beside the numbers.
        prior_shift: What holds at a stated prevalence; ``None`` where none was stated.
        subgroups: The same in parts of the patients; ``None`` where nobody asked.
    """

    threshold: float | None
    threshold_origin: str
    overall: BinaryResult
    coverage: Estimate
    counts: Counts
    by_source: dict[str, BinaryResult]
    multiclass: ClassResult | None
    resamples: int
    seed: int
    notes: tuple[str, ...]
    prior_shift: PriorShift | None = None
    subgroups: Subgroups | None = None

    @property
    def metrics(self) -> dict[str, Estimate]:
        """Estimates over all measured rows."""
        return self.overall.metrics

    @property
    def baseline(self) -> dict[str, float]:
        """The same metrics of always answering the majority class."""
        return self.overall.baseline

    def _repr_html_(self) -> str:
        overall = self.overall
        rows = [
            (spoken, self.metrics[name].spoken(), spoken_interval(self.baseline[name], None, None))
            for name, spoken in METRIC_NAMES.items()
        ]
        title = f"{overall.images} images of {overall.people}; baseline: answering '{overall.majority}' for every image"
        return shown(title, ("metric", "value [95 % interval]", "baseline"), rows, self.notes)

    def to_json(self) -> dict[str, Any]:
        """As in ``metrics.json``; what is undefined is ``null``."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "threshold": {"value": self.threshold, "origin": self.threshold_origin},
            "interval": {
                "level": 0.95,
                "method": METHOD,
                "resamples": self.resamples,
                "seed": self.seed,
            },
            **self.overall.to_json(),
            "predictive_values": [one.to_json() for one in self.overall.predictive_values],
            "prior_shift": None if self.prior_shift is None else self.prior_shift.to_json(),
            "subgroups": None if self.subgroups is None else self.subgroups.to_json(),
            "coverage": self.coverage.to_json(),
            "counts": self.counts.to_json(),
            "sources": {source: result.to_json() for source, result in self.by_source.items()},
            "multiclass": None if self.multiclass is None else self.multiclass.to_json(),
            "notes": list(self.notes),
        }


def evaluate(
    predictions: Sequence[Prediction],
    *,
    threshold: float | None = None,
    threshold_origin: str = "given",
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """Measure a predictions table.

    Rows without an answer count against the coverage and take no part in the metrics. Never choose the
    threshold on the rows that are evaluated here.

    Args:
        predictions: Rows of any model.
        threshold: Operating point; where ``None``, the table's own decisions are measured, and where those are
            missing, 0.5 is taken.
        threshold_origin: Where a given threshold comes from, e.g. ``bundle``.
        resamples: Resamples of patients for each interval.
        seed: Makes the intervals repeatable.

    Raises:
        PredictionsError: No row has both a label and an answer.
        InputError: The threshold is not from 0 to 1, or the resamples are too few.
    """
    rows = measurable(predictions)
    check_measurable(rows, predictions)
    if threshold is None:
        threshold, threshold_origin = _operating_point(rows)
    elif not 0.0 <= threshold <= 1.0:
        msg = f"threshold {threshold} is not a probability; give one from 0 to 1"
        raise InputError(msg)

    def interval(metrics: MetricSet, units: Sequence[str]) -> dict[str, Estimate]:
        return bootstrap(metrics, units, resamples=resamples, seed=seed)

    overall = _binary(rows, threshold, resamples, seed)
    counts = _counts(predictions, rows)
    by_source = dict.fromkeys(counts.sources, overall)
    if len(by_source) > 1:
        by_source = {
            source: _binary([row for row in rows if (row.source or UNKNOWN) == source], threshold, resamples, seed)
            for source in counts.sources
        }
    multiclass = _multiclass(rows, interval)
    return Evaluation(
        threshold=threshold,
        threshold_origin=threshold_origin,
        overall=overall,
        coverage=_coverage(predictions, interval),
        counts=counts,
        by_source=by_source,
        multiclass=multiclass,
        resamples=resamples,
        seed=seed,
        notes=(*_count_notes(overall, counts, rows), *_result_notes(overall, by_source, multiclass)),
    )


def _operating_point(rows: Sequence[Prediction]) -> tuple[float | None, str]:
    """Where none is given: the table's own decisions if every row has one, else 0.5.

    Decisions are taken as they are, because a table may pool models with a threshold each, e.g. of several folds.
    """
    if all(row.decision in ANSWERS for row in rows):
        return None, "the decisions in the table"
    return DEFAULT_THRESHOLD, "default: none was given and the table does not decide every row"


def _metrics_json(metrics: Mapping[str, Estimate], baseline: Mapping[str, float]) -> dict[str, Any]:
    return {
        name: estimate.to_json() | {"baseline": None if math.isnan(baseline[name]) else baseline[name]}
        for name, estimate in metrics.items()
    }


def _binary(rows: Sequence[Prediction], threshold: float | None, resamples: int, seed: int) -> BinaryResult:
    sample = sample_of(rows, threshold)
    metrics = BinaryMetrics(sample)
    return BinaryResult(
        images=len(sample),
        patients=sample.patients,
        classes=_tally(row.label for row in rows),
        metrics=measure_binary(sample, resamples=resamples, seed=seed),
        baseline=majority_baseline(sample.reference),
        majority=POSITIVE if sample.reference.mean() > 1 / 2 else f"not {POSITIVE}",
        confusion=metrics.confusion(),
        sample=sample,
        resamples=resamples,
        seed=seed,
    )


def _multiclass(rows: Sequence[Prediction], interval: Interval) -> ClassResult | None:
    classes = tuple(finding for finding in Finding if any(finding in row.probabilities for row in rows))
    if len(classes) < MIN_CLASSES:
        return None
    kept = [row for row in rows if row.label in classes and len(row.probabilities) == len(classes)]
    if not kept:
        return None
    reference = np.array([classes.index(row.label) for row in kept if row.label is not None])
    probabilities = np.array([[row.probabilities[finding] for finding in classes] for row in kept])
    metrics = ClassMetrics(reference, probabilities, classes)
    return ClassResult(
        classes=classes,
        images=len(kept),
        excluded=len(rows) - len(kept),
        metrics=interval(metrics, [row.unit for row in kept]),
        baseline=majority_class_baseline(reference, classes),
        confusion=metrics.confusion(),
    )


def _coverage(predictions: Sequence[Prediction], interval: Interval) -> Estimate:
    labelled = [row for row in predictions if row.label is not None and row.decision not in NOT_ASKED]
    answered = np.array([row.probability is not None for row in labelled])
    return interval(Share(answered), [row.unit for row in labelled])["share"]


def _tally(values: Iterable[str | None]) -> dict[str, int]:
    """Counts by value, in the order of the values' names."""
    return dict(sorted(Counter(str(value) if value else UNKNOWN for value in values).items()))


def _counts(predictions: Sequence[Prediction], rows: Sequence[Prediction]) -> Counts:
    unanswered = [row for row in predictions if row.label and row.probability is None]

    def without(*decisions: Decision | None) -> dict[str, int]:
        return _tally(row.label for row in unanswered if row.decision in decisions)

    return Counts(
        rows=len(predictions),
        unlabelled=sum(row.label is None for row in predictions),
        unreadable=without(None, Decision.UNREADABLE),
        set_aside=without(Decision.SET_ASIDE),
        not_read=without(Decision.NOT_READ),
        without_patient=sum(row.patient_id is None for row in rows),
        sources=_tally(row.source for row in rows),
        modalities=_tally(row.modality for row in rows),
        splits=_tally(row.split for row in rows),
    )


def _unit_notes(overall: BinaryResult, counts: Counts, rows: Sequence[Prediction]) -> Iterable[str]:
    """What a reader must know of what was resampled, one sentence each."""
    if counts.without_patient:
        yield (
            f"{counts.without_patient} of {overall.images} images name no patient and stand for themselves; "
            "if some show the same patient, the intervals are too narrow (column patient_id)."
        )
    blocks = sum(row.patient_id is not None and not named_patients([row.unit]) for row in rows)
    if blocks:
        yield (
            f"{blocks} of {overall.images} images are of blocks of consecutive images that stand for patients; a block "
            "may hold several patients or part of one, so intervals are a guess."
        )


def _count_notes(overall: BinaryResult, counts: Counts, rows: Sequence[Prediction]) -> Iterable[str]:
    """What a reader must know of the rows, one sentence each."""
    yield from _unit_notes(overall, counts, rows)
    if counts.unreadable:
        count = sum(counts.unreadable.values())
        yield f"{count} images have no answer and are not in the metrics; see the coverage."
    if counts.set_aside:
        count = sum(counts.set_aside.values())
        yield f"{count} images are sound but not what is answered: set aside, and neither in metrics nor in coverage."
    if counts.not_read:
        count = sum(counts.not_read.values())
        yield f"{count} images were not read, for the rule had no need of them: neither in metrics nor in coverage."
    if counts.unlabelled:
        yield f"{counts.unlabelled} rows have no label and are left out (column label)."
    if len(counts.splits) > 1:
        yield f"Rows of several splits are pooled: {', '.join(counts.splits)}."
    if Split.TRAIN in counts.splits:
        yield "Rows of the training split are in these numbers; they say nothing of new patients."
    if len(counts.modalities) > 1:
        yield f"Several modalities are pooled at one operating point: {', '.join(counts.modalities)}."
    yield from repeat_notes(rows)


def _result_notes(
    overall: BinaryResult, by_source: Mapping[str, BinaryResult], multiclass: ClassResult | None
) -> Iterable[str]:
    """What a reader must know of the numbers, one sentence each."""
    if overall.patients < FEW_PATIENTS:
        yield f"Only {overall.people}: intervals of so few are too narrow or say little."
    auroc = overall.metrics["auroc"]
    if auroc.high is not None and auroc.high < CHANCE:
        yield (
            f"The AUROC is {auroc.spoken()}, below chance: is the probability that of another class than covid, or are "
            "the labels the other way round?"
        )
    if math.isnan(auroc.value):
        yield "Only one class is there, so nothing that compares classes is defined."
    single = [source for source, result in by_source.items() if math.isnan(result.metrics["auroc"].value)]
    if single and len(by_source) > 1:
        yield (
            f"Sources with one class only: {', '.join(single)}. "
            "A model that tells sources apart looks good here without seeing disease."
        )
    if multiclass is not None and multiclass.excluded:
        yield (
            f"{multiclass.excluded} images are left out of the several-class numbers: "
            "their label is no class of the model or class probabilities are missing."
        )
