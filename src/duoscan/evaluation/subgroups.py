"""The same number in parts of the patients: by age, sex, view, hospital, scanner, or whatever a table says of them.

Of several parts one looks worse by chance. So each is compared with all the others, and the intervals of all these
differences hold together (Bonferroni): a part is called different only where its own leaves out 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import PredictionsError
from duoscan.evaluation.beta import TAIL
from duoscan.evaluation.binary import measure_binary
from duoscan.evaluation.differences import JUDGED, better_side, differences
from duoscan.evaluation.sample import measurable, sample_of, spoken_units
from duoscan.foreign import is_gap, number_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duoscan.evaluation.intervals import Estimate
    from duoscan.predictions import Prediction

NOT_STATED = "not stated"
FEW = 20
"""Patients of either class; of fewer an interval says little."""

MOST_VALUES = 10
"""Different numbers that are groups of their own; more are put into bands."""

MOST_GROUPS = 50
_AGES = (18, 40, 60, 80)


@dataclass(frozen=True)
class Subgroup:
    """Patients alike in one column.

    Attributes:
        column: By which they are alike.
        value: What it says of them.
        images: Measured images.
        people: How many patients they show, in words.
        classes: Covid images and others.
        metrics: Of ``JUDGED``, each with its own 95 % interval.
        differences: The same less that of all other images; their intervals hold together over all subgroups.
    """

    column: str
    value: str
    images: int
    people: str
    classes: tuple[int, int]
    metrics: Mapping[str, Estimate]
    differences: Mapping[str, Estimate]

    @property
    def apart(self) -> tuple[str, ...]:
        """Names of the metrics in which the group differs, with ``lower`` or ``higher``."""
        sides = {name: better_side(one) for name, one in self.differences.items()}
        return tuple(f"{name} {('higher', 'lower')[side]}" for name, side in sides.items() if side is not None)

    def to_json(self) -> dict[str, Any]:
        """As in ``metrics.json``."""
        return {
            "column": self.column,
            "value": self.value,
            "images": self.images,
            "people": self.people,
            "covid": self.classes[0],
            "not_covid": self.classes[1],
            "metrics": {name: one.to_json() for name, one in self.metrics.items()},
            "differences": {name: one.to_json() for name, one in self.differences.items()},
        }


@dataclass(frozen=True)
class Subgroups:
    """All groups of all columns.

    Attributes:
        groups: In the order of their columns.
        notes: What a reader must know beside them, one sentence each.
    """

    groups: tuple[Subgroup, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As in ``metrics.json``."""
        return {"groups": [group.to_json() for group in self.groups], "notes": list(self.notes)}


def measure_subgroups(
    predictions: Sequence[Prediction],
    columns: Sequence[str],
    *,
    threshold: float | None,
    resamples: int,
    seed: int,
) -> Subgroups:
    """Measure the groups that each column makes.

    Args:
        predictions: Rows whose ``groups`` hold the columns.
        columns: By which to group; numbers of many values are put into bands, ages into those of grown lives.
        threshold: Operating point; ``None`` measures the table's own decisions.
        resamples: Of patients, where an interval needs them.
        seed: Makes them repeatable.

    Raises:
        PredictionsError: No row can be measured, or a column has so many values that it names images, not groups.
    """
    rows = measurable(predictions)
    made = {column: grouped(rows, column) for column in columns}
    parts = [(column, value, own) for column, groups in made.items() for value, own in groups.items()]
    # Of two groups each is all others of the other, which is one comparison.
    compared = sum({1: 0, 2: 1}.get(len(own), len(own)) for own in made.values()) * len(JUDGED)
    tail = TAIL / max(1, compared)
    found = []
    for column, value, own in parts:
        inside = set(map(id, own))
        rest = [row for row in rows if id(row) not in inside]
        samples = [sample_of(part, threshold) for part in ((own, rest) if rest else (own,))]
        alone = measure_binary(samples[0], resamples=resamples, seed=seed)
        apart = differences(samples[0], samples[1], tail, resamples, seed) if rest else {}
        covid = int(samples[0].reference.sum())
        found.append(
            Subgroup(
                column,
                value,
                len(own),
                spoken_units(samples[0].units),
                (covid, len(own) - covid),
                {name: alone[name] for name in JUDGED},
                {name: apart[name] for name in JUDGED if name in apart},
            )
        )
    return Subgroups(tuple(found), tuple(_notes(found, compared)))


def grouped(rows: Sequence[Prediction], column: str) -> dict[str, list[Prediction]]:
    """Rows by what a column says of them; those of which it says nothing come last.

    Raises:
        PredictionsError: It has too many values to be groups.
    """
    cells = [row.groups.get(column, "").strip() for row in rows]
    bands = _bands(column, [cell for cell in cells if not is_gap(cell)])
    names = [NOT_STATED if is_gap(cell) else bands.get(cell, cell) for cell in cells]
    order = list(dict.fromkeys(bands.values())) or sorted(set(names) - {NOT_STATED})
    if len(order) > MOST_GROUPS:
        raise PredictionsError(
            f"--by {column}: it has {len(order)} different values, more than {MOST_GROUPS}; name a column of groups"
        )
    found = {name: [row for row, own in zip(rows, names, strict=True) if own == name] for name in (*order, NOT_STATED)}
    return {name: own for name, own in found.items() if own}


def _bands(column: str, cells: Sequence[str]) -> dict[str, str]:
    """Cell → band, in order, where a column holds many different numbers; empty where it does not."""
    try:
        numbers = {cell: number_in(cell) for cell in cells}
    except ValueError:
        return {}
    values = np.array([numbers[cell] for cell in cells])
    if len(set(numbers.values())) <= MOST_VALUES or not np.isfinite(values).all():
        return {}
    is_age = "age" in column.lower().replace("_", " ").split() or column.lower().startswith("age")
    inner = _AGES if is_age else sorted({float(cut) for cut in np.quantile(values, [0.25, 0.5, 0.75])})
    edges = (-math.inf, *inner, math.inf)
    ordered = dict(sorted(numbers.items(), key=lambda item: item[1]))
    return {
        cell: _band(low, high)
        for cell, value in ordered.items()
        for low, high in pairwise(edges)
        if low <= value < high
    }


def _band(low: float, high: float) -> str:
    if low == -math.inf:
        return f"below {high:g}"
    return f"{low:g} and above" if high == math.inf else f"{low:g} to below {high:g}"


def _notes(groups: Sequence[Subgroup], compared: int) -> list[str]:
    notes = []
    if compared:
        notes.append(
            f"{compared} differences stand here, each of a group from all other images; their intervals hold together "
            "in 95 of 100 samples (Bonferroni), and one that holds 0 shows no difference, nor that there is none."
        )
    notes += [
        f"{group.column} = {group.value}: {' and '.join(group.apart)} than in all other images."
        for group in groups
        if group.apart
    ]
    few = [f"{group.column} = {group.value}" for group in groups if min(group.classes) < FEW]
    if few:
        notes.append(f"Fewer than {FEW} images of a class, so that next to nothing is known: {', '.join(few)}.")
    return notes
