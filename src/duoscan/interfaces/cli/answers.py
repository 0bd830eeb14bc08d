"""What commands that answer patients have in common: tables written, shown, and the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.cases.case import Screening
from duoscan.cases.outputs import answers_csv, studies_csv
from duoscan.cases.stored import write_screening
from duoscan.files import write_text
from duoscan.interfaces.cli.tables import echo, table_console, visible
from duoscan.manifest.problems import first_of
from duoscan.policies.rule import Answer
from duoscan.terms import NOTICE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from duoscan.cases.case import PhaseResult
    from duoscan.cases.find import Found

_NAMED = 5  # files; the stored answers name all


class Problems:
    """Results that could not be written, each told at once."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, message: str) -> None:
        """Tell one more."""
        self.count += 1
        echo(f"duoscan: {message}", err=True)


def write_answers(
    screening: Screening, csv_path: Path | None, studies_path: Path | None, json_path: Path | None
) -> None:
    """Write one CSV row per patient, one per study, and the whole screening as JSON, where a path is given."""
    if csv_path:
        write_text(csv_path, answers_csv(screening))
    if studies_path:
        write_text(studies_path, studies_csv(screening))
    if json_path:
        write_screening(screening, json_path)


def exit_code(screening: Screening, problems: Problems) -> int:
    """1 where an image, patient or result is missing, or something that was typed matches nobody; else 0."""
    is_partial = any(case.unreadable or case.answer is Answer.UNREADABLE for case in screening)
    return 1 if is_partial or problems.count or screening.unmatched else 0


def show_answers(screening: Screening) -> None:
    """One row a patient, and how many there are of each answer."""
    from rich.table import Table

    table = Table("patient", "answer", "X-ray P(covid)", "CT P(covid)")
    table.add_column("why", overflow="fold")
    for case in screening:
        chances = [_chance(phase) for phase in (case.xray, case.ct)]
        table.add_row(case.patient_id, case.answer, *chances, case.reason)
    console = table_console()
    console.print(table)
    counts = ", ".join(f"{count} {answer}" for answer, count in screening.counts.items())
    console.print(f"{len(screening)} patients: {counts}")
    console.print(NOTICE)


def show_beside(found: Screening | Found) -> None:
    """What lay beside the images and is none, what a person typed that matches nobody, and how patients were told."""
    if names := found.not_images:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        files = "1 file" if len(names) == 1 else f"{len(names)} files"
        echo(f"not images: {files}: {', '.join(map(visible, names[:_NAMED]))}{more}", err=True)
    for line in found.unmatched:
        echo(f"duoscan: {visible(line)}", err=True)
    if isinstance(found, Screening):
        show_remarks(found.remarks)


def show_remarks(remarks: Sequence[str]) -> None:
    """How patients were told apart, the first few lines."""
    for line in first_of(remarks):
        echo(visible(line), err=True)


def _chance(phase: PhaseResult) -> str:
    if phase.probability is None:
        return "–"
    calibrated = "" if phase.calibrated is None else f" (calibrated {phase.calibrated:.3f})"
    return f"{phase.probability:.3f}{calibrated}"
