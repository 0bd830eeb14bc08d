"""X-ray against CT on equal terms: equal numbers, the same patients where they had both, and what each costs.

System 2 compared the two on data sets of different sizes and patients. Here each patient counts once. Patients with
both examinations are compared with themselves. Where there are none, the larger group of each class is cut down to
the size of the smaller, many times by chance, and the figures are averaged, so that neither side has the narrower
interval or the easier prevalence. What stays different then is who the patients are, and the table says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import InputError
from duoscan.evaluation.beta import TAIL
from duoscan.evaluation.binary import measure_binary
from duoscan.evaluation.comparison import compatible
from duoscan.evaluation.differences import better_side
from duoscan.evaluation.intervals import (
    DEFAULT_RESAMPLES,
    Estimate,
    paired_difference,
    unpaired_difference,
)
from duoscan.evaluation.metrics import METRIC_NAMES, BinaryMetrics
from duoscan.evaluation.sample import Sample
from duoscan.policies.rule import PolicyKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.evaluation.policies.measured import PolicyFigures
    from duoscan.evaluation.sample import BoolArray, FloatArray, IntArray
    from duoscan.policies.scores import PatientScores

METRICS = ("sensitivity", "specificity", "balanced_accuracy", "auroc", "ppv", "npv", "brier_score")
_SMALLER_IS_BETTER = ("brier_score",)
DEFAULT_DRAWS = 20
PER_DOSE = 1000


@dataclass(frozen=True)
class FairRow:
    """One metric of both, on equal terms.

    Attributes:
        metric: A name of ``METRICS``.
        xray: Of the X-ray.
        ct: Of the CT.
        difference: CT minus X-ray.
        joint: The same with an interval that holds together with those of all ``METRICS`` (Bonferroni).
        better: ``xray``, ``ct``, or empty where the joint interval holds 0.
    """

    metric: str
    xray: Estimate
    ct: Estimate
    difference: Estimate
    joint: Estimate
    better: str


@dataclass(frozen=True)
class FairComparison:
    """X-ray against CT.

    Attributes:
        rows: One a metric.
        sick: Sick patients a side.
        well: Well patients a side.
        draws: How often the larger side was cut down; 1 where patients are paired.
        is_paired: Whether both sides are the same patients.
        note: What the comparison can show.
    """

    rows: tuple[FairRow, ...]
    sick: int
    well: int
    draws: int
    is_paired: bool
    note: str

    def to_json(self) -> dict[str, Any]:
        """As in ``triage.json``."""
        return {
            "paired": self.is_paired,
            "sick_each": self.sick,
            "well_each": self.well,
            "draws": self.draws,
            "note": self.note,
            "rows": [
                {
                    "metric": row.metric,
                    "xray": row.xray.to_json(),
                    "ct": row.ct.to_json(),
                    "ct_minus_xray": row.difference.to_json(),
                    "joint": row.joint.to_json(),
                    "better": row.better,
                }
                for row in self.rows
            ],
        }


@dataclass(frozen=True)
class Dose:
    """Effective dose of one examination, as the person who asks gives it; none is assumed.

    Attributes:
        xray_msv: Of the X-ray, in millisievert.
        ct_msv: Of the CT, in millisievert.
    """

    xray_msv: float
    ct_msv: float


def compare_modalities(
    patients: PatientScores,
    xray_threshold: float,
    ct_threshold: float,
    *,
    draws: int = DEFAULT_DRAWS,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> FairComparison:
    """Compare the two phases, each alone at its own threshold.

    Args:
        patients: With a score of either or both.
        xray_threshold: P(covid) from which the X-ray is positive.
        ct_threshold: P(covid) from which the CT is positive.
        draws: How often the larger side is cut down where no patient has both.
        resamples: Bootstrap resamples of patients.
        seed: Of draws and resamples.

    Raises:
        InputError: A side lacks sick or well patients, or too few resamples.
    """
    points = (xray_threshold, ct_threshold)
    both = np.flatnonzero(patients.is_paired)
    if 0 < patients.sick[both].sum() < len(both):
        rows = _compare_once(patients, (both, both), points, resamples, seed)
        left_out = len(patients) - len(both)
        note = "Same patients on both sides." + (f" {left_out} with only one of the two left out." if left_out else "")
        sick = int(patients.sick[both].sum())
        return FairComparison(rows, sick, len(both) - sick, 1, is_paired=True, note=note)
    sides = [np.flatnonzero(~np.isnan(scores)) for scores in (patients.xray, patients.ct)]
    sizes = [min(int(np.sum(patients.sick[side] == of_sick)) for side in sides) for of_sick in (True, False)]
    if 0 in sizes:
        raise InputError(f"{sizes[0]} sick and {sizes[1]} well patients with an X-ray and with a CT; each needs both")
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        cut = _cut(rng, patients.sick, sides[0], sizes), _cut(rng, patients.sick, sides[1], sizes)
        drawn.append(_compare_once(patients, cut, points, resamples, seed))
    note = (
        f"Different patients: equal numbers a side and class, averaged over {draws} draws. The groups may still differ "
        "in severity, source and reference standard, so a difference is not the effect of the examination."
    )
    return FairComparison(_averaged(drawn), sizes[0], sizes[1], draws, is_paired=False, note=note)


def benefits_and_drawbacks(
    comparison: FairComparison, policies: Sequence[PolicyFigures], dose: Dose | None
) -> list[dict[str, str]]:
    """Aspect by aspect, what speaks for the X-ray and what for the CT, from these numbers alone.

    Args:
        comparison: Of the two phases.
        policies: For the dose to 1,000 patients under each.
        dose: As the user gives it; the rows say so where it is not given.
    """
    table = [
        {
            "aspect": METRIC_NAMES[row.metric],
            "xray": row.xray.spoken(),
            "ct": row.ct.spoken(),
            "speaks for": {"xray": "X-ray", "ct": "CT", "": _neither(row.joint)}[row.better],
        }
        for row in comparison.rows
    ]
    if dose is None:
        return [*table, {"aspect": "Radiation dose", "xray": "not given", "ct": "not given", "speaks for": "not given"}]
    lower = "X-ray" if dose.xray_msv < dose.ct_msv else "CT" if dose.ct_msv < dose.xray_msv else "neither"
    alone = {"xray": f"{dose.xray_msv:g} mSv", "ct": f"{dose.ct_msv:g} mSv", "speaks for": lower}
    table.append({"aspect": "Radiation dose of one examination, as given", **alone})
    for each in policies:
        share = each.figures["to_ct"]
        # CT for all needs no X-ray: it decides nothing there.
        xray = 0.0 if each.policy.kind is PolicyKind.CT_FOR_ALL else dose.xray_msv * PER_DOSE
        table.append(
            {
                "aspect": f"Dose to 1,000 patients under {each.policy.kind}",
                "xray": f"{xray:.4g} mSv",
                "ct": _dose(share, dose.ct_msv * PER_DOSE),
                "speaks for": "",
            }
        )
    return table


def _compare_once(
    patients: PatientScores,
    sides: tuple[IntArray, IntArray],
    points: tuple[float, float],
    resamples: int,
    seed: int,
) -> tuple[FairRow, ...]:
    first, second = (
        _side(patients, scores, rows, point)
        for scores, rows, point in zip((patients.xray, patients.ct), sides, points, strict=True)
    )
    found = []
    for tail in (TAIL, TAIL / len(METRICS)):
        xray, ct = (measure_binary(one, resamples=resamples, seed=seed, tail=tail) for one in (first, second))
        differences = {name: unpaired_difference(ct[name], xray[name]) for name in METRICS}
        if first.units == second.units:
            pair = [(BinaryMetrics(one), one.units) for one in (second, first)]
            paired = paired_difference(*pair, resamples=resamples, seed=seed, tail=tail)
            differences = {name: _bounded(paired[name], ct[name], xray[name]) for name in METRICS}
        found.append((xray, ct, differences))
    (xray, ct, differences), (_, _, joint) = found
    return tuple(_row(name, xray[name], ct[name], differences[name], joint[name]) for name in METRICS)


def _bounded(difference: Estimate, ct: Estimate, xray: Estimate) -> Estimate:
    """No error on either side varies in no resample; then both intervals are joined as if independent."""
    if difference.low is not None:
        return difference
    return replace(unpaired_difference(ct, xray), note="both intervals joined as if independent")


def _side(patients: PatientScores, scores: FloatArray, rows: IntArray, threshold: float) -> Sample:
    units = tuple(patients.names[row] for row in rows)
    chosen = scores[rows]
    return Sample(patients.sick[rows], chosen, chosen >= threshold, units)


def _cut(rng: np.random.Generator, sick: BoolArray, side: IntArray, sizes: list[int]) -> IntArray:
    """As many sick and well of a side as ``sizes`` says, drawn without replacement."""
    parts = [
        rng.choice(side[sick[side] == of_sick], size, replace=False)
        for of_sick, size in zip((True, False), sizes, strict=True)
    ]
    return np.sort(np.concatenate(parts))


def _averaged(drawn: list[tuple[FairRow, ...]]) -> tuple[FairRow, ...]:
    return tuple(
        _row(
            rows[0].metric,
            _mean([row.xray for row in rows]),
            _mean([row.ct for row in rows]),
            _mean([row.difference for row in rows]),
            _mean([row.joint for row in rows]),
        )
        for rows in zip(*drawn, strict=True)
    )


def _mean(estimates: list[Estimate]) -> Estimate:
    """Value and both ends averaged over draws: the estimate and interval of a study of the smaller size."""
    value = float(np.mean([estimate.value for estimate in estimates]))
    first = estimates[0]
    lows = [estimate.low for estimate in estimates if estimate.low is not None]
    highs = [estimate.high for estimate in estimates if estimate.high is not None]
    if len(lows) < len(estimates) or len(highs) < len(estimates):
        return Estimate(value, None, None, first.n, first.units, note="a draw has no interval")
    note = f"averaged over {len(estimates)} draws"
    return Estimate(value, float(np.mean(lows)), float(np.mean(highs)), first.n, first.units, note=note)


def _row(metric: str, xray: Estimate, ct: Estimate, difference: Estimate, joint: Estimate) -> FairRow:
    side = better_side(joint)
    if side is not None and metric in _SMALLER_IS_BETTER:
        side = 1 - side
    return FairRow(metric, xray, ct, difference, joint, "" if side is None else ("ct", "xray")[side])


def _neither(joint: Estimate) -> str:
    left = compatible(joint)
    return f"neither, as far as these patients tell{f'; {left}' if left else ''}"


def _dose(share: Estimate, of_everyone_msv: float) -> str:
    value, low, high = (None if end is None else end * of_everyone_msv for end in (share.value, share.low, share.high))
    if low is None or high is None or low == high:
        return f"{value:.4g} mSv"
    return f"{value:.4g} [{low:.4g}, {high:.4g}] mSv"
