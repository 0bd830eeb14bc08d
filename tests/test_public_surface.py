"""The names a user may rely on, and the models that come with the package."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import duoscan
from duoscan.cases.screening import Screener
from duoscan.inference.shipped import load_bundle, shipped_path
from duoscan.terms import Decision, Modality


def test_the_public_names() -> None:
    assert sorted(duoscan.__all__) == [
        "Audited",
        "Bundle",
        "CaseAnswer",
        "DuoscanError",
        "Evaluation",
        "Manifest",
        "Measurement",
        "PatientRules",
        "Policies",
        "Policy",
        "Prediction",
        "Predictor",
        "Screener",
        "Screening",
        "Table",
        "__version__",
        "audit_manifest",
        "certify",
        "compare_policies",
        "evaluate",
        "import_images",
        "make_phantoms",
        "manifest_of",
        "predict_manifest",
        "read_bundle",
        "read_manifest",
        "read_policy",
        "read_predictions",
        "read_screening",
        "split_by_patient",
        "train",
        "write_manifest",
        "write_predictions",
    ]
    for name in duoscan.__all__:
        assert getattr(duoscan, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = duoscan.nothing


def test_shipped_models_are_sound_and_small() -> None:
    for modality in Modality:
        info = load_bundle(None, modality).info
        assert info.provenance.licences
        assert info.provenance.parity < 1e-3
        # Where the weights came from may be a relative path, never a folder of somebody's machine.
        assert not info.provenance.recipe["model"]["backbone"].startswith("/")
    assert sum(shipped_path(modality).stat().st_size for modality in Modality) < 25e6


@pytest.mark.data
def test_screening_works_right_after_installation(data_dir: Path) -> None:
    """Thirty real images of both modalities: their modality is told from the content and all are answered."""
    files, truth = [], {}
    for table, kind in (("cxr.csv", "cxr"), ("ct.csv", "ct")):
        with (data_dir / table).open(encoding="utf-8") as stream:
            rows = [row for row in csv.DictReader(stream) if row["view"] not in {"L", "Coronal"}]
        for row in rows[:: len(rows) // 14]:
            files.append(data_dir / row["path"])
            truth[str(files[-1])] = kind
    answers = Screener().screen(files, need_ct=True)
    rows = [row for case in answers for row in case.images]
    assert sorted(row.path for row in rows) == sorted(map(str, files))
    told = [row.modality == truth[row.path] for row in rows if row.decision != Decision.UNREADABLE]
    assert all(told)
    # The guess of the modality may abstain now and then; most must be told.
    assert len(told) >= 0.8 * len(files)


@pytest.mark.data
def test_real_dicom_files_are_rows_with_an_answer_or_a_reason(data_dir: Path) -> None:
    answers = Screener().screen([data_dir / "dicom"])
    rows = [row for case in answers for row in case.images]
    assert answers.not_images == (str(data_dir / "dicom" / "dicom.csv"),)
    assert len(rows) == sum(path.is_file() for path in (data_dir / "dicom").rglob("*")) - 1
    for row in rows:
        assert (row.probability is None) == bool(row.reason)
    aside = {Path(row.path).name for row in rows if row.decision == Decision.SET_ASIDE}
    assert {"dx_fuji_dog_thorax.dcm", "cr_extremity_RG3_J2KI.dcm", "A002304_coronal_19010112-124.dcm"} <= aside
