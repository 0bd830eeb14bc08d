"""Anyone's predictions table: what its columns, numbers and words mean.

Usual names are recognised and told; nothing else is guessed. Where a column, a scale or a word may mean two things, the
table is refused with the option that says which.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from duoscan.errors import PredictionsError
from duoscan.names import finding_named, plain_name
from duoscan.terms import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

COLUMN_ALIASES: Mapping[str, tuple[str, ...]] = {
    "probability": (
        *("prob", "proba", "score", "yscore", "yprob", "yproba", "pcovid", "covidp", "covidprob", "covidproba"),
        *("covidprobability", "covidscore", "probcovid", "probacovid", "probabilitycovid", "scorecovid", "predprob"),
        *("predproba", "predprobability", "predictedprob", "predictedprobability", "predscore", "predictedscore"),
        *("probabilities", "scores", "probs", "p1", "prob1", "proba1"),
    ),
    "label": (
        *("ytrue", "groundtruth", "target", "truth", "truelabel", "labeltrue", "gt", "gtlabel", "reference"),
        *("referencestandard", "goldstandard", "actual", "labels", "targets", "y"),
    ),
    "patient_id": ("patient", "patientid", "patid", "patientno", "patientnumber", "subject", "subjectid"),
    "path": (
        *("image", "imagepath", "filepath", "filename", "file", "imageid", "imagename", "imagefile", "img", "imgpath"),
        *("sopinstanceuid", "id"),
    ),
    "study_id": ("study", "studyid", "studyinstanceuid", "accession", "accessionnumber", "exam", "examid"),
    "source": ("site", "hospital", "centre", "center", "institution", "dataset"),
}
"""Plain names (see :func:`duoscan.names.plain_name`) that other people give our columns, the surest first."""

_TO_BE_SURE = ("probability", "label")
"""Columns that are never chosen among several: a table may hold a predicted label, or scores of two models."""

_MAY_BE = ("ypred", "pred", "prediction", "predictions", "predicted", "output", "confidence", "risk", "logit", "logits")
_GAPS = frozenset({"", "nan", "na", "n/a", "<na>", "null", "#n/a", "#na"})
"""What programs write for an empty cell."""

_DECIMAL_COMMA = re.compile(r"([+-]?\d*),(\d+)([eE][+-]?\d+)?")
_WHOLE = re.compile(r"([+-]?\d+)(\.0*)?")
_COVID = frozenset({"true", "t", "yes", "y", "pos", "positive"})
_NOT_COVID = frozenset({"false", "f", "no", "n", "neg", "negative"})
_SHOWN_KINDS = 20
_SHOWN_ROWS = 3


class Scale(StrEnum):
    """What the numbers of the column ``probability`` are."""

    PROBABILITY = "probability"
    PERCENT = "percent"
    LOGIT = "logit"


@dataclass(frozen=True)
class Reading:
    """What a person says of a table.

    Attributes:
        columns: Our column → theirs, e.g. ``{"probability": "covid_prob"}``.
        scale: Of the probabilities; ``None`` where they go from 0 to 1, or each cell bears a per cent sign.
        labels: Their label → ours.
        groups: Columns that are kept beside ours, by the table's own names, to group rows by.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    scale: Scale | None = None
    labels: Mapping[str, Finding] = field(default_factory=dict)
    groups: tuple[str, ...] = ()


class CellError(ValueError):
    """A cell that cannot be read.

    Args:
        name: Of the column, in our words.
        found: The cell.
        what: What is wrong with it, alike for all cells of the kind.
        remedy: What to do.
    """

    def __init__(self, name: str, found: str, what: str, remedy: str) -> None:
        self.found = found
        self.many = f"{name} {what}"
        self.remedy = remedy
        super().__init__(f"{name} '{found}' is {what}; {remedy}")


def summed_up(faults: Sequence[tuple[int, ValueError]]) -> list[str]:
    """One line for each kind of fault, with the rows it is in.

    Args:
        faults: Row number as a spreadsheet shows it, and what is wrong there.
    """
    kinds: dict[str, list[tuple[int, ValueError]]] = {}
    for number, error in faults:
        kinds.setdefault(error.many if isinstance(error, CellError) else str(error), []).append((number, error))
    lines = [_line(found) for found in kinds.values()]
    left = len(lines) - _SHOWN_KINDS
    return lines if left <= 0 else [*lines[:_SHOWN_KINDS], f"and {left} more kinds of fault"]


