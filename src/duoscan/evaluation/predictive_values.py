"""PPV and NPV where covid is as common as one states, from the sensitivity and specificity that were measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import InputError
from duoscan.evaluation.intervals import DEFAULT_RESAMPLES, Estimate, bootstrap
from duoscan.evaluation.metrics import ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.evaluation.sample import BoolArray, FloatArray, Sample

PREVALENCES = (0.01, 0.02, 0.05, 0.10, 0.20, 0.30, 0.40, 0.50)


@dataclass(frozen=True)
class PredictiveValues:
    """PPV and NPV at one prevalence.

    Attributes:
        prevalence: Share of covid where the model is to be used.
        ppv: Share of covid among the positive answers there.
        npv: Share of not covid among the negative answers there.
    """

    prevalence: float
    ppv: Estimate
    npv: Estimate

    def to_json(self) -> dict[str, Any]:
        """As in files; what is undefined is ``null``."""
        return {"prevalence": self.prevalence, "ppv": self.ppv.to_json(), "npv": self.npv.to_json()}


def predictive_values(
    sample: Sample,
    prevalences: Sequence[float] = PREVALENCES,
    *,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> list[PredictiveValues]:
    """PPV and NPV at stated prevalences by Bayes' theorem, with intervals from the same resampled patients.

    Where the sensitivity or the specificity is 0 or 1 it varies in no resample and has an exact bound. The ends are
    then those of both intervals' lower and of both intervals' upper ends, which is wider than needed, never too
    narrow.

    Args:
        sample: The rows, called at the operating point in use.
        prevalences: Shares of covid, each between 0 and 1.
        resamples: How many resamples.
        seed: Makes the intervals repeatable.

    Raises:
        InputError: A prevalence is out of range, or the resamples are too few.
    """
    if wrong := [value for value in prevalences if not 0.0 < value < 1.0]:
        msg = f"prevalence {wrong[0]:g} is out of range; give one between 0 and 1"
        raise InputError(msg)
    found = bootstrap(_Shifted(sample, prevalences), sample.units, resamples=resamples, seed=seed)
    sensitivity, specificity = found["sensitivity"], found["specificity"]
    rows = [
        PredictiveValues(value, found[f"ppv_{place}"], found[f"npv_{place}"]) for place, value in enumerate(prevalences)
    ]
    if {sensitivity.value, specificity.value} & {0.0, 1.0}:
        return [_from_ends(row, sensitivity, specificity) for row in rows]
    return rows


def bayes(sensitivity: FloatArray, specificity: FloatArray, prevalence: float) -> tuple[FloatArray, FloatArray]:
    """PPV and NPV, ``nan`` where nobody gets that answer."""
    sick, well = prevalence, 1.0 - prevalence
    found, spared = sick * sensitivity, well * specificity
    return ratio(found, found + well * (1.0 - specificity)), ratio(spared, spared + sick * (1.0 - sensitivity))


class _Shifted:
    """Sensitivity, specificity, and from them PPV and NPV at each prevalence."""

    def __init__(self, sample: Sample, prevalences: Sequence[float]) -> None:
        self._reference, self._prevalences = sample.reference, prevalences
        reference, called = sample.reference, sample.called
        self._columns = np.column_stack([reference & called, reference, ~reference & ~called, ~reference])

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        hits, sick, spared, well = (weights @ self._columns).T
        sensitivity, specificity = ratio(hits, sick), ratio(spared, well)
        metrics = {"sensitivity": sensitivity, "specificity": specificity}
        for place, prevalence in enumerate(self._prevalences):
            metrics[f"ppv_{place}"], metrics[f"npv_{place}"] = bayes(sensitivity, specificity, prevalence)
        return metrics

    def denominators(self) -> dict[str, BoolArray]:
        return {"sensitivity": self._reference, "specificity": ~self._reference}


def _from_ends(row: PredictiveValues, sensitivity: Estimate, specificity: Estimate) -> PredictiveValues:
    if sensitivity.low is None or specificity.low is None or sensitivity.high is None or specificity.high is None:
        return row
    lows = bayes(np.array(sensitivity.low), np.array(specificity.low), row.prevalence)
    highs = bayes(np.array(sensitivity.high), np.array(specificity.high), row.prevalence)
    ppv, npv = (
        _between(estimate, float(low), float(high))
        for estimate, low, high in zip((row.ppv, row.npv), lows, highs, strict=True)
    )
    return PredictiveValues(row.prevalence, ppv, npv)


def _between(estimate: Estimate, low: float, high: float) -> Estimate:
    if any(map(math.isnan, (estimate.value, low, high))):
        return estimate
    note = "from the ends of the sensitivity's and the specificity's intervals"
    return Estimate(estimate.value, low, high, estimate.n, estimate.units, note=note)
