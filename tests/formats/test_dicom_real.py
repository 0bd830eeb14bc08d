"""What becomes of each of the real DICOM files: read, or refused for a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from duoscan.errors import UnsupportedImageError
from duoscan.formats.dicom.pixels import read_dicom
from duoscan.terms import Modality

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.data

SYNTAXES = "ct_transfer_syntax/CTImage_"
NY = "ct_ny_sbu/"

HU_SLICES = (
    "ct_lungmask/lungmask_0.dcm",  # no Modality: known by its SOP class
    "ct_lungmask/lungmask_1.dcm",
    "ct_misc/pydicom_CT_small.dcm",
    f"{NY}A002304_axial_19010112-135.dcm",
    f"{NY}A046441_axial_19010101-23.dcm",
    f"{NY}A048383_axial_19010410-30.dcm",
    f"{NY}A056642_axial_19010107-111.dcm",
    f"{NY}A067967_axial_19001231-270.dcm",  # body part CHEST_TO_PELVIS
    f"{NY}A072894_axial_19010103-40.dcm",
    f"{NY}A098752_axial_19001231-32.dcm",
    f"{SYNTAXES}JPEG2000TransferSyntax_1.2.840.10008.1.2.4.91.dcm",
    f"{SYNTAXES}JPEGLSLossyTransferSyntax_1.2.840.10008.1.2.4.81.dcm",
    f"{SYNTAXES}JPEGProcess1TransferSyntax_1.2.840.10008.1.2.4.50.dcm",  # 8 bits, but slope 32: HU
    # JPEG of 12 bits, two of them in processes that the standard retired.
    f"{SYNTAXES}JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51.dcm",
    f"{SYNTAXES}JPEGProcess6_8TransferSyntax_1.2.840.10008.1.2.4.53.dcm",
    f"{SYNTAXES}JPEGProcess10_12TransferSyntax_1.2.840.10008.1.2.4.55.dcm",
    # A head. No tag gives it away, so it is read; only its content could refuse it.
    "negative_controls/ct_head_693_J2KR.dcm",
)

SAME_SLICE = (
    f"{SYNTAXES}LittleEndianExplicitTransferSyntax_1.2.840.10008.1.2.1.dcm",
    f"{SYNTAXES}BigEndianExplicitTransferSyntax_1.2.840.10008.1.2.2.dcm",
    f"{SYNTAXES}DeflatedExplicitVRLittleEndianTransferSyntax_1.2.840.10008.1.2.1.99.dcm",
    f"{SYNTAXES}JPEG2000LosslessOnlyTransferSyntax_1.2.840.10008.1.2.4.90.dcm",
    f"{SYNTAXES}JPEGLSLosslessTransferSyntax_1.2.840.10008.1.2.4.80.dcm",
    f"{SYNTAXES}JPEGProcess14SV1TransferSyntax_1.2.840.10008.1.2.4.70.dcm",
    f"{SYNTAXES}JPEGProcess14TransferSyntax_1.2.840.10008.1.2.4.57.dcm",
    f"{SYNTAXES}LittleEndianImplicitTransferSyntax_1.2.840.10008.1.2.dcm",
    f"{SYNTAXES}RLELosslessTransferSyntax_1.2.840.10008.1.2.5.dcm",
)

RADIOGRAPHS = {
    "cxr/cr_fuji_mono1_10_chest.dcm": "PA",
    "cxr/cr_philips_RG1_J2KI.dcm": "PA",
    "cxr/nih_chestxray14_as_dicom.dcm": None,
}

# An abdomen, which no tag says, windowed by somebody to 8 bits: read as grey, never as HU.
GREY_SLICES = ("negative_controls/ct_abdomen_mono2_8.dcm",)

REFUSED = {
    "ct_misc/barre_ct_chest_jpeg70.dcm": "ImageType says a localiser",
    f"{NY}A002304_coronal_19010112-124.dcm": "a coronal slice",
    f"{NY}A002304_sagittal_19010112-134.dcm": "a sagittal slice",
    "negative_controls/cr_extremity_RG3_J2KI.dcm": "BodyPartExamined is EXTREMITY",
    # BodyPartExamined is THORAX and no species is given, but the detector's menu entry says CANINE.
    "negative_controls/dx_fuji_dog_thorax.dcm": "a veterinary image",
}


def test_every_file_has_its_expectation(data_dir: Path) -> None:
    folder = data_dir / "dicom"
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*.dcm")}
    assert len(found) == 35
    assert found == {*HU_SLICES, *SAME_SLICE, *RADIOGRAPHS, *GREY_SLICES, *REFUSED}


@pytest.mark.parametrize("name", [*HU_SLICES, *SAME_SLICE])
def test_slices_in_hu(data_dir: Path, name: str) -> None:
    pixels = read_dicom(data_dir / "dicom" / name)
    assert (pixels.modality, pixels.is_hu, pixels.view) == (Modality.CT, True, "axial")
    # Air, then tissue near water: a shifted or unscaled slice would miss both.
    assert -1024 <= pixels.values.min() <= -890
    assert 1000 < pixels.values.max() < 6000
    assert ((pixels.values > -150) & (pixels.values < 150)).mean() > 0.1


def test_lossless_syntaxes_agree(data_dir: Path) -> None:
    reference, *others = (read_dicom(data_dir / "dicom" / name).values for name in SAME_SLICE)
    for values in others:
        np.testing.assert_array_equal(values, reference)


@pytest.mark.parametrize(
    ("name", "largest_hu"),
    [
        # Measured by the standard deviation of the difference: near-lossless, and 8 bits in steps of 32 HU.
        ("JPEG2000TransferSyntax_1.2.840.10008.1.2.4.91.dcm", 5),
        ("JPEGLSLossyTransferSyntax_1.2.840.10008.1.2.4.81.dcm", 5),
        ("JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51.dcm", 5),
        ("JPEGProcess6_8TransferSyntax_1.2.840.10008.1.2.4.53.dcm", 5),
        ("JPEGProcess10_12TransferSyntax_1.2.840.10008.1.2.4.55.dcm", 5),
        ("JPEGProcess1TransferSyntax_1.2.840.10008.1.2.4.50.dcm", 32),
    ],
)
def test_lossy_syntaxes_nearly_agree(data_dir: Path, name: str, largest_hu: float) -> None:
    reference = read_dicom(data_dir / "dicom" / SAME_SLICE[0]).values
    values = read_dicom(data_dir / "dicom" / f"{SYNTAXES}{name}").values
    assert (values - reference).std() < largest_hu


@pytest.mark.parametrize(("name", "view"), RADIOGRAPHS.items())
def test_radiographs(data_dir: Path, name: str, view: str | None) -> None:
    pixels = read_dicom(data_dir / "dicom" / name)
    assert (pixels.modality, pixels.is_hu, pixels.view) == (Modality.CXR, False, view)
    assert (pixels.values.min(), pixels.values.max()) == (0, 1)
    # Bright = dense: the spine in the middle of the image is brighter than the lungs beside it.
    height, width = pixels.values.shape
    band = pixels.values[round(0.3 * height) : round(0.6 * height)]
    spine = band[:, round(0.47 * width) : round(0.53 * width)].mean()
    lungs = [band[:, round(at * width) : round((at + 0.1) * width)].mean() for at in (0.25, 0.65)]
    assert spine > max(lungs)


@pytest.mark.parametrize("name", GREY_SLICES)
def test_windowed_slices_are_grey(data_dir: Path, name: str) -> None:
    pixels = read_dicom(data_dir / "dicom" / name)
    assert (pixels.modality, pixels.is_hu) == (Modality.CT, False)
    assert (pixels.values.min(), pixels.values.max()) == (0, 1)


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_refused(data_dir: Path, name: str, reason: str) -> None:
    with pytest.raises(UnsupportedImageError, match=reason):
        read_dicom(data_dir / "dicom" / name)
