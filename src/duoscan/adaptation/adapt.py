"""A bundle and a hospital's own cases → a new bundle that names the hospital and its evidence."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from duoscan.adaptation.cases import Answers, SiteWish, answer, answered_only, sick_by_unit, usable
from duoscan.adaptation.figures import Measured, differences, figures
from duoscan.adaptation.last_layer import check_parity, with_last_layer
from duoscan.adaptation.learning import (
    Calibrated,
    CrossFitted,
    calibrated,
    certified_threshold,
    cross_fitted,
    plan_of,
    refit,
)
from duoscan.adaptation.refit import Images, Reduced, RefitChoice
from duoscan.evaluation.sample import sample_of, spoken_units
from duoscan.evaluation.thresholds import sensitivity_threshold
from duoscan.inference.aggregate import per_patient
from duoscan.inference.bundle import Bundle, write_changed
from duoscan.inference.predictor import predict_manifest
from duoscan.inference.site import SiteCertificate, SiteEvidence
from duoscan.manifest.summary import count_by
from duoscan.policies.scores import patient_scores
from duoscan.terms import POSITIVE
from duoscan.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from duoscan.manifest.records import Manifest
    from duoscan.predictions import Prediction
    from duoscan.terms import Modality

POINT, STUDY_POINT = "site", "study-site"
_RESAMPLES = 1000


def adapt(
    bundle: Bundle,
    manifest: Manifest,
    wish: SiteWish,
    out: Path,
    *,
    on_stage: Callable[[str, int | None], None] = lambda _name, _steps: None,
    on_image: Callable[[], None] = lambda: None,
) -> Bundle:
    """Recalibrate, refit the last layer where that helps beyond chance, certify a threshold and write a new bundle.

    How patients are used, and why the promise and the figures hold, says :mod:`duoscan.adaptation.learning`. The
    threshold for studies is certified; that for single images finds a sick image with the same chance on average, and
    promises nothing. A policy and a verdict of the parent are not carried over, and certificates that name it are
    void with the new bundle, whose study digest is another.

    Args:
        bundle: The parent.
        manifest: The site's labelled images.
        wish: What is wanted.
        out: The new bundle's file.
        on_stage: Called with what is done next and how many steps it has.
        on_image: Called after each image.

    Raises:
        InputError: The cases cannot be used or are too few; says how many are missing.
        ManifestError: Images cannot be answered; each is named.
        MissingExtraError: The extra ``adapt`` is not installed.
        TrainingError: The new graph does not give what its last layer should.
    """
    modality, used = bundle.info.modality, usable(bundle, manifest, wish)
    on_stage("answering images", len(used))
    answers = answer(bundle, used, refits=wish.refits, on_image=on_image)
    used = answered_only(used, answers, wish)
    on_stage("learning", None)
    images, space = images_of(bundle, answers)
    sick = sick_by_unit(used)
    plan = plan_of(sick, wish if images else replace(wish, refits=False))
    certifying = plan.certifying(sick, wish.seed)
    choice = RefitChoice(None, f"the last layer stays: {answers.why_not}")
    if images is not None:
        choice = refit(images, certifying, plan, wish.seed)
    adapted, rows = _refitted(bundle, answers, choice, space, out), answers.rows
    if adapted is not bundle:
        on_stage("answering images again", len(used))
        rows = tuple(predict_manifest(adapted, used, on_image=on_image))
    on_stage("measuring", None)
    made = calibrated(rows, modality, certifying, is_refit=adapted is not bundle)
    learned = _Learned(choice, made, certifying, rows, adapted.graph)
    cross = cross_fitted(answers.rows, images, modality, plan, wish)
    return _write(bundle, used, wish, learned, _evidence(bundle, used, wish, answers, learned, cross), out)


@dataclass(frozen=True)
class _Learned:
    """What was learned of all patients; ``rows`` and ``graph`` are those of the new bundle."""

    refit: RefitChoice
    made: Calibrated
    certifying: frozenset[str]
    rows: tuple[Prediction, ...]
    graph: bytes

    @property
    def certifying_rows(self) -> list[Prediction]:
        return [row for row in self.rows if row.unit in self.certifying]


def _refitted(bundle: Bundle, answers: Answers, choice: RefitChoice, space: Reduced | None, out: Path) -> Bundle:
    """The bundle with the last layer that was chosen, checked on images; the bundle itself where it stays."""
    layer, change = answers.layer, choice.change
    if layer is None or change is None or space is None:
        return bundle
    covid = bundle.info.classes.index(POSITIVE)
    weight, bias = change.scale * layer.weight, change.scale * layer.bias
    added = space.axes @ change.weight
    weight[covid] += added
    bias[covid] += change.shift - space.mean @ added
    new = replace(layer, weight=weight, bias=bias)
    adapted = replace(bundle, graph=with_last_layer(bundle.graph, new), path=out)
    check_parity(adapted, new, answers.examples, answers.features[: len(answers.examples)])
    return adapted


def images_of(bundle: Bundle, answers: Answers) -> tuple[Images, Reduced] | tuple[None, None]:
    """The images with their features reduced; nothing where the last layer cannot be refitted."""
    if answers.layer is None:
        return None, None
    space = Reduced.of(answers.features.astype(np.float64))
    logits = answers.layer.logits(answers.features)
    covid = bundle.info.classes.index(POSITIVE)
    reference = np.array([row.label is POSITIVE for row in answers.rows])
    units = tuple(row.unit for row in answers.rows)
    others = np.delete(logits, covid, axis=1)
    return Images(reference, units, logits[:, covid], others, space.coordinates), space


def _evidence(
    bundle: Bundle, used: Manifest, wish: SiteWish, answers: Answers, learned: _Learned, cross: CrossFitted
) -> SiteEvidence:
    """All that the new bundle says of the site."""
    patients = per_patient(answers.rows, bundle.info.modality)
    left_out = len(answers.refused)
    reference = np.array([row.label is POSITIVE for row in patients])
    raw = sample_of(patients, threshold=None).probability
    units = tuple(row.unit for row in patients)
    calibration = bundle.info.study_calibration
    shown = raw if calibration is None else calibration.apply(raw)
    before = Measured(reference, raw, shown, raw >= bundle.info.study_threshold, units)
    after = Measured(reference, cross.raw, cross.shown, cross.called, units)
    chance = {"resamples": _RESAMPLES, "seed": wish.seed}
    return SiteEvidence(
        site=wish.site,
        date=datetime.now(UTC).date().isoformat(),
        duoscan_version=__version__,
        parent_name=bundle.info.name,
        parent_digest=bundle.study_digest,
        records_fingerprint=used.fingerprint(),
        images=len(used),
        patients=dict(sorted(Counter(str(row.label) for row in patients).items())),
        spoken_patients=spoken_units(units),
        fitted_patients=len(units) - len(learned.certifying),
        refit=learned.refit.change is not None,
        reasons=(
            learned.refit.reason,
            f"images: {learned.made.images.reason}",
            f"studies: {learned.made.studies.reason}",
            *([f"left out: {left_out} images that cannot be answered"] if left_out else []),
        ),
        prevalence=float(reference.mean()),
        certificate=_certificate(bundle.info.modality, wish, learned),
        before=figures(before, **chance),
        after=figures(after, **chance),
        difference=differences(after, before, **chance),
    )


def _certificate(modality: Modality, wish: SiteWish, learned: _Learned) -> SiteCertificate:
    scores = learned.made.scores
    threshold = certified_threshold(scores, wish)
    return SiteCertificate(
        alpha=wish.alpha,
        delta=wish.delta,
        threshold=threshold,
        positives=len(scores),
        missed=int(np.sum(scores < threshold)),
        patients_fingerprint=patient_scores(learned.certifying_rows).fingerprint(),
        promise=(
            f"At most {wish.alpha:.3g} of the sick patients of {wish.site} are below the threshold for studies of "
            f"{modality.spoken}, with confidence {1 - wish.delta:.4g} over the draw of the patients who certify (exact "
            "binomial). It holds for sick patients like those; another scanner or another wave is outside."
        ),
    )


def _write(
    bundle: Bundle, used: Manifest, wish: SiteWish, learned: _Learned, evidence: SiteEvidence, out: Path
) -> Bundle:
    """Seal the new bundle; what else the parent holds comes with it."""
    info, certificate = bundle.info, evidence.certificate
    sample = sample_of(learned.certifying_rows, threshold=None)
    for_images = sensitivity_threshold(sample.reference, sample.probability, 1.0 - wish.alpha, sample.units)
    made_with = count_by(used)
    provenance = info.provenance.model_copy(update={"data_summary": info.provenance.data_summary | made_with})
    decided = {
        "name": f"{info.name} at {wish.site}",
        "operating_points": info.operating_points | {POINT: for_images, STUDY_POINT: certificate.threshold},
        "default_point": POINT,
        "study_point": STUDY_POINT,
        "calibration": learned.made.images.calibration,
        "study_calibration": learned.made.studies.calibration,
        "policy": None,
        "verdict": None,
        "provenance": provenance,
        "site": evidence,
    }
    return write_changed(bundle, out, decided, learned.graph)
