"""One figure of the operating table: what each policy costs in CTs and what it finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.evaluation.figures import BLUE, GREY, VERMILLION, check_can_draw
from duoscan.triage.rule import PolicyKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from duoscan.evaluation.intervals import Estimate
    from duoscan.evaluation.policies import PolicyFigures

# How far a name stands from its point, in points, so that policies of equal sensitivity can be told apart.
_STEPS = ((8, 10), (8, -16), (8, 22), (8, -28), (-8, 10), (8, 10))


def policy_figure(policies: Sequence[PolicyFigures], chosen: PolicyFigures | None = None) -> Figure:
    """Sensitivity and specificity over the share sent to CT, with intervals and the band of CT for all.

    Args:
        policies: Measured on the same patients.
        chosen: The one to mark.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    check_can_draw()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), layout="constrained")
    first = policies[0]
    figure.suptitle(f"{first.patients} paired patients, {first.sick} sick; at prevalence {first.prevalence:.3g}")
    for axes, name in zip(figure.subplots(1, 2), ("sensitivity", "specificity"), strict=True):
        everyone = next((each for each in policies if each.policy.kind is PolicyKind.CT_FOR_ALL), None)
        if everyone is not None and everyone.figures[name].low is not None:
            band = everyone.figures[name]
            axes.axhspan(band.low, band.high, color=GREY, alpha=0.15, lw=0, label="95 % interval of CT for all")
        for each, step in zip(policies, _cycled(len(policies)), strict=True):
            x, y = each.figures["to_ct"], each.figures[name]
            marked = each is chosen
            axes.errorbar(
                x.value, y.value, xerr=_reach(x), yerr=_reach(y), fmt="D" if marked else "o", capsize=2,
                color=VERMILLION if marked else BLUE, label="chosen, on other patients than these" if marked else None,
            )  # fmt: skip
            side = "right" if x.value > 0.8 or step[0] < 0 else "left"
            offset = (-8 if side == "right" else 8, step[1])
            axes.annotate(
                each.policy.kind, (x.value, y.value), xytext=offset, textcoords="offset points", ha=side, fontsize=8
            )
        axes.set(xlabel="Share of patients sent to CT", ylabel=name.capitalize(), xlim=(-0.05, 1.05))
        axes.margins(y=0.12)
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    return figure


def _cycled(count: int) -> list[tuple[int, int]]:
    return [_STEPS[index % len(_STEPS)] for index in range(count)]


def _reach(estimate: Estimate) -> list[list[float]] | None:
    """Distance to either end, shape (2, 1); ``None`` where there is no interval."""
    if estimate.low is None or estimate.high is None:
        return None
    return [[estimate.value - estimate.low], [estimate.high - estimate.value]]
