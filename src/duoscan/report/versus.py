"""Two subjects side by side: X-ray against CT (system 2's comparison), or one run against another."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from duoscan.evaluation.comparison import Comparison, Side, compare, compatible
from duoscan.evaluation.differences import JUDGED
from duoscan.evaluation.evaluate import FEW_PATIENTS
from duoscan.evaluation.metrics import METRIC_NAMES
from duoscan.evaluation.sample import measurable, units_word
from duoscan.inference.aggregate import per_patient
from duoscan.report.patients import again, how
from duoscan.report.wording import number, spoken
from duoscan.terms import POSITIVE, Modality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.evaluation.comparison import ComparisonRow
    from duoscan.evidence.verdicts import Measured
    from duoscan.predictions import Prediction


@dataclass(frozen=True)
class Fact:
    """Something known of a modality beyond these numbers.

    Attributes:
        text: The fact.
        source: Where it is published.
    """

    text: str
    source: str


_METTLER = "Mettler et al., Radiology 2008; 248: 254–263"
_ACR = "American College of Radiology, recommendations of 11 March 2020"
_COCHRANE = "Islam et al., Cochrane Database of Systematic Reviews 2021, CD013639.pub4"
_FLEISCHNER = "Rubin et al. (Fleischner Society), Radiology 2020; 296: 172–180"

BENEFITS: dict[Modality, tuple[Fact, ...]] = {
    Modality.CXR: (
        Fact("Far less radiation.", _METTLER),
        Fact("Portable units come to the bedside, and their surfaces are easily cleaned.", _ACR),
    ),
    Modality.CT: (
        Fact("More sensitive for early lung disease, its progression and other causes of the symptoms.", _FLEISCHNER),
        Fact("Read by people, CT was sensitive and radiographs moderately so, over many studies.", _COCHRANE),
    ),
}
DRAWBACKS: dict[Modality, tuple[Fact, ...]] = {
    Modality.CXR: (
        Fact("Insensitive in mild or early disease; a normal radiograph does not rule the infection out.", _FLEISCHNER),
    ),
    Modality.CT: (
        Fact("Far more radiation, with large differences between scanners and protocols.", _METTLER),
        Fact("Advised against as a screening or first-line test; the scanner must be disinfected in between.", _ACR),
    ),
}


@dataclass(frozen=True)
class Balance:
    """What speaks for and against one modality.

    Attributes:
        name: Of the modality.
        measured_for: From these numbers.
        measured_against: From these numbers.
        benefits: General facts.
        drawbacks: General facts.
    """

    name: str
    measured_for: tuple[str, ...]
    measured_against: tuple[str, ...]
    benefits: tuple[Fact, ...]
    drawbacks: tuple[Fact, ...]


@dataclass(frozen=True)
class Versus:
    """A comparison, ready to be shown.

    Attributes:
        title: What is compared.
        comparison: The numbers.
        sampling: Which patients were taken.
        patients: Patients measured, of the first and of the second, or what stands for them.
        people: The same in words.
        prevalence: Share of covid images, of the first and of the second.
        verdicts: What the numbers say, one sentence each.
        balances: For X-ray against CT, one for each; else empty.
    """

    title: str
    comparison: Comparison
    sampling: str
    patients: tuple[int, int]
    people: tuple[str, str]
    prevalence: tuple[float, float]
    verdicts: tuple[str, ...]
    balances: tuple[Balance, ...] = ()


def compare_all(measured: Sequence[Measured], seed: int) -> list[Versus]:
    """X-ray against CT where both are there, the first of each; else every later subject against the first.

    Args:
        measured: Subjects with their evaluations, in the order given.
        seed: Draws the patients where one side is cut down to the size of the other.
    """
    first: dict[Modality | None, Measured] = {}
    for one in measured:
        first.setdefault(one[0].modality, one)
    if first.keys() >= set(Modality):
        return [xray_against_ct(first[Modality.CXR], first[Modality.CT], seed)]
    return [_as_they_are(measured[0], other) for other in measured[1:]]


def xray_against_ct(xray: Measured, ct: Measured, seed: int) -> Versus:
    """The fair comparison: one answer a patient, of the same patients where enough have both images.

    Where too few have both, the larger side is cut down to as many patients as the smaller has, drawing covid and
    other ones each in the share they have there, so that the prevalence stays as it is.
    """
    sides, how = _answers((xray, ct))
    shared = _patients(sides[0]) & _patients(sides[1])
    if len(shared) >= FEW_PATIENTS and all(_has_both_classes(_of(rows, shared)) for rows in sides):
        left_out = len(_patients(sides[0]) | _patients(sides[1])) - len(shared)
        sides = [_of(rows, shared) for rows in sides]
        sampling = f"The {len(shared)} {units_word(shared)} who have both images, compared pairwise"
        sampling += f"; the {left_out} who have one only are left out." if left_out else "."
    else:
        size = min(len(_patients(rows)) for rows in sides)
        units = units_word(set().union(*map(_patients, sides)))
        sides = [draw_patients(rows, size, seed) for rows in sides]
        sampling = (
            f"As many {units} on either side, {size}: the larger set was cut down by drawing {units} at random "
            f"(seed {seed}) within covid and not covid."
        )
    is_joined = _know_thresholds((xray, ct))
    one, other = (
        Side(modality.spoken, again(measured[1], rows, measured[0].study_threshold if is_joined else None), rows)
        for modality, measured, rows in zip((Modality.CXR, Modality.CT), (xray, ct), sides, strict=True)
    )
    versus = _versus("Chest X-ray against chest CT", one, other, f"{sampling} {how}")
    return replace(versus, balances=tuple(_balance(versus.comparison, modality) for modality in Modality))


def _know_thresholds(pair: tuple[Measured, Measured]) -> bool:
    """Whether images can be joined: rows with their own decisions cannot."""
    return all(evaluation.threshold is not None for _, evaluation in pair)


def _answers(pair: tuple[Measured, Measured]) -> tuple[list[list[Prediction]], str]:
    """Rows of both sides, one a patient where thresholds are known, and how they came about."""
    if not _know_thresholds(pair):
        return [measurable(subject.predictions) for subject, _ in pair], "Numbers are per image."
    tables = [(modality, subject.predictions) for modality, (subject, _) in zip(Modality, pair, strict=True)]
    ways = "; ".join(f"of {modality.spoken}, {how(rows, modality)}" for modality, rows in tables)
    return [per_patient(rows, modality) for modality, rows in tables], f"One answer a patient: {ways}."


def draw_patients(rows: Sequence[Prediction], size: int, seed: int) -> list[Prediction]:
    """Rows of ``size`` patients, drawn within those with a covid image and those without, in their shares."""
    covid = sorted({row.unit for row in rows if row.label == POSITIVE})
    others = sorted(_patients(rows) - set(covid))
    if size >= len(covid) + len(others):
        return list(rows)
    rng = np.random.default_rng(seed)
    of_covid = round(size * len(covid) / (len(covid) + len(others)))
    of_covid = min(max(of_covid, min(len(covid), 1)), size - min(len(others), 1))  # neither class vanishes
    drawn = {*rng.choice(covid, of_covid, replace=False), *rng.choice(others, size - of_covid, replace=False)}
    return _of(rows, drawn)


def _as_they_are(one: Measured, other: Measured) -> Versus:
    sides = [Side(subject.name, evaluation, subject.predictions) for subject, evaluation in (one, other)]
    return _versus(f"{sides[0].name} against {sides[1].name}", sides[0], sides[1], "All measured rows of both.")


def _versus(title: str, one: Side, other: Side, sampling: str) -> Versus:
    comparison = compare(one, other)
    results = (one.evaluation.overall, other.evaluation.overall)
    verdicts = [
        _verdict(row, comparison.names)
        for row in comparison.rows
        if row.metric in JUDGED and not math.isnan(row.difference.value)
    ]
    return Versus(
        title=title,
        comparison=comparison,
        sampling=sampling,
        patients=(results[0].patients, results[1].patients),
        people=(results[0].people, results[1].people),
        prevalence=tuple(result.classes.get(POSITIVE, 0) / result.images for result in results),  # type: ignore[arg-type]
        verdicts=tuple(verdicts),
    )


def _verdict(row: ComparisonRow, names: tuple[str, str]) -> str:
    name = METRIC_NAMES[row.metric]
    if row.joint is None or row.joint.low is None:
        return f"{name}: difference {spoken(row.difference)}."
    better = row.better
    if better is None:
        left = compatible(row.joint)
        return f"{name}: no difference can be told apart from chance, {spoken(row.difference)}; {left}."
    return (
        f"{name}: higher on {names[better]}, "
        f"{number((row.first, row.second)[better].value)} against {number((row.second, row.first)[better].value)}; "
        f"difference {spoken(row.difference)}."
    )


def _balance(comparison: Comparison, modality: Modality) -> Balance:
    side = list(Modality).index(modality)
    speaks: dict[bool, list[str]] = {True: [], False: []}
    for row in comparison.rows:
        better = row.better
        if row.metric in JUDGED and better is not None:
            own, other = (row.first, row.second) if side == 0 else (row.second, row.first)
            speaks[better == side].append(
                f"{METRIC_NAMES[row.metric]} {number(own.value)} against {number(other.value)} in this comparison"
            )
    return Balance(modality.spoken, tuple(speaks[True]), tuple(speaks[False]), BENEFITS[modality], DRAWBACKS[modality])


def _patients(rows: Sequence[Prediction]) -> set[str]:
    return {row.unit for row in rows}


def _of(rows: Sequence[Prediction], patients: set[str]) -> list[Prediction]:
    return [row for row in rows if row.unit in patients]


def _has_both_classes(rows: Sequence[Prediction]) -> bool:
    return len({row.label == POSITIVE for row in rows}) == 2
