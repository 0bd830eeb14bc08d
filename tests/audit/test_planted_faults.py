"""Every fault that a phantom cohort can be given fails the audit that is there for it, and no other audit."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import pytest

from duoscan.audit.result import Level
from duoscan.audit.run import audit_data
from duoscan.manifest.records import Manifest
from duoscan.manifest.table import read_manifest
from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.faults import COPIES, Fault
from duoscan.phantom.plan import PhantomOptions
from duoscan.terms import Modality


class Planted(NamedTuple):
    """Faults, the audit that finds them in one modality, and words that its reasons must hold."""

    faults: tuple[Fault, ...]
    modality: Modality
    audit: str
    said: tuple[str, ...]


CASES = (
    Planted(
        (Fault.CORNER_MARKER, Fault.SOURCE_EQUALS_CLASS), Modality.CXR, "confounding", ("upper left corner", "source")
    ),
    Planted((Fault.PATIENT_ACROSS_SPLITS,), Modality.CT, "patients", ("split",)),
    # Which pair is of which kind is held in test_copies_found.py.
    Planted(COPIES, Modality.CXR, "copies", ("copies",)),
)


def test_every_fault_has_a_finder() -> None:
    assert {fault for case in CASES for fault in case.faults} == set(Fault)


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.faults[0]))
def test_a_planted_fault_fails_its_audit_and_no_other(tmp_path: Path, case: Planted) -> None:
    slices, ct_size = (3, 96) if case.modality is Modality.CT else (2, 64)
    write_cohort(PhantomOptions(18, 41, slices=slices, ct_size=ct_size, xray_size=128, faults=case.faults), tmp_path)
    manifest = read_manifest(tmp_path / "manifest.csv", check_patients=False).where(modality=case.modality)
    if case.modality is Modality.CT:
        manifest = _thinned(manifest, tmp_path)
    results, _ = audit_data(manifest, workers=1)
    assert {result.name for result in results if result.level is not Level.PASS} == {case.audit}
    (finder,) = [result for result in results if result.name == case.audit]
    assert finder.level is Level.FAIL
    assert all(words in " ".join(finder.reasons) for words in case.said), finder.reasons


def _thinned(manifest: Manifest, folder: Path) -> Manifest:
    """All slices of patients with a fault, one of every other, which is enough and takes a third of the time."""
    with (folder / "faults.csv").open(newline="") as stream:
        planted = {row["patient_id"] for row in csv.DictReader(stream)}
    return manifest.replace(
        [record for record in manifest if record.patient_id in planted or record.path.endswith("01.png")]
    )
