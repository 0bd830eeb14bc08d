"""What is measured. Every metric takes row weights, so that thousands of resamples are measured at once.

A resample in which a patient is drawn twice is the sample with weight 2 on each of the patient's rows. A
metric set is called with weights of shape (R, N), one row a resample, and answers shape (R,) for each metric.
What is undefined, because nothing is there to divide by or only one class is there, is ``nan`` and never 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from duoscan.evaluation.sample import Sample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duoscan.evaluation.sample import BoolArray, FloatArray, IntArray
    from duoscan.terms import Finding

# name → how a person calls it, in the order of every table
METRIC_NAMES: dict[str, str] = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity (TPR)",
    "specificity": "Specificity (TNR)",
    "ppv": "Positive predictive value (PPV)",
    "npv": "Negative predictive value (NPV)",
    "fpr": "False positive rate (FPR)",
    "fnr": "False negative rate (FNR)",
    "fdr": "False discovery rate (FDR)",
    "f1": "F1 score",
    "auroc": "AUROC",
    "average_precision": "Average precision",
    "brier_score": "Brier score",
    "mae": "Mean absolute error (MAE)",
}


class MetricSet(Protocol):
    """Metrics of fixed rows under changing weights."""

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        """Metrics for weights of shape (R, N), each of shape (R,)."""
        ...

    def denominators(self) -> Mapping[str, BoolArray]:
        """For each metric that is a plain proportion of rows: which of the N rows it is a proportion of."""
        ...


@dataclass(frozen=True)
class Confusion:
    """Counts of images at one operating point."""

    true_positive: int
    false_negative: int
    false_positive: int
    true_negative: int

    def rows(self) -> list[list[int]]:
        """Reference by row (covid, not covid), decision by column (covid, not covid)."""
        return [[self.true_positive, self.false_negative], [self.false_positive, self.true_negative]]


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Elementwise quotient, ``nan`` where there is nothing to divide by."""
    out = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out


