"""``duoscan pacs``: ask, find, fetch and store studies in an archive."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from duoscan.archives.archive import NO_LIMITS_CHANGED, FoundStudy, StudyQuery
from duoscan.archives.credentials import read_access
from duoscan.archives.opening import open_archive
from duoscan.errors import InputError
from duoscan.files import write_text
from duoscan.interfaces.cli.archive_options import access_options
from duoscan.interfaces.cli.paths import OUT_FILE, OUT_FOLDER
from duoscan.interfaces.cli.storing import counting_fetched, store_files
from duoscan.interfaces.cli.tables import echo, table_console

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 120  # columns of a table that holds a UID of 64 characters and more


@click.group("pacs")
def pacs_command() -> None:
    """Ask an archive whether it answers; find, fetch and store studies in it.

    ARCHIVE is TITLE@HOST:PORT (DICOM), or the https:// address of a DICOMweb service.
    """


@pacs_command.command("echo")
@click.argument("archive")
@access_options
def echo_command(
    *,
    archive: str,
    auth_file: Path | None,
    ca_file: Path | None,
    certificate: Path | None,
    certificate_key: Path | None,
) -> None:
    """Ask whether the archive answers: C-ECHO, or a DICOMweb search for one study.

    \b
    Exit code: 0 it answers; 2 it does not, and why: nothing is there, it refuses us, or it wants other credentials.
    """
    open_archive(archive, read_access(archive, auth_file, ca_file, certificate, certificate_key)).echo()
    echo(f"{archive}: answers")


@pacs_command.command("find")
@click.argument("archive")
@click.option("--patient", default="", help="PatientID; * and ? stand for any characters.")
@click.option("--date", default="", help="StudyDate as 20200131, or a range as 20200101-20200131.")
@click.option("--modality", default="", help="Modality in the study, e.g. CT.")
@click.option("--json", "json_out", type=OUT_FILE, help="Write the studies as JSON.")
@access_options
def find_command(
    *,
    archive: str,
    patient: str,
    date: str,
    modality: str,
    json_out: Path | None,
    auth_file: Path | None,
    ca_file: Path | None,
    certificate: Path | None,
    certificate_key: Path | None,
) -> None:
    """List the studies that match; the table names patients by PatientID.

    \b
    Exit code: 0 all are listed; 1 the list is as long as it may be, and others may match; 2 the command itself was
    wrong, or the archive did not answer.
    """
    query = StudyQuery(patient_id=patient, date=date, modality=modality.upper())
    found = open_archive(archive, read_access(archive, auth_file, ca_file, certificate, certificate_key)).find(query)
    if json_out is not None:
        write_text(json_out, json.dumps([asdict(study) for study in found], indent=1) + "\n")
    _show(found)
    if len(found) >= NO_LIMITS_CHANGED.studies:
        echo(
            f"duoscan: {len(found)} studies are shown, the most of one query, and others may match; "
            "narrow it by --patient, --date or --modality",
            err=True,
        )
        sys.exit(1)


@pacs_command.command("fetch")
@click.argument("archive")
@click.argument("study_uids", nargs=-1, required=True)
@click.option("--out", required=True, type=OUT_FOLDER, help="Folder to write to.")
@click.option(
    "--move-port",
    type=click.IntRange(1, 65535),
    help="For a peer without C-GET: it sends to DUOSCAN at this port of ours (C-MOVE).",
)
@access_options
def fetch_command(
    *,
    archive: str,
    study_uids: tuple[str, ...],
    out: Path,
    move_port: int | None,
    auth_file: Path | None,
    ca_file: Path | None,
    certificate: Path | None,
    certificate_key: Path | None,
) -> None:
    """Write all instances of studies, named by StudyInstanceUID, into a folder."""
    access = read_access(archive, auth_file, ca_file, certificate, certificate_key)
    source = open_archive(archive, access, move_port=move_port)
    for number, uid in enumerate(study_uids, start=1):
        with counting_fetched(f"study {number} of {len(study_uids)}") as on_fetched:
            source.fetch(uid, out, on_fetched)


@pacs_command.command("store")
@click.argument("archive")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@access_options
def store_command(
    *,
    archive: str,
    paths: tuple[Path, ...],
    auth_file: Path | None,
    ca_file: Path | None,
    certificate: Path | None,
    certificate_key: Path | None,
) -> None:
    """Store DICOM files; of a folder all that are DICOM."""
    from duoscan.formats.reader import is_dicom

    named = [path for path in paths if path.is_file()]
    if strange := [str(path) for path in named if not is_dicom(path)]:
        raise InputError(f"no DICOM file: {', '.join(strange)}; only such are stored")
    inside = [one for path in paths if path.is_dir() for one in sorted(path.rglob("*")) if one.is_file()]
    files = named + [path for path in inside if is_dicom(path)]
    if not files:
        raise InputError("no DICOM file there; name files, or folders that hold some")
    destination = open_archive(archive, read_access(archive, auth_file, ca_file, certificate, certificate_key))
    store_files(destination, files, archive)


def _show(found: list[FoundStudy]) -> None:
    from rich.table import Table

    console = table_console()
    if console.width < _WIDE:
        _show_below_each_other(found, console)
        return
    table = Table("patient", "date", "modalities", "instances", "description")
    table.add_column("study", overflow="fold")
    for study in _in_order(found):
        count = "–" if study.instances is None else str(study.instances)
        row = (study.patient_id, study.date, "/".join(study.modalities), count, study.description, study.study_uid)
        table.add_row(*row)
    console.print(table)
    console.print(f"{len(found)} studies")


def _show_below_each_other(found: list[FoundStudy], console: Console) -> None:
    """As :func:`_show`, so that a UID stands in one line and can be copied."""
    for study in _in_order(found):
        count = "" if study.instances is None else f"{study.instances} instances"
        words = (study.patient_id, study.date, "/".join(study.modalities), count, study.description)
        echo(study.study_uid)
        console.print(f"  {', '.join(filter(None, words))}")
    console.print(f"{len(found)} studies")


def _in_order(found: list[FoundStudy]) -> list[FoundStudy]:
    return sorted(found, key=lambda one: (one.patient_id, one.date, one.study_uid))
