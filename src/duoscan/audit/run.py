"""Every audit of a manifest, and of a model's answers on it, one modality at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from duoscan.audit.attention import audit_attention, with_lungs
from duoscan.audit.calibration_audit import NAME as CALIBRATION
from duoscan.audit.calibration_audit import TITLE as CALIBRATION_TITLE
from duoscan.audit.calibration_audit import audit_calibration
from duoscan.audit.confounding.audit import NAME as CONFOUNDING
from duoscan.audit.confounding.audit import TITLE as CONFOUNDING_TITLE
from duoscan.audit.confounding.audit import audit_confounding
from duoscan.audit.copies.audit import NAME as COPIES
from duoscan.audit.copies.audit import TITLE as COPIES_TITLE
from duoscan.audit.copies.audit import audit_copies
from duoscan.audit.label_errors import NAME as LABELS
from duoscan.audit.label_errors import TITLE as LABELS_TITLE
from duoscan.audit.label_errors import audit_labels
from duoscan.audit.patients import audit_patients
from duoscan.audit.perturbation import MOST_IMAGES, audit_perturbation
from duoscan.audit.quality import audit_quality
from duoscan.audit.result import AuditResult, not_run
from duoscan.errors import MissingExtraError
from duoscan.terms import Split

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from duoscan.audit.copies.groups import Copies
    from duoscan.inference.bundle import Bundle
    from duoscan.manifest.records import Manifest
    from duoscan.predictions import Prediction


@dataclass(frozen=True)
class Watcher:
    """Callbacks by which a caller shows progress; both may be left out.

    Attributes:
        on_stage: Called when an audit begins, with its name and how many images it looks at.
        on_image: Called after each image.
    """

    on_stage: Callable[[str, int], None] = lambda _name, _images: None
    on_image: Callable[[], None] = lambda: None

    def on_pair(self, done: int, pairs: int) -> None:
        """Pairs of images that may be copies are a stage of their own."""
        if done == 1:
            self.on_stage("pairs that may be copies", pairs)
        self.on_image()


def audit_data(
    manifest: Manifest, watcher: Watcher | None = None, *, workers: int = 2, seed: int = 0
) -> tuple[list[AuditResult], Copies | None]:
    """Run every audit that needs no model.

    Args:
        manifest: Rows of one modality, read with ``check_patients=False``.
        watcher: Progress callbacks.
        workers: Threads that read images.
        seed: Of folds and resamples.

    Returns:
        The results, and the copies that were found; ``None`` where they could not be looked for.
    """
    watcher = watcher or Watcher()
    watcher.on_stage("patients", len(manifest))
    results = [audit_patients(manifest, on_image=watcher.on_image, workers=workers, seed=seed)]
    watcher.on_stage("quality", len(manifest))
    results.append(audit_quality(manifest, on_image=watcher.on_image, workers=workers))
    watcher.on_stage("copies", len(manifest))
    copies: Copies | None = None
    try:
        found, copies = audit_copies(manifest, on_image=watcher.on_image, on_pair=watcher.on_pair, workers=workers)
    except MissingExtraError as error:
        found = not_run(COPIES, COPIES_TITLE, str(error))
    results.append(found)
    watcher.on_stage("confounding", sum(record.label is not None for record in manifest))

    def confounding() -> AuditResult:
        return audit_confounding(manifest, on_image=watcher.on_image, workers=workers, seed=seed)

    results.append(_or_not_run(confounding, CONFOUNDING, CONFOUNDING_TITLE))
    return results, copies


def audit_model(
    bundle: Bundle, tested: Manifest, watcher: Watcher | None = None, *, most: int = MOST_IMAGES, seed: int = 0
) -> list[AuditResult]:
    """Run every audit that asks a model again.

    Args:
        bundle: The model.
        tested: The rows it is measured on, of its modality.
        watcher: Progress callbacks.
        most: How many images each audit draws of them.
        seed: Of draws and resamples.
    """
    watcher = watcher or Watcher()
    watcher.on_stage("marks, and lungs erased", min(most, sum(record.label is not None for record in tested)))
    results = [audit_perturbation(bundle, tested, most=most, seed=seed, on_image=watcher.on_image)]
    watcher.on_stage("attention", min(most, len(with_lungs(tested))))
    results.append(audit_attention(bundle, tested, most=most, seed=seed, on_image=watcher.on_image))
    return results


def audit_answers(rows: Sequence[Prediction], *, seed: int = 0) -> list[AuditResult]:
    """Run every audit of a model's answers.

    Args:
        rows: Of one modality, with their splits.
        seed: Of folds and resamples.
    """
    val = [row for row in rows if row.split is Split.VAL]
    test = [row for row in rows if row.split is Split.TEST]

    def calibration() -> AuditResult:
        return audit_calibration(val, test, seed=seed)

    return [
        _or_not_run(calibration, CALIBRATION, CALIBRATION_TITLE),
        _or_not_run(lambda: audit_labels(rows), LABELS, LABELS_TITLE),
    ]


def _or_not_run(audit: Callable[[], AuditResult], name: str, title: str) -> AuditResult:
    """An audit whose library is not installed is one that was not run, which the verdict says."""
    try:
        return audit()
    except MissingExtraError as error:
        return not_run(name, title, str(error))
