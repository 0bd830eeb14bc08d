"""The predictions table: what inference writes and what evaluation, triage, audit and report read.

Because this table is the border, every evidence tool works on predictions of any model; usual names of other people's
columns are recognised (:mod:`duoscan.foreign`). One row is one image:

================  ======================================================================================================
``path``          where the image is; a row without one is called ``row 12``, after its place in the table
``patient_id``    who it shows; an image without one, or with a word for none as ``nan``, stands for itself
``study_id``      the study it belongs to
``modality``      ``cxr`` or ``ct``
``source``        data set or hospital
``split``         ``train``, ``val`` or ``test``
``label``         the reference: a finding, or ``1`` for covid and ``0`` for not covid (read as ``other``)
``probability``   P(covid), from 0 to 1; the one column that must be there; empty where the image has no answer
``p_<class>``     one column for each class of the model
``calibrated``    P(covid) after the bundle's calibrator, where it holds one; decisions never refer to it
``attention``     the score by which attention weighs this image among those of its study, where the graph gives one
``aggregation``   how the images of a study are joined (``max``, ``mean``, ``top-3``, ``noisy-or``, ``attention``),
                  where the bundle states it
``head.<name>``   what a further head of the bundle says (:mod:`duoscan.inference.heads`), any number
``sha256``        SHA-256 of the image's file, where it was taken
``decision``      ``positive`` or ``negative``, empty where the operating point is unknown; without a probability
                  ``unreadable`` (also where empty), ``not read`` or ``set aside``
``reason``        why an image has no answer, in words
``reason_code``   the same as one of the words of :class:`duoscan.reasons.ReasonCode`
``reason_image``  the image the reason speaks of, where that is another one
================  ======================================================================================================
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from duoscan.errors import MissingExtraError, PredictionsError
from duoscan.files import read_bytes, write_bytes
from duoscan.foreign import Labels, Probabilities, Reading, Scale, group_places, is_gap, summed_up, taken_columns
from duoscan.names import modality_named, split_named
from duoscan.reasons import Reason, ReasonCode
from duoscan.rows import csv_rows, csv_text, parquet_rows, storable
from duoscan.terms import ANSWERS, Decision, Finding, FiniteFloat, Modality, Probability, Split, names_nobody

Word = TypeVar("Word", bound=StrEnum)
Row = tuple[int, Sequence[str]]  # row number as a spreadsheet shows it, the cells

_HEAD = ("path", "patient_id", "study_id", "modality", "source", "split", "label", "probability")
_EXTRA = ("calibrated", "attention", "aggregation", "sha256")  # written only where a row has one
_NUMBERS = frozenset({"probability", "calibrated", "attention"})
_TAIL = ("decision", "reason")
_REASON = ("reason_code", "reason_image")  # written only where a row has one
_CLASS_PREFIX = "p_"
PART_COLUMNS = (*_HEAD, *_EXTRA, *_TAIL, *_REASON)
_KNOWN = (*_HEAD, *(_CLASS_PREFIX + finding for finding in Finding), *_EXTRA, *_TAIL, *_REASON)
_SEPARATOR = re.compile(r"sep=(.)\r?\n")  # by which Excel tells itself the delimiter
_HEAD_PREFIX = "head."
IMAGE = "image:"  # begins the key of an image that names no patient
ROW_NAME = re.compile(r"row \d+")  # path of a row that names none
_NO_ANSWER = "the table states no probability"


@dataclass(frozen=True)
class Prediction:
    """One image's answer; ``probability`` is that of ``covid``.

    ``decision`` is ``positive`` or ``negative`` at the operating point in use, ``None`` in a table from elsewhere that
    states no decisions. Any other means that there is no answer: then ``probability`` is ``None`` and ``reason`` says
    why. ``probabilities`` holds one value per class of the model and is written as columns ``p_covid``,
    ``p_normal``, …. ``calibrated`` is P(covid) after the bundle's calibrator; ``None`` where it holds none.
    ``attention`` and ``aggregation`` say how the image goes into its study; see :mod:`duoscan.inference.aggregation`.
    ``groups`` are cells of other columns, by name, that somebody wanted kept to group rows by; never written.
    ``heads`` is what further heads say beside it, written as columns ``head.…``; no decision reads it.
    """

    path: str
    patient_id: str | None
    modality: Modality | None
    probability: Probability | None
    decision: Decision | None
    reason: Reason | None = None
    study_id: str | None = None
    source: str | None = None
    split: Split | None = None
    label: Finding | None = None
    probabilities: dict[Finding, Probability] = field(default_factory=dict)
    calibrated: Probability | None = None
    attention: float | None = None
    aggregation: str = ""
    sha256: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)
    heads: dict[str, FiniteFloat] = field(default_factory=dict)

    @property
    def is_answered(self) -> bool:
        """Whether a model answered the image."""
        return self.probability is not None

    @property
    def unit(self) -> str:
        """Key of the patient; an image without one, or with an id that names nobody, stands for itself."""
        return f"{IMAGE}{self.path}" if names_nobody(self.patient_id or "") else str(self.patient_id)


def prediction_cells(row: Prediction) -> list[str | float | None]:
    """One row under ``PART_COLUMNS``, for a table that is read before it is whole; classes and heads are left out."""
    return _cells(row, (), (), _EXTRA)


def write_predictions(rows: Iterable[Prediction], path: str | Path) -> None:
    """Write a predictions table, whole or not at all.

    Args:
        rows: The predictions, kept in order.
        path: Where to; Parquet where the name ends in ``.parquet``, else CSV in UTF-8.

    Raises:
        MissingExtraError: Parquet is wanted and pyarrow is not installed.
    """
    path, rows = Path(path), list(rows)
    classes = [finding for finding in Finding if any(finding in row.probabilities for row in rows)]
    extra = [name for name in _EXTRA if any(getattr(row, name) not in {None, ""} for row in rows)]
    heads = list(dict.fromkeys(name for row in rows for name in row.heads))
    why = _REASON if any(row.reason is not None for row in rows) else ()
    named = [*(_CLASS_PREFIX + finding for finding in classes), *(_HEAD_PREFIX + name for name in heads)]
    columns = [*_HEAD, *named, *extra, *_TAIL, *why]
    table = [_cells(row, classes, heads, extra)[: len(columns)] for row in rows]
    is_parquet = path.suffix.lower() == ".parquet"
    write_bytes(path, _to_parquet(columns, table) if is_parquet else csv_text(columns, table).encode())


@dataclass(frozen=True)
class PredictionsTable:
    """A table as it was read.

    Attributes:
        rows: In the table's order.
        remarks: What was recognised in it and may be wrong, one sentence each; empty for tables in our own words.
    """

    rows: tuple[Prediction, ...]
    remarks: tuple[str, ...] = ()


def read_predictions(path: str | Path, reading: Reading | None = None) -> list[Prediction]:
    """Read the rows of a predictions table of any model; see :func:`read_predictions_table`."""
    return list(read_predictions_table(path, reading).rows)


def read_predictions_table(path: str | Path, reading: Reading | None = None) -> PredictionsTable:
    """Read a predictions table of any model; CSV (comma, semicolon or tab) or Parquet.

    Only the column ``probability`` must be there, and ``label`` before anything can be evaluated. The other
    columns are taken where they exist, under our names or usual ones, and columns this table does not know are ignored.
    An empty probability makes the row ``unreadable``: it is kept and counted, never dropped.

    Args:
        path: The table.
        reading: What a person says of its columns, its scale and its labels.

    Raises:
        PredictionsError: The file or a column is missing or may be one of several, or rows are wrong; faults are summed
            up by kind, each with rows it is in.
        MissingExtraError: The file is Parquet and pyarrow is not installed.
    """
    path, reading = Path(path), reading or Reading()
    if not path.is_file():
        msg = f"{path}: no such file; give a predictions table (CSV or Parquet)"
        raise PredictionsError(msg)
    header, found = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
    rows = list(found)
    try:
        reader = _RowReader(header, rows, reading)
    except PredictionsError as error:
        msg = f"{path}: {error}"
        raise PredictionsError(msg) from None
    predictions: list[Prediction] = []
    faults: list[tuple[int, ValueError]] = []
    for number, cells in rows:
        try:
            predictions.append(reader.read(number, cells))
        except ValueError as error:
            faults.append((number, error))
    if faults:
        lines = [f"  {line}" for line in summed_up(faults)]
        msg = "\n".join([f"{path}: rows that cannot be read: {len(faults)}; correct them", *lines])
        raise PredictionsError(msg)
    return PredictionsTable(tuple(predictions), reader.remarks(path))


def _cells(
    row: Prediction, classes: Sequence[Finding], heads: Sequence[str], extra: Sequence[str]
) -> list[str | float | None]:
    head = (row.path, row.patient_id, row.study_id, row.modality, row.source, row.split, row.label)
    return [
        *head,
        row.probability,
        *(row.probabilities.get(finding) for finding in classes),
        *(row.heads.get(name) for name in heads),
        *(getattr(row, name) for name in extra),
        row.decision,
        *((row.reason.text, row.reason.code, row.reason.image) if row.reason else (None, None, None)),
    ]


def _to_parquet(columns: Sequence[str], table: Sequence[Sequence[str | float | None]]) -> bytes:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("parquet", "writing predictions as Parquet") from error
    arrays = []
    for position, name in enumerate(columns):
        values = [row[position] for row in table]
        if name in _NUMBERS or name.startswith((_CLASS_PREFIX, _HEAD_PREFIX)):
            arrays.append(pa.array(values, pa.float64()))
        else:
            texts = [None if value is None else storable(str(value)) for value in values]
            arrays.append(pa.array(texts, pa.string()))
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_arrays(arrays, names=list(columns)), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _read_csv(path: Path) -> tuple[list[str], Iterator[Row]]:
    text = read_bytes(path).decode("utf-8-sig", "surrogateescape")
    separator = _SEPARATOR.match(text)
    text = text[separator.end() :] if separator else text
    # Spreadsheets set to a language with a decimal comma write semicolons.
    delimiter = separator[1] if separator else max(",;\t", key=text.partition("\n")[0].count)
    try:
        table = list(csv_rows(text, delimiter))
    except (csv.Error, ValueError) as error:
        msg = f"{path}: not a CSV table ({error}); write it again as CSV in UTF-8"
        raise PredictionsError(msg) from error
    # Spreadsheets count the header as row 1 and count blank rows.
    body = enumerate(table[1:], start=3 if separator else 2)
    rows = ((number, cells) for number, cells in body if any(map(str.strip, cells)))
    return (table[0] if table else []), rows


def _read_parquet(path: Path) -> tuple[list[str], Iterator[Row]]:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MissingExtraError("parquet", "reading predictions from Parquet") from error
    try:
        names, found = parquet_rows(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        msg = f"{path}: not a Parquet table ({error}); write it again"
        raise PredictionsError(msg) from error
    rows = ([_text(value) for value in values] for values in found)
    return names, enumerate(rows, start=2)


def _text(value: object) -> str:
    """One typed cell as text; pandas writes a missing number as nan."""
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)


class _RowReader:
    """Makes predictions of a table's rows, whose columns were looked at as a whole.

    Raises:
        PredictionsError: A column is missing or may be one of several.
    """

    def __init__(self, header: Sequence[str], rows: Sequence[Row], reading: Reading) -> None:
        self._header, self._width = header, len(header)
        self._reading = reading
        self._heads = [name for name in (one.strip().lower() for one in header) if name.startswith(_HEAD_PREFIX)]
        self._columns = taken_columns(header, [*_KNOWN, *self._heads], reading)
        self._groups = group_places(header, reading.groups)
        self._probabilities = Probabilities(self._column("probability", rows), reading.scale)
        self._labels = Labels(self._column("label", rows), reading.labels)
        self._classes = [finding for finding in Finding if _CLASS_PREFIX + finding in self._columns]

    def _column(self, name: str, rows: Iterable[Row]) -> list[str]:
        place = self._columns.get(name, self._width)
        return [cells[place].strip() for _, cells in rows if place < len(cells)]

    def read(self, number: int, cells: Sequence[str]) -> Prediction:
        """One prediction of one row's cells.

        Raises:
            ValueError: A cell is wrong; the text says which and what it may be.
        """
        if len(cells) < self._width or any(cells[self._width :]):
            msg = f"{len(cells)} cells under {self._width} columns; quote cells that hold the delimiter"
            raise ValueError(msg)
        columns = self._columns

        def cell(name: str) -> str:
            return cells[columns[name]].strip() if name in columns else ""

        probability = self._probabilities.read(cell("probability"), "probability")
        decision = _decision(cell("decision"), probability)
        return Prediction(
            path=cells[columns["path"]] if cell("path") else f"row {number}",
            patient_id=cell("patient_id") or None,
            modality=modality_named(cell("modality")) or _word(cell("modality"), Modality, "modality"),
            probability=probability,
            decision=decision,
            reason=_reason(cell, cells[columns["reason_image"]] if cell("reason_image") else None, decision),
            study_id=cell("study_id") or None,
            source=cell("source") or None,
            split=split_named(cell("split")) or _word(cell("split"), Split, "split"),
            label=self._labels.read(cell("label")),
            probabilities=self._class_probabilities(cell),
            calibrated=self._probabilities.read(cell("calibrated"), "calibrated"),
            attention=_number(cell("attention"), "attention"),
            aggregation=cell("aggregation"),
            sha256=cell("sha256"),
            groups={name: cells[place].strip() for name, place in self._groups.items()},
            heads=self._of_heads(cell),
        )

    def _of_heads(self, cell: Callable[[str], str]) -> dict[str, FiniteFloat]:
        found = {name.removeprefix(_HEAD_PREFIX): _number(cell(name), name) for name in self._heads}
        return {name: value for name, value in found.items() if value is not None}

    def _class_probabilities(self, cell: Callable[[str], str]) -> dict[Finding, Probability]:
        classes = {
            finding: self._probabilities.read(cell(_CLASS_PREFIX + finding), _CLASS_PREFIX + finding)
            for finding in self._classes
        }
        stated = {finding: value for finding, value in classes.items() if value is not None}
        if stated and len(stated) != len(classes):
            msg = f"only {len(stated)} of {len(classes)} class probabilities are there; fill in all or none"
            raise ValueError(msg)
        return stated

    def remarks(self, path: Path) -> tuple[str, ...]:
        """What was recognised and may be wrong."""
        named = {name: self._header[place].strip() for name, place in self._columns.items()}
        foreign = [f"{name} from '{theirs}'" for name, theirs in named.items() if theirs.lower() != name]
        taken = {*self._columns.values(), *self._groups.values()}
        left = [name.strip() for place, name in enumerate(self._header) if place not in taken and name.strip()]
        said = []
        if foreign:
            unread = f"; not read: {', '.join(left)}" if left else ""
            said.append(f"{path.name}: taken {', '.join(foreign)}{unread}.")
        if self._probabilities.scale is not Scale.PROBABILITY:
            said.append(f"{path.name}: the probabilities are read as {self._probabilities.scale}.")
        if told := self._labels.told():
            said.append(f"{path.name}: labels are read {told}.")
        return tuple(said)


def _number(text: str, name: str) -> float | None:
    if is_gap(text):
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not math.isfinite(value):
        msg = f"{name} '{text}' is not a number"
        raise ValueError(msg)
    return value


def _decision(text: str, probability: float | None) -> Decision | None:
    decision = _word(text, Decision, "decision")
    if probability is None:
        if decision in ANSWERS:
            msg = f"decision '{text}' without a probability; state it or make the decision 'unreadable'"
            raise ValueError(msg)
        return decision or Decision.UNREADABLE
    if decision not in {None, *ANSWERS}:
        msg = f"decision '{text}' with a probability; leave the probability empty or correct the decision"
        raise ValueError(msg)
    return decision


def _reason(cell: Callable[[str], str], image: str | None, decision: Decision | None) -> Reason | None:
    """What the table says; a row without an answer always has one."""
    text, code = cell("reason"), _word(cell("reason_code"), ReasonCode, "reason_code")
    if text or code:
        return Reason(code or ReasonCode.NOT_STATED, text, image)
    return None if decision in {None, *ANSWERS} else Reason(ReasonCode.NOT_STATED, _NO_ANSWER)


def _word(text: str, words: type[Word], name: str) -> Word | None:
    if is_gap(text):
        return None
    try:
        return words(text.lower())
    except ValueError:
        msg = f"{name} '{text}' is unknown; use {', '.join(words)}"
        raise ValueError(msg) from None