def _line(found: Sequence[tuple[int, ValueError]]) -> str:
    number, first = found[0]
    if len(found) == 1:
        return f"row {number}: {first}"
    if isinstance(first, CellError):
        shown = ", ".join(
            f"'{one.found}' in row {row}" for row, one in found[:_SHOWN_ROWS] if isinstance(one, CellError)
        )
        return f"{len(found)} rows: {first.many}, e.g. {shown}; {first.remedy}"
    rows = ", ".join(str(row) for row, _ in found[:_SHOWN_ROWS])
    return f"{len(found)} rows ({rows}{', …' if len(found) > _SHOWN_ROWS else ''}): {first}"


def taken_columns(header: Sequence[str], known: Iterable[str], reading: Reading) -> dict[str, int]:
    """Where each of our columns stands in a foreign header.

    What a person said comes first, then our own names, then the usual ones.

    Raises:
        PredictionsError: A column is missing, stands twice, or may be one of several.
    """
    names, known = [name.strip().lower() for name in header], list(known)
    taken = {ours: _place(ours, theirs, header, known) for ours, theirs in reading.columns.items()}
    own = {name for name in names if name in known and name not in taken}
    if twice := sorted(name for name in own if names.count(name) > 1):
        raise PredictionsError(f"column(s) {', '.join(twice)} stand twice in the header; keep one of each")
    stated = set(taken.values())
    taken |= {name: names.index(name) for name in own if names.index(name) not in stated}
    for ours, aliases in COLUMN_ALIASES.items():
        if ours in reading.columns:
            continue
        free = [place for place in range(len(header)) if place not in stated and names[place] not in own]
        places = [place for alias in aliases for place in free if plain_name(names[place]) == alias]
        rivals = [*([taken[ours]] if ours in taken else []), *places]
        if ours in _TO_BE_SURE and len(rivals) > 1:
            if len({names[place] for place in rivals}) == 1:
                raise PredictionsError(f"column(s) {names[rivals[0]]} stand twice in the header; keep one of each")
            said = " or ".join(f"--column {ours}={header[place].strip()}" for place in rivals)
            raise PredictionsError(f"several columns may be '{ours}'; say which: {said}")
        if places and ours not in taken:
            taken[ours] = places[0]
    if "probability" not in taken and "p_covid" in taken:
        taken["probability"] = taken["p_covid"]
    _check_probability(header, taken)
    return taken


def _place(ours: str, theirs: str, header: Sequence[str], known: Sequence[str]) -> int:
    """Where the column stands that a person named."""
    if ours not in known:
        raise PredictionsError(f"--column {ours}=…: not a column of ours; before '=' use one of {', '.join(known)}")
    exact = [place for place, name in enumerate(header) if name.strip() == theirs]
    places = exact or [place for place, name in enumerate(header) if name.strip().lower() == theirs.lower()]
    if len(places) != 1:
        found = "stands twice" if places else f"is not there, found {_found(header)}"
        raise PredictionsError(f"--column {ours}={theirs}: the column '{theirs}' {found}; correct the name")
    return places[0]


def _check_probability(header: Sequence[str], taken: Mapping[str, int]) -> None:
    if "probability" in taken:
        return
    if header and all(_is_number(name) for name in header):
        raise PredictionsError("the first row holds numbers; it must name the columns, e.g. label,probability")
    maybe = [name.strip() for name in header if plain_name(name) in _MAY_BE]
    named = f"--column probability={maybe[0]}" if maybe else "--column probability=THEIRS"
    raise PredictionsError(
        f"the header has no column 'probability', found {_found(header)}; say which holds P(covid) with {named}"
    )


def group_places(header: Sequence[str], groups: Iterable[str]) -> dict[str, int]:
    """Where the columns stand that rows are grouped by.

    Raises:
        PredictionsError: A column is not there.
    """
    names = [name.strip().lower() for name in header]
    for group in groups:
        if group.lower() not in names:
            raise PredictionsError(f"--by {group}: no such column, found {_found(header)}; correct the name")
    return {group: names.index(group.lower()) for group in groups}


def _found(header: Sequence[str]) -> str:
    return ", ".join(filter(None, map(str.strip, header))) or "nothing"


def _is_number(text: str) -> bool:
    try:
        number_in(text)
    except ValueError:
        return False
    return bool(text.strip())


def is_gap(text: str) -> bool:
    """Whether a cell is empty, or a program's word for that."""
    return text.lower() in _GAPS


def number_in(text: str) -> float:
    """A number with a decimal point or a decimal comma.

    Raises:
        ValueError: It is none.

    Example:
        >>> number_in("0,87"), number_in(".5")
        (0.87, 0.5)
    """
    comma = _DECIMAL_COMMA.fullmatch(text)
    return float(f"{comma[1]}.{comma[2]}{comma[3] or ''}" if comma else text)


