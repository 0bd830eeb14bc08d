"""The predictions table: what inference writes and what evaluation, triage, audit and report read.

Because this table is the border, every evidence tool works on predictions of any model. One row is one image:

==============  ==============================================================================================
``path``        where the image is; a row without one is called ``row 12``, after its place in the table
``patient_id``  who it shows; an image without one, or with a word for none as ``nan``, stands for itself
``study_id``    the study it belongs to
``modality``    ``cxr`` or ``ct``
``source``      data set or hospital
``split``       ``train``, ``val`` or ``test``
``label``       the reference: a finding, or ``1`` for covid and ``0`` for not covid (read as ``other``)
``probability`` P(covid), from 0 to 1; the one column that must be there; empty where the image has no answer
``p_<class>``   one column for each class of the model
``calibrated``  P(covid) after the bundle's calibrator, where it holds one; decisions never refer to it
``attention``   the score by which attention weighs this image among those of its study, where the graph gives one
``aggregation`` how the images of a study are joined (``max``, ``mean``, ``top-3``, ``noisy-or``, ``attention``), where
                the bundle states it
``head.<name>`` what a further head of the bundle says (:mod:`duoscan.inference.heads`), any number
``sha256``      SHA-256 of the image's file, where it was taken
``decision``    ``positive`` or ``negative``, empty where the operating point is unknown; without a probability
                ``unreadable`` (also where empty), ``not read`` or ``set aside``
``reason``      why an image has no answer, in words
``reason_code`` the same as one of the words of :class:`duoscan.reasons.ReasonCode`
``reason_image`` the image the reason speaks of, where that is another one
==============  ==============================================================================================
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from duoscan.errors import MissingExtraError, PredictionsError
from duoscan.files import read_bytes, write_bytes
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
_HEAD_PREFIX = "head."
_NOT_COVID = frozenset({"0", "0.0", "false"})
_COVID = frozenset({"1", "1.0", "true"})
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
    heads: dict[str, FiniteFloat] = field(default_factory=dict)

    @property
    def is_answered(self) -> bool:
        """Whether a model answered the image."""
        return self.probability is not None

    @property
    def unit(self) -> str:
        """Key of the patient; an image without one, or with an id that names nobody, stands for itself."""
        return f"{IMAGE}{self.path}" if names_nobody(self.patient_id or "") else str(self.patient_id)


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


def read_predictions(path: str | Path) -> list[Prediction]:
    """Read a predictions table of any model; CSV (comma, semicolon or tab) or Parquet.

    Only the column ``probability`` must be there, and ``label`` before anything can be evaluated. The other
    columns are taken where they exist, and columns this table does not know are ignored. An empty probability
    makes the row ``unreadable``: it is kept and counted, never dropped.

    Raises:
        PredictionsError: The file or a column is missing, or rows are wrong; every bad row is named.
        MissingExtraError: The file is Parquet and pyarrow is not installed.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file; give a predictions table (CSV or Parquet)"
        raise PredictionsError(msg)
    header, rows = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
    columns = _check_header(header, path)
    predictions: list[Prediction] = []
    problems: list[str] = []
    for number, cells in rows:
        try:
            predictions.append(_parse_row(number, cells, columns, width=len(header)))
        except ValueError as error:
            problems.append(f"  row {number}: {error}")
    if problems:
        msg = "\n".join([f"{path}: rows that cannot be read: {len(problems)}; correct them", *problems])
        raise PredictionsError(msg)
    return predictions


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
    # Spreadsheets set to a language with a decimal comma write semicolons.
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    try:
        table = list(csv_rows(text, delimiter))
    except (csv.Error, ValueError) as error:
        msg = f"{path}: not a CSV table ({error}); write it again as CSV in UTF-8"
        raise PredictionsError(msg) from error
    # Spreadsheets count the header as row 1 and count blank rows.
    rows = ((number, cells) for number, cells in enumerate(table[1:], start=2) if any(map(str.strip, cells)))
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


