"""Figures of an evaluation: drawn without pyplot's global state, in colours that the colour-blind can tell apart.

Equal input gives equal files: SVG identifiers are salted with a fixed word and no date is written.
"""

from __future__ import annotations

import io
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import MissingExtraError
from duoscan.evaluation.curves import (
    GRID,
    Band,
    precision_recall_curve,
    reliability_bins,
    roc_curve,
)
from duoscan.evaluation.sample import Sample, measurable, sample_of
from duoscan.terms import POSITIVE, Finding

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from duoscan.evaluation.evaluate import Evaluation
    from duoscan.predictions import Prediction

# Okabe and Ito's colours; every class also has its own line style.
BLUE, ORANGE, GREEN, VERMILLION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666"
CLASS_STYLES: dict[Finding, tuple[str, str]] = {
    Finding.COVID: (VERMILLION, "-"),
    Finding.PNEUMONIA: (ORANGE, "--"),
    Finding.NORMAL: (BLUE, "-."),
    Finding.OTHER: (GREEN, ":"),
}
STEMS = (
    "roc",
    "precision_recall",
    "reliability",
    "probabilities",
    "confusion",
    "confusion_normalised",
    "confusion_classes",
    "confusion_classes_normalised",
)
HISTOGRAM_BINS = 20
PNG_DPI = 150


