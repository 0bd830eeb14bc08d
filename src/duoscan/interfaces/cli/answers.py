"""What commands that answer patients have in common: tables written, shown, and the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.cases.case import Screening
from duoscan.cases.outputs import answers_csv, studies_csv
from duoscan.cases.stored import write_screening
from duoscan.evaluation.sample import units_word
from duoscan.files import write_text
from duoscan.interfaces.cli.progress import stages
from duoscan.interfaces.cli.tables import STOPPED, echo, table_console, visible
from duoscan.manifest.problems import first_of
from duoscan.policies.rule import Answer
from duoscan.results.write import write_results
from duoscan.terms import NOTICE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from duoscan.cases.case import PhaseResult
    from duoscan.cases.find import Found
    from duoscan.cases.stored import Maps
    from duoscan.results.write import ResultObject

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


def write_dicom(
    screening: Screening,
    places: Mapping[str, Path],
    maps: Maps,
    out: Path,
    *,
    objects: Collection[ResultObject],
    problems: Problems,
    quiet: bool,
) -> list[Path]:
    """As of :func:`duoscan.results.write.write_results`, and say what was written."""
    studies = 0

    def on_study() -> None:
        nonlocal studies
        studies += 1
        on_tick()

    with stages(quiet=quiet) as (on_stage, on_tick):
        on_stage("Writing results", None)
        written = write_results(
            screening, places, maps, out, objects=objects, on_problem=problems.add, on_study=on_study
        )
    if not quiet:
        echo(f"{out}: {len(written)} DICOM objects of {studies} studies written")
    return written


def exit_code(screening: Screening, problems: Problems) -> int:
    """130 where a person stopped it; 1 where an image, patient or result is missing, or what was typed is nobody's."""
    if screening.unfinished:
        return STOPPED
    is_partial = any(case.unreadable or case.answer is Answer.UNREADABLE for case in screening)
    return 1 if is_partial or problems.count or screening.unmatched else 0


def show_answers(screening: Screening) -> None:
    """One row a patient, and how many there are of each answer."""
    from rich.table import Table

    table = Table("patient", "answer", "X-ray P(covid)", "CT P(covid)")
    table.add_column("why", overflow="fold")
    for case in screening:
        chances = [_chance(phase) for phase in (case.xray, case.ct)]
        # All obey one policy, which is said once: a terminal has 80 columns.
        told = "; ".join(one.spoken for one in (*case.reasons, *case.estimates))
        table.add_row(case.patient_id, case.answer, *chances, told)
    console = table_console()
    console.print(table)
    counts = ", ".join(f"{count} {answer}" for answer, count in screening.counts.items())
    units = units_word(case.patient_id for case in screening)
    console.print(f"{len(screening)} {units}: {counts}")
    for obeyed in dict.fromkeys(case.obeyed for case in screening):
        console.print(f"policy: {obeyed}")
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


def show_unfinished(screening: Screening) -> None:
    """How far a screening came that a person stopped."""
    if screening.unfinished:
        echo(
            f"duoscan: stopped; {len(screening)} patients are finished, {len(screening.unfinished)} images of others "
            "are not; --json names them",
            err=True,
        )


def _chance(phase: PhaseResult) -> str:
    if phase.probability is None:
        return "–"
    calibrated = "" if phase.calibrated is None else f" (calibrated {phase.calibrated:.3f})"
    return f"{phase.probability:.3f}{calibrated}"
