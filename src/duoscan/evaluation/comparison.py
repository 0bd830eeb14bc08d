"""Two evaluations side by side: X-ray against CT, or one model against another."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.evaluation.beta import TAIL
from duoscan.evaluation.delong import delong_test
from duoscan.evaluation.differences import JUDGED, better_side, differences
from duoscan.evaluation.paired_tests import holm, mcnemar_exact, multiple_comparison_note
from duoscan.evaluation.sample import measurable, sample_of, units_word
from duoscan.predictions import ROW_NAME, Prediction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.evaluation.evaluate import Evaluation
    from duoscan.evaluation.intervals import Estimate


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        name: How a reader knows it, e.g. ``chest X-ray``.
        evaluation: Its evaluation.
        predictions: The rows that evaluation was made of.
    """

    name: str
    evaluation: Evaluation
    predictions: Sequence[Prediction]


@dataclass(frozen=True)
class ComparisonRow:
    """One metric of both.

    Attributes:
        metric: Its name.
        first: Of the first.
        second: Of the second.
        difference: First minus second.
        first_baseline: Of always answering the majority class, on the first's rows.
        second_baseline: The same on the second's rows.
        joint: The difference with an interval that holds together with those of the other metrics of ``JUDGED``;
            ``None`` where nothing is concluded from the metric.
    """

    metric: str
    first: Estimate
    second: Estimate
    difference: Estimate
    first_baseline: float
    second_baseline: float
    joint: Estimate | None = None

    @property
    def better(self) -> int | None:
        """Index of the higher, hence better side; ``None`` where ``joint`` holds 0 or is not there."""
        return better_side(self.joint)


@dataclass(frozen=True)
class PairedTest:
    """Whether two models differ in one metric on the same rows.

    Attributes:
        metric: Its name.
        method: Whose test.
        p_value: Two-sided; ``nan`` where there is nothing to tell it from.
        adjusted: By Holm's method, for all tests of the comparison together.
    """

    metric: str
    method: str
    p_value: float
    adjusted: float

    def to_json(self) -> dict[str, Any]:
        """As in files; what is undefined is ``null``."""
        stated = {"metric": self.metric, "method": self.method}
        return {**stated, "p_value": _defined(self.p_value), "adjusted": _defined(self.adjusted)}


@dataclass(frozen=True)
class Comparison:
    """Two evaluations side by side.

    Attributes:
        names: What is compared.
        rows: One a metric.
        shared_patients: Patients that are in both.
        is_paired: Whether the differences resample shared patients together.
        caveat: What the comparison cannot show; empty where the patients are the same.
        tests: Paired tests; empty where the two did not answer the same rows.
    """

    names: tuple[str, str]
    rows: tuple[ComparisonRow, ...]
    shared_patients: int
    is_paired: bool
    caveat: str
    tests: tuple[PairedTest, ...] = ()

    @property
    def test_note(self) -> str:
        """What a reader must know of several tests side by side; empty for one or none."""
        return multiple_comparison_note(len(self.tests))

    def to_json(self) -> dict[str, Any]:
        """As in files; what is undefined is ``null``."""
        return {
            "names": list(self.names),
            "shared_patients": self.shared_patients,
            "paired": self.is_paired,
            "caveat": self.caveat,
            "tests": [test.to_json() for test in self.tests],
            "rows": [
                {
                    "metric": row.metric,
                    "first": row.first.to_json() | {"baseline": _defined(row.first_baseline)},
                    "second": row.second.to_json() | {"baseline": _defined(row.second_baseline)},
                    "difference": row.difference.to_json(),
                    "joint": None if row.joint is None else row.joint.to_json(),
                }
                for row in self.rows
            ],
        }


def compatible(difference: Estimate) -> str:
    """What no difference shown leaves possible, in words; empty without an interval."""
    if difference.low is None or difference.high is None:
        return ""
    return f"a difference of up to {max(-difference.low, difference.high):.3f} is compatible with these patients"


