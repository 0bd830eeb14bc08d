from __future__ import annotations

import re
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from duoscan.errors import InputError, ManifestError
from duoscan.formats.reader import read_image
from duoscan.manifest.patient_rules import PatientRules, read_patient_table
from duoscan.manifest.readers import (
    SkippedFile,
    Wishes,
    from_class_folders,
    from_dicom_folder,
    from_table,
    read_anything,
)
from duoscan.manifest.readers.patients import folders_not_joined, with_patients
from duoscan.manifest.table import read_manifest, write_manifest
from duoscan.terms import Finding, Modality, Split
from stand_ins import ct_slice_hu, write_ct_slice, write_enhanced_ct

if TYPE_CHECKING:
    from pathlib import Path


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def dicom(path: Path, modality: str | None = "CT", **attributes: object) -> Path:
    """A DICOM file of 2 × 2 pixels."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"  # secondary capture: says nothing of the modality
    dataset.SOPInstanceUID = "1.2.3"
    dataset.Rows = dataset.Columns = 2
    dataset.PixelData = np.zeros((2, 2), np.uint16).tobytes()
    dataset.BitsAllocated = dataset.BitsStored = 16
    if modality:
        dataset.Modality = modality
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


class TestClassFolders:
    def test_each_class_is_a_folder(self, tmp_path: Path) -> None:
        touch(tmp_path, "COVID/a.png", "Non-COVID/b.JPG", "Viral Pneumonia/images/c.jpeg")
        imported = from_class_folders(tmp_path, Modality.CXR, "kaggle")
        assert [(row.path, row.label, row.finding, row.split, row.group) for row in imported.manifest] == [
            ("COVID/a.png", Finding.COVID, "COVID", None, None),
            ("Non-COVID/b.JPG", Finding.OTHER, "Non-COVID", None, None),
            ("Viral Pneumonia/images/c.jpeg", Finding.PNEUMONIA, "Viral Pneumonia", None, None),
        ]
        assert {row.source for row in imported.manifest} == {"kaggle"}
        assert imported.skipped == ()

    def test_split_folders_are_the_official_split(self, tmp_path: Path) -> None:
        touch(tmp_path, "train/covid/a.png", "Validation/normal/b.png", "test/covid/c.png")
        rows = from_class_folders(tmp_path, Modality.CXR, "s").manifest
        # Sorted by path, capitals first.
        assert [row.split for row in rows] == [Split.VAL, Split.TEST, Split.TRAIN]

    def test_folders_inside_a_class_are_patients_where_that_is_asked_for(self, tmp_path: Path) -> None:
        touch(tmp_path, "covid/p1/1.png", "covid/p1/2.png", "covid/p2/1.png", "test/covid/p1/1.png", "covid/3.png")
        imported = from_class_folders(tmp_path, Modality.CT, "s")
        assert len({row.unit for row in imported.manifest}) == 5
        (told,) = folders_not_joined(imported)
        assert told.startswith("4 images in 3 folders name no patient")
        joined = with_patients(imported, PatientRules(by_folder=True))
        patients = {row.path: row.patient_id for row in joined.manifest}
        assert patients == {
            "covid/p1/1.png": "covid/p1",
            "covid/p1/2.png": "covid/p1",
            "covid/p2/1.png": "covid/p2",
            "test/covid/p1/1.png": "test/covid/p1",
            "covid/3.png": None,
        }
        assert joined.remarks == ("2 pictures joined as patient covid/p1 by folder",)
        assert folders_not_joined(joined) == ()

    def test_a_row_is_about_all_frames_of_its_file(self, tmp_path: Path) -> None:
        for height in (0.0, 3.0):
            write_ct_slice(tmp_path / "study" / f"{height}.dcm", ct_slice_hu(), height)
        (tmp_path / "in").mkdir()
        write_enhanced_ct(tmp_path / "study", tmp_path / "in" / "v.dcm")
        (tmp_path / "p.csv").write_text("path,patient_id\nv.dcm,P1\n", encoding="utf-8")
        rules = PatientRules(read_patient_table(tmp_path / "p.csv"))
        told = with_patients(read_anything(tmp_path / "in", Wishes()), rules)
        assert [row.patient_id for row in told.manifest] == ["P1", "P1"]

    def test_a_class_folder_of_any_name_is_no_patient(self, tmp_path: Path) -> None:
        touch(tmp_path, "Sane/1.png", "Sane/2.png", "Sick/1.png", "Sick/2.png", "Sick/p1/1.png")
        said = {"sane": Finding.NORMAL, "Sick": Finding.COVID}
        imported = from_class_folders(tmp_path, Modality.CT, "s", said)
        assert folders_not_joined(imported, said) == ()
        joined = with_patients(imported, PatientRules(by_folder=True, label_map=said))
        assert {row.path: row.patient_id for row in joined.manifest if row.patient_id} == {"Sick/p1/1.png": "Sick/p1"}

    def test_table_and_pattern_say_whose_the_images_of_class_folders_are(self, tmp_path: Path) -> None:
        touch(tmp_path, "covid/P1-a.png", "covid/P1-b.png", "normal/c.png")
        (tmp_path / "p.csv").write_text("path,patient_id,modality\nnormal/c.png,P1,ct\nx.png,P2,\n", encoding="utf-8")
        rules = PatientRules(read_patient_table(tmp_path / "p.csv"), re.compile(r"(P\d)-"))
        told = with_patients(from_class_folders(tmp_path, Modality.CXR, "s"), rules)
        assert [(row.patient_id, row.modality) for row in told.manifest] == [
            ("P1", Modality.CXR),
            ("P1", Modality.CXR),
            ("P1", Modality.CT),
        ]
        assert told.absent == (SkippedFile("--patients", "p.csv, row 3: 'x.png' is the path of no image"),)
        with pytest.raises(InputError, match="matches none of 3 paths"):
            with_patients(told, PatientRules(pattern=re.compile("(Q)")))

    def test_masks_belong_to_their_images(self, tmp_path: Path) -> None:
        touch(tmp_path, "COVID/images/1.png", "COVID/images/2.png", "COVID/masks/1.png", "COVID/masks/9.png")
        imported = from_class_folders(tmp_path, Modality.CXR, "s")
        assert {row.path: row.lung_mask for row in imported.manifest} == {
            "COVID/images/1.png": "COVID/masks/1.png",
            "COVID/images/2.png": None,
        }
        assert imported.skipped == (SkippedFile("COVID/masks/9.png", "a mask without an image of its name"),)

    def test_nothing_is_passed_over_without_a_word(self, tmp_path: Path) -> None:
        touch(tmp_path, "covid/a.png", "covid/notes.txt", "stray.png", "test/stray.png", ".DS_Store", "__MACOSX/x.png")
        touch(tmp_path, "covid/line\nbreak.png")
        (tmp_path / "elsewhere").symlink_to(tmp_path / "covid", target_is_directory=True)
        skipped = {skip.name: skip.reason for skip in from_class_folders(tmp_path, Modality.CXR, "s").skipped}
        assert skipped == {
            "covid/notes.txt": "'.txt' is not an image format",
            "stray.png": "not in a class folder",
            "test/stray.png": "not in a class folder",
            "'covid/line\\nbreak.png'": "the name cannot be written in a table; rename the file",
            "elsewhere": "a link to a folder, which is not followed; give that folder itself",
        }

    def test_unknown_names_are_asked_for(self, tmp_path: Path) -> None:
        touch(tmp_path, "covid/a.png", "TB/b.png", "TB/c.png", "odd/d.png", "empty/readme.md")
        with pytest.raises(ManifestError, match=r"2 folder names is unknown; say it with --map 'NAME=LABEL'") as caught:
            from_class_folders(tmp_path, Modality.CXR, "s")
        assert caught.value.problems == ("folder 'TB' (2 images)", "folder 'odd' (1 images)")
        said = {"tb": Finding.OTHER, "odd": Finding.NORMAL}
        assert len(from_class_folders(tmp_path, Modality.CXR, "s", said).manifest) == 4

    def test_dicom_files_bring_their_patients(self, tmp_path: Path) -> None:
        dicom(tmp_path / "covid/x/1.dcm", "CR", PatientID="p1", StudyInstanceUID="1.2")
        dicom(tmp_path / "covid/x/2.dcm", None, StudyInstanceUID="1.3")
        dicom(tmp_path / "covid/x/3.dcm", "MR")
        imported = from_class_folders(tmp_path, Modality.CT, "s")
        one, two = imported.manifest
        assert (one.modality, one.patient_id, one.study_id, one.group) == (Modality.CXR, "p1", "1.2", None)
        # Without a patient id the study is what must stay together.
        assert (two.modality, two.patient_id, two.group) == (Modality.CT, None, "1.3")
        assert imported.skipped == (SkippedFile("covid/x/3.dcm", "modality MR is neither chest X-ray nor CT"),)

    def test_an_empty_or_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ManifestError, match="no images in class folders"):
            from_class_folders(tmp_path, Modality.CXR, "s")
        with pytest.raises(ManifestError, match="no such folder"):
            from_class_folders(tmp_path / "none", Modality.CXR, "s")


class TestTable:
    def test_their_names_and_words(self, tmp_path: Path) -> None:
        touch(tmp_path, "img/a.png", "img/b.png")
        (tmp_path / "t.csv").write_text(
            "filename,diagnosis,kind,set\na.png,COVID-19,X-ray,training\nb.png,TB,CT,\n", encoding="utf-8"
        )
        imported = from_table(
            tmp_path / "t.csv",
            columns={"path": "filename", "label": "diagnosis", "modality": "kind", "split": "set"},
            label_map={"tb": Finding.OTHER},
            source="hospital",
            root=tmp_path / "img",
        )
        one, two = imported.manifest
        assert (one.label, one.finding, one.modality, one.split) == (
            Finding.COVID,
            "COVID-19",
            Modality.CXR,
            Split.TRAIN,
        )
        assert (two.label, two.finding, two.modality, two.split) == (Finding.OTHER, "TB", Modality.CT, None)
        assert one.source == "hospital"

    def test_what_is_given_fills_only_what_is_empty(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.png", "b.png")
        (tmp_path / "t.csv").write_text("path,modality,source\na.png,ct,x\nb.png,,\n", encoding="utf-8")
        rows = from_table(tmp_path / "t.csv", modality=Modality.CXR, source="y").manifest
        assert [(row.modality, row.source) for row in rows] == [(Modality.CT, "x"), (Modality.CXR, "y")]

    def test_unknown_words_are_shown_as_they_stand(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.png")
        (tmp_path / "t.csv").write_text("path,label,modality\na.png,Flu,\n", encoding="utf-8")
        with pytest.raises(ManifestError) as caught:
            from_table(tmp_path / "t.csv")
        assert [problem.partition(";")[0] for problem in caught.value.problems] == [
            "row 2: modality is empty",
            "row 2: label 'Flu' is unknown",
        ]

    def test_columns_must_be_there_on_both_sides(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_text("file\na.png\n", encoding="utf-8")
        with pytest.raises(ManifestError, match=r"no column filename \(found: file\)"):
            from_table(tmp_path / "t.csv", columns={"path": "filename"})
        with pytest.raises(ManifestError, match=r"pth: not a column of a manifest"):
            from_table(tmp_path / "t.csv", columns={"pth": "file"})

    def test_a_patient_in_two_official_splits_comes_in_to_be_shown(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.png", "b.png")
        (tmp_path / "t.csv").write_text("path,patient_id,split\na.png,p,train\nb.png,p,test\n", encoding="utf-8")
        assert len(from_table(tmp_path / "t.csv", modality=Modality.CXR).manifest) == 2


class TestDicomFolder:
    def test_headers_and_labels(self, tmp_path: Path) -> None:
        dicom(
            tmp_path / "in/1",
            PatientID="p1",
            StudyInstanceUID="1.2",
            SeriesInstanceUID="1.2.1",
            BodyPartExamined="CHEST",
        )
        dicom(tmp_path / "in/deep/2.dcm", PatientID="p1")
        dicom(tmp_path / "in/3.dcm", "DX", PatientID="p2", ViewPosition="PA")
        dicom(tmp_path / "in/4.dcm", PatientID="p3")
        touch(tmp_path / "in", "readme.txt", "empty.dcm")
        (tmp_path / "in/readme.txt").write_text("hello", encoding="utf-8")
        labels = tmp_path / "labels.csv"
        labels.write_text("patient_id;path;label\np1;;COVID-19\n;in/3.dcm;normal\np3;;\np9;;covid\n", encoding="utf-8")
        imported = from_dicom_folder(tmp_path / "in", labels)
        rows = {row.path: row for row in imported.manifest}
        assert [row.path for row in imported.manifest] == ["1", "3.dcm", "4.dcm", "deep/2.dcm"]
        assert (rows["1"].label, rows["1"].finding) == (Finding.COVID, "COVID-19")
        assert (rows["1"].study_id, rows["1"].series_id, rows["1"].notes) == ("1.2", "1.2.1", "body part CHEST")
        assert (rows["3.dcm"].label, rows["3.dcm"].view, rows["3.dcm"].modality) == (Finding.NORMAL, "PA", Modality.CXR)
        assert rows["4.dcm"].label is None
        assert rows["deep/2.dcm"].label is Finding.COVID
        assert {row.source for row in imported.manifest} == {"in"}
        assert [(skip.name, skip.reason.partition(" (")[0].partition(";")[0]) for skip in imported.skipped] == [
            ("empty.dcm", "the file is empty"),
            ("readme.txt", "not a DICOM image"),
        ]
        assert imported.absent == (SkippedFile("labels.csv row 5", "no image of patient 'p9'"),)

    def test_a_label_table_inside_the_folder_is_no_skipped_file(self, tmp_path: Path) -> None:
        dicom(tmp_path / "1.dcm", PatientID="p1")
        (tmp_path / "labels.csv").write_text("patient_id,label\np1,covid\n", encoding="utf-8")
        assert from_dicom_folder(tmp_path, tmp_path / "labels.csv").skipped == ()

    def test_modality_is_given_where_the_header_names_none(self, tmp_path: Path) -> None:
        dicom(tmp_path / "1.dcm", None)
        with pytest.raises(ManifestError, match="none of 1 files is a usable DICOM image") as caught:
            from_dicom_folder(tmp_path)
        assert caught.value.problems == ("1.dcm: the header names no modality; give --modality",)
        assert from_dicom_folder(tmp_path, modality=Modality.CT).manifest.records[0].modality is Modality.CT

    def test_dicom_without_an_image_is_skipped(self, tmp_path: Path) -> None:
        dicom(tmp_path / "1.dcm")
        dicom(tmp_path / "report.dcm", "SR", Rows=None)
        assert from_dicom_folder(tmp_path).skipped == (SkippedFile("report.dcm", "DICOM without an image"),)

    def test_every_bad_label_row_is_named(self, tmp_path: Path) -> None:
        dicom(tmp_path / "1.dcm", PatientID="p1")
        labels = tmp_path / "labels.csv"
        labels.write_text("patient_id,label\np1,covid\np1,normal\np2,flu\n,covid\n", encoding="utf-8")
        with pytest.raises(ManifestError, match="3 rows are wrong") as caught:
            from_dicom_folder(tmp_path, labels)
        assert caught.value.problems == (
            "row 3: patient 'p1' is normal, covid in row 2; keep one",
            "row 4: label 'flu' is unknown; use covid, pneumonia, normal, other, or --map 'flu=LABEL'",
            "row 5: neither patient_id nor path; fill one in",
        )
        labels.write_text("id,label\np1,covid\n", encoding="utf-8")
        with pytest.raises(ManifestError, match="needs the column label and patient_id or path"):
            from_dicom_folder(tmp_path, labels)
        assert from_dicom_folder(tmp_path, labels, columns={"patient_id": "id"}).manifest.records[0].label


class TestAnything:
    def test_each_kind_finds_its_reader(self, tmp_path: Path) -> None:
        touch(tmp_path / "classes", "covid/a.png")
        dicom(tmp_path / "dicom/covid/1.dcm", PatientID="p")
        (tmp_path / "t.csv").write_text("path,modality\nclasses/covid/a.png,cxr\n", encoding="utf-8")
        wishes = Wishes(modality=Modality.CXR)
        assert read_anything(tmp_path / "t.csv", wishes).manifest.records[0].source == "unknown"
        by_class = read_anything(tmp_path / "classes", wishes).manifest.records[0]
        assert (by_class.source, by_class.label) == ("classes", Finding.COVID)

    def test_a_table_of_labels_goes_before_folder_names(self, tmp_path: Path) -> None:
        dicom(tmp_path / "in/covid/1.dcm", PatientID="p")
        (tmp_path / "l.csv").write_text("patient_id,label\np,normal\n", encoding="utf-8")
        record = read_anything(tmp_path / "in", Wishes(labels=tmp_path / "l.csv")).manifest.records[0]
        assert record.label is Finding.NORMAL

    def test_a_table_and_class_folders_complete_each_other(self, tmp_path: Path) -> None:
        touch(tmp_path / "in", "train/covid/a.png", "train/covid/b.png", "test/normal/c.png", "TB/d.png", "e.png")
        touch(tmp_path / "in", "test/normal/images/f.png", "test/normal/masks/f.png")
        (tmp_path / "ids.csv").write_text(
            "path,patient_id,label\ntrain/covid/a.png,P1,\ntrain/covid/b.png,P1,normal\nTB/d.png,P2,other\n",
            encoding="utf-8",
        )
        imported = read_anything(tmp_path / "in", Wishes(modality=Modality.CXR, labels=tmp_path / "ids.csv"))
        assert {(row.path, row.patient_id, row.label, row.finding, row.split) for row in imported.manifest} == {
            ("train/covid/a.png", "P1", Finding.COVID, "covid", Split.TRAIN),
            ("train/covid/b.png", "P1", Finding.NORMAL, "normal", Split.TRAIN),
            ("TB/d.png", "P2", Finding.OTHER, "other", None),
            ("test/normal/c.png", None, Finding.NORMAL, "normal", Split.TEST),
            ("test/normal/images/f.png", None, Finding.NORMAL, "normal", Split.TEST),
        }
        assert [row.lung_mask for row in imported.manifest if row.lung_mask] == ["test/normal/masks/f.png"]
        assert imported.skipped == (SkippedFile("e.png", "not in ids.csv"),)
        assert imported.doubts == (SkippedFile("train/covid/b.png", "normal in the table, in the folder of covid"),)
        assert imported.remarks == ("2 images are not in ids.csv; their class folder alone says what they are",)

    def test_class_folders_of_dicom_files_complete_a_table(self, tmp_path: Path) -> None:
        dicom(tmp_path / "in/covid/1", PatientID="p")
        dicom(tmp_path / "in/covid/2.dcm", PatientID="q")
        touch(tmp_path / "in", "normal/3.png")
        (tmp_path / "l.csv").write_text("patient_id,label\np,normal\n", encoding="utf-8")
        wishes = Wishes(labels=tmp_path / "l.csv")
        imported = read_anything(tmp_path / "in", wishes)
        told = [(row.path, row.label) for row in imported.manifest]
        assert told == [("covid/1", Finding.NORMAL), ("covid/2.dcm", Finding.COVID)]
        assert [skip.name for skip in imported.skipped] == ["normal/3.png"]
        imported = read_anything(tmp_path / "in", replace(wishes, modality=Modality.CXR))
        assert {row.path: row.label for row in imported.manifest}["normal/3.png"] is Finding.NORMAL
        assert imported.skipped == ()

    def test_images_with_a_table_of_labels(self, tmp_path: Path) -> None:
        touch(tmp_path / "in", "a.png", "b.png", "notes.txt")
        (tmp_path / "l.csv").write_text("path,label\na.png,covid\n", encoding="utf-8")
        imported = read_anything(tmp_path / "in", Wishes(labels=tmp_path / "l.csv", modality=Modality.CXR))
        assert [row.path for row in imported.manifest] == ["a.png"]
        assert imported.skipped == (SkippedFile("b.png", "not in l.csv"),)

    def test_what_fits_no_reader_is_described(self, tmp_path: Path) -> None:
        with pytest.raises(ManifestError, match="the folder holds no files"):
            read_anything(tmp_path, Wishes())
        touch(tmp_path, "x/a.png", "x/b.png", "c.txt")
        with pytest.raises(ManifestError, match=r"found 2 \.png, 1 \.txt in folders x, none named like a class"):
            read_anything(tmp_path, Wishes())

    def test_class_folders_need_a_modality(self, tmp_path: Path) -> None:
        touch(tmp_path, "train/covid/a.png")
        with pytest.raises(ManifestError, match="give --modality cxr or ct"):
            read_anything(tmp_path, Wishes())


def test_a_table_of_dicom_files_takes_patients_from_the_files(tmp_path: Path) -> None:
    names = ("CT_small.dcm", "MR_small.dcm")
    for name in names:
        shutil.copy(get_testdata_file(name), tmp_path / name)
    rows = "".join(f"{name},covid,ct,\n" for name in names) + "CT_small.dcm#1,covid,ct,mine\n"
    (tmp_path / "cases.csv").write_text(f"path,label,modality,patient_id\n{rows}", encoding="utf-8")
    (tmp_path / "CT_small.dcm#1").write_bytes(b"")
    imported = with_patients(from_table(tmp_path / "cases.csv"), PatientRules())
    assert [one.patient_id for one in imported.manifest] == ["1CT1", "4MR1", "mine"]
    assert all(one.study_id for one in imported.manifest.records[:2])


def test_frames_are_images_of_their_own(tmp_path: Path) -> None:
    for number in range(3):
        write_ct_slice(tmp_path / "slices" / f"{number}.dcm", ct_slice_hu(), 3.0 * number)
    root = tmp_path / "in"
    write_enhanced_ct(tmp_path / "slices", root / "volume.dcm")
    labels = tmp_path / "labels.csv"
    labels.write_text("path,label\nvolume.dcm,covid\n", encoding="utf-8")
    imported = from_dicom_folder(root, labels)
    assert [record.path for record in imported.manifest] == ["volume.dcm#1", "volume.dcm#2", "volume.dcm#3"]
    assert {(record.label, record.patient_id, record.view) for record in imported.manifest} == {
        (Finding.COVID, "P1", "axial")
    }
    assert imported.absent == ()
    write_manifest(imported.manifest, root / "manifest.csv")
    again = read_manifest(root / "manifest.csv")
    assert [read_image(again.file(record)).values.shape for record in again] == [(96, 96)] * 3
