"""Options that say whose images are whose, alike in every command that takes files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from duoscan.manifest.patient_rules import PatientRules, pattern_of, read_patient_table

if TYPE_CHECKING:
    from collections.abc import Callable

_EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)


def patient_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--patients``, ``--patient-pattern`` and ``--patient-by``."""
    options = [
        click.option("--patients", type=_EXISTING, help="CSV with path, patient_id and perhaps modality."),
        click.option("--patient-pattern", help="Regular expression whose one group, found in a path, is the patient."),
        click.option(
            "--patient-by",
            type=click.Choice(["file", "folder"]),
            default="file",
            show_default=True,
            help="What is one patient where nothing else says whose it is: a file (DICOM: a study), or a folder.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def patient_rules(table: Path | None, pattern: str | None, patient_by: str) -> PatientRules:
    """The rules that the options say.

    Raises:
        InputError: The table cannot be read, or the pattern is no regular expression with one group.
    """
    compiled = pattern_of(pattern, "--patient-pattern") if pattern else None
    return PatientRules(read_patient_table(table) if table else {}, compiled, by_folder=patient_by == "folder")