def compare(first: Side, second: Side) -> Comparison:
    """Put two evaluations side by side, each at its own operating point.

    Where they share patients, the difference resamples those patients together; where they share none, it joins
    the two intervals. Resamples and seed are those of the first evaluation.
    """
    units = [_units(first), _units(second)]
    one, other = set(units[0]), set(units[1])
    shared = len(one & other)
    a, b = first.evaluation, second.evaluation
    mine, theirs = (
        replace(sample_of(side.predictions, side.evaluation.threshold), units=tuple(own))
        for side, own in zip((first, second), units, strict=True)
    )
    alone, joint = (differences(mine, theirs, tail, a.resamples, a.seed) for tail in (TAIL, TAIL / len(JUDGED)))
    rows = tuple(
        ComparisonRow(
            name, a.metrics[name], b.metrics[name], alone[name], a.baseline[name], b.baseline[name],
            joint[name] if name in JUDGED else None,
        )
        for name in a.metrics
    )  # fmt: skip
    caveat = "" if one == other else _caveat(first, second, shared, len(one), len(other))
    tests = _paired_tests(first, second)
    return Comparison((first.name, second.name), rows, shared, is_paired=bool(shared), caveat=caveat, tests=tests)


def _paired_tests(first: Side, second: Side) -> tuple[PairedTest, ...]:
    """DeLong's test of the AUROC and, of one row a patient, McNemar's of sensitivity and specificity."""
    places = [_places(measurable(side.predictions)) for side in (first, second)]
    one, other = (sample_of(side.predictions, side.evaluation.threshold) for side in (first, second))
    if not places[0] or places[0].keys() != places[1].keys() or not len(places[0]) == len(one) == len(other):
        return ()
    order = np.array([places[1][name] for name in places[0]])
    reference, units = one.reference, one.units
    if (reference != other.reference[order]).any() or units != tuple(other.units[place] for place in order):
        return ()
    found = {"auroc": delong_test(reference, one.probability, other.probability[order], units).p_value}
    if len(set(units)) == len(units):
        right = one.called == reference, other.called[order] == reference
        for metric, rows in (("sensitivity", reference), ("specificity", ~reference)):
            own = [unit for unit, is_own in zip(units, rows, strict=True) if is_own]
            found[metric] = mcnemar_exact(right[0][rows], right[1][rows], own).p_value
    adjusted = holm(found)
    return tuple(
        PairedTest(metric, "DeLong" if metric == "auroc" else "McNemar, exact", value, adjusted[metric])
        for metric, value in found.items()
    )


def _places(rows: Sequence[Prediction]) -> dict[str, int]:
    """Place by what a row is known by: its path; where rows name none, its patient, if each has one row."""
    has_paths = not any(ROW_NAME.fullmatch(row.path) for row in rows)
    names = [row.path if has_paths else row.patient_id for row in rows]
    if None in names or len(set(names)) < len(names):
        return {}
    return {str(name): place for place, name in enumerate(names)}


def _units(side: Side) -> list[str]:
    """Patients by row; a row that names neither patient nor path is alike in name only, so it is kept apart."""
    return [
        f"{side.name}: {row.unit}" if row.patient_id is None and ROW_NAME.fullmatch(row.path) else row.unit
        for row in measurable(side.predictions)
    ]


def _caveat(first: Side, second: Side, shared: int, one: int, other: int) -> str:
    words = [units_word(row.unit for row in measurable(side.predictions)) for side in (first, second)]
    sizes = f"{first.name}: {one} {words[0]}; {second.name}: {other} {words[1]}"
    if shared:
        return (
            f"Partly paired: {shared} {words[0]} are in both ({sizes}). The rest of the difference may come from "
            "who was imaged, not from what imaged them."
        )
    return (
        f"Unpaired: no patient is in both ({sizes}). The groups may differ in severity, source, prevalence and "
        "reference standard, so a difference here is not the effect of the one against the other."
    )


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value