class Probabilities:
    """The column ``probability``, looked at as a whole for what its numbers are.

    Args:
        cells: Every cell of it.
        scale: As stated.

    Raises:
        PredictionsError: Some cells bear a per cent sign and some do not, or the stated scale cannot be theirs.
    """

    def __init__(self, cells: Iterable[str], scale: Scale | None) -> None:
        filled = [cell for cell in cells if not _is_no_number(cell)]
        signed = sum(cell.endswith("%") for cell in filled)
        if scale is None and 0 < signed < len(filled):
            raise PredictionsError(
                f"{signed} of {len(filled)} probabilities bear a per cent sign and the others none; write all "
                "alike, or say that all are per cent with --scale percent"
            )
        numbers = list(_finite(filled))
        low, high = min(numbers, default=0.0), max(numbers, default=0.0)
        if scale is Scale.PERCENT and not signed and 0.0 < high <= 1.0:
            raise PredictionsError(
                f"--scale percent: the largest probability is {high:g}, which would be {high:g} %; if the numbers go "
                "from 0 to 1, leave --scale out"
            )
        self.scale = Scale.PERCENT if signed and scale is None else scale or Scale.PROBABILITY
        self._low, self._high = low, high

    def read(self, text: str, name: str) -> float | None:
        """P(covid) of one cell, ``None`` where it is empty.

        Args:
            text: The cell.
            name: Of the column, in our words; logits are those of ``probability`` alone.

        Raises:
            CellError: It is no probability on this scale.
        """
        if _is_no_number(text):
            return None
        is_percent = self.scale is Scale.PERCENT
        try:
            value = number_in(text.removesuffix("%").strip() if is_percent else text)
        except ValueError:
            value = math.nan
        if math.isnan(value):
            raise CellError(name, text, "not a number", "leave the cell empty where there is no answer")
        if self.scale is Scale.LOGIT and name == "probability":
            return 1.0 / (1.0 + math.exp(-value)) if value > -700 else 0.0
        most = 100.0 if is_percent else 1.0
        if not 0.0 <= value <= most:
            raise CellError(name, text, f"above {most:g}" if value > most else "below 0", self._remedy())
        return value / most

    def _remedy(self) -> str:
        if self.scale is Scale.PERCENT:
            return "correct it"
        if self._low < 0.0:
            return "if these are logits, say --scale logit, else correct it"
        if self._high <= 100.0:
            return "if these are per cent, say --scale percent, else correct it"
        return "P(covid) goes from 0 to 1"


def _is_no_number(text: str) -> bool:
    return is_gap(text) or text.lower() == "none"


def _finite(cells: Iterable[str]) -> Iterator[float]:
    for cell in cells:
        try:
            value = number_in(cell.removesuffix("%").strip())
        except ValueError:
            continue
        if math.isfinite(value):
            yield value


class Labels:
    """The column ``label``, looked at as a whole: 1 means covid only beside 0.

    Args:
        cells: Every cell of it.
        said: Their label → ours, as a person says.
    """

    def __init__(self, cells: Iterable[str], said: Mapping[str, Finding]) -> None:
        self._said = {_one_way(label): finding for label, finding in said.items()}
        counts = Counter(_one_way(cell) for cell in cells)
        self._numbers = sorted(cell for cell in counts if _WHOLE.fullmatch(cell))
        self._counts = counts

    def read(self, text: str) -> Finding | None:
        """What one cell says, ``None`` where it is empty.

        Raises:
            CellError: The word is not known, or is a number whose meaning nobody said.
        """
        cell = _one_way(text)
        if is_gap(cell):
            return None
        if (finding := self._said.get(cell) or self._meant(cell)) is not None:
            return finding
        if cell in self._numbers:
            what = f"one of the numbers {', '.join(self._numbers)}"
            raise CellError("label", text, what, f"say what each means, e.g. --map {cell}={Finding.NORMAL}")
        remedy = f"use {', '.join(Finding)}, 0 or 1, or say what it means, e.g. --map '{text}=covid'"
        raise CellError("label", text, "unknown", remedy)

    def told(self) -> str:
        """Which words were recognised, for a person; empty where none but our own and 0 and 1 are there."""
        words = {
            cell: self._said.get(cell) or self._meant(cell)
            for cell in self._counts
            if cell not in {*Finding, "0", "1", "true", "false"}
        }
        return ", ".join(f"'{cell}' as {finding} ({self._counts[cell]})" for cell, finding in words.items() if finding)

    def _meant(self, cell: str) -> Finding | None:
        if cell in {"0", "1"} and set(self._numbers) <= {"0", "1"}:
            return Finding.COVID if cell == "1" else Finding.OTHER
        if cell in _COVID | _NOT_COVID:
            return Finding.COVID if cell in _COVID else Finding.OTHER
        return finding_named(cell)


def _one_way(label: str) -> str:
    """A label without case, and a whole number without a decimal point."""
    whole = _WHOLE.fullmatch(label)
    return whole[1] if whole else label.strip().lower()
