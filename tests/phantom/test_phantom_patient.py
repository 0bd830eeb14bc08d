"""One patient: CT and X-ray of one body, as scanned, and as DICOM that reads back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from duoscan.formats.reader import read_image
from duoscan.phantom.ct import lung_window, scan
from duoscan.phantom.dicom_files import DicomIdentity, write_ct_series, write_xray
from duoscan.phantom.hospitals import HOSPITALS
from duoscan.phantom.patient import Patient, simulate_patient
from duoscan.terms import Finding, Modality

SMALL = {"slices": 10, "ct_size": 64, "xray_size": 96}
IDENTITY = DicomIdentity("phantom-4-0002", 2, 4, "phantom-south")


@pytest.fixture(scope="module")
def patient() -> Patient:
    return simulate_patient(Finding.COVID, HOSPITALS[1], (4, 2), **SMALL)


@pytest.fixture(scope="module")
def twin() -> Patient:
    return simulate_patient(Finding.NORMAL, HOSPITALS[1], (4, 2), **SMALL)


def test_shapes_and_ranges(patient: Patient) -> None:
    assert patient.ct_hu.shape == patient.ct.lung_mask.shape == (10, 64, 64)
    assert patient.xray.shape == patient.xray_lung.shape == patient.xray_lesion.shape == (96, 96)
    assert patient.ct_hu.min() >= -1024
    assert 0 <= patient.xray.min() < patient.xray.max() <= 1


def test_the_healthy_twin_differs_by_disease_alone(patient: Patient, twin: Patient) -> None:
    assert twin.anatomy == patient.anatomy
    assert twin.view == patient.view
    outside = ~patient.ct.lung_mask
    # The noise grows with the tissue a slice holds, and fluid in the lung is tissue: a few HU at most.
    assert np.abs(patient.ct_hu[outside].astype(int) - twin.ct_hu[outside]).mean() < 3
    assert patient.ct_hu[patient.ct.lesion_mask].mean() > twin.ct_hu[patient.ct.lesion_mask].mean() + 80
    assert not twin.xray_lesion.any()


def test_the_x_ray_shows_the_lesion_where_the_ct_has_it(patient: Patient, twin: Patient) -> None:
    brighter = patient.xray - twin.xray
    assert brighter[patient.xray_lesion].mean() > 0.01
    away = ~patient.xray_lung
    assert np.abs(brighter[away]).mean() < 0.25 * brighter[patient.xray_lesion].mean()


def test_lungs_are_dark_and_the_middle_is_bright(twin: Patient) -> None:
    lungs = twin.xray[twin.xray_lung].mean()
    assert twin.xray[-10:, 38:58].mean() > lungs + 0.2  # belly
    assert twin.xray[40:60, 44:52].mean() > lungs + 0.1  # spine and mediastinum


def test_the_lung_window_by_hand() -> None:
    hu = np.array([[-1350, -600, 150, -1024, 40]], np.int16)
    # -1350 is black, 150 white, -600 the middle; -1024: 326/1500·255 = 55.4; 40: 1390/1500·255 = 236.3.
    assert lung_window(hu).tolist() == [[0, 128, 255, 55, 236]]


def test_the_noise_of_the_ct_is_that_of_its_scanner(twin: Patient) -> None:
    flat = twin.ct.intensity_hu
    for hospital in HOSPITALS:
        noisy = scan(twin.ct, hospital.scanner, np.random.default_rng(0))
        inside = twin.ct.lung_mask
        spread = (noisy - flat)[inside].std()
        assert 0.5 * hospital.scanner.noise_hu < spread < 1.8 * hospital.scanner.noise_hu


def test_the_ct_series_reads_back(patient: Patient, tmp_path: Path) -> None:
    files = write_ct_series(patient, IDENTITY, tmp_path / "ct")
    datasets = [pydicom.dcmread(file) for file in files]
    heights = [float(dataset.ImagePositionPatient[2]) for dataset in datasets]
    assert heights == sorted(heights)
    assert np.diff(heights) == pytest.approx(patient.ct.spacing_mm[0], abs=1e-3)
    for number, dataset in enumerate(datasets):
        hu = dataset.pixel_array.astype(int) * int(dataset.RescaleSlope) + int(dataset.RescaleIntercept)
        assert np.array_equal(hu, patient.ct_hu[number])
        assert dataset.PixelSpacing == pytest.approx(list(patient.ct.spacing_mm[1:]), abs=1e-5)
        assert int(dataset.InstanceNumber) == number + 1
    assert len({dataset.SOPInstanceUID for dataset in datasets}) == 10
    assert {dataset.SeriesInstanceUID for dataset in datasets} == {IDENTITY.series_uid(Modality.CT)}
    # The corner sample's position: the first column and row of the grid.
    corner = [float(position) for position in datasets[0].ImagePositionPatient]
    assert corner == pytest.approx(
        [patient.ct.grid.x_mm[0], patient.ct.grid.y_mm[0], patient.ct.grid.z_mm[0]], abs=1e-5
    )


# PS3.3 A.3 and A.2: the type 1 and type 2 attributes of the mandatory modules of both objects.
_BOTH = [
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
    "Modality",
    "SeriesInstanceUID",
    "SeriesNumber",
    "Manufacturer",
    "InstanceNumber",
    "ImageType",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
    "BodyPartExamined",
]
_CT = [
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "PatientPosition",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "SliceThickness",
    "KVP",
    "AcquisitionNumber",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
]


def test_every_required_attribute_is_there(patient: Patient, tmp_path: Path) -> None:
    ct = pydicom.dcmread(write_ct_series(patient, IDENTITY, tmp_path)[0])
    write_xray(patient, IDENTITY, tmp_path / "cxr.dcm")
    film = pydicom.dcmread(tmp_path / "cxr.dcm")
    assert [name for name in _BOTH + _CT if name not in ct] == []
    assert [name for name in [*_BOTH, "ViewPosition", "PatientOrientation"] if name not in film] == []


def test_the_files_say_that_they_are_synthetic(patient: Patient, tmp_path: Path) -> None:
    write_xray(patient, IDENTITY, tmp_path / "cxr.dcm")
    film = pydicom.dcmread(tmp_path / "cxr.dcm")
    assert film.PatientName == "Phantom^0002"
    assert "SYNTHETIC" in film.ImageComments
    assert "SYNTHETIC" in film.StudyDescription


def test_duoscan_reads_its_own_phantoms(patient: Patient, tmp_path: Path) -> None:
    slices = write_ct_series(patient, IDENTITY, tmp_path / "ct")
    write_xray(patient, IDENTITY, tmp_path / "cxr.dcm")
    ct, film = read_image(slices[5]), read_image(tmp_path / "cxr.dcm")
    assert ct.is_hu
    assert ct.modality is Modality.CT
    assert ct.values == pytest.approx(patient.ct_hu[5])
    assert film.modality is Modality.CXR
    assert film.view == patient.view.position
    low, high = float(patient.xray.min()), float(patient.xray.max())
    # The reader stretches between the extremes; 12 bits resolve 1/4095 of the range.
    assert film.values == pytest.approx((patient.xray - low) / (high - low), abs=2 / 4095 / (high - low))


def test_uids_follow_from_patient_and_seed_alone(patient: Patient, tmp_path: Path) -> None:
    write_xray(patient, IDENTITY, tmp_path / "a.dcm")
    write_xray(patient, IDENTITY, tmp_path / "b.dcm")
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()
    other = DicomIdentity("phantom-5-0002", 2, 5, "phantom-south")
    assert other.study_uid(Modality.CT) != IDENTITY.study_uid(Modality.CT)
    assert IDENTITY.study_uid(Modality.CXR) != IDENTITY.study_uid(Modality.CT)
