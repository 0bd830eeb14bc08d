"""``duoscan deidentify``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from duoscan.errors import InputError
from duoscan.interfaces.cli.paths import OUT_FILE, OUT_FOLDER
from duoscan.interfaces.cli.progress import stages
from duoscan.interfaces.cli.tables import STOPPED, echo
from duoscan.rows import csv_text

if TYPE_CHECKING:
    from duoscan.privacy.deidentify import Deidentified

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
@click.option("--quiet", is_flag=True, help="No progress on the screen.")
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
    quiet: bool,
) -> None:
    """De-identify DICOM images by the standard's basic profile, with keyed pseudonyms.

    \b
    Exit code: 0 every file was written; 1 some were refused, see their reasons; 2 the command itself was wrong;
    130 stopped by Ctrl-C, and --mapping holds what was written before.
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
    rows: list[tuple[str, str, str, str]] = []
    is_stopped = False
    try:
        with stages(quiet=quiet) as (on_stage, on_tick):
            on_stage("De-identifying files", len(found))
            for number, one in enumerate(found, start=1):
                outcome = (
                    Deidentified(one.path, reason=one.refusal.text) if one.refusal else worker.deidentify(one.path)
                )
                written = "" if outcome.written is None else str(outcome.written)
                rows.append((str(one.path), outcome.patient_id, outcome.pseudonym, written))
                _tell(outcome, str(one.path) if show_paths else f"file {number} of {len(found)}")
                on_tick()
    except KeyboardInterrupt:
        is_stopped = True
    finally:  # without it, whoever was written before is never found again
        if mapping is not None:
            write_private(mapping, csv_text(("path", "patient_id", "pseudonym", "written"), rows))
    refused = sum(not row[-1] for row in rows)
    echo(f"{len(rows) - refused} files written, {refused} refused")
    if found.not_images:
        echo(f"not images, left out: {len(found.not_images)}", err=True)
    if is_stopped:
        echo(f"duoscan: stopped; {len(found) - len(rows)} files were not looked at", err=True)
        sys.exit(STOPPED)
    sys.exit(1 if refused else 0)


def _tell(outcome: Deidentified, name: str) -> None:
    if outcome.written is None:
        echo(f"{name}: refused: {outcome.reason}", err=True)
    elif outcome.warning:
        echo(f"{name}: warning: {outcome.warning}", err=True)
