"""Phantoms as DICOM: a CT series and a computed radiograph that any reader takes, marked as synthetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ComputedRadiographyImageStorage, CTImageStorage, ExplicitVRLittleEndian, generate_uid

from duoscan.imaging.contract import LUNG_WINDOW_CENTRE_HU, LUNG_WINDOW_WIDTH_HU
from duoscan.phantom.ct import LOWEST_HU
from duoscan.terms import Modality

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from duoscan.phantom.canvas import Grid
    from duoscan.phantom.patient import Patient

_COMMENT = "SYNTHETIC phantom made by duoscan; not a patient"
# One date for all: made files must not change from day to day, and a made date must not look like a finding.
_DATE, _TIME = "20200101", "120000"
_STORED_BITS = 12


@dataclass(frozen=True)
class DicomIdentity:
    """Who the files say they belong to.

    Attributes:
        patient_id: As in the manifest.
        number: Number of the patient in the cohort; the name is ``Phantom^0001``.
        seed: Seed of the cohort, part of every UID.
        source: Hospital.
    """

    patient_id: str
    number: int
    seed: int
    source: str

    def uid(self, *parts: object) -> str:
        """A UID that depends on the patient and ``parts`` alone, so that the same cohort has the same UIDs."""
        return str(generate_uid(entropy_srcs=["duoscan phantom", str(self.seed), self.patient_id, *map(str, parts)]))

    def study_uid(self, modality: Modality) -> str:
        """UID of the patient's study of a modality."""
        return self.uid(modality, "study")

    def series_uid(self, modality: Modality) -> str:
        """UID of the study's only series."""
        return self.uid(modality, "series")


def write_ct_series(patient: Patient, identity: DicomIdentity, folder: Path) -> list[Path]:
    """Write one CT Image object (PS3.3 A.3) per slice; InstanceNumber rises with height.

    Args:
        patient: Whose CT.
        identity: Who the files say they belong to.
        folder: Where to; it is made.

    Returns:
        The files, slice 0 (lowest) first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, plane in enumerate(patient.ct_hu):
        dataset = _common(patient, identity, Modality.CT, number)
        _add_ct_attributes(dataset, identity, patient.ct.grid, number)
        _add_pixels(dataset, (plane - LOWEST_HU).astype(np.uint16))
        files.append(folder / f"{number:03d}.dcm")
        dataset.save_as(files[-1], enforce_file_format=True)
    return files


def write_xray(patient: Patient, identity: DicomIdentity, path: Path) -> None:
    """Write the film as a Computed Radiography Image (PS3.3 A.2).

    Args:
        patient: Whose film.
        identity: Who the file says it belongs to.
        path: Where to; the folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = _common(patient, identity, Modality.CXR, 0)
    dataset.Modality = "CR"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.ViewPosition = patient.view.position
    dataset.PatientOrientation = ["L", "F"]
    dataset.KVP = "120"
    dataset.ImagerPixelSpacing = [_decimal(patient.view.field_mm / patient.xray.shape[0])] * 2
    highest = 2**_STORED_BITS - 1
    dataset.WindowCenter, dataset.WindowWidth = f"{(highest + 1) / 2:g}", str(highest + 1)
    _add_pixels(dataset, np.rint(patient.xray * highest).astype(np.uint16))
    dataset.save_as(path, enforce_file_format=True)


def _common(patient: Patient, identity: DicomIdentity, modality: Modality, number: int) -> Dataset:
    """Patient, General Study, General Series, General Equipment, General Image and SOP Common modules."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage if modality is Modality.CT else ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = UID(identity.uid(modality, "image", number))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.PatientName = f"Phantom^{identity.number:04d}"
    dataset.PatientID = identity.patient_id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "F" if patient.anatomy.female else "M"
    dataset.PatientAge = f"{patient.anatomy.age_years:03d}Y"
    dataset.StudyInstanceUID = identity.study_uid(modality)
    dataset.SeriesInstanceUID = identity.series_uid(modality)
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = dataset.AcquisitionDate = _DATE
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = dataset.AcquisitionTime = _TIME
    dataset.ReferringPhysicianName = dataset.AccessionNumber = ""
    dataset.StudyID, dataset.SeriesNumber, dataset.AcquisitionNumber = "1", "1", "1"
    dataset.StudyDescription = f"SYNTHETIC {modality.spoken}"
    dataset.SeriesDescription = "SYNTHETIC phantom"
    dataset.Manufacturer, dataset.ManufacturerModelName = "duoscan", "thorax phantom"
    dataset.InstitutionName = identity.source
    dataset.BodyPartExamined = "CHEST"
    dataset.InstanceNumber = str(number + 1)
    dataset.ImageComments = _COMMENT
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    return dataset


def _add_ct_attributes(dataset: Dataset, identity: DicomIdentity, grid: Grid, number: int) -> None:
    """Frame of Reference, Image Plane and CT Image modules (PS3.3 C.7.4.1, C.7.6.2, C.8.2.1)."""
    spacing_z, spacing_y, spacing_x = grid.spacing_mm
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.PatientPosition = "HFS"
    dataset.FrameOfReferenceUID = identity.uid(Modality.CT, "frame")
    dataset.PositionReferenceIndicator = ""
    # Rows run to the patient's left and columns to the back, as the grid's axes do.
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    corner = (grid.x_mm[0], grid.y_mm[0], grid.z_mm[number])
    dataset.ImagePositionPatient = [_decimal(float(position)) for position in corner]
    dataset.PixelSpacing = [_decimal(spacing_y), _decimal(spacing_x)]
    dataset.SliceThickness = _decimal(grid.extent_mm[0])
    dataset.SpacingBetweenSlices = _decimal(spacing_z)
    dataset.SliceLocation = _decimal(float(grid.z_mm[number]))
    dataset.KVP = "120"
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = str(LOWEST_HU), "1", "HU"
    dataset.WindowCenter, dataset.WindowWidth = f"{LUNG_WINDOW_CENTRE_HU:g}", f"{LUNG_WINDOW_WIDTH_HU:g}"


def _add_pixels(dataset: Dataset, stored: NDArray[np.uint16]) -> None:
    """Image Pixel module (PS3.3 C.7.6.3), uncompressed."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, _STORED_BITS, _STORED_BITS - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = stored.astype("<u2").tobytes()


def _decimal(value: float) -> str:
    """A Decimal String, which may have 16 characters at most (PS3.5 6.2)."""
    return f"{value:.6f}"
