"""Figures of what policies are worth, from ``triage.json``: net benefit, cost, and risk over coverage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.evaluation.figures import BLUE, GREEN, GREY, ORANGE, VERMILLION, check_can_draw

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# One a policy in the order of the operating table, a given one last; the page's style sheet repeats them.
STYLES = (
    (BLUE, "-"),
    (VERMILLION, "-"),
    (GREEN, "-"),
    (ORANGE, "--"),
    ("#000000", "-."),
    (BLUE, ":"),
    (GREEN, "--"),
)
_BELOW = -0.15  # of the largest value: treating all falls far below, which shows nothing


def worth_figures(document: Mapping[str, Any]) -> dict[str, Figure]:
    """Figures by stem, as far as the document allows; the interval of the chosen policy is a band.

    Args:
        document: Of ``triage.json``.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    check_can_draw()
    figures = {"risk": _risk_figure(document["abstention"])}
    worth = document["worth"]
    if "refusal" in worth:
        return figures
    names = [entry["policy"]["kind"] for entry in document["policies"]]
    chosen = document["chosen"]["place"]
    benefit = worth["net_benefit"]
    figures["decision"] = _curves(
        worth["thresholds"], benefit["over_thresholds"], names, chosen, ("Threshold probability", "Net benefit"),
        benefit["treat_all_over_thresholds"],
    )  # fmt: skip
    figures["prevalence"] = _curves(
        worth["prevalences"], benefit["over_prevalence"], names, chosen, ("Prevalence", "Net benefit"),
        benefit["treat_all_over_prevalence"],
    )  # fmt: skip
    if "refusal" not in worth["cost"]:
        figures["cost"] = _curves(
            worth["prevalences"],
            worth["cost"]["over_prevalence"],
            names,
            chosen,
            ("Prevalence", "Cost a patient"),
            None,
        )
    return figures


def _curves(
    xs: Sequence[float],
    lines: Sequence[Sequence[Sequence[float]]],
    names: Sequence[str],
    chosen: int,
    labels: tuple[str, str],
    treat_all: Sequence[float] | None,
) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    axes: Axes = figure.subplots()
    if treat_all is not None:
        axes.plot(xs, treat_all, color=GREY, ls=":", lw=1.2, label="treat all")
        axes.axhline(0.0, color=GREY, lw=1.0, label="treat none")
    highest = 0.0
    for place, (name, line) in enumerate(zip(names, lines, strict=True)):
        colour, style = STYLES[place]
        value, low, high = np.array(line, dtype=np.float64).T
        is_chosen = place == chosen
        if is_chosen:
            axes.fill_between(xs, low, high, color=colour, alpha=0.18, lw=0, label="95 % interval of the chosen one")
        axes.plot(xs, value, color=colour, ls=style, lw=2.4 if is_chosen else 1.4, label=name)
        highest = max(highest, float(high.max()) if is_chosen else float(value.max()))
    axes.set(xlabel=labels[0], ylabel=labels[1], xlim=(xs[0], xs[-1]))
    axes.set_ylim(0.0 if treat_all is None else _BELOW * highest, 1.04 * highest or 1.0)
    axes.grid(alpha=0.25, lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _risk_figure(abstention: Mapping[str, Any]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    axes: Axes = figure.subplots()
    for phase, name, (colour, style) in (("xray", "X-ray", STYLES[0]), ("ct", "CT", STYLES[1])):
        of = abstention[phase]
        value, low, high = np.array(
            [[np.nan if end is None else end for end in triple] for triple in of["risk"]], dtype=np.float64
        ).T
        axes.fill_between(of["coverage"], low, high, color=colour, alpha=0.15, lw=0)
        axes.plot(of["coverage"], value, color=colour, ls=style, lw=1.8, marker="o", ms=3, label=name)
    axes.set(xlabel="Share of patients answered, the surest first", ylabel="Share of wrong answers among them")
    axes.set_ylim(bottom=0.0)
    axes.grid(alpha=0.25, lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    return figure
