"""Figures of the report, and figures as part of a page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from duoscan.evaluation.figures import BLUE
from duoscan.manifest.records import ImageRecord
from duoscan.report.charts import class_counts, class_counts_figure, inline_svg, learning_figure
from duoscan.terms import Finding, Modality, Split

if TYPE_CHECKING:
    from collections.abc import Sequence


def records(*rows: tuple[str, str | None, str | None]) -> list[ImageRecord]:
    return [
        ImageRecord.model_validate(
            {"path": f"{place}.png", "modality": Modality.CT, "source": source, "split": split, "label": label}
        )
        for place, (source, split, label) in enumerate(rows)
    ]


ROWS = records(
    ("b", "test", "normal"),
    ("a", "test", "covid"),
    ("a", "train", "normal"),
    ("a", "test", "covid"),
    ("a", None, None),
)


def history(*losses: float) -> list[dict[str, float]]:
    keys = ("train_loss", "val_loss", "train_accuracy", "val_accuracy")
    return [{"epoch": epoch, **dict.fromkeys(keys, loss)} for epoch, loss in enumerate(losses)]


def bars(figure: Figure) -> list[list[float]]:
    return [[patch.get_width() for patch in axes.patches] for axes in figure.axes]


def test_images_are_counted_by_source_part_and_class() -> None:
    assert list(class_counts(ROWS).items()) == [
        (("a", Split.TRAIN, Finding.NORMAL), 1),
        (("a", Split.TEST, Finding.COVID), 2),
        (("a", None, None), 1),
        (("b", Split.TEST, Finding.NORMAL), 1),
    ]


def test_bars_are_as_long_as_the_counts() -> None:
    figure = class_counts_figure(class_counts(ROWS))
    assert [axes.get_title() for axes in figure.axes] == ["train", "test", "not split"]
    # Within a panel: covid, normal, no label; within each: sources from below, b then a.
    assert bars(figure) == [[0, 0, 0, 1, 0, 0], [0, 2, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1]]


def test_every_bar_has_a_place_of_its_own() -> None:
    """Hidden bars would hide images; the first class of the first source stands on top."""
    (axes,) = class_counts_figure(class_counts([row for row in ROWS if row.split is Split.TEST])).axes
    middles = [round(patch.get_y() + patch.get_height() / 2, 6) for patch in axes.patches]
    assert len(set(middles)) == 4
    assert middles.index(max(middles)) == 1  # covid of source a


def lines(figure: Figure, panel: int) -> list[tuple[Sequence[float], Sequence[float]]]:
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in figure.axes[panel].lines]  # type: ignore[arg-type]


def test_epochs_are_counted_from_one_and_the_kept_one_is_marked() -> None:
    figure = learning_figure([history(0.9, 0.8, 0.7)], [1])
    training, validation, kept = lines(figure, 0)
    assert training == validation == ([1, 2, 3], [0.9, 0.8, 0.7])
    assert kept[0] == [2, 2]
    assert [axes.get_title() for axes in figure.axes] == ["Loss", "Accuracy"]


def test_folds_share_a_legend_and_an_unknown_best_epoch_is_not_marked() -> None:
    figure = learning_figure([history(0.9, 0.8), history(0.7)], [0, None])
    assert len(lines(figure, 0)) == 3 + 2
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["training", "validation", "epoch kept"]
    assert figure.axes[0].lines[-1].get_marker() == "o"  # one epoch is a point, which a line would not show


def plain_figure() -> Figure:
    figure = Figure()
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], "o-", color=BLUE)
    axes.set_title("a < b")
    return figure


def test_two_figures_of_a_page_share_no_identifier() -> None:
    one, other = (inline_svg(plain_figure(), prefix, "x") for prefix in ("one", "other"))
    identifiers = [re.findall(r'\bid="([^"]+)"', svg) for svg in (one, other)]
    assert identifiers[0]
    assert all(name.startswith("one-") for name in identifiers[0])
    assert not set(identifiers[0]) & set(identifiers[1])
    references = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', one)
    assert {a or b for a, b in references} == set(identifiers[0])


def test_a_figure_follows_the_colours_of_the_page() -> None:
    svg = inline_svg(plain_figure(), "p", "x")
    assert "stroke: var(--blue)" in svg
    assert not re.search(rf"(fill|stroke): ({BLUE}|#000000|#ffffff)", svg, re.IGNORECASE)
    assert "font-family" not in svg


def test_a_figure_leaves_the_rest_of_the_page_alone() -> None:
    svg = inline_svg(plain_figure(), "p", 'AUROC "0.9" < 1')
    assert svg.startswith('<svg viewBox="')
    assert 'role="img" aria-label="AUROC &#34;0.9&#34; &lt; 1"' in svg
    assert "a &lt; b" in svg  # text stays text
    for nuisance in ("<style", "<metadata", "<!DOCTYPE", "xlink", "<?xml"):
        assert nuisance not in svg


def test_equal_figures_give_equal_text() -> None:
    assert inline_svg(plain_figure(), "p", "x") == inline_svg(plain_figure(), "p", "x")