def _check_header(header: Sequence[str], path: Path) -> dict[str, int]:
    names = [name.strip().lower() for name in header]
    if "probability" not in names:
        found = ", ".join(filter(None, names)) or "nothing"
        msg = f"{path}: the header has no column 'probability', found {found}; add it: P(covid) from 0 to 1"
        raise PredictionsError(msg)
    known = {*_HEAD, *_TAIL, *_REASON, *_EXTRA, *(_CLASS_PREFIX + finding for finding in Finding)}
    known |= {name for name in names if name.startswith(_HEAD_PREFIX)}
    twice = sorted({name for name in names if name in known and names.count(name) > 1})
    if twice:
        msg = f"{path}: column(s) {', '.join(twice)} stand twice in the header; keep one of each"
        raise PredictionsError(msg)
    return {name: position for position, name in enumerate(names) if name in known}


def _parse_row(number: int, cells: Sequence[str], columns: dict[str, int], *, width: int) -> Prediction:
    """One prediction of one row's cells.

    Raises:
        ValueError: A cell is wrong; the text says which and what it may be.
    """
    if len(cells) < width or any(cells[width:]):
        msg = f"{len(cells)} cells under {width} columns; quote cells that hold the delimiter"
        raise ValueError(msg)

    def cell(name: str) -> str:
        return cells[columns[name]].strip() if name in columns else ""

    probability = _probability(cell, "probability")
    decision = _decision(cell("decision"), probability)
    classes = {finding: _probability(cell, _CLASS_PREFIX + finding) for finding in Finding}
    stated = {finding: value for finding, value in classes.items() if value is not None}
    expected = sum(_CLASS_PREFIX + finding in columns for finding in Finding)
    if stated and len(stated) != expected:
        msg = f"only {len(stated)} of {expected} class probabilities are there; fill in all or none"
        raise ValueError(msg)
    return Prediction(
        path=cells[columns["path"]] if cell("path") else f"row {number}",
        patient_id=cell("patient_id") or None,
        modality=_word(cell("modality"), Modality, "modality"),
        probability=probability,
        decision=decision,
        reason=_reason(cell, cells[columns["reason_image"]] if cell("reason_image") else None, decision),
        study_id=cell("study_id") or None,
        source=cell("source") or None,
        split=_word(cell("split"), Split, "split"),
        label=_label(cell("label")),
        probabilities=stated,
        calibrated=_probability(cell, "calibrated"),
        attention=_number(cell, "attention"),
        aggregation=cell("aggregation"),
        sha256=cell("sha256"),
        heads=_heads(cell, columns),
    )


def _heads(cell: Callable[[str], str], columns: Iterable[str]) -> dict[str, float]:
    found = {name: _number(cell, name) for name in columns if name.startswith(_HEAD_PREFIX)}
    return {name.removeprefix(_HEAD_PREFIX): value for name, value in found.items() if value is not None}


def _probability(cell: Callable[[str], str], name: str) -> float | None:
    text = cell(name)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0.0 <= value <= 1.0:  # also refuses nan
        msg = f"{name} '{text}' is not a number from 0 to 1"
        raise ValueError(msg)
    return value


def _number(cell: Callable[[str], str], name: str) -> float | None:
    text = cell(name)
    if not text:
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


def _label(text: str) -> Finding | None:
    if text.lower() in _COVID:
        return Finding.COVID
    if text.lower() in _NOT_COVID:
        return Finding.OTHER
    return _word(text, Finding, "label", also="0 or 1")


def _word(text: str, words: type[Word], name: str, *, also: str = "") -> Word | None:
    if not text:
        return None
    try:
        return words(text.lower())
    except ValueError:
        allowed = ", ".join([*words, *([also] if also else [])])
        msg = f"{name} '{text}' is unknown; use {allowed}"
        raise ValueError(msg) from None
