"""What is told beside an answer, in codes: private ones, since no dictionary has these words.

The categories are those of Litmanovich et al. (Journal of Thoracic Imaging 2020) for radiographs, the scores those of
Cohen et al. (arXiv 2005.11856), where a bundle's heads were fitted to them.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from pydicom.sr.coding import Code

from duoscan.cases.estimates import ESTIMATE, CategoryEstimate, ScoreEstimate
from duoscan.cases.lung_share import NAME as LUNG_INVOLVED
from duoscan.inference.heads import key_of
from duoscan.results.codes import NO_UNITS, PERCENT, PRIVATE_SCHEME, private
from duoscan.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from highdicom.sr import AlgorithmIdentification, Measurement, QualitativeEvaluation

    from duoscan.cases.estimates import Estimate

_MEANING = 64  # characters of a code's meaning: value representation LO (PS3.5 clause 6.2)


class Number(NamedTuple):
    """One coded number.

    Attributes:
        name: What it is.
        value: In its unit.
        unit: UCUM.
    """

    name: Code
    value: float
    unit: Code


def name_code(estimate: Estimate, part: str = "", meaning: str = "") -> Code:
    """What is told, or a part of it, as a code."""
    value = f"estimate-{estimate.name}{'-' if part else ''}{part}".replace("_", "-")
    return Code(value, PRIVATE_SCHEME, (meaning or estimate.title)[:_MEANING])


def category_code(estimate: CategoryEstimate, category: str) -> Code:
    """One of its categories as a coded value."""
    return Code(f"{estimate.name}-{key_of(category)}".replace("_", "-"), PRIVATE_SCHEME, category[:_MEANING])


def numbers(estimate: Estimate) -> list[Number]:
    """The numbers of an estimate, each with a name of its own; a share is told in percent."""
    if isinstance(estimate, CategoryEstimate):
        return [
            Number(name_code(estimate, key_of(category), f"Probability: {category}"), chance, NO_UNITS)
            for category, chance in estimate.categories.items()
        ]
    factor, unit = (100.0, PERCENT) if estimate.is_share else (1.0, NO_UNITS)
    bounds = f"bound of the {estimate.coverage or 0:.0%} interval"
    stated = (
        (name_code(estimate), estimate.value),
        (name_code(estimate, "low", f"Lower {bounds}"), estimate.low),
        (name_code(estimate, "high", f"Upper {bounds}"), estimate.high),
    )
    return [Number(name, value * factor, unit) for name, value in stated if value is not None]


def measurements(estimates: Iterable[Estimate]) -> list[Measurement]:
    """The numbers as measurements of a structured report (TID 300)."""
    from highdicom.sr import Measurement

    return [
        Measurement(one.name, round(one.value, 6), one.unit, algorithm_id=_algorithm(estimate))
        for estimate in estimates
        for one in numbers(estimate)
    ]


def evaluations(estimates: Iterable[Estimate]) -> list[QualitativeEvaluation]:
    """The categories, and what could not be measured, as evaluations of a structured report (TID 1501)."""
    from highdicom.sr import QualitativeEvaluation

    return [QualitativeEvaluation(name_code(estimate), value) for estimate, value in _coded(estimates)]


def _coded(estimates: Iterable[Estimate]) -> Iterator[tuple[Estimate, Code]]:
    for estimate in estimates:
        if isinstance(estimate, CategoryEstimate):
            yield estimate, category_code(estimate, estimate.middle)
        elif estimate.value is None:
            yield estimate, private("not measured")


def _algorithm(estimate: Estimate) -> AlgorithmIdentification | None:
    """What measured it, where that is not the model of the phase."""
    if estimate.name != LUNG_INVOLVED:
        return None
    from highdicom.sr import AlgorithmIdentification

    return AlgorithmIdentification(
        name="duoscan share of lung involved", version=__version__, parameters=(estimate.method, ESTIMATE)
    )


def components(estimates: Iterable[Estimate]) -> list[dict[str, Any]] | None:
    """The estimates as components of a FHIR ``Observation``; ``None`` where there are none."""
    found: list[dict[str, Any]] = []
    for estimate in estimates:
        code = {"text": f"{estimate.title}, {ESTIMATE}"}
        if isinstance(estimate, CategoryEstimate):
            found.append({"code": code, "valueCodeableConcept": {"text": estimate.middle}})
            found += [
                {"code": {"text": one.name.meaning}, "valueQuantity": _quantity(one)} for one in numbers(estimate)
            ]
        elif estimate.value is None:
            found.append(
                {"code": code, "dataAbsentReason": {"text": estimate.reason.text if estimate.reason else None}}
            )
        else:
            value, *bounds = numbers(estimate)
            found.append({"code": code, "valueQuantity": _quantity(value)})
            if bounds:
                low, high = ({"value": one.value} for one in bounds)
                text = f"{estimate.title}: {estimate.coverage or 0:.0%} interval"
                found.append({"code": {"text": text}, "valueRange": {"low": low, "high": high}})
    return found or None


def _quantity(number: Number) -> dict[str, Any]:
    return {"value": number.value, "system": "http://unitsofmeasure.org", "code": number.unit.value}


def document(estimate: Estimate) -> dict[str, Any]:
    """An estimate as plain JSON: no path is in it."""
    stated = {key: value for key, value in asdict(estimate).items() if value is not None}
    if isinstance(estimate, ScoreEstimate) and estimate.reason is not None:
        stated["reason"] = estimate.reason.text
    return stated | {"what": ESTIMATE}
