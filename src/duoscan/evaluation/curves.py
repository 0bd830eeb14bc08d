"""Curves over all thresholds: ROC, precision against recall, reliability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from duoscan.evaluation.beta import TAIL
from duoscan.evaluation.intervals import DEFAULT_RESAMPLES, MAX_DROPPED, draws, unit_index
from duoscan.evaluation.metrics import ratio

if TYPE_CHECKING:
    from duoscan.evaluation.sample import FloatArray, Sample

GRID = np.linspace(0.0, 1.0, 101)  # false positive rates at which the band is known
RELIABILITY_BINS = 10


@dataclass(frozen=True)
class RocCurve:
    """Sensitivity against false positive rate, from calling nothing positive to calling everything.

    Attributes:
        threshold: shape (T,), falling; the first is infinite: nothing is called.
        false_positive_rate: shape (T,), rising; ``nan`` without negatives.
        sensitivity: shape (T,), rising; ``nan`` without positives.
    """

    threshold: FloatArray
    false_positive_rate: FloatArray
    sensitivity: FloatArray


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """Positive predictive value (precision) against sensitivity (recall), one point a distinct probability.

    Attributes:
        threshold: shape (T,), falling.
        recall: shape (T,), rising.
        precision: shape (T,).
    """

    threshold: FloatArray
    recall: FloatArray
    precision: FloatArray


@dataclass(frozen=True)
class Band:
    """Pointwise 95 % band of a ROC curve on ``GRID``."""

    low: FloatArray
    high: FloatArray


@dataclass(frozen=True)
class ReliabilityBin:
    """The images whose probability lies in one bin.

    Attributes:
        low: Lower edge, included.
        high: Upper edge, excluded but for the last bin.
        n: Images.
        mean_probability: What the model said on average.
        observed: Share of covid among them.
    """

    low: float
    high: float
    n: int
    mean_probability: float
    observed: float


def roc_curve(sample: Sample) -> RocCurve:
    """One point for each distinct probability, and the point where nothing is called."""
    thresholds, hits, false_alarms = _counts_by_threshold(sample)
    return RocCurve(
        threshold=np.concatenate([[np.inf], thresholds]),
        false_positive_rate=np.concatenate([[0.0], ratio(false_alarms, false_alarms[-1:])]),
        sensitivity=np.concatenate([[0.0], ratio(hits, hits[-1:])]),
    )


def precision_recall_curve(sample: Sample) -> PrecisionRecallCurve:
    """One point for each distinct probability."""
    thresholds, hits, false_alarms = _counts_by_threshold(sample)
    return PrecisionRecallCurve(thresholds, ratio(hits, hits[-1:]), ratio(hits, hits + false_alarms))


def roc_band(sample: Sample, *, resamples: int = DEFAULT_RESAMPLES, seed: int = 0) -> Band | None:
    """Pointwise 95 % band by resampling patients; ``None`` where too many resamples lack a class.

    The band always contains the curve.
    """
    order = np.argsort(-sample.probability, kind="stable")
    index, count = unit_index(sample.units)
    ends = np.flatnonzero(np.concatenate([np.diff(sample.probability[order]) != 0, [True]]))
    positive = sample.reference[order].astype(np.float64)
    curves = []
    for chunk in draws(count, resamples, seed, len(sample)):
        weights = chunk[:, index[order]]
        hits = np.cumsum(weights * positive, axis=1)[:, ends]
        false_alarms = np.cumsum(weights, axis=1)[:, ends] - hits
        for tp, fp in zip(hits, false_alarms, strict=True):
            if tp[-1] > 0 and fp[-1] > 0:
                curves.append(_on_grid(np.append(0.0, fp / fp[-1]), np.append(0.0, tp / tp[-1])))
    if len(curves) < (1.0 - MAX_DROPPED) * resamples:
        return None
    low, high = np.quantile(curves, [TAIL, 1.0 - TAIL], axis=0)
    roc = roc_curve(sample)
    own = _on_grid(roc.false_positive_rate, roc.sensitivity)
    return Band(np.minimum(low, own), np.maximum(high, own))


def reliability_bins(sample: Sample, bins: int = RELIABILITY_BINS) -> list[ReliabilityBin]:
    """Bins of equal width over 0 to 1; empty ones are left out."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    member = np.clip(np.searchsorted(edges, sample.probability, side="right") - 1, 0, bins - 1)
    return [
        ReliabilityBin(
            low=float(edges[place]),
            high=float(edges[place + 1]),
            n=int(rows.sum()),
            mean_probability=float(sample.probability[rows].mean()),
            observed=float(sample.reference[rows].mean()),
        )
        for place in range(bins)
        if (rows := member == place).any()
    ]


def _counts_by_threshold(sample: Sample) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Distinct probabilities falling, and the positives and negatives at or above each."""
    thresholds = np.unique(sample.probability)[::-1]
    positive = np.sort(sample.probability[sample.reference])
    negative = np.sort(sample.probability[~sample.reference])
    hits = len(positive) - np.searchsorted(positive, thresholds, side="left")
    false_alarms = len(negative) - np.searchsorted(negative, thresholds, side="left")
    return thresholds, hits.astype(np.float64), false_alarms.astype(np.float64)


def _on_grid(false_positive_rate: FloatArray, sensitivity: FloatArray) -> FloatArray:
    return np.interp(GRID, false_positive_rate, sensitivity)
