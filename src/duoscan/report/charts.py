"""Figures of the report, and any matplotlib figure as inline SVG that follows the page's colours."""

from __future__ import annotations

import io
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from duoscan.evaluation.figures import BLUE, CLASS_STYLES, GREEN, GREY, ORANGE, VERMILLION
from duoscan.terms import Finding, Split

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from duoscan.manifest.records import ImageRecord

Counts = dict[tuple[str, Split | None, Finding | None], int]
"""Images by source, part and class."""

# What the page's style sheet knows these colours as; so that figures follow light, dark and print.
_PAGE_COLOURS = {
    "#000000": "var(--ink)",
    "#ffffff": "var(--card)",
    BLUE: "var(--blue)",
    VERMILLION: "var(--vermillion)",
    ORANGE: "var(--orange)",
    GREEN: "var(--green)",
    GREY: "var(--muted)",
}
_TRAIN, _VAL = (BLUE, "-"), (VERMILLION, "--")


def class_counts(records: Iterable[ImageRecord]) -> Counts:
    """Images by source, part and class, in the order in which a table shows them."""
    counted = Counter((record.source, record.split, record.label) for record in records)
    splits, labels = [*Split, None], [*Finding, None]
    return dict(sorted(counted.items(), key=lambda item: (item[0][0], *_places(item[0], splits, labels))))


def _places(key: tuple[str, Any, Any], splits: Sequence[Any], labels: Sequence[Any]) -> tuple[int, int]:
    return splits.index(key[1]), labels.index(key[2])


def class_counts_figure(counts: Counts) -> Figure:
    """Images of each class as bars, a panel a part, a row a source."""
    from matplotlib.figure import Figure

    splits = [split for split in (*Split, None) if any(key[1] == split for key in counts)]
    sources = sorted({source for source, _, _ in counts}, reverse=True)
    labels = [label for label in (*Finding, None) if any(key[2] == label for key in counts)]
    height = 1.1 + 0.24 * len(sources) * len(labels) + 0.12 * len(sources)
    figure = Figure(figsize=(9.0, height), layout="constrained")
    panels: Any = figure.subplots(1, len(splits), sharey=True, squeeze=False)
    for axes, split in zip(panels[0], splits, strict=True):
        for place, label in enumerate(labels):
            values = [counts.get((source, split, label), 0) for source in sources]
            colour = CLASS_STYLES[label][0] if label else GREY
            # barh counts upwards; the first class shall stand on top
            at = [row * (len(labels) + 0.5) + len(labels) - 1 - place for row in range(len(sources))]
            bars = axes.barh(at, values, height=0.82, color=colour, label=str(label or "no label"))
            axes.bar_label(bars, [str(value) if value else "" for value in values], padding=3, fontsize=9)
        axes.set_title(f"{split or 'not split'}", fontsize=11)
        axes.margins(x=0.16)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("images")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    panels[0][0].set_yticks([row * (len(labels) + 0.5) + (len(labels) - 1) / 2 for row in range(len(sources))], sources)
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    return figure


def learning_figure(histories: Sequence[Sequence[dict[str, float]]], best_epochs: Sequence[int | None]) -> Figure:
    """Loss and accuracy over epochs; several folds are thin lines of the same colours.

    Args:
        histories: One a model; rows with ``epoch``, ``train_loss``, ``val_loss``, ``train_accuracy``, ….
        best_epochs: The epoch whose weights each model keeps, from 0; ``None`` where unknown.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.7), layout="constrained")
    panels: Any = figure.subplots(1, 2)
    for axes, name in zip(panels, ("loss", "accuracy"), strict=True):
        for number, (history, best) in enumerate(zip(histories, best_epochs, strict=True)):
            _draw_history(axes, history, best, name, labelled=number == 0, width=1.8 if len(histories) == 1 else 0.9)
        axes.set(xlabel="epoch", ylabel=name)
        axes.set_title(name.capitalize(), fontsize=11)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, lw=0.6)
        axes.legend(frameon=False, fontsize=9)
    return figure


def _draw_history(
    axes: Axes, history: Sequence[dict[str, float]], best: int | None, name: str, *, labelled: bool, width: float
) -> None:
    epochs = [row["epoch"] + 1 for row in history]  # stored from 0; people count from 1
    marker = "o" if len(epochs) == 1 else None  # a line of one point cannot be seen
    for part, spoken, (colour, style) in (("train", "training", _TRAIN), ("val", "validation", _VAL)):
        values = [row[f"{part}_{name}"] for row in history]
        label = spoken if labelled else None
        axes.plot(epochs, values, color=colour, ls=style, lw=width, marker=marker, label=label)
    if best is not None:
        axes.axvline(best + 1, color=GREY, lw=1, ls=":", label="epoch kept" if labelled else None)


def inline_svg(figure: Figure, prefix: str, label: str) -> Markup:
    """A figure as SVG to stand in an HTML page.

    Equal figures give equal text: identifiers are salted with a fixed word and no date is written. Identifiers get
    a prefix, because two figures of a page must not share any.

    Args:
        figure: Drawn.
        prefix: Unique within the page.
        label: What a person who cannot see it is told.
    """
    import matplotlib as mpl

    stream = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context({"svg.hashsalt": "duoscan", "svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", metadata=nothing, transparent=True)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)  # would style the page
    box = re.search(r'viewBox="[^"]+"', text)
    head = f'<svg {box.group() if box else ""} role="img" aria-label="{escape(label)}">'
    text = re.sub(r"<svg[^>]*>", lambda _: head, text, count=1)
    return Markup(_in_page_colours(_own_identifiers(_shorter(text), prefix)))  # noqa: S704 - made here


def _shorter(svg: str) -> str:
    """Without what a browser does not need: families (the page's are used), no turns, line ends within paths."""
    svg = re.sub(r" ?font-family: [^;\"]*;?", "", svg)
    svg = re.sub(r' transform="rotate\(-?0 [^)]*\)"', "", svg)
    svg = svg.replace("xlink:href", "href")
    return re.sub(r"\s*\n\s*", " ", svg).replace("> <", "><")


def _own_identifiers(svg: str, prefix: str) -> str:
    """Identifiers that something refers to get the prefix, the others go."""
    used = set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg))
    svg = re.sub(r' id="([^"]+)"', lambda found: f' id="{prefix}-{found[1]}"' if found[1] in used else "", svg)
    return re.sub(r'(url\(#|href="#)', rf"\1{prefix}-", svg)


def _in_page_colours(svg: str) -> str:
    for colour, variable in _PAGE_COLOURS.items():
        svg = re.sub(rf"\b(fill|stroke): {colour}\b", rf"\1: {variable}", svg, flags=re.IGNORECASE)
    return svg
