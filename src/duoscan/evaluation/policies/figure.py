"""One figure of the operating table: what each policy finds and what it costs in CTs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.evaluation.figures import BLUE, GREY, VERMILLION, check_can_draw
from duoscan.evaluation.policies.measured import FIGURES
from duoscan.policies.rule import PolicyKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from duoscan.evaluation.intervals import Estimate
    from duoscan.evaluation.policies.measured import PolicyFigures

_SHOWN = ("sensitivity", "specificity", "to_ct")


def policy_figure(
    policies: Sequence[PolicyFigures], chosen: PolicyFigures | None = None, units: str = "patients"
) -> Figure:
    """One row a policy: sensitivity, specificity and share sent to CT, with intervals and the band of CT for all.

    Args:
        policies: Measured on the same patients.
        chosen: The one to mark.
        units: What they are, where blocks or images stand for patients.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    check_can_draw()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 1.4 + 0.4 * len(policies)), layout="constrained")
    first = policies[0]
    figure.suptitle(f"{first.patients} paired {units}, {first.sick} sick; at prevalence {first.prevalence:.3g}")
    everyone = next((each for each in policies if each.policy.kind is PolicyKind.CT_FOR_ALL), None)
    for axes, name in zip(figure.subplots(1, len(_SHOWN), sharey=True), _SHOWN, strict=True):
        band = everyone.figures[name] if everyone and name != "to_ct" else None
        if band is not None and band.low is not None:
            axes.axvspan(band.low, band.high, color=GREY, alpha=0.15, lw=0, label="95 % interval of CT for all")
        for row, each in enumerate(policies):
            marked, estimate = each is chosen, each.figures[name]
            axes.errorbar(
                estimate.value, row, xerr=_reach(estimate), fmt="D" if marked else "o", capsize=3,
                color=VERMILLION if marked else BLUE, label="chosen, on other patients than these" if marked else None,
            )  # fmt: skip
        axes.set_xlabel(FIGURES[name])
        axes.set_yticks(range(len(policies)), [each.policy.name for each in policies])
        axes.grid(axis="x", alpha=0.3)
    axes.invert_yaxis()
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    return figure


def _reach(estimate: Estimate) -> list[list[float]] | None:
    """Distance to either end, shape (2, 1); ``None`` where there is no interval."""
    if estimate.low is None or estimate.high is None:
        return None
    return [[estimate.value - estimate.low], [estimate.high - estimate.value]]
