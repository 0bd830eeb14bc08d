"""Copies in whole cohorts: every planted one is found, and clean cohorts raise no alarm."""

import csv
import io

import pytest
from PIL import Image, ImageOps

from duoscan.audit.copies.audit import audit_copies
from duoscan.audit.copies.find import find_copies
from duoscan.audit.copies.verify import Kind
from duoscan.audit.result import Level
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.manifest.table import read_manifest
from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.faults import COPIES, Fault
from duoscan.phantom.plan import PhantomOptions
from duoscan.terms import Modality, Split

SMALL = {"slices": 3, "ct_size": 96, "xray_size": 128}
KINDS = {
    Fault.EXACT_COPY: Kind.SAME_BYTES,
    Fault.RECOMPRESSED_COPY: Kind.RESAVED,
    Fault.RECROPPED_COPY: Kind.RECROPPED,
}


def test_every_planted_copy_is_found_and_named(tmp_path):
    manifest = write_cohort(PhantomOptions(patients=6, seed=5, faults=COPIES, **SMALL), tmp_path)
    result, copies = audit_copies(manifest, workers=1)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "faults.csv").read_text())))
    planted = {(row["original"], row["path"]): KINDS[Fault(row["fault"])] for row in rows}
    found = {(pair.path_a, pair.path_b): pair.kind for pair in copies.pairs}
    assert len(planted) == 6  # an X-ray and a slice of one patient for each of three faults
    # two faults may take the same original: its copies are then copies of each other as well
    assert planted.items() <= found.items()
    originals = {copy: original for original, copy in planted}
    assert all(originals.get(a, a) == originals.get(b, b) for a, b in found)
    assert result.level is Level.FAIL
    assert {(row["patient_id"]) for row in rows} <= set(copies.merged_units)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_clean_cohorts_pass(tmp_path, seed):
    manifest = write_cohort(PhantomOptions(patients=2, seed=seed, **SMALL), tmp_path)
    result, copies = audit_copies(manifest, workers=1)
    assert copies.pairs == ()
    assert result.level is Level.PASS


def test_neighbouring_slices_across_splits_are_no_copies(tmp_path):
    options = PhantomOptions(patients=3, seed=2, faults=(Fault.PATIENT_ACROSS_SPLITS,), **SMALL)
    write_cohort(options, tmp_path)
    manifest = read_manifest(tmp_path / "manifest.csv", check_patients=False)
    assert find_copies(manifest, workers=1).pairs == ()


def test_modalities_are_kept_apart_and_what_cannot_be_read_is_named(tmp_path):
    write_cohort(PhantomOptions(patients=1, seed=1, **SMALL), tmp_path)
    image = next(tmp_path.glob("cxr/*.png"))
    with Image.open(image) as picture:
        ImageOps.mirror(picture).save(tmp_path / "mirrored.png")
    (tmp_path / "copy.png").write_bytes(image.read_bytes())
    (tmp_path / "damaged.png").write_bytes(image.read_bytes()[:50])
    names = {
        image.relative_to(tmp_path).as_posix(): Modality.CXR,
        "mirrored.png": Modality.CXR,
        "copy.png": Modality.CT,
        "damaged.png": Modality.CT,
    }
    records = tuple(ImageRecord(path=path, modality=modality, split=Split.TRAIN) for path, modality in names.items())
    seen = []
    result, copies = audit_copies(Manifest(tmp_path, records), workers=1, on_image=lambda: seen.append(1))
    assert [(pair.path_b, pair.kind) for pair in copies.pairs] == [("mirrored.png", Kind.MIRRORED)]
    assert list(copies.problems) == ["damaged.png"]
    assert len(seen) == len(records)
    assert result.level is Level.WARN


def test_the_answer_does_not_depend_on_workers(tmp_path):
    manifest = write_cohort(PhantomOptions(patients=2, seed=4, faults=(Fault.RECROPPED_COPY,), **SMALL), tmp_path)
    assert find_copies(manifest, workers=2).pairs == find_copies(manifest, workers=1).pairs != ()


def test_no_image_is_no_pass(tmp_path):
    result, _ = audit_copies(Manifest(tmp_path, ()), workers=1)
    assert result.level is Level.NOT_RUN
