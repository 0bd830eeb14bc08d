"""The folder an evaluation is written to, its figures, and what --force may overwrite."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from duoscan.errors import InputError, MissingExtraError
from duoscan.evaluation import figures as figures_module
from duoscan.evaluation.evaluate import Evaluation, evaluate
from duoscan.evaluation.figures import confusion_figure, draw_figures, histogram_figure, render
from duoscan.evaluation.outputs import check_out_dir, write_evaluation
from duoscan.predictions import Prediction
from duoscan.terms import Finding

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def rows() -> list[Prediction]:
    """Sixty images of three classes, answered a little better than by chance."""
    rng = np.random.default_rng(5)
    classes = (Finding.COVID, Finding.PNEUMONIA, Finding.NORMAL)
    made = []
    for number in range(60):
        weights = np.ones(3)
        weights[number % 3] = 3
        chances = dict(zip(classes, map(float, rng.dirichlet(weights)), strict=True))
        covid = chances[Finding.COVID]
        decision = "positive" if covid >= 0.5 else "negative"
        label = classes[number % 3]
        made.append(
            Prediction(f"{number}.png", f"p{number // 2}", None, covid, decision, label=label, probabilities=chances)
        )
    return made


@pytest.fixture(scope="module")
def evaluation(rows: list[Prediction]) -> Evaluation:
    """Of those rows, at one half."""
    return evaluate(rows, threshold=0.5, resamples=100)


def test_the_folder_holds_numbers_tables_and_figures(
    tmp_path: Path, rows: list[Prediction], evaluation: Evaluation
) -> None:
    out = tmp_path / "deep" / "out"
    files = write_evaluation(evaluation, rows, out, command="duoscan evaluate t.csv", split="test", fingerprint="ab12")
    assert files[-1] == out / "metrics.json"
    assert sorted(files) == sorted(path for path in out.rglob("*") if path.is_file())
    document = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert (document["command"], document["split"], document["data_fingerprint"]) == (
        "duoscan evaluate t.csv",
        "test",
        "ab12",
    )
    assert document["metrics"]["auroc"]["value"] == evaluation.metrics["auroc"].value
    with (out / "metrics.csv").open(newline="") as stream:
        table = {row["metric"]: row for row in csv.DictReader(stream)}
    assert float(table["auroc"]["low"]) == evaluation.metrics["auroc"].low
    assert float(table["accuracy"]["baseline"]) == pytest.approx(2 / 3)
    assert table["ppv"]["baseline"] == ""  # nothing called: undefined, not 0
    assert "class:macro_f1" in table
    with (out / "roc.csv").open(newline="") as stream:
        roc = list(csv.DictReader(stream))
    assert (roc[0]["threshold"], roc[0]["sensitivity"], roc[-1]["sensitivity"]) == ("inf", "0.0", "1.0")
    assert {path.stem for path in (out / "figures").iterdir()} == set(figures_module.STEMS)
    for path in (out / "figures").iterdir():
        if path.suffix == ".svg":
            assert ET.parse(path).getroot().tag.endswith("svg")
        else:
            with Image.open(path) as image:
                assert min(image.size) > 500


def test_a_folder_that_would_lose_something_is_refused(
    tmp_path: Path, rows: list[Prediction], evaluation: Evaluation
) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(InputError, match="not empty; give another one or write over it with --force"):
        write_evaluation(evaluation, rows, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(InputError, match="a file of this name"):
        check_out_dir(tmp_path / "mine.txt", force=True)


@pytest.mark.usefixtures("no_figures")
def test_force_replaces_the_evaluation_and_leaves_the_rest(tmp_path: Path, rows: list[Prediction]) -> None:
    old = tmp_path / "figures" / "confusion_classes.svg"
    mine = [tmp_path / "mine.txt", tmp_path / "figures" / "mine.svg"]
    old.parent.mkdir()
    for path in (old, *mine, tmp_path / "metrics.json"):
        path.write_text("before")
    two_classes = [replace(row, probabilities={}) for row in rows]
    write_evaluation(evaluate(two_classes, resamples=100), two_classes, tmp_path, force=True)
    assert [path.read_text() for path in mine] == ["before", "before"]
    assert not old.exists()  # an earlier evaluation's figure beside new numbers would mislead
    assert json.loads((tmp_path / "metrics.json").read_text())["multiclass"] is None


def test_equal_input_gives_equal_figures(rows: list[Prediction], evaluation: Evaluation) -> None:
    chosen = {"confusion": draw_figures(evaluation, rows, None)["confusion"]}
    again = {"confusion": draw_figures(evaluation, rows, None)["confusion"]}
    assert render(chosen) == render(again)


def test_figures_say_n_and_what_the_axes_are(rows: list[Prediction], evaluation: Evaluation) -> None:
    for stem, figure in draw_figures(evaluation, rows, None).items():
        (axes,) = figure.axes
        assert "n = 60 images" in axes.get_title(), stem
        assert axes.get_xlabel(), stem
        assert axes.get_ylabel(), stem


def test_the_confusion_figure_shows_counts_and_shares() -> None:
    def texts(*, normalised: bool) -> list[str]:
        figure = confusion_figure([[3, 1], [0, 0]], ["covid", "not covid"], "n", normalised=normalised)
        return [text.get_text() for text in figure.axes[0].texts]

    assert texts(normalised=False) == ["3", "1", "0", "0"]
    assert texts(normalised=True) == ["0.750", "0.250", "–", "–"]


def test_the_histogram_shows_every_class_and_the_operating_point(rows: list[Prediction]) -> None:
    axes = histogram_figure(rows, 0.4, "n").axes[0]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "covid (20)",
        "pneumonia (20)",
        "normal (20)",
        "operating point 0.4",
    ]


def test_one_class_has_no_roc(matrix_rows: Callable[..., list[Prediction]]) -> None:
    single = matrix_rows(30, 1, 0, 0)
    drawn = draw_figures(evaluate(single, resamples=100), single, None)
    assert set(drawn) == {"confusion", "confusion_normalised", "probabilities", "reliability"}


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures_module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"duoscan\[evaluate\]"):
        figures_module.check_can_draw()