def check_can_draw() -> None:
    """Refuse early where matplotlib is not installed.

    Raises:
        MissingExtraError: It is not.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtraError("evaluate", "drawing figures")


def draw_figures(evaluation: Evaluation, predictions: Sequence[Prediction], band: Band | None) -> dict[str, Figure]:
    """Every figure that the rows allow, by file stem, which is one of ``STEMS``.

    Args:
        evaluation: What was measured.
        predictions: The rows it was measured on.
        band: Band of the ROC curve, where there is one.
    """
    check_can_draw()
    sample = sample_of(predictions, evaluation.threshold)
    size = f"n = {evaluation.overall.images} images of {evaluation.overall.people}"
    labels = [POSITIVE, f"not {POSITIVE}"]
    counts = evaluation.overall.confusion.rows()
    at = "as the table decides" if evaluation.threshold is None else f"at P(covid) ≥ {evaluation.threshold:.3g}"
    figures = {
        "confusion": confusion_figure(counts, labels, f"Decisions {at}\n{size}"),
        "confusion_normalised": confusion_figure(
            counts, labels, f"Share of each reference class {at}\n{size}", normalised=True
        ),
        "probabilities": histogram_figure(
            measurable(predictions), evaluation.threshold, f"Probabilities by reference\n{size}"
        ),
        "reliability": reliability_figure(sample, f"Reliability\n{size}"),
    }
    if not np.isnan(evaluation.metrics["auroc"].value):
        figures["roc"] = roc_figure(sample, evaluation, band, f"ROC\n{size}")
        title = f"Precision and recall\n{size}"
        figures["precision_recall"] = precision_recall_figure(sample, evaluation, title)
    if evaluation.multiclass is not None:
        several = evaluation.multiclass
        title = f"Most probable class\nn = {several.images} images"
        figures["confusion_classes"] = confusion_figure(several.confusion, several.classes, title)
        figures["confusion_classes_normalised"] = confusion_figure(
            several.confusion, several.classes, title, normalised=True
        )
    return figures


def roc_figure(sample: Sample, evaluation: Evaluation, band: Band | None, title: str) -> Figure:
    """ROC curve with its band, the operating point and the line of chance."""
    figure, axes = _square(title, "False positive rate (1 − specificity)", "Sensitivity")
    curve = roc_curve(sample)
    if band is not None:
        axes.fill_between(GRID, band.low, band.high, color=BLUE, alpha=0.2, lw=0, label="95 % band")
    name = f"AUROC {evaluation.metrics['auroc'].spoken()}"
    axes.plot(curve.false_positive_rate, curve.sensitivity, color=BLUE, lw=1.8, label=name)
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--", label="chance")
    x, y = evaluation.metrics["fpr"].value, evaluation.metrics["sensitivity"].value
    axes.plot([x], [y], "o", color=VERMILLION, ms=7, label="operating point")
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    return figure


def precision_recall_figure(sample: Sample, evaluation: Evaluation, title: str) -> Figure:
    """Precision against recall with the prevalence as its baseline."""
    figure, axes = _square(title, "Sensitivity (recall)", "Positive predictive value (precision)")
    curve = precision_recall_curve(sample)
    name = f"average precision {evaluation.metrics['average_precision'].spoken()}"
    axes.step(curve.recall, curve.precision, where="pre", color=BLUE, lw=1.8, label=name)
    prevalence = float(sample.reference.mean())
    axes.axhline(prevalence, color=GREY, lw=1, ls="--", label=f"prevalence {prevalence:.3f}")
    x, y = evaluation.metrics["sensitivity"].value, evaluation.metrics["ppv"].value
    if not np.isnan(y):
        axes.plot([x], [y], "o", color=VERMILLION, ms=7, label="operating point")
    axes.legend(loc="lower left", frameon=False, fontsize=9)
    return figure


def reliability_figure(sample: Sample, title: str) -> Figure:
    """Share of covid against stated probability; the area of a dot is the number of images in its bin."""
    figure, axes = _square(title, "Mean P(covid) in bin", "Share of covid in bin")
    bins = reliability_bins(sample)
    counts = np.array([one.n for one in bins])
    stated, observed = [one.mean_probability for one in bins], [one.observed for one in bins]
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--", label="perfectly calibrated")
    axes.plot(stated, observed, color=BLUE, lw=1)
    axes.scatter(
        stated, observed, s=20 + 180 * counts / counts.max(), color=BLUE, alpha=0.8, label="bins (area: images)"
    )
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    return figure


def histogram_figure(rows: Sequence[Prediction], threshold: float | None, title: str) -> Figure:
    """Probabilities by reference label, and the operating point."""
    figure, axes = _figure(title, "P(covid)", "Images")
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(nbins="auto", steps=[1, 2, 5, 10], integer=True))
    edges = np.linspace(0.0, 1.0, HISTOGRAM_BINS + 1).tolist()
    for finding, (colour, style) in CLASS_STYLES.items():
        values = [row.probability for row in rows if row.label == finding and row.probability is not None]
        if values:
            name = f"{finding} ({len(values)})"
            axes.hist(values, bins=edges, histtype="stepfilled", color=colour, alpha=0.15)
            axes.hist(values, bins=edges, histtype="step", color=colour, ls=style, lw=1.8, label=name)
    if threshold is not None:
        axes.axvline(threshold, color="black", lw=1, ls="--", label=f"operating point {threshold:.3g}")
    axes.set_xlim(0, 1)
    axes.legend(frameon=False, fontsize=9)
    return figure


def confusion_figure(
    counts: Sequence[Sequence[int]], labels: Sequence[str], title: str, *, normalised: bool = False
) -> Figure:
    """Confusion matrix, reference by row; each row sums to 1 where ``normalised``."""
    table = np.asarray(counts, dtype=np.float64)
    totals = table.sum(axis=1, keepdims=True)
    share = np.divide(table, totals, out=np.zeros_like(table), where=totals > 0)
    figure, axes = _figure(title, "Decision", "Reference")
    axes.imshow(share if normalised else table, cmap="Blues", vmin=0, vmax=1 if normalised else None)
    for (row, column), count in np.ndenumerate(table):
        shade = share[row, column] if normalised else count / table.max()
        text = f"{share[row, column]:.3f}" if normalised else f"{count:.0f}"
        if normalised and totals[row, 0] == 0:
            text = "–"
        colour = "white" if shade > 1 / 2 else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=13)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), labels)
    axes.spines[:].set_visible(False)
    return figure


def render(figures: Mapping[str, Figure]) -> dict[str, bytes]:
    """File name → content: each figure as SVG and as PNG."""
    import matplotlib as mpl

    files = {}
    for stem, figure in figures.items():
        for suffix, options in (("svg", {"metadata": {"Date": None}}), ("png", {"dpi": PNG_DPI})):
            stream = io.BytesIO()
            with mpl.rc_context({"svg.hashsalt": "duoscan"}):
                figure.savefig(stream, format=suffix, **options)
            files[f"{stem}.{suffix}"] = stream.getvalue()
    return files


def _figure(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 4.8), layout="constrained")
    axes: Any = figure.add_subplot()
    axes.set(xlabel=x, ylabel=y)
    axes.set_title(title, fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _square(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure, axes = _figure(title, x, y)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), aspect="equal")
    axes.grid(alpha=0.25, lw=0.6)
    return figure, axes
