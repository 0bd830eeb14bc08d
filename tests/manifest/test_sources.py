"""Each adapter reads a generated tree that is laid out as the real set is after unpacking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from duoscan.errors import ManifestError
from duoscan.interfaces.cli import main
from duoscan.manifest.crossing import check_no_patient_crosses
from duoscan.manifest.readers import SkippedFile
from duoscan.manifest.sources import SOURCES, check_source, detect
from duoscan.manifest.sources.ieee8023 import finding_of
from duoscan.manifest.table import read_manifest
from duoscan.terms import Finding, Modality, Split

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from duoscan.manifest.readers import Imported


def images(root: Path, *names: str) -> Path:
    """A tiny image at each name."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), 90, np.uint8)).save(root / name)
    return root


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def labels_of(imported: Imported) -> Mapping[str, Finding | None]:
    return {record.path: record.label for record in imported.manifest}


@pytest.fixture
def radiography(tmp_path: Path) -> Path:
    root = tmp_path / "archive" / "COVID-19_Radiography_Dataset"
    images(root, *(f"{name}/images/{name}-{k}.png" for name in ("COVID", "Lung_Opacity", "Normal") for k in (1, 2)))
    images(root, "Viral Pneumonia/images/Viral Pneumonia-1.png", "COVID/masks/COVID-1.png")
    text(root / "README.md.txt", "read me")
    (root / "COVID.metadata.xlsx").write_bytes(b"PK")
    return tmp_path / "archive"


@pytest.fixture
def ucsd(tmp_path: Path) -> Path:
    root = tmp_path / "COVID-CT-master"
    images(root / "Images-processed", "CT_COVID/2020.01.24.9-p27-132.png", "CT_COVID/b%0.png", "CT_COVID/new.png")
    images(root / "Images-processed", "CT_NonCOVID/1%0.jpg", "CT_NonCOVID/b%0.png")
    splits = root / "Data-split"
    text(splits / "COVID/trainCT_COVID.txt", "2020.01.24.9-p27-132.png", "")
    text(splits / "COVID/valCT_COVID.txt", "gone.png")
    text(splits / "COVID/testCT_COVID.txt", "b%0.png")
    text(splits / "NonCOVID/trainCT_NonCOVID.txt", "1%0.jpg")
    text(splits / "NonCOVID/valCT_NonCOVID.txt", "b%0.png")
    (root / "Images-processed/CT_COVID.zip").write_bytes(b"PK")
    return root


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    root = tmp_path / "covid-chestxray-dataset"
    images(root / "images", "a.png", "b.jpeg", "c.jpg", "d.jpg", "unlisted.png")
    text(root / "volumes/v.nii.gz", "volume")
    text(
        root / "metadata.csv",
        "patientid,offset,finding,view,modality,filename, url,license,folder",
        "2,0,Pneumonia/Viral/COVID-19,PA,X-ray,a.png,u,CC BY-NC-SA,images",
        '3,,"COVID-19, ARDS",Axial,CT,b.jpeg,u,,images',
        "313b,,No Finding,AP,X-ray,c.jpg,u,,images",
        ",,todo,L,X-ray,d.jpg,u,,images",
        "9,,COVID-19,Axial,CT,v.nii.gz,u,,volumes",
        "9,,COVID-19,PA,X-ray,gone.png,u,,images",
        "2,1,SARS,PA,X-ray,a.png,u,,images",
    )
    return root


@pytest.fixture
def darkcovidnet(tmp_path: Path) -> Path:
    root = tmp_path / "COVID-19-master"
    images(root / "Dataset", "Covid-19/a.png", "Covid-19/b.png")
    images(root / "Dataset", "No_findings/00001280_004.png", "No_findings/00001280_005.png")
    images(root / "Dataset", "Pneumonia/00001280_006.png")
    return root


