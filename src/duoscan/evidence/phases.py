"""The two phases of ``duoscan triage``, a subject each: calibration and test patients from both."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import InputError
from duoscan.evaluation.thresholds import youden_threshold
from duoscan.evidence.subject import Ask, Subject, is_model, read_subject
from duoscan.evidence.verdicts import judge_subject, measure
from duoscan.manifest.table import read_manifest
from duoscan.policies.scores import PatientScores, patient_scores
from duoscan.terms import Modality, Split

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from duoscan.audit.storage import Audited
    from duoscan.evaluation.policies.operating import Setting


def read_phase(target: Path, ask: Ask, manifest: Path | None, calibration: Path | None) -> Subject:
    """Let a model answer, or read a table.

    Args:
        target: Run folder, bundle or predictions table.
        ask: Modality, ledger and callbacks.
        manifest: Images that a model answers.
        calibration: Manifest of other calibration patients.

    Raises:
        InputError: The target does not go with the manifests, is of the other phase, or the test set was changed.
    """
    if not is_model(target):
        if calibration:
            raise InputError("--calibration goes with runs and bundles; in a table, call calibration rows 'val'")
        return read_subject(target, replace(ask, part=Split.TEST))
    if manifest is None:
        raise InputError(f"{target} is a model; name the images it shall answer with --manifest")
    images = read_manifest(manifest)
    beside = read_manifest(calibration) if calibration else images.where(split=Split.VAL)
    calibrating, measured = (
        {table.file(one).resolve() for one in table.where(modality=ask.modality)}
        for table in (beside, images.where(split=Split.TEST))
    )
    if shared := sorted(calibrating & measured):
        raise InputError(f"{calibration}: {len(shared)} of its images are test images of {manifest}, e.g. {shared[0]}")
    return read_subject(target, replace(ask, images=images, path=manifest, beside=beside, part=Split.TEST))


def phase_patients(phases: Sequence[Subject], *, share_names: bool) -> tuple[PatientScores, PatientScores]:
    """The calibration and the test patients, from both phases.

    Args:
        phases: With their answers.
        share_names: Whether a name means the same patient in both parts, as it does within a manifest or a table.

    Raises:
        InputError: A part has no rows, or a patient is in both.
    """
    calibrating, test = (_patients_of(phases, part) for part in (Split.VAL, Split.TEST))
    if share_names and (shared := sorted(set(calibrating.names) & set(test.names))):
        raise InputError(
            f"{len(shared)} patients calibrate and are measured as well, e.g. '{shared[0]}'; split by patient, and "
            "give different patients different ids"
        )
    return calibrating, test


def _patients_of(phases: Sequence[Subject], part: Split) -> PatientScores:
    rows = [row for phase in phases for row in phase.rows if row.split is part]
    if not rows:
        called = "calibration" if part is Split.VAL else "test"
        raise InputError(f"no {called} rows: none has the split '{part}'; state it in the column split")
    return patient_scores(rows)


def operating_point(phase: Subject, patients: PatientScores, given: float | None) -> float:
    """As given, else the bundle's for studies, else Youden's on the calibration patients."""
    if given is not None:
        return given
    if phase.bundle:
        return phase.bundle.info.study_threshold
    scores = patients.xray if phase.modality is Modality.CXR else patients.ct
    known = ~np.isnan(scores)
    return youden_threshold(patients.sick[known], scores[known])


def sources_of(phases: Sequence[Subject]) -> dict[str, str]:
    """Where each patient's images come from."""
    found: dict[str, set[str]] = {}
    for row in (row for phase in phases for row in phase.rows):
        if row.source:
            found.setdefault(row.unit, set()).add(row.source)
    return {name: " and ".join(sorted(sources)) for name, sources in found.items()}


def judged(
    phase: Subject, threshold: float, audits: Sequence[Audited], setting: Setting
) -> tuple[Subject, dict[str, Any]]:
    """The phase with its test images counted, and the gate's verdict on its own numbers on them.

    Args:
        phase: Of either modality.
        threshold: For a table; a model's images are judged at its own point for single images.
        audits: Folders of ``duoscan audit``.
        setting: Of resamples.
    """
    if phase.bundle is None:
        phase = replace(phase, threshold=threshold, threshold_origin="given")
    phase, evaluation = measure(phase, resamples=setting.resamples, seed=setting.seed)
    return phase, judge_subject(phase, evaluation, audits).verdict.to_json()
