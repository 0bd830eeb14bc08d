"""One sample less another, metric by metric, with intervals that may hold together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.evaluation.binary import measure_binary
from duoscan.evaluation.intervals import Estimate, paired_difference, unpaired_difference
from duoscan.evaluation.metrics import BinaryMetrics

if TYPE_CHECKING:
    from duoscan.evaluation.sample import Sample

JUDGED = ("sensitivity", "specificity", "auroc")
"""The metrics that something is concluded from; their intervals hold together (Bonferroni)."""


def better_side(difference: Estimate | None) -> int | None:
    """0 where a difference lies above 0, 1 where it lies below, ``None`` where its interval holds 0 or is not there."""
    if difference is None or difference.low is None or difference.high is None:
        return None
    return 0 if difference.low > 0 else 1 if difference.high < 0 else None


def differences(one: Sample, other: Sample, tail: float, resamples: int, seed: int) -> dict[str, Estimate]:
    """Each metric of one sample less that of another.

    Patients whom both hold are drawn together; where there are none, the two intervals are joined.

    Args:
        one: Rows with the keys of their patients.
        other: Others, or the same rows answered by another model.
        tail: Chance that is left on either side.
        resamples: Of patients.
        seed: Makes them repeatable.
    """
    if set(one.units) & set(other.units):
        first, second = ((BinaryMetrics(sample), sample.units) for sample in (one, other))
        return paired_difference(first, second, resamples=resamples, seed=seed, tail=tail)
    apart, other_apart = (measure_binary(sample, resamples=resamples, seed=seed, tail=tail) for sample in (one, other))
    return {name: unpaired_difference(apart[name], other_apart[name]) for name in apart}
