"""Synthetic DICOM files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

SIDE = 40
"""Least side of the synthetic images, above the smallest that is answered."""


@pytest.fixture
def ramp() -> NDArray[np.uint16]:
    """40 × 40 stored values 0, 1, …, 1599, row by row."""
    return np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE)


@pytest.fixture
def write_dicom(tmp_path: Path) -> Callable[..., Path]:
    """``write(stored, keyword=value, …) -> path``; a value of ``None`` leaves the attribute out.

    Without more it is a frontal CR in MONOCHROME2 without any LUT.
    """

    def write(stored: NDArray[np.generic] | None, **attributes: object) -> Path:
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        values: dict[str, object] = {
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1",
            "SOPInstanceUID": "1.2.3",
            "PatientID": "P7",
            "StudyInstanceUID": "1.2.4",
            "SeriesInstanceUID": "1.2.5",
            "Modality": "CR",
            "PhotometricInterpretation": "MONOCHROME2",
        }
        if stored is not None:
            bits = stored.dtype.itemsize * 8
            values |= {
                "SamplesPerPixel": 1,
                "Rows": stored.shape[0],
                "Columns": stored.shape[1],
                "BitsAllocated": bits,
                "BitsStored": bits,
                "HighBit": bits - 1,
                "PixelRepresentation": int(stored.dtype.kind == "i"),
                "PixelData": stored.tobytes(),
            }
        values |= attributes
        for keyword, value in values.items():
            if value is not None:
                setattr(dataset, keyword, value)
        dataset["PixelData"].VR = "OW" if stored is not None and stored.dtype.itemsize > 1 else "OB"
        path = tmp_path / "image.dcm"
        dataset.save_as(path, enforce_file_format=True)
        return path

    return write
