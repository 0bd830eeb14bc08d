from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from duoscan.errors import UnreadableImageError
from duoscan.formats.reader import FORMATS, IMAGE_SUFFIXES, read_image
from duoscan.terms import Modality

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


def test_dicom_is_known_by_content_or_suffix(write_dicom: Callable[..., Path], ramp: NDArray[np.uint16]) -> None:
    path = write_dicom(ramp)
    assert read_image(path).modality is Modality.CXR
    assert read_image(path.rename(path.with_name("IM0001"))).modality is Modality.CXR


def test_a_picture_is_known_by_content(tmp_path: Path) -> None:
    Image.linear_gradient("L").save(tmp_path / "x", "PNG")
    assert read_image(tmp_path / "x").modality is None


def test_a_picture_that_calls_itself_dicom_is_refused(tmp_path: Path) -> None:
    Image.linear_gradient("L").save(tmp_path / "x.dcm", "PNG")
    with pytest.raises(UnreadableImageError, match="not a DICOM image"):
        read_image(tmp_path / "x.dcm")


def test_suffixes_are_lower_case_with_a_dot() -> None:
    assert {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".dcm"} <= IMAGE_SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in IMAGE_SUFFIXES)


def test_formats_share_no_suffix_and_the_last_takes_everything(tmp_path: Path) -> None:
    assert sum(len(image_format.suffixes) for image_format in FORMATS) == len(IMAGE_SUFFIXES)
    assert FORMATS[-1].claims(tmp_path / "anything")
