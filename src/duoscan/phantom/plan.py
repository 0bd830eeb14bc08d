"""Who is in a cohort: class, label, hospital and split of every patient, before any image is made."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duoscan.errors import InputError
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.manifest.splits import split_by_patient
from duoscan.phantom.faults import COPIES, Fault
from duoscan.phantom.hospitals import HOSPITALS
from duoscan.terms import POSITIVE, Finding, Modality, Split

if TYPE_CHECKING:
    from numpy.typing import NDArray

FINDINGS = (Finding.NORMAL, Finding.COVID, Finding.PNEUMONIA)
_FRACTIONS = {Split.TRAIN: 0.6, Split.VAL: 0.15, Split.TEST: 0.25}
_SMALLEST_SIZE = 32


class FileFormat(StrEnum):
    """What images are written as."""

    PNG = "png"
    DICOM = "dicom"
    BOTH = "both"


@dataclass(frozen=True)
class PhantomOptions:
    """What cohort to make; the same options give the same bytes.

    Attributes:
        patients: How many.
        seed: From which everything random follows.
        slices: Slices of each CT.
        ct_size: Rows and columns of a slice.
        xray_size: Rows and columns of an X-ray.
        class_mix: Shares of healthy, COVID-like and pneumonia; they are scaled to sum to 1.
        formats: What images are written as.
        faults: Faults to plant.
        shuffle_labels: Deal the labels out anew, so that nothing can be learned from the images.
        label_slices_by_lesion: List in the manifest only slices that show their label; see `cohort.chosen_slices`.
    """

    patients: int
    seed: int
    slices: int = 32
    ct_size: int = 256
    xray_size: int = 512
    class_mix: tuple[float, float, float] = (1.0, 1.0, 1.0)
    formats: FileFormat = FileFormat.PNG
    faults: tuple[Fault, ...] = ()
    shuffle_labels: bool = False
    label_slices_by_lesion: bool = False

    def check(self) -> None:
        """Refuse what cannot be made.

        Raises:
            InputError: Names the option, what was found and what to do.
        """
        smallest = {"patients": 1, "seed": 0, "slices": 2, "ct_size": _SMALLEST_SIZE, "xray_size": _SMALLEST_SIZE}
        for name, least in smallest.items():
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; use {least} or more")
        if min(self.class_mix) < 0 or sum(self.class_mix) <= 0:
            raise InputError(f"class_mix is {self.class_mix}; use shares of {', '.join(FINDINGS)}, none below 0")
        copies = [fault for fault in self.faults if fault in COPIES]
        if copies and self.formats is FileFormat.DICOM:
            raise InputError(f"{copies[0]} copies pictures, and only DICOM is written; use --format png or both")


@dataclass(frozen=True)
class PatientPlan:
    """One patient before the images are made.

    Attributes:
        number: From 1.
        patient_id: As in every table.
        finding: What the patient has.
        label: What the manifest says; differs from ``finding`` only where labels are shuffled.
        hospital: Index into `HOSPITALS`.
        split: Part of the data set.
    """

    number: int
    patient_id: str
    finding: Finding
    label: Finding
    hospital: int
    split: Split

    @property
    def source(self) -> str:
        """Name of the hospital."""
        return HOSPITALS[self.hospital].name


def patient_name(seed: int, number: int) -> str:
    """Id of a patient; it holds the seed, so that cohorts can be put together."""
    return f"phantom-{seed}-{number:04d}"


def cohort_generator(options: PhantomOptions, purpose: int) -> np.random.Generator:
    """Random numbers for the cohort as a whole; patients are numbered from 1, so number 0 is free."""
    return np.random.default_rng((options.seed, 0, 100 + purpose))


def plan_patients(options: PhantomOptions) -> tuple[PatientPlan, ...]:
    """Give every patient a class, a hospital, a label and a split, each independent of the others.

    Splits are dealt by patient, stratified by hospital and label.

    Raises:
        InputError: The options cannot be met.
    """
    options.check()
    findings = _dealt_findings(options)
    labels = list(findings)
    if options.shuffle_labels:
        order = cohort_generator(options, 1).permutation(len(findings))
        labels = [findings[place] for place in order]
    hospitals = _dealt_hospitals(options, findings, labels)
    names = [patient_name(options.seed, number + 1) for number in range(options.patients)]
    rows = tuple(
        ImageRecord(path=name, modality=Modality.CXR, label=label, source=HOSPITALS[hospital].name, patient_id=name)
        for name, label, hospital in zip(names, labels, hospitals, strict=True)
    )
    dealt = split_by_patient(Manifest(Path(), rows), _FRACTIONS, options.seed)
    split_of = {record.patient_id: record.split or Split.TRAIN for record in dealt}
    return tuple(
        PatientPlan(place + 1, name, findings[place], labels[place], hospitals[place], split_of[name])
        for place, name in enumerate(names)
    )


def _dealt_findings(options: PhantomOptions) -> list[Finding]:
    """Classes in random order, their numbers as close to the wanted shares as whole patients allow."""
    ends = np.rint(np.cumsum(options.class_mix) / sum(options.class_mix) * options.patients).astype(int)
    counts = np.diff(ends, prepend=0)
    ordered = [finding for finding, count in zip(FINDINGS, counts, strict=True) for _ in range(count)]
    order: NDArray[np.intp] = cohort_generator(options, 0).permutation(options.patients)
    return [ordered[place] for place in order]


def _dealt_hospitals(options: PhantomOptions, findings: list[Finding], labels: list[Finding]) -> list[int]:
    """Hospitals in equal numbers within each class, or one for each class where that fault is asked for."""
    if Fault.SOURCE_EQUALS_CLASS in options.faults:
        return [0 if label is POSITIVE else 1 for label in labels]
    generator = cohort_generator(options, 2)
    hospitals = [0] * options.patients
    for finding in FINDINGS:
        places = [place for place, found in enumerate(findings) if found is finding]
        first = int(generator.integers(len(HOSPITALS)))
        for turn, place in enumerate(generator.permutation(places).astype(int).tolist()):
            hospitals[place] = (first + turn) % len(HOSPITALS)
    return hospitals