@pytest.fixture
def covidx(tmp_path: Path) -> Path:
    root = tmp_path / "covidx"
    images(root, "train/a.png", "train/COVID-19 (1).png", "train/b.png", "test/c.png", "test/unlisted.png")
    text(
        root / "train.txt",
        "2 a.png positive cohen",
        "COVID COVID-19 (1).png COVID-19 sirm",
        "ANON1 b.png negative actmed",
        "ANON2 gone.png negative actmed",
    )
    text(root / "test.txt", "47c7-42 c.png normal rsna")
    return root


def test_radiography(radiography: Path) -> None:
    imported = SOURCES["radiography"].read(radiography)
    assert imported.manifest.root == radiography / "COVID-19_Radiography_Dataset"
    labels = labels_of(imported)
    assert len(labels) == 7
    assert labels["Lung_Opacity/images/Lung_Opacity-2.png"] is Finding.OTHER
    assert labels["Viral Pneumonia/images/Viral Pneumonia-1.png"] is Finding.PNEUMONIA
    masks = {record.path: record.lung_mask for record in imported.manifest if record.lung_mask}
    assert masks == {"COVID/images/COVID-1.png": "COVID/masks/COVID-1.png"}
    assert [file.name for file in imported.skipped] == ["COVID.metadata.xlsx", "README.md.txt"]


@pytest.mark.parametrize(
    ("name", "other", "modality"),
    [
        ("sarscov2", "non-COVID", Modality.CT),
        ("tehran-ct", "Non_COVID", Modality.CT),
        ("tehran-xray", "Non_COVID", Modality.CXR),
    ],
)
def test_two_class_folders(tmp_path: Path, name: str, other: str, modality: Modality) -> None:
    # Unpacking often makes a folder of the class's name inside it; it is no patient and groups nothing.
    images(tmp_path / "up/set", "COVID/COVID/Covid (1).png", f"{other}/Non (1).png")
    imported = SOURCES[name].read(tmp_path)
    assert [(row.label, row.modality, row.source, row.group) for row in imported.manifest] == [
        (Finding.COVID, modality, name, None),
        (Finding.OTHER, modality, name, None),
    ]


def test_ucsd(ucsd: Path) -> None:
    imported = SOURCES["ucsd_covid_ct"].read(ucsd)
    rows = {row.path.removeprefix("Images-processed/"): (row.label, row.split) for row in imported.manifest}
    assert rows == {
        "CT_COVID/2020.01.24.9-p27-132.png": (Finding.COVID, Split.TRAIN),
        "CT_COVID/b%0.png": (Finding.COVID, Split.TEST),
        "CT_COVID/new.png": (Finding.COVID, None),
        "CT_NonCOVID/1%0.jpg": (Finding.OTHER, Split.TRAIN),
        # The same name in both classes is two images.
        "CT_NonCOVID/b%0.png": (Finding.OTHER, Split.VAL),
    }
    assert all(imported.manifest.file(record).is_file() for record in imported.manifest)
    assert set(imported.absent) == {
        SkippedFile("Data-split/NonCOVID/testCT_NonCOVID.txt", "a list of the official split"),
        SkippedFile("CT_COVID/gone", "named in the official val list"),
    }
    assert [file.name for file in imported.skipped] == ["Images-processed/CT_COVID.zip"]


def test_ucsd_patients_come_from_the_saved_table(ucsd: Path) -> None:
    assert {record.patient_id for record in SOURCES["ucsd_covid_ct"].read(ucsd).manifest} == {None}
    text(
        ucsd / "COVID-CT-MetaInfo.csv",
        "File name,Patient ID,DOI",
        "2020.01.24.9-p27-132,Patient 1,10.1101/2020.01.24.9",  # as in the set: dots, and no extension
        "b%0.png,Patient 2,",
    )
    patients = {row.path.split("/")[-1]: row.patient_id for row in SOURCES["ucsd_covid_ct"].read(ucsd).manifest}
    assert patients["2020.01.24.9-p27-132.png"] == "ucsd-covid:Patient 1"
    assert patients["new.png"] is None


