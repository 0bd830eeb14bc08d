"""``duoscan phantom``: a synthetic cohort with known truth."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import click

from duoscan.errors import InputError
from duoscan.files import write_bytes
from duoscan.interfaces.cli.paths import OUT_FILE, OUT_FOLDER
from duoscan.interfaces.cli.tables import echo
from duoscan.phantom.faults import Fault
from duoscan.phantom.plan import FileFormat, PhantomOptions

if TYPE_CHECKING:
    from pathlib import Path


@click.command("phantom")
@click.option("--patients", type=click.IntRange(min=1), default=100, show_default=True, help="How many patients.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Everything follows from it.")
@click.option("--out", type=OUT_FOLDER, help="Folder to write the data set to.")
@click.option("--slices", type=click.IntRange(min=2), default=32, show_default=True, help="Slices of each CT.")
@click.option("--ct-size", type=click.IntRange(min=32), default=256, show_default=True, help="Pixels of a CT slice.")
@click.option("--xray-size", type=click.IntRange(min=32), default=512, show_default=True, help="Pixels of an X-ray.")
@click.option(
    "--format", "formats", type=click.Choice([one.value for one in FileFormat]), default="png", show_default=True,
    help="What images are written as.",
)  # fmt: skip
@click.option(
    "--mix", nargs=3, type=click.FloatRange(min=0), default=(1.0, 1.0, 1.0), metavar="HEALTHY COVID PNEUMONIA",
    help="Shares of the classes; equal if left out.",
)  # fmt: skip
@click.option(
    "--fault",
    "faults",
    type=click.Choice([one.value for one in Fault]),
    multiple=True,
    help="Plant a fault; repeatable.",
)
@click.option("--shuffle-labels", is_flag=True, help="Deal the labels out anew: nothing can be learned.")
@click.option("--label-slices-by-lesion", is_flag=True, help="List only CT slices that show their label.")
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Processes.")
@click.option("--force", is_flag=True, help="Replace a cohort that lies in the folder.")
@click.option("--sheet", type=OUT_FILE, help="Draw a sheet of examples (PNG).")
def phantom_command(
    *,
    patients: int,
    seed: int,
    out: Path | None,
    slices: int,
    ct_size: int,
    xray_size: int,
    formats: str,
    mix: tuple[float, float, float],
    faults: tuple[str, ...],
    shuffle_labels: bool,
    label_slices_by_lesion: bool,
    workers: int,
    force: bool,
    sheet: Path | None,
) -> None:
    """Make invented patients, each with a chest X-ray and a chest CT, and write them as a data set.

    Healthy, COVID-like or with another pneumonia; lesion masks and severity are known. No image is of a person.
    """
    if out is None and sheet is None:
        raise InputError("nothing to write; give --out FOLDER for a data set, or --sheet FILE for a picture")
    if sheet is not None:
        _draw(sheet, seed)
    if out is not None:
        options = PhantomOptions(
            patients=patients,
            seed=seed,
            slices=slices,
            ct_size=ct_size,
            xray_size=xray_size,
            class_mix=mix,
            formats=FileFormat(formats),
            faults=tuple(Fault(fault) for fault in dict.fromkeys(faults)),
            shuffle_labels=shuffle_labels,
            label_slices_by_lesion=label_slices_by_lesion,
        )
        _write(options, out, workers=workers, force=force)


def _draw(path: Path, seed: int) -> None:
    from duoscan.phantom.sheet import draw_sheet

    stream = io.BytesIO()
    draw_sheet(seed).save(stream, format="PNG", optimize=True)
    write_bytes(path, stream.getvalue(), private=False)
    echo(f"{path}: examples of every class")


def _write(options: PhantomOptions, out: Path, *, workers: int, force: bool) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from duoscan.phantom.cohort import write_cohort

    columns = (TextColumn("patients"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task("patients", total=options.patients)
        manifest = write_cohort(
            options, out, workers=workers, overwrite=force, on_patient=lambda: progress.advance(task)
        )
    echo(f"{out}: {options.patients} synthetic patients, {len(manifest)} images listed in manifest.csv")
    for fault in options.faults:
        echo(f"planted: {fault}; every file is named in faults.csv")
