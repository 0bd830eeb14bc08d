"""Choosing, on validation, how the images of a study are joined, and calibrating the study's probability after it.

Every candidate is judged as it would be used: joined, then calibrated by a line on the logit that was fitted on other
patients. Without that, candidates that only lie on another scale (noisy-or of many slices is always near 1) would lose
for no fault of their ranking.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from duoscan.errors import InputError
from duoscan.evaluation.calibrators import (
    LEAST_PATIENTS,
    STUDY_FITS,
    CalibratorChoice,
    choose_calibrator,
    fit_platt,
    left_out,
    log_losses,
)
from duoscan.evaluation.delong import delong_auroc
from duoscan.evaluation.intervals import DEFAULT_RESAMPLES, Estimate, bootstrap, paired_difference
from duoscan.evaluation.metrics import Means
from duoscan.evaluation.sample import sample_of
from duoscan.inference.aggregate import per_patient
from duoscan.inference.aggregation import DEFAULTS, Aggregation, AggregationKind
from duoscan.terms import POSITIVE, Split

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from duoscan.evaluation.sample import Sample
    from duoscan.predictions import Prediction
    from duoscan.terms import Modality

    Known = tuple[str, str | None, bool]  # patient, study and whether the image is covid

AUTO = "auto"
TOPS = (2, 3, 5, 10)
TIE = 0.001  # of log loss; what lies nearer is a tie, and the simpler is taken
RULE = (
    "lowest log loss of the calibrated study on left-out validation patients, the simpler of two within "
    f"{TIE:g}; attention only if the whole 95 % interval of its difference to the best other lies below 0"
)


@dataclass(frozen=True)
class AggregationCandidate:
    """One way to join images, as it did on validation patients.

    Attributes:
        aggregation: The way.
        log_loss: Of the study's probability, calibrated on other patients.
        brier_score: The same.
        auroc: Of the study's probability; the calibration does not enter.
        added_loss: Its log loss less that of the best way that needs no training, on the same patients.
    """

    aggregation: Aggregation
    log_loss: Estimate
    brier_score: Estimate
    auroc: Estimate
    added_loss: Estimate

    def to_json(self) -> dict[str, Any]:
        """As in files."""
        measured = ("log_loss", "brier_score", "auroc", "added_loss")
        return {"name": self.aggregation.name, **{name: getattr(self, name).to_json() for name in measured}}


@dataclass(frozen=True)
class AggregationChoice:
    """What was chosen on validation, and between what.

    Attributes:
        aggregation: The chosen way; ``None`` where the modality's default stays.
        candidates: All that were tried, the simplest first; empty where there were too few patients to try.
        reason: Why this one, in one sentence.
        calibrator: Of the study's probability, fitted on studies joined this way.
    """

    aggregation: Aggregation | None
    candidates: tuple[AggregationCandidate, ...]
    reason: str
    calibrator: CalibratorChoice

    def to_json(self) -> dict[str, Any]:
        """As in ``aggregation.json``."""
        return {
            "chosen": self.aggregation.name if self.aggregation else None,
            "reason": self.reason,
            "rule": RULE,
            "candidates": [one.to_json() for one in self.candidates],
            "calibrator": self.calibrator.to_json(),
        }


def joined_as(rows: Iterable[Prediction], aggregation: Aggregation | None) -> list[Prediction]:
    """The same rows, stating that they are joined this way; ``None`` for the modality's default."""
    name = aggregation.name if aggregation else ""
    return [replace(row, aggregation=name) for row in rows]


