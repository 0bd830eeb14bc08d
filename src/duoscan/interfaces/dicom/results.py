"""All results of a screening that belong into a PACS or a record system, written into a folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from duoscan.errors import MissingExtraError
from duoscan.files import safe_name, write_text
from duoscan.interfaces.dicom.sources import ActivationKeeper, StudyResult, study_results
from duoscan.quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from duoscan.triage.screening import CaseAnswer, Screener


def check_can_write() -> None:
    """Say so before hours of screening where the extra is missing.

    Raises:
        MissingExtraError: highdicom is not installed.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("dicom", "writing DICOM results") from error


def write_results(answers: Sequence[CaseAnswer], screener: Screener, maps: ActivationKeeper, out: Path) -> list[Path]:
    """Write report, heatmaps and FHIR resource of every DICOM study that was answered.

    One folder a study: ``report.dcm`` (TID 1500), ``heatmap-1.dcm``, … of the images that carried the answer, and
    ``report.json`` (FHIR R4). The same study, models and images give the same UIDs.

    Args:
        answers: Of a screening.
        screener: That gave them.
        maps: Activation maps it kept.
        out: Folder; made where missing.

    Returns:
        The DICOM files, in the order to be sent.

    Raises:
        MissingExtraError: highdicom is not installed.
    """
    check_can_write()
    out.mkdir(parents=True, exist_ok=True)
    with quiet:  # highdicom quotes the names of patients in its warnings
        return [path for study in study_results(answers) for path in _write_study(study, screener, maps, out)]


def _write_study(study: StudyResult, screener: Screener, maps: ActivationKeeper, out: Path) -> list[Path]:
    from duoscan.interfaces.dicom.fhir import diagnostic_report
    from duoscan.interfaces.dicom.heatmap_capture import heatmap_capture
    from duoscan.interfaces.dicom.structured_report import structured_report

    folder = out / safe_name(study.study_uid)
    folder.mkdir(exist_ok=True)
    write_text(folder / "report.json", json.dumps(diagnostic_report(study, screener), indent=1) + "\n")
    written = [folder / "report.dcm"]
    structured_report(study, screener).save_as(written[0], enforce_file_format=True)
    carrying = [(phase, one) for phase in study.phases for one in phase.carrying]
    for number, (phase, instance) in enumerate(carrying, start=1):
        activation, contract = maps.maps[instance.row.path]
        digest = screener.bundle(phase.modality).digest
        capture = heatmap_capture(instance, activation, contract, digest=digest, number=number)
        written.append(folder / f"heatmap-{number}.dcm")
        capture.save_as(written[-1], enforce_file_format=True)
    return written
