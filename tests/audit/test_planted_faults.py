"""Every fault that a phantom cohort can be given fails the audit that is there for it, and no other audit."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from duoscan.audit.result import Level
from duoscan.audit.run import audit_data
from duoscan.manifest.table import read_manifest
from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.faults import COPIES, Fault
from duoscan.phantom.plan import PhantomOptions
from duoscan.terms import Modality


class Planted(NamedTuple):
    """Faults, the audit that finds them in one modality, and words it must say of each."""

    faults: tuple[Fault, ...]
    modality: Modality
    audit: str
    said: tuple[str, ...]


CASES = (
    Planted((Fault.CORNER_MARKER,), Modality.CXR, "confounding", ("bright mark, upper left corner",)),
    Planted((Fault.SOURCE_EQUALS_CLASS,), Modality.CXR, "confounding", ("source",)),
    Planted((Fault.PATIENT_ACROSS_SPLITS,), Modality.CT, "patients", ("more than one split",)),
    Planted(COPIES, Modality.CXR, "copies", ("same bytes", "re-saved", "re-cropped")),
)


def test_every_fault_has_a_finder() -> None:
    assert {fault for case in CASES for fault in case.faults} == set(Fault)


@pytest.mark.parametrize("case", [*CASES, Planted((), Modality.CXR, "", ())], ids=lambda case: case.audit or "clean")
def test_a_planted_fault_fails_its_audit_and_no_other(tmp_path: Path, case: Planted) -> None:
    options = PhantomOptions(18, seed=41, slices=3, ct_size=96, xray_size=128, faults=case.faults)
    write_cohort(options, tmp_path)
    manifest = read_manifest(tmp_path / "manifest.csv", check_patients=False).where(modality=case.modality)
    results, _ = audit_data(manifest, workers=1)
    assert {result.name for result in results if result.level is not Level.PASS} == {case.audit} - {""}
    for finder in results:
        if finder.name == case.audit:
            assert finder.level is Level.FAIL
            assert all(words in f"{finder.reasons} {finder.tables}" for words in case.said)
