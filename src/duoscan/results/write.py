"""All results of a screening that belong into a PACS or a record system, written into a folder."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from duoscan.errors import InputError, MissingExtraError
from duoscan.files import make_folder, safe_name, write_bytes, write_text
from duoscan.quiet import quiet
from duoscan.results.shown import ShownPhase, shown_phases
from duoscan.results.sources import StudyResult, study_results
from duoscan.terms import Modality

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

    from pydicom import Dataset

    from duoscan.cases.case import Screening
    from duoscan.imaging.heatmap import SeenMap


class ResultObject(StrEnum):
    """What can be written of a study beside its two JSON documents."""

    REPORT = "sr"
    HEATMAP = "heatmap"
    SEGMENTATION = "seg"
    MAP = "pmap"
    PRESENTATION = "gsps"


DEFAULT_OBJECTS = frozenset({ResultObject.REPORT, ResultObject.HEATMAP})

_FILES = {
    ResultObject.REPORT: "report.dcm",
    ResultObject.HEATMAP: "heatmap-{}.dcm",
    ResultObject.SEGMENTATION: "segmentation-{}.dcm",
    ResultObject.MAP: "map-{}.dcm",
    ResultObject.PRESENTATION: "presentation-{}.dcm",
}
# What pydicom and highdicom raise for headers they cannot build on.
_UNUSABLE = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, NotImplementedError)


@dataclass(frozen=True)
class _Study:
    result: StudyResult
    screening: Screening
    shown: list[ShownPhase]


def parse_objects(text: str) -> frozenset[ResultObject]:
    """Read a list as ``sr,heatmap,seg``.

    Raises:
        InputError: A word is unknown, or there is none.

    Example:
        >>> sorted(parse_objects("sr, seg"))
        [<ResultObject.SEGMENTATION: 'seg'>, <ResultObject.REPORT: 'sr'>]
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [word for word in words if word not in set(ResultObject)]
    if unknown or not words:
        named = f"'{unknown[0]}' is unknown" if unknown else "nothing is named"
        raise InputError(f"DICOM objects: {named}; choose among {', '.join(ResultObject)}")
    return frozenset(map(ResultObject, words))


def check_can_write() -> None:
    """Say so before hours of screening where the extra is missing.

    Raises:
        MissingExtraError: highdicom is not installed.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("dicom", "writing DICOM results") from error


def write_results(
    screening: Screening,
    places: Mapping[str, Path],
    maps: Mapping[str, SeenMap],
    out: Path,
    *,
    objects: Collection[ResultObject] = DEFAULT_OBJECTS,
    on_problem: Callable[[str], None] = lambda _message: None,
    on_study: Callable[[], None] = lambda: None,
) -> list[Path]:
    """Write the results of every DICOM study that was answered.

    One folder a study: ``study.json`` (everything), ``fhir.json`` (FHIR R4 ``DiagnosticReport``) and the DICOM
    objects asked for: ``report.dcm`` (TID 1500), ``heatmap-1.dcm``, … of the images that carried the answer, for
    CT ``segmentation-1.dcm`` and ``map-1.dcm``, for X-ray ``presentation-1.dcm``. The same study, models and images
    give the same UIDs. An object that the headers of a study do not allow is left out, and the rest is written.

    Args:
        screening: As stored.
        places: Name of a file in answers → where it lies; a name that is not there is a path itself.
        maps: Activation map by the name of its image; where there is none, no picture is made.
        out: Folder; made where missing.
        objects: Which DICOM objects.
        on_problem: Called with a line for each object that could not be made; it names no patient.
        on_study: Called after each study.

    Returns:
        The DICOM files, in the order to be sent.

    Raises:
        MissingExtraError: highdicom is not installed.
    """
    check_can_write()
    make_folder(out)
    written: list[Path] = []
    with quiet:  # highdicom quotes the names of patients in its warnings
        for number, result in enumerate(study_results(screening, places, on_problem), start=1):
            study = _Study(result, screening, shown_phases(result, screening, maps))
            paths, failed = _write_study(study, out, objects)
            written += paths
            for kind, why in failed:
                on_problem(f"study {number}: no {kind} written, its headers do not allow one ({why})")
            on_study()
    return written


def _write_study(
    study: _Study, out: Path, objects: Collection[ResultObject]
) -> tuple[list[Path], list[tuple[ResultObject, str]]]:
    from duoscan.results.fhir import diagnostic_report
    from duoscan.results.study_document import study_document

    folder = out / safe_name(study.result.study_uid)
    written, failed = [], []
    entries = []
    for kind in ResultObject:
        if kind not in objects:
            continue
        try:
            for number, made in enumerate(_MAKERS[kind](study), start=1):
                path = folder / _FILES[kind].format(number)
                encoded = io.BytesIO()
                made.save_as(encoded, enforce_file_format=True)
                write_bytes(path, encoded.getvalue())
                written.append(path)
                entries.append(_entry(kind, path, made))
        except _UNUSABLE as error:
            failed.append((kind, type(error).__name__))
    document = study_document(
        study.result,
        study.screening,
        objects=entries,
        failed=[{"kind": kind.value, "why": why} for kind, why in failed],
    )
    report = diagnostic_report(study.result, study.screening)
    for name, content in (("study.json", document), ("fhir.json", report)):
        write_text(folder / name, json.dumps(content, indent=1) + "\n")
    return written, failed


def _entry(kind: ResultObject, path: Path, made: Dataset) -> dict[str, str]:
    return {
        "kind": kind.value,
        "file": path.name,
        "sop_class_uid": str(made.SOPClassUID),
        "sop_instance_uid": str(made.SOPInstanceUID),
    }


def _reports(study: _Study) -> Iterator[Dataset]:
    from duoscan.results.structured_report import structured_report

    yield structured_report(study.result, study.screening)


def _heatmaps(study: _Study) -> Iterator[Dataset]:
    from duoscan.results.heatmap_capture import heatmap_capture

    images = [(image, shown.model.graph_sha256) for shown in study.shown for image in shown.images]
    for number, (image, digest) in enumerate(images, start=1):
        yield heatmap_capture(image, digest=digest, number=number)


def _segmentations(study: _Study) -> Iterator[Dataset]:
    from duoscan.results.volume_objects import segmentations

    for shown in _of(study, Modality.CT):
        yield from segmentations(shown)


def _maps(study: _Study) -> Iterator[Dataset]:
    from duoscan.results.volume_objects import parametric_maps

    for shown in _of(study, Modality.CT):
        yield from parametric_maps(shown)


def _presentations(study: _Study) -> Iterator[Dataset]:
    from duoscan.results.presentation import presentation_states

    for shown in _of(study, Modality.CXR):
        yield from presentation_states(shown)


def _of(study: _Study, modality: Modality) -> list[ShownPhase]:
    return [shown for shown in study.shown if shown.phase.modality is modality]


_MAKERS: dict[ResultObject, Callable[[_Study], Iterator[Dataset]]] = {
    ResultObject.REPORT: _reports,
    ResultObject.HEATMAP: _heatmaps,
    ResultObject.SEGMENTATION: _segmentations,
    ResultObject.MAP: _maps,
    ResultObject.PRESENTATION: _presentations,
}
