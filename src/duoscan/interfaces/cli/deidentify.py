"""``duoscan deidentify``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from duoscan.errors import InputError
from duoscan.interfaces.cli.paths import OUT_FILE, OUT_FOLDER
from duoscan.interfaces.cli.tables import echo
from duoscan.rows import csv_text

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("deidentify")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=OUT_FOLDER, help="Folder to write to.")
@click.option("--key-file", required=True, type=_FILE, help="The secret key of the pseudonyms.")
@click.option("--new-key", is_flag=True, help="Make the key file; it must not be there yet.")
@click.option("--keep-interval", is_flag=True, help="Shift dates by a secret number of days per patient.")
@click.option("--keep-characteristics", is_flag=True, help="Keep age, sex, size and weight.")
@click.option("--keep-device", is_flag=True, help="Keep station name and serial numbers.")
@click.option(
    "--burnt-in",
    type=click.Choice(["refuse", "warn"]),
    default="refuse",
    show_default=True,
    help="What to do with an image that has text in its pixels.",
)
@click.option("--mapping", type=OUT_FILE, help="Write which file and patient became which; keep it as safe as the key.")
@click.option("--show-paths", is_flag=True, help="Name files in messages; a path may name a patient.")
def deidentify_command(
    *,
    paths: tuple[Path, ...],
    out: Path,
    key_file: Path,
    new_key: bool,
    keep_interval: bool,
    keep_characteristics: bool,
    keep_device: bool,
    burnt_in: str,
    mapping: Path | None,
    show_paths: bool,
) -> None:
    """De-identify DICOM images by the standard's basic profile, with keyed pseudonyms.

    \b
    Exit code: 0 every file was written; 1 some were refused, see their reasons; 2 the command itself was wrong.
    """
    from duoscan.cases.find import collect
    from duoscan.privacy.confidentiality import Options
    from duoscan.privacy.deidentify import Deidentified, Deidentifier
    from duoscan.privacy.pseudonyms import read_key, write_new_key, write_private

    if mapping is not None and mapping.exists():
        raise InputError(f"{mapping}: is there already; name a new file")
    found = collect(paths)
    if new_key:
        write_new_key(key_file)
    options = Options(keep_interval=keep_interval, keep_characteristics=keep_characteristics, keep_device=keep_device)
    worker = Deidentifier(read_key(key_file), out, options=options, refuse_text=burnt_in == "refuse")
    rows = []
    refused = 0
    for number, (path, refusal) in enumerate(((one.path, one.refusal) for one in found), start=1):
        outcome = Deidentified(path, reason=refusal.text) if refusal else worker.deidentify(path)
        written = "" if outcome.written is None else str(outcome.written)
        rows.append((str(path), outcome.patient_id, outcome.pseudonym, written))
        refused += outcome.written is None
        name = str(path) if show_paths else f"file {number} of {len(found)}"
        if outcome.written is None:
            echo(f"{name}: refused: {outcome.reason}", err=True)
        elif outcome.warning:
            echo(f"{name}: warning: {outcome.warning}", err=True)
    if mapping is not None:
        write_private(mapping, csv_text(("path", "patient_id", "pseudonym", "written"), rows))
    echo(f"{len(found) - refused} files written, {refused} refused")
    if found.not_images:
        echo(f"not images, left out: {len(found.not_images)}", err=True)
    sys.exit(1 if refused else 0)