def test_ieee8023(collection: Path) -> None:
    imported = SOURCES["ieee8023"].read(collection)
    rows = {row.path: row for row in imported.manifest}
    assert {name: (row.modality, row.label, row.patient_id) for name, row in rows.items()} == {
        "images/a.png": (Modality.CXR, Finding.COVID, "ieee8023:2"),
        "images/b.jpeg": (Modality.CT, Finding.COVID, "ieee8023:3"),
        "images/c.jpg": (Modality.CXR, Finding.NORMAL, "ieee8023:313b"),
        "images/d.jpg": (Modality.CXR, None, None),
    }
    assert (rows["images/a.png"].license, rows["images/a.png"].view) == ("CC BY-NC-SA", "PA")
    assert rows["images/b.jpeg"].license is None
    assert {file.name: file.reason for file in imported.skipped} == {
        "volumes/v.nii.gz": "a volume, not an image",
        "metadata.csv row 8": "'images/a.png' stands in an earlier row",
        "images/unlisted.png": "not in metadata.csv",
    }
    assert imported.absent == (SkippedFile("images/gone.png", "named in row 7 of metadata.csv"),)


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("COVID-19, ARDS", Finding.COVID),
        ("Pneumonia/Fungal/Pneumocystis", Finding.PNEUMONIA),
        ("Streptococcus", Finding.PNEUMONIA),
        ("ARDS", Finding.OTHER),
        ("Tuberculosis", Finding.OTHER),
        ("Unknown", None),
        ("", None),
    ],
)
def test_findings_of_the_collection(text: str, finding: Finding | None) -> None:
    assert finding_of(text) is finding


def test_early_tables_of_the_collection_write_ct_as_a_view(tmp_path: Path) -> None:
    images(tmp_path / "images", "a.png", "b.png")
    text(tmp_path / "metadata.csv", "Patientid,finding,view,filename", "1,SARS,CT,a.png", "1,SARS,PA,b.png")
    modalities = [record.modality for record in SOURCES["ieee8023"].read(tmp_path).manifest]
    assert modalities == [Modality.CT, Modality.CXR]
    text(tmp_path / "metadata.csv", "id,file", "1,a.png")
    with pytest.raises(ManifestError, match="should have patientid, finding and filename"):
        SOURCES["ieee8023"].read(tmp_path)


def test_darkcovidnet(darkcovidnet: Path) -> None:
    def patients() -> dict[str, str | None]:
        imported = SOURCES["darkcovidnet"].read(darkcovidnet)
        assert imported.skipped == ()
        return {row.path: row.patient_id for row in imported.manifest}

    assert patients() == {
        "Covid-19/a.png": None,
        "Covid-19/b.png": None,
        "No_findings/00001280_004.png": "nih:1280",
        "No_findings/00001280_005.png": "nih:1280",
        "Pneumonia/00001280_006.png": "nih:1280",  # one patient in both classes
    }
    text(darkcovidnet / "Dataset/metadata.csv", "patientid,finding,filename", "46,COVID-19,a.png")
    assert patients()["Covid-19/a.png"] == "ieee8023:46"


def test_covidx(covidx: Path) -> None:
    imported = SOURCES["covidx"].read(covidx)
    assert [(row.path, row.label, row.split, row.source, row.patient_id) for row in imported.manifest] == [
        # The patients of Cohen's collection have the same ids as in the ieee8023 set.
        ("train/a.png", Finding.COVID, Split.TRAIN, "covidx-cohen", "ieee8023:2"),
        ("train/COVID-19 (1).png", Finding.COVID, Split.TRAIN, "covidx-sirm", "covidx-sirm:COVID"),
        ("train/b.png", Finding.OTHER, Split.TRAIN, "covidx-actmed", "covidx-actmed:ANON1"),
        ("test/c.png", Finding.NORMAL, Split.TEST, "covidx-rsna", "covidx-rsna:47c7-42"),
    ]
    check_no_patient_crosses(imported.manifest)
    assert imported.absent == (SkippedFile("train/gone.png", "named in line 4 of train.txt"),)
    assert imported.skipped == (SkippedFile("test/unlisted.png", "not in the lists"),)


