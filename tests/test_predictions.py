"""The predictions table: what is written comes back, and what is wrong is named."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoscan.errors import MissingExtraError, PredictionsError
from duoscan.predictions import Prediction, read_predictions, write_predictions
from duoscan.reasons import Reason, ReasonCode
from duoscan.terms import ANSWERS, Decision, Finding, Modality, Split

if TYPE_CHECKING:
    from pathlib import Path

WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).map(str.strip).filter(bool)
PROBABILITIES = st.floats(0, 1)
REASONS = st.builds(Reason, st.sampled_from(ReasonCode), WORDS, st.none() | WORDS)


@st.composite
def tables(draw: st.DrawFn) -> list[Prediction]:
    """Tables as a model writes them: every answered row has the same classes."""
    classes = draw(st.lists(st.sampled_from(Finding), unique=True))
    rows = []
    for _ in range(draw(st.integers(0, 6))):
        probability = draw(st.none() | PROBABILITIES)
        answered = probability is not None
        rows.append(
            Prediction(
                path=draw(WORDS),
                patient_id=draw(st.none() | WORDS),
                modality=draw(st.none() | st.sampled_from(Modality)),
                probability=probability,
                decision=draw(st.sampled_from([None, *sorted(ANSWERS)]))
                if answered
                else draw(st.sampled_from(sorted(set(Decision) - ANSWERS))),
                reason=None if answered else draw(REASONS),
                sha256=draw(st.sampled_from(["", "0" * 64])),
                study_id=draw(st.none() | WORDS),
                source=draw(st.none() | WORDS),
                split=draw(st.none() | st.sampled_from(Split)),
                label=draw(st.none() | st.sampled_from(Finding)),
                probabilities={finding: draw(PROBABILITIES) for finding in classes} if answered else {},
                calibrated=draw(st.none() | PROBABILITIES) if answered else None,
                attention=draw(st.none() | st.floats(-1e6, 1e6)) if answered else None,
                aggregation=draw(st.sampled_from(["", "top-3", "attention"])) if answered else "",
            )
        )
    return rows


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
@given(rows=tables())
def test_what_is_written_is_read_again(tmp_path: Path, name: str, rows: list[Prediction]) -> None:
    write_predictions(rows, tmp_path / name)
    assert read_predictions(tmp_path / name) == rows


def test_cells_with_line_ends_and_quotes_come_back(tmp_path: Path) -> None:
    row = Prediction(
        'a,"b".png', "p;1", None, None, Decision.UNREADABLE, Reason(ReasonCode.UNFIT, "first\nsecond\rthird")
    )
    write_predictions([row], tmp_path / "t.csv")
    assert read_predictions(tmp_path / "t.csv") == [row]


def test_a_file_name_that_is_not_utf8_comes_back(tmp_path: Path) -> None:
    row = Prediction(b"caf\xe9.png".decode("utf-8", "surrogateescape"), None, None, 0.5, Decision.POSITIVE)
    write_predictions([row], tmp_path / "t.csv")
    assert read_predictions(tmp_path / "t.csv") == [row]


def test_columns_stand_in_the_documented_order(tmp_path: Path) -> None:
    row = Prediction("a.png", None, None, 0.5, "positive", probabilities={Finding.NORMAL: 0.5, Finding.COVID: 0.5})
    write_predictions([row], tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text().splitlines()[0] == (
        "path,patient_id,study_id,modality,source,split,label,probability,p_covid,p_normal,decision,reason"
    )


def test_a_failed_write_leaves_the_old_table(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_predictions([], path)
    before = path.read_bytes()
    with pytest.raises(Exception, match="abc"):
        write_predictions([Prediction("a.png", None, None, "abc", "positive")], path)  # type: ignore[arg-type]
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["t.parquet"]


def written(folder: Path, text: str) -> Path:
    path = folder / "foreign.csv"
    path.write_bytes(text.encode())
    return path


def test_anybodys_table_needs_only_label_and_probability(tmp_path: Path) -> None:
    first, second = read_predictions(written(tmp_path, "label,probability,age\n1,0.9,70\n0,0.2,50\n"))
    assert (first.label, first.probability, first.decision) == (Finding.COVID, 0.9, None)
    assert (second.label, second.probability) == (Finding.OTHER, 0.2)
    assert first.patient_id is None
    assert first.unit != second.unit  # each image stands for itself


@pytest.mark.parametrize("text", ["1", "1.0", "True", "COVID"])
def test_labels_that_mean_covid(tmp_path: Path, text: str) -> None:
    assert read_predictions(written(tmp_path, f"label,probability\n{text},0.9\n"))[0].label is Finding.COVID


@pytest.mark.parametrize("text", ["0", "0.0", "false", "other"])
def test_labels_that_mean_not_covid(tmp_path: Path, text: str) -> None:
    assert read_predictions(written(tmp_path, f"label,probability\n{text},0.9\n"))[0].label is Finding.OTHER


@pytest.mark.parametrize("mark", [";", "\t"])
def test_other_delimiters_and_a_byte_order_mark(tmp_path: Path, mark: str) -> None:
    text = "\ufeff" + mark.join(["Label", " Probability "]) + "\r\n" + mark.join(["covid", "0.25"]) + "\r\n"
    assert read_predictions(written(tmp_path, text))[0].probability == 0.25


def test_a_row_without_a_probability_is_kept_as_unreadable(tmp_path: Path) -> None:
    (row,) = read_predictions(written(tmp_path, "path,label,probability\na.png,covid,\n"))
    assert (row.decision, row.probability) == (Decision.UNREADABLE, None)
    assert row.reason == Reason(ReasonCode.NOT_STATED, "the table states no probability")


def test_missing_numbers_of_pandas_are_empty_cells(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    # A column of whole numbers beside a gap is a column of floats, and the gap is nan.
    table = {"label": [1.0, float("nan")], "probability": [0.5, float("nan")]}
    parquet.write_table(pa.table(table), tmp_path / "t.parquet")
    first, second = read_predictions(tmp_path / "t.parquet")
    assert (first.label, first.probability) == (Finding.COVID, 0.5)
    assert (second.label, second.probability) == (None, None)


def test_every_bad_row_is_named_by_its_spreadsheet_row(tmp_path: Path) -> None:
    text = (
        "path,label,probability,decision,split,p_covid,p_normal\n"
        '"two\nlines.png",covid,0.5,,,,\n'  # row 2, although it fills two lines
        "\n"  # row 3: blank rows count
        "b.png,covd,0.5,,,,\n"  # 4
        "c.png,covid,93,,,,\n"  # 5
        "d.png,covid,high,,,,\n"  # 6
        "e.png,covid,,positive,,,\n"  # 7
        "f.png,covid,0.5,unreadable,,,\n"  # 8
        "g.png,covid,0.5,,holdout,,\n"  # 9
        "h.png,covid,0.5,,,0.5,\n"  # 10
        "i.png,covid\n"  # 11
        "j.png,covid,0.5,,,,,,x\n"  # 12
        "k.png,covid,0.5,,,,,,\n"  # 13 is fine: spreadsheets pad rows
    )
    with pytest.raises(PredictionsError) as caught:
        read_predictions(written(tmp_path, text))
    lines = str(caught.value).splitlines()
    assert "rows that cannot be read: 9" in lines[0]
    assert [line.strip() for line in lines[1:]] == [
        "row 4: label 'covd' is unknown; use covid, pneumonia, normal, other, 0 or 1, or say what it means, e.g. "
        "--map 'covd=covid'",
        "row 5: probability '93' is above 1; if these are per cent, say --scale percent, else correct it",
        "row 6: probability 'high' is not a number; leave the cell empty where there is no answer",
        "row 7: decision 'positive' without a probability; state it or make the decision 'unreadable'",
        "row 8: decision 'unreadable' with a probability; leave the probability empty or correct the decision",
        "row 9: split 'holdout' is unknown; use train, val, test",
        "row 10: only 1 of 2 class probabilities are there; fill in all or none",
        "row 11: 2 cells under 7 columns; quote cells that hold the delimiter",
        "row 12: 9 cells under 7 columns; quote cells that hold the delimiter",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column 'probability', found nothing"),
        ("label,y_pred\n1,0.5\n", "no column 'probability', found label, y_pred; .* --column probability=y_pred"),
        ("1,0.5\n0,0.2\n", "the first row holds numbers"),
        ("label,label,probability\n1,1,0.5\n", "label stand twice"),
        ('label,probability\n1,"0.5\n', "not a CSV table"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(PredictionsError, match=says):
        read_predictions(written(tmp_path, text))


def test_a_missing_or_damaged_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PredictionsError, match="no such file"):
        read_predictions(tmp_path / "none.csv")
    (tmp_path / "t.parquet").write_bytes(b"no parquet")
    with pytest.raises(PredictionsError, match="not a Parquet table"):
        read_predictions(tmp_path / "t.parquet")


def test_parquet_without_its_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'duoscan\[parquet\]'"):
        write_predictions([], tmp_path / "t.parquet")
    (tmp_path / "t.parquet").touch()
    with pytest.raises(MissingExtraError, match="reading"):
        read_predictions(tmp_path / "t.parquet")


def test_reading_csv_loads_nothing_heavy(tmp_path: Path) -> None:
    path = written(tmp_path, "label,probability\n1,0.5\n")
    code = (
        "import sys; from duoscan.predictions import read_predictions; read_predictions(sys.argv[1]); "
        "sys.exit(any(name in sys.modules for name in ('numpy', 'pyarrow', 'pandas', 'torch', 'sklearn')))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 0
