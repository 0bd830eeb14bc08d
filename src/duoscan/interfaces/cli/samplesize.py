"""``duoscan samplesize``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from duoscan.interfaces.cli.tables import table_console

if TYPE_CHECKING:
    from duoscan.evaluation.sample_size import Method

_SHARE = click.FloatRange(0, 1)
_OPEN = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command("samplesize")
@click.option("--width", type=_OPEN, default=0.1, show_default=True, help="Wished width of each 95 % interval.")
@click.option("--sensitivity", type=_SHARE, default=0.9, show_default=True, help="What is expected.")
@click.option("--specificity", type=_SHARE, default=0.9, show_default=True, help="What is expected.")
@click.option(
    "--auroc",
    type=click.FloatRange(0.5, 1, min_open=True, max_open=True),
    default=0.9,
    show_default=True,
    help="What is expected.",
)
@click.option("--prevalence", type=_OPEN, default=0.5, show_default=True, help="Share of covid among the patients.")
@click.option("--method", type=click.Choice(["exact", "wilson"]), default="exact", show_default=True)
def samplesize_command(
    *, width: float, sensitivity: float, specificity: float, auroc: float, prevalence: float, method: Method
) -> None:
    """Patients that a test set needs for intervals of a wished width.

    One decision a patient: more images of the same patients do not stand for more patients. A set of this size gives
    the width with 90 % probability.
    """
    from rich.table import Table

    from duoscan.evaluation.sample_size import (
        EACH_OF_TWO,
        patients_for_auroc,
        patients_for_proportion,
        patients_overall,
        patients_overall_for_auroc,
    )

    table = Table("for", "expected", "covid patients", "other patients", f"patients at prevalence {prevalence:g}")
    for name, expected, share in (
        ("sensitivity", sensitivity, prevalence),
        ("specificity", specificity, 1 - prevalence),
    ):
        of_class = str(patients_for_proportion(expected, width, method=method))
        surely = patients_for_proportion(expected, width, method=method, assurance=EACH_OF_TWO)
        columns = (of_class, "") if name == "sensitivity" else ("", of_class)
        table.add_row(name, f"{expected:g}", *columns, str(patients_overall(surely, share)))
    area = patients_for_auroc(auroc, width, prevalence)
    overall = patients_overall_for_auroc(auroc, width, prevalence)
    table.add_row("AUROC", f"{auroc:g}", *map(str, area), str(overall))
    console = table_console()
    console.print(table)
    console.print(
        f"95 % intervals of width {width:g} or less with 90 % probability ({method} for sensitivity and specificity, "
        "Hanley and McNeil on the logit scale for the AUROC): where exactly so many come of either class, and, in the "
        "last column, where chance decides who comes."
    )
