"""The numbers of covid against the rest, each with the one interval that is printed for it everywhere.

Which interval a number gets was decided by simulation (``benchmarks/promises.py``): percentiles of an AUROC
of 0.99 among few patients hold it in as few as four of ten cohorts, those of average precision and Brier score hardly
more often.

- AUROC: DeLong by patient (:mod:`duoscan.evaluation.delong`).
- Average precision: spread of the resamples, on the logit scale (Boyd, Eng and Page, ECML 2013), as the AUROC's.
- Brier score and mean absolute error: spread between patients, on the log scale. A few bad errors carry most of them,
  so Student's t is that of one less than the patients who carry them.
- All else: :func:`duoscan.evaluation.intervals.bootstrap`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from duoscan.evaluation.beta import TAIL, binomial_limits, carriers, share_limits, student_quantile
from duoscan.evaluation.delong import delong_auroc
from duoscan.evaluation.intervals import (
    CLUSTERED,
    DEFAULT_RESAMPLES,
    EXACT,
    MAX_DROPPED,
    Estimate,
    bootstrap,
    unit_index,
)
from duoscan.evaluation.metrics import BinaryMetrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.evaluation.sample import FloatArray, Sample

FEWEST = 2  # patients of each class; the spread of one is unknown


def measure_binary(
    sample: Sample, *, resamples: int = DEFAULT_RESAMPLES, seed: int = 0, tail: float = TAIL
) -> dict[str, Estimate]:
    """Every metric of :class:`BinaryMetrics` with its 95 % interval.

    Args:
        sample: The rows.
        resamples: Of patients, where an interval needs them.
        seed: Makes them repeatable.
        tail: Chance that is left on either side; smaller where several intervals have to hold together.

    Raises:
        InputError: Too few resamples.
    """
    error = np.abs(sample.reference - sample.probability)
    return bootstrap(
        BinaryMetrics(sample),
        sample.units,
        resamples=resamples,
        seed=seed,
        tail=tail,
        closed={
            "auroc": lambda _value, _drawn: delong_auroc(sample.reference, sample.probability, sample.units, tail),
            "average_precision": lambda value, drawn: _average_precision(value, drawn, sample, tail),
            "brier_score": lambda _value, _drawn: mean_of_errors(error**2, sample.units, tail),
            "mae": lambda _value, _drawn: mean_of_errors(error, sample.units, tail),
        },
    )


def mean_of_errors(errors: FloatArray, units: Sequence[str], tail: float = TAIL) -> Estimate:
    """The mean of what each row is off by, with an interval that is symmetric on the log scale.

    Args:
        errors: shape (N,); from 0 to 1.
        units: The N rows' patients.
        tail: Chance that is left on either side.
    """
    index, count = unit_index(units)
    value = float(errors.mean())
    if count < FEWEST:
        return Estimate(value, None, None, len(errors), count, note="one patient only")
    beyond = np.bincount(index, weights=errors - value, minlength=count)
    spread = math.sqrt(float(beyond @ beyond) * count / (count - 1)) / len(errors)
    if not value > 0.0 or not spread > 0.0:
        note = "every patient is as far off, so there is nothing to tell an interval from"
        return Estimate(value, None, None, len(errors), count, note=note)
    reach = student_quantile(1.0 - tail, max(1.0, carriers(errors, index) - 1.0)) * spread / value
    ends = value * math.exp(-reach), min(1.0, value * math.exp(min(reach, 700.0)))
    return Estimate(value, *ends, len(errors), count, note="log scale, spread between patients")


def _average_precision(value: float, drawn: FloatArray, sample: Sample, tail: float) -> Estimate:
    index, units = unit_index(sample.units)
    n, (sick, well) = len(sample), (len(np.unique(index[sample.reference == wanted])) for wanted in (True, False))
    fewest = min(sick, well)
    if not fewest:
        return Estimate(value, None, None, n, units, note="undefined on these rows")
    if value == 1.0:
        note = f"{EXACT} bound, {fewest} patients as trials"
        return Estimate(value, *binomial_limits(fewest, fewest, tail), n, units, note=note)
    defined = drawn[~np.isnan(drawn)]
    dropped = len(drawn) - len(defined)
    if dropped > MAX_DROPPED * len(drawn):
        note = f"undefined in {dropped} of {len(drawn)} resamples"
        return Estimate(value, None, None, n, units, dropped, note)
    if fewest < FEWEST:
        return Estimate(value, None, None, n, units, dropped, f"fewer than {FEWEST} patients of a class")
    ordered = np.sort(sample.probability)
    positives = np.sort(sample.probability[sample.reference])
    own = sample.probability[sample.reference]
    at_or_above = [len(rows) - np.searchsorted(rows, own, side="left") for rows in (positives, ordered)]
    wrong = 1.0 - at_or_above[0] / at_or_above[1]
    carrying = min(fewest - 1.0, carriers(wrong, index[sample.reference]))
    ends = share_limits(value, float(defined.std(ddof=1)), carrying, fewest, tail)
    return Estimate(value, *ends, n, units, dropped, CLUSTERED)