class Ranking:
    """Rows in falling order of score, equal scores taken together; the base of AUROC and average precision.

    Args:
        reference: shape (N,); which rows are positive.
        score: shape (N,); larger means more likely positive.
    """

    def __init__(self, reference: BoolArray, score: FloatArray) -> None:
        self._order = np.argsort(-score, kind="stable")
        ordered = score[self._order]
        self._starts = np.flatnonzero(np.concatenate([[True], np.diff(ordered) != 0]))
        self._positive = reference[self._order].astype(np.float64)

    def auroc_and_average_precision(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Area under the ROC curve and average precision, each of shape (R,), for weights (R, N).

        AUROC is the chance that a positive scores above a negative, ties counting half (Hanley and McNeil,
        Radiology 1982). Average precision is the sum over scores of precision times the gain in recall,
        without interpolation.
        """
        ordered = weights[:, self._order]
        positive = np.add.reduceat(ordered * self._positive, self._starts, axis=1)
        negative = np.add.reduceat(ordered, self._starts, axis=1) - positive
        hits, false_alarms = np.cumsum(positive, axis=1), np.cumsum(negative, axis=1)
        above = hits - positive / 2
        auroc = ratio(np.sum(negative * above, axis=1), hits[:, -1] * false_alarms[:, -1])
        called = hits + false_alarms
        precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
        return auroc, ratio(np.sum(positive * precision, axis=1), hits[:, -1])


class BinaryMetrics:
    """Metrics of covid against the rest at one operating point.

    ``mae`` is the mean of |reference − probability|; with hard labels for probabilities it is the error rate,
    which is how the two-phase framework reported it. ``brier_score`` is the mean of its square.

    Args:
        sample: The rows.
    """

    def __init__(self, sample: Sample) -> None:
        reference, called = sample.reference, sample.called
        error = np.abs(reference - sample.probability)
        self._reference, self._called = reference, called
        self._columns = np.column_stack(
            [
                reference & called,
                reference & ~called,
                ~reference & called,
                ~reference & ~called,
                error,
                error**2,
            ]
        )
        self._ranking = Ranking(reference, sample.probability)

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        """Metrics for weights of shape (R, N), each of shape (R,), in the order of ``METRIC_NAMES``."""
        tp, fn, fp, tn, error, squared = (weights @ self._columns).T
        total = tp + fn + fp + tn
        sensitivity, specificity = ratio(tp, tp + fn), ratio(tn, tn + fp)
        auroc, average_precision = self._ranking.auroc_and_average_precision(weights)
        return {
            "accuracy": ratio(tp + tn, total),
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "sensitivity": sensitivity,
            "specificity": specificity,
            "ppv": ratio(tp, tp + fp),
            "npv": ratio(tn, tn + fn),
            "fpr": ratio(fp, fp + tn),
            "fnr": ratio(fn, fn + tp),
            "fdr": ratio(fp, fp + tp),
            "f1": ratio(2 * tp, 2 * tp + fp + fn),
            "auroc": auroc,
            "average_precision": average_precision,
            "brier_score": ratio(squared, total),
            "mae": ratio(error, total),
        }

    def denominators(self) -> dict[str, BoolArray]:
        """The rows that each proportion is a proportion of."""
        reference, called = self._reference, self._called
        return {
            "accuracy": np.ones_like(reference),
            "sensitivity": reference,
            "specificity": ~reference,
            "ppv": called,
            "npv": ~called,
            "fpr": ~reference,
            "fnr": reference,
            "fdr": called,
        }

    def confusion(self) -> Confusion:
        """Counts of images."""
        tp, fn, fp, tn = (int(count) for count in self._columns[:, :4].sum(axis=0))
        return Confusion(tp, fn, fp, tn)


class ClassMetrics:
    """Metrics of a model of several classes, which answers its most probable class.

    Macro metrics are plain means over the classes that occur in the reference. Equal probabilities go to the
    class that stands first.

    Args:
        reference: shape (N,); index of the reference class.
        probabilities: shape (N, K); one column a class.
        classes: The K classes.
    """

    def __init__(self, reference: IntArray, probabilities: FloatArray, classes: Sequence[Finding]) -> None:
        answer = probabilities.argmax(axis=1)
        self._classes = tuple(classes)
        self._is = [reference == index for index in range(len(classes))]
        self._answers = [answer == index for index in range(len(classes))]
        self._columns = np.column_stack(
            [
                *(truth & said for truth, said in zip(self._is, self._answers, strict=True)),
                *self._is,
                *self._answers,
            ]
        ).astype(np.float64)
        self._present = [index for index, rows in enumerate(self._is) if rows.any()]
        self._rankings = [Ranking(self._is[index], probabilities[:, index]) for index in self._present]

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        """Metrics for weights of shape (R, N), each of shape (R,)."""
        sums = (weights @ self._columns).T  # (3K, R)
        hits, truths, answers = np.split(sums, 3)
        f1 = ratio(2 * hits, truths + answers)[self._present]
        auroc = [ranking.auroc_and_average_precision(weights)[0] for ranking in self._rankings]
        metrics = {
            "accuracy": ratio(hits.sum(axis=0), truths.sum(axis=0)),
            "macro_f1": np.asarray(f1.mean(axis=0)),
            "macro_auroc": np.asarray(np.mean(auroc, axis=0)),
        }
        for index, name in enumerate(self._classes):
            metrics[f"sensitivity_{name}"] = ratio(hits[index], truths[index])
            metrics[f"ppv_{name}"] = ratio(hits[index], answers[index])
        return metrics

    def denominators(self) -> dict[str, BoolArray]:
        """The rows that each proportion is a proportion of."""
        rows = {"accuracy": np.ones(len(self._columns), dtype=np.bool_)}
        for name, truth, said in zip(self._classes, self._is, self._answers, strict=True):
            rows[f"sensitivity_{name}"], rows[f"ppv_{name}"] = truth, said
        return rows

    def confusion(self) -> list[list[int]]:
        """Counts of images, shape (K, K): reference by row, answer by column."""
        return [[int(np.sum(truth & said)) for said in self._answers] for truth in self._is]


class Share:
    """The share of rows that are something, as metric ``share``.

    Args:
        rows: shape (N,); which rows are it.
    """

    def __init__(self, rows: BoolArray) -> None:
        self._rows = rows

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        """The share for weights of shape (R, N), shape (R,)."""
        return {"share": weights @ self._rows / weights.sum(axis=1)}

    def denominators(self) -> dict[str, BoolArray]:
        """All rows."""
        return {"share": np.ones_like(self._rows)}


class Means:
    """Means of numbers that each row has, e.g. its loss.

    Args:
        values: By name, shape (N,).
    """

    def __init__(self, values: Mapping[str, FloatArray]) -> None:
        self._values = values

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        """The means for weights of shape (R, N), shape (R,)."""
        return {name: weights @ values / weights.sum(axis=1) for name, values in self._values.items()}

    def denominators(self) -> dict[str, BoolArray]:
        """None is a proportion."""
        return {}


def point(metrics: MetricSet, rows: int) -> dict[str, float]:
    """Each metric of the sample as it is, every one of its ``rows`` with weight 1."""
    return {name: float(value[0]) for name, value in metrics(np.ones((1, rows))).items()}


def majority_baseline(reference: BoolArray) -> dict[str, float]:
    """What a model reaches that looks at no image and knows only how common covid is in this sample.

    It answers the more common of covid and not covid for every image, not covid where both are as common.
    Its Brier score is the one exception: there it states the prevalence as probability, the best that a
    constant can do, because a hard answer would make every model look calibrated beside it.
    """
    prevalence = float(reference.mean())
    called = np.full(len(reference), prevalence > 1 / 2)
    units = tuple(map(str, range(len(reference))))
    baseline = point(BinaryMetrics(Sample(reference, called.astype(np.float64), called, units)), len(reference))
    return baseline | {"brier_score": prevalence * (1 - prevalence)}


def majority_class_baseline(reference: IntArray, classes: Sequence[Finding]) -> dict[str, float]:
    """The same for several classes: every image gets the most common class, the first of equals."""
    counts = np.bincount(reference, minlength=len(classes))
    answer = np.tile(np.eye(len(classes))[int(counts.argmax())], (len(reference), 1))
    return point(ClassMetrics(reference, answer, classes), len(reference))
