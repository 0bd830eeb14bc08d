"""What a bundle says of the hospital it was adapted to, in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.inference.site import SITE_FIGURES
from duoscan.interfaces.cli.tables import echo, table_console

if TYPE_CHECKING:
    from duoscan.inference.site import SiteEvidence


def show_site(site: SiteEvidence) -> None:
    """Print the patients, what changed and why, the figures before and after, and the promise."""
    from rich.table import Table

    by_label = ", ".join(f"{label} {count}" for label, count in site.patients.items())
    echo(f"{site.site}, {site.date}: {site.images} images of {site.spoken_patients} ({by_label})")
    echo(f"adapted from {site.parent_name}, {site.parent_digest[:12]}; {_divided(site)}")
    for reason in site.reasons:
        echo(f"  {reason}")
    table = Table("on patients left out", "before", "after", "difference")
    for name, title in SITE_FIGURES.items():
        table.add_row(
            title, *(of[name].spoken if name in of else "" for of in (site.before, site.after, site.difference))
        )
    table_console().print(table)
    certificate = site.certificate
    echo(
        f"threshold for studies {certificate.threshold:.4g}: {certificate.promise} "
        f"({certificate.missed} of {certificate.positives} below it)"
    )


def _divided(site: SiteEvidence) -> str:
    if not site.fitted_patients:
        return "no patient was fitted on, all certify"
    return f"{site.fitted_patients} patients to fit the last layer on, the others certify"
