"""Anyone's table: usual names, scales and words are recognised; what may mean two things is asked about."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from duoscan.errors import PredictionsError
from duoscan.foreign import COLUMN_ALIASES, Reading, Scale, number_in
from duoscan.names import plain_name
from duoscan.predictions import read_predictions, read_predictions_table
from duoscan.terms import Finding, Split


def written(folder: Path, text: str, name: str = "foreign.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def answers() -> pd.DataFrame:
    """What a library's model says of a data set that nobody here made."""
    features, malignant = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    scores = cross_val_predict(model, features, malignant == 0, method="predict_proba", cv=3)[:, 1]
    return pd.DataFrame({"y_true": (malignant == 0).astype(int), "y_score": scores})


def test_every_usual_name_is_a_plain_name_of_one_column() -> None:
    names = [name for aliases in COLUMN_ALIASES.values() for name in aliases]
    assert len(names) == len(set(names))
    assert all(name == plain_name(name) for name in names)


@pytest.mark.parametrize(
    "style", [{}, {"sep": ";", "decimal": ","}, {"sep": "\t"}, {"encoding": "utf-8-sig"}, {"float_format": "%.3e"}]
)
def test_a_frame_of_a_library_is_read_as_it_writes_it(
    answers: pd.DataFrame, style: dict[str, str], tmp_path: Path
) -> None:
    answers.to_csv(tmp_path / "t.csv", **style)  # type: ignore[call-overload]
    rows = read_predictions(tmp_path / "t.csv")
    assert [row.label is Finding.COVID for row in rows] == list(answers.y_true == 1)
    assert [row.probability for row in rows] == pytest.approx(list(answers.y_score), rel=1e-3)


def test_percent_is_asked_about_and_then_read(answers: pd.DataFrame, tmp_path: Path) -> None:
    answers.assign(y_score=answers.y_score * 100).to_csv(tmp_path / "t.csv")
    with pytest.raises(PredictionsError, match="rows: probability above 1, e.g. .* say --scale percent") as caught:
        read_predictions(tmp_path / "t.csv")
    assert len(str(caught.value).splitlines()) == 2  # hundreds of rows, one line
    rows = read_predictions(tmp_path / "t.csv", Reading(scale=Scale.PERCENT))
    assert [row.probability for row in rows] == pytest.approx(list(answers.y_score))


def test_a_sign_states_per_cent_and_half_of_them_none(tmp_path: Path) -> None:
    table = read_predictions_table(written(tmp_path, "label,prob\n1,87 %\n0,5%\n"))
    assert [row.probability for row in table.rows] == [0.87, 0.05]
    assert "read as percent" in " ".join(table.remarks)
    with pytest.raises(PredictionsError, match="1 of 2 probabilities bear a per cent sign"):
        read_predictions(written(tmp_path, "label,prob\n1,87 %\n0,0.05\n"))


def test_a_scale_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PredictionsError, match="if the numbers go from 0 to 1, leave --scale out"):
        read_predictions(written(tmp_path, "label,prob\n1,0.9\n0,0.1\n"), Reading(scale=Scale.PERCENT))


@given(st.lists(st.floats(-800, 800), min_size=1))
def test_logits_become_probabilities_in_their_order(
    tmp_path_factory: pytest.TempPathFactory, logits: list[float]
) -> None:
    path = written(tmp_path_factory.mktemp("t"), "label,score\n" + "".join(f"1,{one}\n" for one in logits))
    found = [row.probability for row in read_predictions(path, Reading(scale=Scale.LOGIT))]
    assert all(one is not None and 0 <= one <= 1 for one in found)
    pairs = sorted(zip(logits, found, strict=True))
    assert [one for _, one in pairs] == sorted(one for one in found if one is not None)


def test_logits_are_asked_about(tmp_path: Path) -> None:
    with pytest.raises(PredictionsError, match="if these are logits, say --scale logit"):
        read_predictions(written(tmp_path, "label,score\n1,3.2\n0,-4.1\n"))


def test_what_was_recognised_is_told(tmp_path: Path) -> None:
    text = "id,Patient,ground truth,covid_prob,age\na,p1,COVID-19,0.9,70\nb,p2,non-COVID,0.2,50\n"
    table = read_predictions_table(written(tmp_path, text))
    columns, labels = table.remarks
    assert columns == (
        "foreign.csv: taken probability from 'covid_prob', label from 'ground truth', patient_id from 'Patient', "
        "path from 'id'; not read: age."
    )
    assert labels == "foreign.csv: labels are read 'covid-19' as covid (1), 'non-covid' as other (1)."
    assert [(row.patient_id, row.path) for row in table.rows] == [("p1", "a"), ("p2", "b")]


