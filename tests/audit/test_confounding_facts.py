"""Facts of files and of small grey copies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from duoscan.audit.confounding.characteristics import Characteristic, Role, pixel_statistics
from duoscan.audit.confounding.facts import age_years, jpeg_quality, read_facts
from duoscan.audit.small_grey import small_grey
from duoscan.errors import ImageError, UnreadableImageError
from duoscan.manifest.records import ImageRecord
from duoscan.terms import Modality

_RECORD = ImageRecord(path="a", modality=Modality.CXR, view="pa", original_name="Covid (2).JPEG")


def _gradient(width: int = 96, height: int = 64) -> Image.Image:
    values = np.linspace(0, 255, width * height).reshape(height, width)
    return Image.fromarray(values.astype(np.uint8))


def test_every_jpeg_quality_is_read_back(tmp_path: Path) -> None:
    # Pillow encodes with libjpeg, whose scale it is.
    found = []
    for quality in range(1, 101):
        path = tmp_path / f"{quality}.jpg"
        _gradient(16, 16).save(path, quality=quality)
        with Image.open(path) as image:
            found.append(jpeg_quality(image.quantization[0]))
    assert found == list(range(1, 101))


def test_facts_of_a_picture_need_no_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    _gradient().convert("RGB").save(path, quality=85)
    whole = path.read_bytes()
    # Past the start-of-scan marker FF DA only compressed pixels follow; without them nothing can be decoded.
    path.write_bytes(whole[: whole.index(b"\xff\xda") + 14])
    facts = read_facts(_RECORD, path)
    assert (facts.width, facts.height, facts.file_format, facts.bit_depth) == (96, 64, "JPEG", 8)
    assert (facts.colour_mode, facts.jpeg_quality, facts.size_bytes) == ("RGB", 85, path.stat().st_size)
    assert (facts.view, facts.published_suffix) == ("PA", ".jpg")
    with pytest.raises(ImageError):
        small_grey(path)


def test_a_deep_png_states_its_depth_and_no_quality(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)).save(path)
    facts = read_facts(_RECORD.model_copy(update={"original_name": None, "path": "x/a.png"}), path)
    assert (facts.bit_depth, facts.jpeg_quality, facts.published_suffix) == (16, None, ".png")


def test_facts_of_a_dicom_file(tmp_path: Path) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.Modality, dataset.ViewPosition, dataset.Manufacturer = "CR", "AP", "Acme"
    dataset.PatientAge, dataset.PatientSex, dataset.PhotometricInterpretation = "045Y", "F", "MONOCHROME1"
    dataset.Rows, dataset.Columns, dataset.BitsStored = 30, 20, 12
    path = tmp_path / "a.dcm"
    dataset.save_as(path, enforce_file_format=True)
    facts = read_facts(ImageRecord(path="a.dcm", modality=Modality.CXR), path)
    assert (facts.width, facts.height, facts.bit_depth, facts.colour_mode) == (20, 30, 12, "MONOCHROME1")
    assert (facts.view, facts.manufacturer, facts.age_years, facts.sex) == ("AP", "Acme", 45.0, "F")
    assert facts.transfer_syntax == "Explicit VR Little Endian"


def test_a_damaged_header_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    with pytest.raises(UnreadableImageError, match="damaged or truncated"):
        read_facts(_RECORD, path)


@pytest.mark.parametrize(
    ("text", "years"),
    [("045Y", 45.0), ("006M", 0.5), ("026W", pytest.approx(0.4983, abs=1e-4)), ("45", None), ("", None), (None, None)],
)
def test_age(text: str | None, years: float | None) -> None:
    assert age_years(text) == years


def test_a_scaled_jpeg_is_the_mean_of_areas(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    _gradient(512, 256).save(path, quality=95)
    expected = np.asarray(_gradient(512, 256).resize((64, 64), Image.Resampling.BOX), dtype=np.float32) / 255
    assert np.abs(small_grey(path, 64) - expected).max() < 0.03


def test_a_mark_shows_in_its_own_corner_only() -> None:
    grey = np.full((64, 64), 0.2, dtype=np.float32)
    grey[2:4, 60:62] = 1.0
    found = pixel_statistics(grey)
    # 1.0 above the corner's median of 0.2
    assert found["bright mark, upper right corner"] == pytest.approx(0.8)
    assert [found[f"bright mark, {corner} corner"] for corner in ("upper left", "lower left", "lower right")] == [0] * 3


def test_exposure_changes_no_mark_and_the_middle_no_border_figure() -> None:
    rng = np.random.default_rng(0)
    grey = rng.uniform(0.2, 0.4, (64, 64)).astype(np.float32)
    brighter, opaque = grey + np.float32(0.3), grey.copy()
    opaque[8:-8, 8:-8] = 1.0
    plain, shifted, ill = map(pixel_statistics, (grey, brighter, opaque))
    for name, value in plain.items():
        if name.startswith("bright mark"):
            assert shifted[name] == pytest.approx(value, abs=1e-6)
        if name not in {"mean grey", "spread of grey"}:
            assert ill[name] == value


def test_characteristics_as_columns() -> None:
    numbers = Characteristic("n", Role.FILE, (3.0, None, 5.0))
    # the unknown lies below the smallest, 3 - 1
    assert numbers.columns().tolist() == [[3.0], [2.0], [5.0]]
    words = Characteristic("w", Role.FILE, ("AP", "PA", "PA", None))
    # commonest first, then by the alphabet: PA, AP, other
    assert words.columns().tolist() == [[0, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 1]]
