"""An evaluation as a folder: numbers for machines, tables for spreadsheets, figures for people."""

from __future__ import annotations

import json
import math
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from duoscan.errors import InputError
from duoscan.evaluation.curves import roc_band, roc_curve
from duoscan.evaluation.figures import STEMS, check_can_draw, draw_figures, render
from duoscan.evaluation.prior_shift import COLUMNS
from duoscan.evaluation.sample import sample_of
from duoscan.files import write_bytes, write_text
from duoscan.rows import csv_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from duoscan.evaluation.evaluate import Evaluation
    from duoscan.predictions import Prediction

FIGURES = "figures"
MOVED = "at-prevalence.csv"


def check_out_dir(out_dir: Path, *, force: bool = False) -> None:
    """Refuse, before any work is done, a folder that would lose something.

    Raises:
        InputError: It is a file, or it holds something and ``force`` is not set.
    """
    if out_dir.exists() and not out_dir.is_dir():
        msg = f"{out_dir}: a file of this name is there; give another folder"
        raise InputError(msg)
    if not force and out_dir.is_dir() and any(out_dir.iterdir()):
        msg = f"{out_dir}: the folder is not empty; give another one or write over it with --force"
        raise InputError(msg)


def write_evaluation(
    evaluation: Evaluation,
    predictions: Sequence[Prediction],
    out_dir: Path,
    *,
    command: str | None = None,
    split: str | None = None,
    fingerprint: str | None = None,
    test_uses: Mapping[str, Any] | None = None,
    force: bool = False,
) -> list[Path]:
    """Write ``metrics.json``, ``metrics.csv``, ``roc.csv`` and ``figures/`` as SVG and PNG.

    Where a prevalence was stated, ``at-prevalence.csv`` holds each row's P(covid) moved to it.

    Each file is written whole or not at all, ``metrics.json`` last, so a folder that has it is complete. With
    ``force``, figures of an earlier evaluation are removed and other files are left alone.

    Args:
        evaluation: What was measured.
        predictions: The rows it was measured on.
        out_dir: Folder, made where it is missing.
        command: The command that made it.
        split: The split that was asked for.
        fingerprint: SHA-256 of the data.
        test_uses: How often the test set was used, from its ledger.
        force: Write into a folder that is not empty.

    Returns:
        The files, ``metrics.json`` last.

    Raises:
        InputError: The folder would lose something.
        MissingExtraError: matplotlib is not installed.
    """
    check_out_dir(out_dir, force=force)
    check_can_draw()
    sample = sample_of(predictions, evaluation.threshold)
    band = roc_band(sample, resamples=evaluation.resamples, seed=evaluation.seed)
    figures = render(draw_figures(evaluation, predictions, band))
    for name in ("metrics.json", MOVED):
        (out_dir / name).unlink(missing_ok=True)
    for stem in STEMS:
        for suffix in ("svg", "png"):
            (out_dir / FIGURES / f"{stem}.{suffix}").unlink(missing_ok=True)
    written = []
    for name, content in figures.items():
        written.append(out_dir / FIGURES / name)
        write_bytes(written[-1], content)
    roc = roc_curve(sample)
    points = zip(roc.threshold, roc.false_positive_rate, roc.sensitivity, strict=True)
    document = evaluation.to_json() | {
        "duoscan_version": version("duoscan"),
        "command": command,
        "split": split,
        "data_fingerprint": fingerprint,
        "test_uses": None if test_uses is None else dict(test_uses),
    }
    shift = evaluation.prior_shift
    tables = {} if shift is None else {MOVED: _csv(COLUMNS, shift.table())}
    tables |= {
        "metrics.csv": _csv(["metric", "value", "low", "high", "baseline"], metric_rows(evaluation)),
        "roc.csv": _csv(["threshold", "false_positive_rate", "sensitivity"], points),
        "metrics.json": json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
    }
    for name, text in tables.items():
        written.append(out_dir / name)
        write_text(written[-1], text)
    return written


def metric_rows(evaluation: Evaluation) -> list[tuple[str, float, float | None, float | None, float]]:
    """Metric, value, low, high, baseline; the several-class ones under ``class:…``."""
    blocks = [("", evaluation.metrics, evaluation.baseline)]
    if evaluation.multiclass is not None:
        blocks.append(("class:", evaluation.multiclass.metrics, evaluation.multiclass.baseline))
    return [
        (prefix + name, estimate.value, estimate.low, estimate.high, baseline[name])
        for prefix, metrics, baseline in blocks
        for name, estimate in metrics.items()
    ]


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    return csv_text(header, ([_cell(value) for value in row] for row in rows))


def _cell(value: str | float | None) -> str | float:
    """What is undefined becomes an empty cell."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return value if isinstance(value, str) else float(value)
