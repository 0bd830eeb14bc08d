"""The files of one patient, and what is known about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from duoscan.manifest.records import ImageRecord
from duoscan.phantom.ct import HIGHEST_HU, lung_window
from duoscan.phantom.dicom_files import DicomIdentity, write_ct_series, write_xray
from duoscan.phantom.faults import Fault, mark_corner
from duoscan.phantom.hospitals import HOSPITALS
from duoscan.phantom.patient import Patient, simulate_patient
from duoscan.phantom.plan import FileFormat, PatientPlan, PhantomOptions
from duoscan.phantom.png import grey_png
from duoscan.terms import POSITIVE, Modality

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

LICENSE = "CC0-1.0"


@dataclass(frozen=True)
class SliceTruth:
    """What one CT slice holds: its height in mm, and lung and diseased lung in mm²."""

    z_mm: float
    lung_mm2: float
    lesion_mm2: float


@dataclass(frozen=True)
class PatientTruth:
    """What is known about one patient.

    Attributes:
        plan: Class, label, hospital, split.
        severity: Share of the lung that is diseased, counted in the CT's masks.
        lung_ml: Volume of the lungs.
        lesion_ml: Volume of the diseased lung.
        pattern: ``bilateral ground glass``, the consolidated lobe, or empty.
        view: ``PA`` or ``AP``.
        female: Sex of the phantom.
        age_years: Age of the phantom.
        slices: One entry for each CT slice, lowest first.
    """

    plan: PatientPlan
    severity: float
    lung_ml: float
    lesion_ml: float
    pattern: str
    view: str
    female: bool
    age_years: int
    slices: tuple[SliceTruth, ...]


def identity_of(plan: PatientPlan, options: PhantomOptions) -> DicomIdentity:
    """Who the DICOM files say they belong to; the manifest's study and series ids come from it as well."""
    return DicomIdentity(plan.patient_id, plan.number, options.seed, plan.source)


def write_patient(plan: PatientPlan, options: PhantomOptions, out: Path) -> PatientTruth:
    """Make one patient and write all files of it.

    Args:
        plan: Which patient.
        options: Sizes, formats, faults.
        out: Folder of the cohort.

    Returns:
        The truth about what was written.
    """
    patient = simulate_patient(
        plan.finding,
        HOSPITALS[plan.hospital],
        (options.seed, plan.number),
        slices=options.slices,
        ct_size=options.ct_size,
        xray_size=options.xray_size,
    )
    if Fault.CORNER_MARKER in options.faults and plan.label is POSITIVE:
        mark_corner(patient.ct_hu, HIGHEST_HU)
        mark_corner(patient.xray, 1.0)
    if options.formats is not FileFormat.DICOM:
        _write_pictures(plan, patient, out)
    if options.formats is not FileFormat.PNG:
        identity, folder = identity_of(plan, options), out / "dicom" / plan.patient_id
        write_ct_series(patient, identity, folder / "ct")
        write_xray(patient, identity, folder / "cxr.dcm")
    _write_masks(plan, patient, out)
    return _truth(plan, patient)


def _write_pictures(plan: PatientPlan, patient: Patient, out: Path) -> None:
    _save(np.rint(patient.xray * 255).astype(np.uint8), out / "cxr" / f"{plan.patient_id}.png")
    for number, grey in enumerate(lung_window(patient.ct_hu)):
        _save(grey, out / "ct" / plan.patient_id / f"{number:02d}.png")


def _write_masks(plan: PatientPlan, patient: Patient, out: Path) -> None:
    """White is lung, or lesion; where there is no lesion there is no such file."""
    folder = out / "masks" / "cxr"
    _save_mask(patient.xray_lung, folder / f"{plan.patient_id}-lung.png")
    if patient.xray_lesion.any():
        _save_mask(patient.xray_lesion, folder / f"{plan.patient_id}-lesion.png")
    folder = out / "masks" / "ct" / plan.patient_id
    for number, (lung, lesion) in enumerate(zip(patient.ct.lung_mask, patient.ct.lesion_mask, strict=True)):
        _save_mask(lung, folder / f"{number:02d}-lung.png")
        if lesion.any():
            _save_mask(lesion, folder / f"{number:02d}-lesion.png")


def _save(image: NDArray[np.uint8], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(grey_png(image))


def _save_mask(mask: NDArray[np.bool_], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path, compress_level=1, compress_type=Image.RLE)


def _truth(plan: PatientPlan, patient: Patient) -> PatientTruth:
    z, y, x = patient.ct.spacing_mm
    lung, lesion = (mask.sum((1, 2)) for mask in (patient.ct.lung_mask, patient.ct.lesion_mask))
    lesions = patient.lesions
    pattern = "bilateral ground glass" if lesions.blobs else ""
    return PatientTruth(
        plan=plan,
        severity=patient.severity,
        lung_ml=float(lung.sum()) * x * y * z / 1000,
        lesion_ml=float(lesion.sum()) * x * y * z / 1000,
        pattern=f"{lesions.lobe} lobe" if lesions.lobe else pattern,
        view=patient.view.position,
        female=patient.anatomy.female,
        age_years=patient.anatomy.age_years,
        slices=tuple(
            SliceTruth(float(height), float(own) * x * y, float(ill) * x * y)
            for height, own, ill in zip(patient.ct.grid.z_mm, lung, lesion, strict=True)
        ),
    )


def patient_records(
    truth: PatientTruth, options: PhantomOptions, slices: tuple[int, ...], *, as_dicom: bool
) -> list[ImageRecord]:
    """The manifest's rows of one patient: the X-ray, then the chosen slices.

    Args:
        truth: Which patient.
        options: Of the cohort.
        slices: Numbers of the CT slices to list.
        as_dicom: Whether the rows name the DICOM files.
    """
    plan = truth.plan
    name = plan.patient_id
    identity = identity_of(plan, options)
    places = [(Modality.CXR, f"dicom/{name}/cxr.dcm" if as_dicom else f"cxr/{name}.png", f"masks/cxr/{name}-lung.png")]
    places += [
        (
            Modality.CT,
            f"dicom/{name}/ct/{number:03d}.dcm" if as_dicom else f"ct/{name}/{number:02d}.png",
            f"masks/ct/{name}/{number:02d}-lung.png",
        )
        for number in slices
    ]
    return [
        ImageRecord(
            path=path,
            modality=modality,
            label=plan.label,
            source=plan.source,
            patient_id=name,
            study_id=identity.study_uid(modality),
            series_id=identity.series_uid(modality),
            view=truth.view if modality is Modality.CXR else "axial",
            split=plan.split,
            license=LICENSE,
            lung_mask=mask,
            notes="synthetic",
        )
        for modality, path, mask in places
    ]
