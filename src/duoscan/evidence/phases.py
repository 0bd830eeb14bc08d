"""The phases of ``duoscan triage``: answers of a model or a table, looks at the test set, and the gate's verdict."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from duoscan.audit.gate import judge
from duoscan.errors import InputError
from duoscan.evaluation.evaluate import evaluate
from duoscan.evaluation.thresholds import youden_threshold
from duoscan.inference.bundle import SUFFIX, Bundle, read_bundle
from duoscan.inference.predictor import predict_manifest
from duoscan.manifest.table import read_manifest
from duoscan.policies.joint import PatientScores, patient_scores
from duoscan.predictions import Prediction, read_predictions
from duoscan.terms import Modality, Split

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from duoscan.audit.ledger import Book, Count
    from duoscan.audit.storage import Audited
    from duoscan.evaluation.policies.operating import Setting


@dataclass(frozen=True)
class Phase:
    """One phase.

    Attributes:
        name: Of the model or the table.
        modality: Of the phase.
        rows: Its answers; calibration rows are called ``val``.
        bundle: The model; ``None`` where the answers came as a table.
        count: How often the test set was looked at.
    """

    name: str
    modality: Modality
    rows: list[Prediction]
    bundle: Bundle | None
    count: Count

    @property
    def digest(self) -> str:
        """SHA-256 of the model's graph; empty for a table."""
        return self.bundle.digest if self.bundle else ""

    @property
    def study_digest(self) -> str:
        """SHA-256 of the graph and of how a study's images are joined; empty for a table."""
        return self.bundle.study_digest if self.bundle else ""


def read_phase(
    target: Path, modality: Modality, manifest: Path | None, calibration: Path | None, book_at: Callable[[Path], Book]
) -> Phase:
    """Let a model answer, or read a table.

    Args:
        target: Run folder, bundle or predictions table.
        modality: Of the phase.
        manifest: Images that a model answers.
        calibration: Manifest of other calibration patients.
        book_at: Where looks at the test set of a manifest or a table are counted.

    Raises:
        InputError: The target does not go with the manifests, is of the other phase, or the test set was changed.
    """
    if not target.is_dir() and target.suffix != SUFFIX:
        if calibration:
            raise InputError("--calibration goes with runs and bundles; in a table, call calibration rows 'val'")
        stated = [replace(row, modality=row.modality or modality) for row in read_predictions(target)]
        rows = [row for row in stated if row.modality is modality]
        tested = [row for row in rows if row.split is Split.TEST]
        digest = hashlib.sha256(target.read_bytes()).hexdigest()
        count = book_at(target).count_rows(tested, digest, f"table {modality}")
        return Phase(target.name, modality, rows, None, count)
    if manifest is None:
        raise InputError(f"{target} is a model; name the images it shall answer with --manifest")
    bundle = read_bundle(target)
    if bundle.info.modality is not modality:
        raise InputError(f"{target} answers {bundle.info.modality.spoken}; here a {modality.spoken} model is needed")
    tables = {
        Split.VAL: read_manifest(calibration) if calibration else read_manifest(manifest).where(split=Split.VAL),
        Split.TEST: read_manifest(manifest).where(split=Split.TEST),
    }
    tables = {part: table.where(modality=modality) for part, table in tables.items()}
    calibrating, measured = ({table.file(one).resolve() for one in table} for table in tables.values())
    if shared := sorted(calibrating & measured):
        raise InputError(f"{calibration}: {len(shared)} of its images are test images of {manifest}, e.g. {shared[0]}")
    count = book_at(manifest).count_images(tables[Split.TEST], bundle.digest, modality)
    rows = []
    for counts_as, table in tables.items():
        with click.progressbar(length=len(table), label=f"{modality.spoken}, {counts_as}", file=sys.stderr) as bar:
            answered = predict_manifest(bundle, table, on_image=lambda: bar.update(1))
        rows += [replace(row, split=counts_as) for row in answered]
    return Phase(bundle.info.name, modality, rows, bundle, count)


def phase_patients(phases: Sequence[Phase], *, share_names: bool) -> tuple[PatientScores, PatientScores]:
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


def _patients_of(phases: Sequence[Phase], part: Split) -> PatientScores:
    rows = [row for phase in phases for row in phase.rows if row.split is part]
    if not rows:
        called = "calibration" if part is Split.VAL else "test"
        raise InputError(f"no {called} rows: none has the split '{part}'; state it in the column split")
    return patient_scores(rows)


def operating_point(phase: Phase, patients: PatientScores, given: float | None) -> float:
    """As given, else the bundle's for studies, else Youden's on the calibration patients."""
    if given is not None:
        return given
    if phase.bundle:
        return phase.bundle.info.study_threshold
    scores = patients.xray if phase.modality is Modality.CXR else patients.ct
    known = ~np.isnan(scores)
    return youden_threshold(patients.sick[known], scores[known])


def sources_of(phases: Sequence[Phase]) -> dict[str, str]:
    """Where each patient's images come from."""
    found: dict[str, set[str]] = {}
    for row in (row for phase in phases for row in phase.rows):
        if row.source:
            found.setdefault(row.unit, set()).add(row.source)
    return {name: " and ".join(sorted(sources)) for name, sources in found.items()}


def judged(phase: Phase, threshold: float, audits: Sequence[Audited], setting: Setting) -> dict[str, Any]:
    """The gate's verdict on the phase's own numbers on the test images.

    Args:
        phase: Of either modality.
        threshold: For a table; a model's images are judged at its own point for single images.
        audits: Folders of ``duoscan audit``.
        setting: Of resamples.
    """
    from duoscan.evidence.subject import Making, Part, Subject
    from duoscan.evidence.verdicts import judge_subject

    rows = tuple(row for row in phase.rows if row.split is Split.TEST)
    threshold, origin = (phase.bundle.info.threshold, "bundle") if phase.bundle else (threshold, "given")
    making = Making((Part(phase.name, phase.bundle.info, ()),), "", {}, "") if phase.bundle else None
    subject = Subject(
        name=phase.name,
        modality=phase.modality,
        predictions=rows,
        files=(None,) * len(rows),
        split=Split.TEST,
        threshold=threshold,
        threshold_origin=origin,
        command="",
        fingerprint=phase.digest,
        making=making,
    )
    evaluation = evaluate(
        rows, threshold=threshold, threshold_origin=origin, resamples=setting.resamples, seed=setting.seed
    )
    judgement = judge_subject(subject, evaluation, audits)
    measured = judgement.verdict.measured
    if measured is None:
        return judgement.verdict.to_json()
    counted = replace(measured, test_uses=phase.count.use, models_tried=phase.count.models)
    return judge(judgement.results, counted).to_json()
