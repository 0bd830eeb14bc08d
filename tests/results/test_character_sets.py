"""Results of files in any character set: all are written, and names are those of the source."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.valuerep import PersonName

from duoscan.formats.dicom.frames import single_frame
from duoscan.formats.dicom.header import open_dicom
from duoscan.interfaces.cli import main
from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.plan import FileFormat, PhantomOptions
from duoscan.terms import Modality

if TYPE_CHECKING:
    from pathlib import Path

JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"
KOREAN = "Hong^Gildong=洪^吉洞=홍^길동"
CHINESE = "Zhang^XiaoDong=张^小东="
# PS3.5 annexes H to K; an empty first value is the default repertoire.
SETS = {
    "\\ISO 2022 IR 87": JAPANESE,
    "\\ISO 2022 IR 149": KOREAN,
    "\\ISO 2022 IR 58": CHINESE,
    "\\ISO 2022 IR 87\\ISO 2022 IR 159": JAPANESE,
    "ISO 2022 IR 13\\ISO 2022 IR 87": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    "ISO 2022 IR 87": "Yamada^Tarou",  # alone, which is not allowed
    "ISO_IR 100\\ISO 2022 IR 87": "Müller^Jürgen",  # the first without code extensions, which is not allowed either
    "GB18030": "Wang^XiaoDong=王^小东=",
    "ISO_IR 192": JAPANESE,
    "ISO_IR 144": "Люкceмбypг",
    "": "Doe^Jane",
    "UTF-8": "Doe^Jane",  # of no standard
}


@pytest.fixture(scope="module")
def radiograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = PhantomOptions(patients=1, seed=2, slices=2, ct_size=64, xray_size=96, formats=FileFormat.DICOM)
    out = tmp_path_factory.mktemp("cohort") / "cohort"
    write_cohort(options, out, workers=1)
    return next(path for path in sorted((out / "dicom").rglob("*.dcm")) if pydicom.dcmread(path).Modality != "CT")


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, on sets that are not allowed
@pytest.mark.parametrize("character_set", SETS)
def test_results_are_written_and_names_stay(
    tmp_path: Path, radiograph: Path, brightness_bundles: dict[Modality, Path], character_set: str
) -> None:
    dataset = pydicom.dcmread(radiograph)
    dataset.SpecificCharacterSet = character_set.split("\\")
    dataset.PatientName = SETS[character_set]
    if character_set.endswith("IR 58"):  # which pydicom reads and does not write
        dataset.PatientName = PersonName(
            b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=", ["iso8859", "iso_ir_58"]
        )
    dataset.save_as(tmp_path / "a.dcm")
    models = [
        "--xray-bundle",
        str(brightness_bundles[Modality.CXR]),
        "--ct-bundle",
        str(brightness_bundles[Modality.CT]),
    ]
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        main(["screen", str(tmp_path / "a.dcm"), "--quiet", "--dicom-out", str(out), *models])
    assert ended.value.code == 0
    written = sorted(out.rglob("*.dcm"))
    assert {path.name for path in written} == {"report.dcm", "heatmap-1.dcm"}
    for path in written:
        assert str(pydicom.dcmread(path).PatientName).rstrip("=") == SETS[character_set].rstrip("=")


def test_a_frame_reads_names_as_its_file_does(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    dataset.PatientName, dataset.NumberOfFrames, dataset.PixelData = JAPANESE, 2, dataset.PixelData * 2
    path = tmp_path / "a.dcm"
    dataset.save_as(path)
    frame = single_frame(open_dicom(path), 2, path)
    frame.SpecificCharacterSet = "ISO_IR 192"  # as results may be written
    assert str(frame.PatientName) == JAPANESE
