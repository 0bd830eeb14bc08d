"""``duoscan adapt``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from duoscan.adaptation.adapt import adapt
from duoscan.adaptation.cases import DEFAULT_MISS_RATE, SiteWish
from duoscan.errors import InputError
from duoscan.inference.bundle import SUFFIX, read_bundle
from duoscan.interfaces.cli.import_options import import_options, read_images, show_imported
from duoscan.interfaces.cli.paths import OUT_FILE
from duoscan.interfaces.cli.progress import stages
from duoscan.interfaces.cli.site_shown import show_site
from duoscan.interfaces.cli.tables import echo


@click.command("adapt")
@click.argument("bundle", type=click.Path(exists=True, path_type=Path))
@click.argument("cases", type=click.Path(exists=True, path_type=Path))
@click.option("--site", required=True, help="Name of the hospital; it is written into the new bundle.")
@click.option("--out", required=True, type=OUT_FILE, help=f"Bundle to write, {SUFFIX}.")
@click.option(
    "--miss-rate",
    default=DEFAULT_MISS_RATE,
    show_default=True,
    help="Largest share of the sick below the certified threshold.",
)
@click.option("--confidence", default=0.95, show_default=True, help="Of that promise.")
@click.option("--no-refit", is_flag=True, help="Leave the last layer as it is; then every sick patient certifies.")
@click.option("--leave-out", is_flag=True, help="Leave out images that cannot be answered, where they are refused.")
@import_options
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of all chance.")
@click.option("--force", is_flag=True, help="Write over an existing bundle.")
def adapt_command(
    bundle: Path,
    cases: Path,
    *,
    site: str,
    out: Path,
    miss_rate: float,
    confidence: float,
    no_refit: bool,
    leave_out: bool,
    seed: int,
    force: bool,
    **how: Any,
) -> None:
    """Adapt BUNDLE to a hospital by 100 to 300 of its own labelled CASES, and write a new bundle.

    CASES is a manifest or any table with path, label and patient_id, a folder for each class, or a folder of DICOM
    files with --labels, as 'duoscan import' takes them.

    Recalibrates, refits the last layer where that helps beyond chance, certifies the threshold for studies on patients
    who were not fitted on, and shows the figures before and after on patients left out.
    """
    if out.exists() and not force:
        raise InputError(f"{out}: exists already; choose another --out or add --force")
    wish = SiteWish(site, miss_rate, round(1.0 - confidence, 12), refits=not no_refit, leaves_out=leave_out, seed=seed)
    parent = read_bundle(bundle)
    imported = read_images(cases, parent.info.modality, site, **how)
    show_imported(imported)
    with stages() as (on_stage, on_image):
        adapted = adapt(parent, imported.manifest, wish, out, on_stage=on_stage, on_image=on_image)
    if adapted.info.site is not None:
        show_site(adapted.info.site)
    echo(f"wrote {out}")