def test_a_table_in_our_own_words_needs_no_remark(tmp_path: Path) -> None:
    assert read_predictions_table(written(tmp_path, "path,label,probability\na,1,0.9\nb,normal,0.2\n")).remarks == ()


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("label,y_true,score", "--column label=label or --column label=y_true"),
        ("label,y_score,prob", "several columns may be 'probability'"),
        ("label,probability,score", "several columns may be 'probability'"),
        ("label,score,score", "score stand twice"),
    ],
)
def test_of_several_none_is_chosen(header: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(PredictionsError, match=says):
        read_predictions(written(tmp_path, f"{header}\n1,0,0.5\n"))
    chosen = Reading(columns={"label": "label", "probability": header.rpartition(",")[2]})
    if "twice" not in says:
        assert read_predictions(written(tmp_path, f"{header}\n1,0,0.5\n"), chosen)[0].probability == 0.5


def test_a_column_that_is_named_and_not_there_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, "label,score\n1,0.5\n")
    with pytest.raises(PredictionsError, match="the column 'scores' is not there, found label, score"):
        read_predictions(path, Reading(columns={"probability": "scores"}))
    with pytest.raises(PredictionsError, match="before '=' use one of path, patient_id"):
        read_predictions(path, Reading(columns={"chance": "score"}))


@pytest.mark.parametrize(
    ("words", "labels"),
    [
        (("yes", "no"), (Finding.COVID, Finding.OTHER)),
        (("Positive", "NEGATIVE"), (Finding.COVID, Finding.OTHER)),
        (("COVID-19", "Viral Pneumonia"), (Finding.COVID, Finding.PNEUMONIA)),
        (("1.0", "0."), (Finding.COVID, Finding.OTHER)),
        (("1", "NaN"), (Finding.COVID, None)),
    ],
)
def test_other_vocabularies(words: tuple[str, str], labels: tuple[Finding, Finding | None], tmp_path: Path) -> None:
    rows = read_predictions(written(tmp_path, "label,score\n" + "".join(f"{word},0.5\n" for word in words)))
    assert tuple(row.label for row in rows) == labels


def test_0_and_1_beside_2_are_asked_about(tmp_path: Path) -> None:
    """Of three classes by number nobody knows which is covid."""
    path = written(tmp_path, "label,score\n" + "0,0.1\n1,0.5\n2,0.9\n" * 100)
    with pytest.raises(PredictionsError, match="300 rows: label one of the numbers 0, 1, 2.*say what each means"):
        read_predictions(path)
    said = Reading(labels={"0": Finding.NORMAL, "1": Finding.PNEUMONIA, "2": Finding.COVID})
    assert {row.label for row in read_predictions(path, said)} == {Finding.NORMAL, Finding.PNEUMONIA, Finding.COVID}


def test_an_unknown_word_is_summed_up_with_the_way_to_say_it(tmp_path: Path) -> None:
    path = written(tmp_path, "label,score\n" + "sick,0.9\nwell,0.1\n" * 200)
    with pytest.raises(PredictionsError) as caught:
        read_predictions(path)
    first, *lines = str(caught.value).splitlines()
    assert first.endswith("rows that cannot be read: 400; correct them")
    assert len(lines) == 1
    assert "--map 'sick=covid'" in lines[0]
    said = Reading(labels={"SICK": Finding.COVID, "well": Finding.NORMAL})
    assert read_predictions(path, said)[0].label is Finding.COVID


def test_words_for_nothing_are_rows_without_an_answer(tmp_path: Path) -> None:
    rows = read_predictions(written(tmp_path, "label,score,split\n1,nan,test\n0,N/A,NA\n1,None,validation\n"))
    assert [row.probability for row in rows] == [None] * 3
    assert [row.split for row in rows] == [Split.TEST, None, Split.VAL]


def test_columns_to_group_by_are_kept(tmp_path: Path) -> None:
    path = written(tmp_path, "label,score,Sex\n1,0.5, F\n")
    assert read_predictions(path, Reading(groups=("sex",)))[0].groups == {"sex": "F"}
    with pytest.raises(PredictionsError, match="--by age: no such column, found label, score, Sex"):
        read_predictions(path, Reading(groups=("age",)))


def test_the_line_by_which_excel_names_the_delimiter_is_no_header(tmp_path: Path) -> None:
    path = written(tmp_path, "sep=;\nlabel;score\n1;0,5\n0;2\n")
    with pytest.raises(PredictionsError, match="row 4: probability '2' is above 1"):
        read_predictions(path)


@given(st.floats(0, 1))
def test_a_decimal_comma_is_a_decimal_point(value: float) -> None:
    assert number_in(repr(value).replace(".", ",")) == value