def test_covidx_lists(covidx: Path) -> None:
    text(covidx / "test.txt", "p c.png normal")  # the earliest lists name no origin
    assert SOURCES["covidx"].read(covidx).manifest.records[-1].source == "covidx"
    text(covidx / "test.txt", "p c.png flu rsna", "normal", "p normal rsna")
    with pytest.raises(ManifestError, match="3 lines are not those of a COVIDx list") as caught:
        SOURCES["covidx"].read(covidx)
    assert caught.value.problems[0] == "test.txt line 1: 'p c.png flu rsna' is not 'patient file label origin'"
    text(covidx / "test_COVIDx9A.txt", "p c.png normal rsna")
    with pytest.raises(ManifestError, match="several test lists"):
        SOURCES["covidx"].read(covidx)


@pytest.mark.parametrize("name", list(SOURCES))
def test_what_is_not_there_is_told_with_its_page(tmp_path: Path, name: str) -> None:
    info = SOURCES[name].info
    with pytest.raises(ManifestError, match="get it from") as caught:
        SOURCES[name].read(tmp_path)
    assert info.where in str(caught.value)
    assert info.layout in str(caught.value)
    assert name == info.name


@pytest.mark.parametrize("tree", ["radiography", "ucsd", "collection", "darkcovidnet", "covidx"])
def test_each_layout_is_told_from_the_others(tree: str, request: pytest.FixtureRequest) -> None:
    names = {"ucsd": "ucsd_covid_ct", "collection": "ieee8023"}
    assert detect(request.getfixturevalue(tree)).info.name == names.get(tree, tree)


def test_layouts_that_say_nothing_or_too_little(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="layout of no known set"):
        detect(tmp_path)
    with pytest.raises(ManifestError, match="no such folder"):
        detect(tmp_path / "none")
    images(tmp_path, "COVID/a.png", "Non_COVID/b.png")
    with pytest.raises(ManifestError, match="could be any of tehran-xray, tehran-ct"):
        detect(tmp_path)


def test_a_check_counts_and_compares(tmp_path: Path) -> None:
    images(tmp_path, *(f"COVID/{k}.png" for k in range(111)), *(f"Non_COVID/{k}.png" for k in range(230)))
    check = check_source(SOURCES["tehran-xray"], tmp_path)
    assert check.found == {Finding.COVID: 111, Finding.OTHER: 230}
    assert check.is_complete
    assert not check_source(SOURCES["tehran-ct"], tmp_path).is_complete


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


def test_data_list_names_every_set(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "data", "list")
    assert code == 0
    for source in SOURCES.values():
        assert f"{source.info.name}: {source.info.title}" in out
        assert source.info.where in out


def test_data_check_says_found_missing_and_extra(collection: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "data", "check", collection)
    assert code == 1
    assert "ieee8023: COVID-19 Image Data Collection" in out
    assert "missing: 1\n  images/gone.png: named in row 7 of metadata.csv" in err
    assert "extra: 3" in err
    (collection / "images/gone.png").touch()
    assert run(capsys, "data", "check", collection)[0] == 0  # no fixed release, so no counts to differ from


def test_data_check_compares_counts(radiography: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "data", "check", radiography, "--source", "radiography")
    assert code == 1
    assert "-3614" in out  # 2 of 3616 covid are there
    assert "it differs from the second update (2021)" in err
    code, _, err = run(capsys, "data", "check", radiography, "--source", "radiograph")
    assert (code, "no known set; use one of radiography" in err) == (2, True)


def test_import_reads_a_known_set_with_its_own_lists(ucsd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "import", ucsd, "--source", "ucsd_covid_ct", "--out", ucsd / "m.csv", "--no-image-check")
    assert code == 0
    assert "named in a table but without an image: 2" in err
    manifest = read_manifest(ucsd / "m.csv")
    assert {record.split for record in manifest} == {Split.TRAIN, Split.VAL, Split.TEST, None}
    assert all(record.group for record in manifest)  # slices without patient ids stand in blocks