def choose_aggregation(
    validation: Sequence[Prediction],
    modality: Modality,
    *,
    wanted: str = AUTO,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> AggregationChoice:
    """Choose by ``RULE`` between max, mean, top-2, -3, -5 and -10, noisy-or and, where rows have its scores, attention.

    With fewer than 20 validation patients of a class, or one image for each patient, the modality's default stays.

    Args:
        validation: Predictions of the validation part, no other.
        modality: Of the rows.
        wanted: ``auto``, or a way that is taken whatever the comparison says.
        resamples: Resamples of patients for each interval.
        seed: Deals patients into folds and draws them.

    Raises:
        InputError: A row is of the training or test part, or ``wanted`` cannot be had.
        MissingExtraError: scipy or scikit-learn is not installed.
    """
    for row in validation:
        if row.split in {Split.TRAIN, Split.TEST}:
            msg = f"{row.path} is of the {row.split} part; how images are joined is chosen on validation alone"
            raise InputError(msg)
    rows = [row for row in validation if row.label is not None and row.probability is not None]
    asked = None if wanted == AUTO else _wanted(wanted, rows)
    why_not = too_little([(row.unit, row.study_id, row.label is POSITIVE) for row in rows])
    if why_not:
        reason = f"{why_not}; {'the default stays' if asked is None else 'taken as asked'}"
        return _choice(rows, modality, asked, (), reason, seed)
    candidates = _measure(rows, modality, resamples, seed)
    if asked is not None:
        return _choice(rows, modality, asked, candidates, "taken as asked", seed)
    best, reason = _best(candidates)
    return _choice(rows, modality, best.aggregation, candidates, reason, seed)


def _wanted(name: str, rows: Sequence[Prediction]) -> Aggregation:
    try:
        asked = Aggregation.named(name)
    except ValueError as error:
        raise InputError(str(error)) from error
    if asked.kind is AggregationKind.ATTENTION and not _have_attention(rows):
        msg = "attention was asked for, but the images have no score; there was too little to train it on"
        raise InputError(msg)
    return asked


def _have_attention(rows: Sequence[Prediction]) -> bool:
    return bool(rows) and all(row.attention is not None for row in rows)


def too_little(images: Sequence[Known]) -> str:
    """Why nothing can be chosen on these images; empty if it can."""
    patients = {unit for unit, _, _ in images}
    if len({(unit, study) for unit, study, _ in images}) == len(images):
        return "every study has one image, so that all ways are the same"
    sick = len({unit for unit, _, is_sick in images if is_sick})
    if min(sick, len(patients) - sick) < LEAST_PATIENTS:
        well = len(patients) - sick
        return f"there are {sick} patients with covid and {well} without; a choice needs {LEAST_PATIENTS} of each"
    return ""


def _choice(
    rows: Sequence[Prediction],
    modality: Modality,
    chosen: Aggregation | None,
    candidates: tuple[AggregationCandidate, ...],
    reason: str,
    seed: int,
) -> AggregationChoice:
    studies = per_patient(joined_as(rows, chosen), modality)
    return AggregationChoice(chosen, candidates, reason, choose_calibrator(studies, fits=STUDY_FITS, seed=seed))


def _offered(rows: Sequence[Prediction], modality: Modality) -> list[Aggregation]:
    """The simplest first; means of more images than any study has are the mean of all."""
    images = Counter((row.unit, row.study_id) for row in rows)
    tops = sorted({*TOPS, DEFAULTS[modality].k} - {0})
    offered = [Aggregation(AggregationKind.MAX), Aggregation(AggregationKind.MEAN)]
    offered += [Aggregation(AggregationKind.TOP, k) for k in tops if k < max(images.values())]
    offered.append(Aggregation(AggregationKind.NOISY_OR))
    return [*offered, *([Aggregation(AggregationKind.ATTENTION)] if _have_attention(rows) else [])]


def _measure(
    rows: Sequence[Prediction], modality: Modality, resamples: int, seed: int
) -> tuple[AggregationCandidate, ...]:
    samples = {
        one: sample_of(per_patient(joined_as(rows, one), modality), threshold=None) for one in _offered(rows, modality)
    }
    losses = {one: _losses(sample, seed) for one, sample in samples.items()}
    untrained = [one for one in samples if one.kind is not AggregationKind.ATTENTION]
    means = {one: float(losses[one]["log_loss"].mean()) for one in untrained}
    best = min(untrained, key=lambda one: means[one])
    candidates = []
    for one, sample in samples.items():
        measured, reference = Means(losses[one]), Means(losses[best])
        found = bootstrap(measured, sample.units, resamples=resamples, seed=seed)
        added = paired_difference((measured, sample.units), (reference, sample.units), resamples=resamples, seed=seed)
        auroc = delong_auroc(sample.reference, sample.probability, sample.units)
        candidates.append(AggregationCandidate(one, found["log_loss"], found["brier_score"], auroc, added["log_loss"]))
    return tuple(candidates)


def _losses(sample: Sample, seed: int) -> dict[str, Any]:
    """Log loss and Brier score of each study, shape (N,), calibrated on other patients."""
    values = left_out(sample, {"platt": fit_platt}, seed)["platt"]
    return {"log_loss": log_losses(sample.reference, values), "brier_score": (sample.reference - values) ** 2}


def _best(candidates: Sequence[AggregationCandidate]) -> tuple[AggregationCandidate, str]:
    untrained = [one for one in candidates if one.aggregation.kind is not AggregationKind.ATTENTION]
    lowest = min(one.log_loss.value for one in untrained)
    best = next(one for one in untrained if one.log_loss.value <= lowest + TIE)
    reason = f"{best.aggregation.name} has the lowest log loss of those that need no training, {best.log_loss.spoken()}"
    if best.log_loss.value > lowest:
        reason = f"{best.aggregation.name} is the simplest within {TIE:g} of the lowest log loss, {lowest:.3f}"
    trained = next((one for one in candidates if one not in untrained), None)
    if trained is None:
        return best, reason
    difference = trained.added_loss.spoken()
    if trained.added_loss.high is not None and trained.added_loss.high < 0.0:
        return trained, f"attention lowers the log loss beyond noise, by {difference} against the best other"
    return best, f"{reason}; attention, at {difference} to the best other, does not win beyond noise"
