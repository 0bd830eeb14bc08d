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

    One decision a patient: more images of the same patients do not stand for more patients. The widths are those
    to be expected; a set of this size comes out wider about as often as narrower.
    """
    from rich.table import Table

    from duoscan.evaluation.sample_size import patients_for_auroc, patients_for_proportion, patients_overall

    sick = patients_for_proportion(sensitivity, width, method=method)
    well = patients_for_proportion(specificity, width, method=method)
    area = patients_for_auroc(auroc, width, prevalence)
    table = Table("for", "expected", "covid patients", "other patients", f"patients at prevalence {prevalence:g}")
    table.add_row("sensitivity", f"{sensitivity:g}", str(sick), "", str(patients_overall(sick, prevalence)))
    table.add_row("specificity", f"{specificity:g}", "", str(well), str(patients_overall(well, 1 - prevalence)))
    table.add_row("AUROC", f"{auroc:g}", str(area[0]), str(area[1]), str(sum(area)))
    console = table_console()
    console.print(table)
    console.print(
        f"95 % intervals of width {width:g} or less on average ({method} for sensitivity and specificity, "
        "Hanley and McNeil for the AUROC)."
    )
