"""Writing a cohort as a data set anyone can use."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from duoscan.errors import InputError
from duoscan.files import write_text
from duoscan.manifest.records import Manifest
from duoscan.manifest.table import write_manifest
from duoscan.phantom.faults import COPIES, Fault, PlantedFault, copy_images, faults_csv, spread_patients
from duoscan.phantom.patient_files import PatientTruth, patient_records, write_patient
from duoscan.phantom.plan import (
    FileFormat,
    PatientPlan,
    PhantomOptions,
    cohort_generator,
    patient_name,
    plan_patients,
)
from duoscan.phantom.readme import cohort_readme
from duoscan.processes import worker_processes
from duoscan.rows import csv_text
from duoscan.terms import POSITIVE, Finding, Split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from duoscan.manifest.records import ImageRecord

# A slice shows disease when this share of its lung is diseased.
SHOWS_LESION = 0.01
_WRITTEN = ("manifest.csv", "manifest-dicom.csv", "truth.csv", "slices.csv", "faults.csv", "options.json", "README.md")
_FOLDERS = ("cxr", "ct", "dicom", "masks")


def write_cohort(
    options: PhantomOptions,
    out: Path,
    *,
    workers: int = 1,
    overwrite: bool = False,
    on_patient: Callable[[], None] = lambda: None,
) -> Manifest:
    """Make a cohort and write it with its truth.

    The bytes depend on the options alone, not on the number of workers. The manifest is written last, so a folder
    with a manifest is complete.

    Args:
        options: What to make.
        out: Folder to write to; it is made.
        workers: Processes.
        overwrite: Remove an earlier cohort from ``out`` first; nothing else there is touched.
        on_patient: Called after each patient.

    Returns:
        The manifest, as ``manifest.csv`` holds it.

    Raises:
        InputError: The options cannot be met, or ``out`` is not empty.
    """
    plans = plan_patients(options)
    _prepare(out, overwrite=overwrite)
    truths = []
    for truth in _write_patients(plans, options, out, workers):
        truths.append(truth)
        on_patient()
    write_text(out / "truth.csv", _truth_csv(truths))
    write_text(out / "slices.csv", _slices_csv(truths))
    write_text(out / "options.json", json.dumps(asdict(options), indent=2) + "\n")
    write_text(out / "README.md", cohort_readme(options))
    manifests = _manifests(truths, options, out)
    for name, manifest in manifests.items():
        write_manifest(manifest, out / name)
    return manifests["manifest.csv"]


def _prepare(out: Path, *, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder")
    if overwrite:
        for name in _FOLDERS:
            if (out / name).is_dir():
                shutil.rmtree(out / name)
        for name in _WRITTEN:
            (out / name).unlink(missing_ok=True)
    elif out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty; give another folder, or --force to replace the cohort in it")
    out.mkdir(parents=True, exist_ok=True)


def _write_patients(
    plans: Sequence[PatientPlan], options: PhantomOptions, out: Path, workers: int
) -> Iterator[PatientTruth]:
    """Write all patients, in order, here or in a pool."""
    work = partial(write_patient, options=options, out=out)
    if workers <= 1:
        yield from map(work, plans)
        return
    with worker_processes(workers) as pool:
        yield from pool.map(work, plans, chunksize=1)


def _manifests(truths: Sequence[PatientTruth], options: PhantomOptions, out: Path) -> dict[str, Manifest]:
    """Manifests by file name, with the faults planted that lie in rows and copies."""
    chosen = chosen_slices(truths) if options.label_slices_by_lesion else {}
    everything = tuple(range(options.slices))

    def records(*, as_dicom: bool) -> list[ImageRecord]:
        return [
            record
            for truth in truths
            for record in patient_records(
                truth, options, chosen.get(truth.plan.patient_id, everything), as_dicom=as_dicom
            )
        ]

    main = records(as_dicom=options.formats is FileFormat.DICOM)
    main, planted = _plant(main, options, out)
    write_text(out / "faults.csv", faults_csv(planted))
    manifests = {"manifest.csv": Manifest(out, tuple(main))}
    if options.formats is FileFormat.BOTH:
        manifests["manifest-dicom.csv"] = Manifest(out, tuple(records(as_dicom=True)))
    return manifests


def _plant(
    records: list[ImageRecord], options: PhantomOptions, out: Path
) -> tuple[list[ImageRecord], list[PlantedFault]]:
    """Plant what lies in rows and copies; list what already lies in the images."""
    planted: list[PlantedFault] = []
    if Fault.CORNER_MARKER in options.faults:
        planted += [_row(Fault.CORNER_MARKER, record) for record in records if record.label is POSITIVE]
    if Fault.SOURCE_EQUALS_CLASS in options.faults:
        planted += [_row(Fault.SOURCE_EQUALS_CLASS, record, f"{record.source}") for record in records]
    numbers = count(options.patients + 1)
    originals = list(records)
    for place, fault in enumerate(COPIES):
        if fault in options.faults:
            rows, found = copy_images(
                fault,
                originals,
                out,
                lambda: patient_name(options.seed, next(numbers)),
                cohort_generator(options, 10 + place),
            )
            records, planted = records + rows, planted + found
    if Fault.PATIENT_ACROSS_SPLITS in options.faults:
        records, found = spread_patients(records, cohort_generator(options, 20))
        planted += found
    return records, planted


def _row(fault: Fault, record: ImageRecord, detail: str = "") -> PlantedFault:
    return PlantedFault(fault, record.path, str(record.patient_id), detail=detail)


def chosen_slices(truths: Iterable[PatientTruth]) -> dict[str, tuple[int, ...]]:
    """The slices that show what their label says, by patient.

    A diseased patient keeps the slices in which at least :data:`SHOWS_LESION` of the lung is diseased. Were healthy
    patients to keep all of theirs, the height in the chest would give the class away; so each healthy patient keeps
    the slice numbers of a diseased one of the same split, and height carries no more than the disease itself does.
    """
    listed = list(truths)
    shown = {
        truth.plan.patient_id: tuple(
            number for number, one in enumerate(truth.slices) if one.lesion_mm2 > SHOWS_LESION * one.lung_mm2
        )
        for truth in listed
        if truth.plan.finding is not Finding.NORMAL
    }
    for split in Split:
        models = [shown[t.plan.patient_id] for t in listed if t.plan.split is split and t.plan.patient_id in shown]
        healthy = [t for t in listed if t.plan.split is split and t.plan.finding is Finding.NORMAL]
        for place, truth in enumerate(healthy if models else ()):
            shown[truth.plan.patient_id] = models[place % len(models)]
    return shown


_TRUTH_COLUMNS = (
    "patient_id",
    "finding",
    "label",
    "source",
    "split",
    "severity",
    "lung_ml",
    "lesion_ml",
    "pattern",
    "view",
    "sex",
    "age_years",
)


def _truth_csv(truths: Iterable[PatientTruth]) -> str:
    rows = (
        [
            truth.plan.patient_id,
            truth.plan.finding,
            truth.plan.label,
            truth.plan.source,
            truth.plan.split,
            f"{truth.severity:.5f}",
            f"{truth.lung_ml:.1f}",
            f"{truth.lesion_ml:.2f}",
            truth.pattern,
            truth.view,
            "F" if truth.female else "M",
            truth.age_years,
        ]
        for truth in truths
    )
    return csv_text(_TRUTH_COLUMNS, rows)


def _slices_csv(truths: Iterable[PatientTruth]) -> str:
    rows = (
        [
            truth.plan.patient_id,
            number,
            f"{one.z_mm:.2f}",
            f"{one.lung_mm2:.0f}",
            f"{one.lesion_mm2:.0f}",
            int(one.lesion_mm2 > SHOWS_LESION * one.lung_mm2),
        ]
        for truth in truths
        for number, one in enumerate(truth.slices)
    )
    return csv_text(["patient_id", "slice", "z_mm", "lung_mm2", "lesion_mm2", "shows_lesion"], rows)
