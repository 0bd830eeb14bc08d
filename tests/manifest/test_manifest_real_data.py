"""Counts are those of the data folder's own README."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from duoscan.manifest.blocks import assign_blocks
from duoscan.manifest.crossing import check_no_patient_crosses
from duoscan.manifest.readers import from_dicom_folder, from_table
from duoscan.manifest.sources import SOURCES, check_source
from duoscan.manifest.sources.ieee8023 import finding_of
from duoscan.manifest.splits import grouped_folds, random_by_image_split, split_by_patient
from duoscan.manifest.table import read_manifest, write_manifest
from duoscan.terms import Finding, Modality, Split

if TYPE_CHECKING:
    from pathlib import Path

    from duoscan.manifest.records import Manifest

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def cxr(data_dir: Path) -> Manifest:
    return from_table(data_dir / "cxr.csv", modality=Modality.CXR).manifest


@pytest.fixture(scope="module")
def ct(data_dir: Path) -> Manifest:
    return assign_blocks(from_table(data_dir / "ct.csv", modality=Modality.CT).manifest)


def test_a_published_case_has_the_host_of_its_address_as_site(cxr: Manifest) -> None:
    sites = Counter(record.site for record in cxr if record.source == "ieee8023")
    assert sites["www.eurorad.org"] == 65
    nih = {record.site for record in cxr if record.source == "darkcovidnet" and record.label is not Finding.COVID}
    assert nih == {None}


def test_every_row_is_read(cxr: Manifest, ct: Manifest) -> None:
    assert (len(cxr), len(ct)) == (1759, 1808)
    assert sum(record.lung_mask is not None for record in cxr) == 418
    assert Counter((record.source, record.label) for record in ct)["sarscov2", Finding.OTHER] == 499


def test_no_patient_of_the_radiographs_crosses(cxr: Manifest) -> None:
    split = split_by_patient(cxr.where(sources=["darkcovidnet"]))
    check_no_patient_crosses(split)
    # 1124 images at .7/.1/.2; three strata, each missed by less than its largest patient (12 images).
    counts = Counter(record.split for record in split)
    assert all(abs(counts[part] - share * 1124) < 36 for part, share in zip(Split, (0.7, 0.1, 0.2), strict=True))


def test_a_split_by_image_cuts_patients(cxr: Manifest) -> None:
    faulty = random_by_image_split(cxr.where(sources=["darkcovidnet"]))
    splits: dict[str, set[Split | None]] = {}
    for record in faulty:
        splits.setdefault(record.unit, set()).add(record.split)
    assert sum(len(found) > 1 for found in splits.values()) > 50


def test_the_official_ct_split_is_honoured(ct: Manifest) -> None:
    official = ct.where(sources=["ucsd_covid_ct"])
    assert split_by_patient(official, seed=7) == official
    assert Counter(record.split for record in official) == {Split.TRAIN: 425, Split.VAL: 118, Split.TEST: 203}


def test_slices_without_patients_stand_in_blocks(ct: Manifest) -> None:
    rows = [record for record in ct if record.source == "sarscov2" and record.label is Finding.COVID]
    assert Counter(record.group for record in rows) == {f"sarscov2/covid/block-{block}": 20 for block in range(25)}
    first = {record.original_name for record in rows if record.group == "sarscov2/covid/block-0"}
    assert first == {f"Covid ({number}).png" for number in range(1, 21)}


def test_folds_over_everything(cxr: Manifest, ct: Manifest) -> None:
    both = cxr.replace([*cxr, *ct])
    for fold in grouped_folds(both, 5):
        check_no_patient_crosses(fold)
        # Each label of each source within the largest patient (16 slices) of its fifth.
        tested = Counter((record.modality, record.source, record.label) for record in fold.where(split=Split.TEST))
        every = Counter((record.modality, record.source, record.label) for record in fold)
        assert all(abs(tested[kind] - count / 5) < 16 for kind, count in every.items())


def test_a_manifest_written_elsewhere_finds_the_images(ct: Manifest, tmp_path: Path) -> None:
    write_manifest(ct, tmp_path / "ct.csv")
    again = read_manifest(tmp_path / "ct.csv")
    assert again.file(again.records[0]).samefile(ct.file(ct.records[0]))
    assert len(again) == len(ct)


def test_dicom_folder(data_dir: Path) -> None:
    imported = from_dicom_folder(data_dir / "dicom")
    assert len(imported.manifest) == 35
    assert [skip.name for skip in imported.skipped] == ["dicom.csv"]
    slices = {record.path: record for record in imported.manifest}
    reformat = slices["ct_ny_sbu/A002304_coronal_19010112-124.dcm"]
    assert (reformat.patient_id, reformat.view, reformat.modality) == ("A002304", "coronal", Modality.CT)
    assert slices["cxr/cr_philips_RG1_J2KI.dcm"].view == "PA"


def stand_ins(root: Path, names: list[str]) -> Path:
    """Empty files of the published names: adapters read names and lists, never pixels."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_darkcovidnet_as_published(cxr: Manifest, tmp_path: Path) -> None:
    truth = {
        f"{(record.notes or '').partition(';')[0].removeprefix('folder ')}/{record.original_name}": record
        for record in cxr.where(sources=["darkcovidnet"])
    }
    check = check_source(SOURCES["darkcovidnet"], stand_ins(tmp_path, list(truth)))
    # One COVID image of the 125 is missing in this copy.
    assert (check.found, check.is_complete) == (
        {Finding.COVID: 124, Finding.NORMAL: 500, Finding.PNEUMONIA: 500},
        False,
    )
    for record in check.imported.manifest:
        assert record.label is truth[record.path].label
        if record.label is not Finding.COVID:
            assert record.patient_id == truth[record.path].patient_id


def test_sarscov2_as_published(ct: Manifest, tmp_path: Path) -> None:
    folders = {"Covid": "COVID", "Non-Covid": "non-COVID"}
    truth = {
        f"{folders[str(record.finding)]}/{record.original_name}": record for record in ct.where(sources=["sarscov2"])
    }
    check = check_source(SOURCES["sarscov2"], stand_ins(tmp_path, list(truth)))
    assert check.found == {Finding.COVID: 500, Finding.OTHER: 499}
    read = assign_blocks(check.imported.manifest)
    assert {record.path: record.group for record in read} == {name: row.group for name, row in truth.items()}


def test_ucsd_as_published(ct: Manifest, tmp_path: Path) -> None:
    rows = list(ct.where(sources=["ucsd_covid_ct"]))
    names = {f"Images-processed/CT_{row.finding}/{row.original_name}": row for row in rows}
    stand_ins(tmp_path, list(names))
    for kind in ("COVID", "NonCOVID"):
        (tmp_path / "Data-split" / kind).mkdir(parents=True)
        for part in Split:
            listed = [str(row.original_name) for row in rows if row.finding == kind and row.split is part]
            (tmp_path / "Data-split" / kind / f"{part}CT_{kind}.txt").write_text("\n".join(listed), encoding="utf-8")
    check = check_source(SOURCES["ucsd_covid_ct"], tmp_path)
    assert check.is_complete
    assert {row.path: (row.label, row.split) for row in check.imported.manifest} == {
        name: (row.label, row.split) for name, row in names.items()
    }


def test_findings_of_the_collection_agree(cxr: Manifest) -> None:
    # The data folder calls images whose finding is open "other"; the adapter leaves them without a label.
    for record in cxr.where(sources=["ieee8023"]):
        found = finding_of(record.finding or "")
        assert found is record.label or (found is None and record.label is Finding.OTHER)
