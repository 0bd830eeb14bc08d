"""What is learned of a site's patients, and how it does on patients it was not learned on.

With 100 to 300 patients every one counts, and a promise holds only for patients on whom nothing was fitted.

* **Two parts.** The last layer is refitted on one part of the patients, and the threshold certified on the other; who
  is in which is drawn by the seed within the sick and the well. The second part holds at least the sick that the
  promise needs, else half of them. Whether to divide at all goes by the numbers of patients alone, and whether new
  weights are taken by the first part alone, so the certificate holds whatever is decided. Patients too few to divide
  all certify, and the last layer stays.
* **Calibrators** change no decision, so certified patients may fit them: they are fitted on patients on whom the
  weights were not, and on all where the weights stay.
* **Before and after** are measured by cross-fitting: patients are dealt into ten parts, all of the above is done
  without each part in turn and answers it. So the figures are those of the procedure on nine tenths of the patients;
  the bundle itself is made from all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from duoscan.adaptation.recalibration import Recalibration, recalibrate
from duoscan.adaptation.refit import Change, Images, RefitChoice, choose_refit
from duoscan.evaluation.calibrators import LEAST_PATIENTS
from duoscan.inference.aggregate import per_patient
from duoscan.inference.calibrator import expit
from duoscan.policies.certify import allowed_misses, exact_threshold, positives_needed
from duoscan.policies.scores import PatientScores, patient_scores
from duoscan.terms import Modality

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duoscan.adaptation.cases import SiteWish
    from duoscan.evaluation.sample import BoolArray, FloatArray
    from duoscan.predictions import Prediction

FOLDS = 10
TOO_FEW = f"patients are too few to divide: a refit needs {LEAST_PATIENTS} of each class besides those who certify"


@dataclass(frozen=True)
class Plan:
    """How patients are divided.

    Attributes:
        certify_sick: Share of the sick who certify.
        certify_well: The same of the well.
    """

    certify_sick: float
    certify_well: float

    @property
    def refits(self) -> bool:
        """Whether anybody is left to refit on."""
        return self.certify_sick < 1.0

    def certifying(self, sick: Mapping[str, bool], seed: int) -> frozenset[str]:
        """Who certifies; the others may be fitted on."""
        rng = np.random.default_rng(seed)
        taken: list[str] = []
        for is_sick, share in ((True, self.certify_sick), (False, self.certify_well)):
            names = sorted(name for name, of in sick.items() if of == is_sick)
            order = rng.permutation(len(names))[: int(np.ceil(share * len(names) - 1e-9))]
            taken += [names[place] for place in order]
        return frozenset(taken)


ALL_CERTIFY = Plan(1.0, 1.0)


def plan_of(sick: Mapping[str, bool], wish: SiteWish) -> Plan:
    """How to divide so many patients; by their numbers alone."""
    positives = sum(sick.values())
    negatives = len(sick) - positives
    certify = max(positives_needed(wish.alpha, wish.delta), -(-positives // 2), LEAST_PATIENTS)
    certify_well = -(-negatives // 2)
    if not wish.refits or min(positives - certify, negatives - certify_well) < LEAST_PATIENTS:
        return ALL_CERTIFY
    return Plan(certify / positives, certify_well / negatives)


@dataclass(frozen=True)
class Calibrated:
    """Calibrators and threshold from answers that were not fitted on these patients.

    Attributes:
        images: For single images.
        studies: For studies.
        scores: Patients who certify.
    """

    images: Recalibration
    studies: Recalibration
    scores: FloatArray


def refit(images: Images, certifying: frozenset[str], plan: Plan, seed: int) -> RefitChoice:
    """The change of the last layer, chosen and fitted on patients who do not certify."""
    if not plan.refits:
        return RefitChoice(None, TOO_FEW)
    fitted = np.array([unit not in certifying for unit in images.units])
    return choose_refit(images.where(fitted), seed)


def calibrated(
    rows: Sequence[Prediction], modality: Modality, certifying: frozenset[str], *, is_refit: bool
) -> Calibrated:
    """Calibrators for answered rows, and the scores of the sick who certify.

    Args:
        rows: Answered by the model as it will be.
        modality: Of the rows.
        certifying: Patients who certify.
        is_refit: Whether the model was fitted on the others; then these alone calibrate.
    """
    own = [row for row in rows if row.unit in certifying]
    calibrating = own if is_refit else list(rows)
    return Calibrated(
        recalibrate(calibrating),
        recalibrate(per_patient(calibrating, modality)),
        sick_scores(patient_scores(own), modality),
    )


def sick_scores(patients: PatientScores, modality: Modality) -> FloatArray:
    """P(covid) of the sick patients' studies."""
    scores = patients.xray if modality is Modality.CXR else patients.ct
    return np.asarray(scores[patients.sick])


def certified_threshold(scores: FloatArray, wish: SiteWish) -> float:
    """The largest threshold that keeps the promise.

    Raises:
        InputError: Too few sick patients; says how many are missing.
    """
    return min(exact_threshold(scores, wish.alpha, wish.delta), 1.0)


@dataclass(frozen=True)
class CrossFitted:
    """Patients as models answer them that were made without them, in the order of :func:`per_patient`.

    Attributes:
        raw: shape (P,); P(covid) as decided on.
        shown: shape (P,); calibrated P(covid).
        called: shape (P,); whether it reaches the threshold.
        refits: In how many of the folds new weights were taken.
    """

    raw: FloatArray
    shown: FloatArray
    called: BoolArray
    refits: int


def cross_fitted(
    rows: Sequence[Prediction], images: Images | None, modality: Modality, plan: Plan, wish: SiteWish
) -> CrossFitted:
    """Answer each patient by what was learned of the others.

    Args:
        rows: The site's N images as the parent answers them.
        images: The same N; ``None`` where the last layer stays.
        modality: Of the rows.
        plan: As for all patients.
        wish: What is wanted.

    Raises:
        MissingExtraError: scipy or scikit-learn is not installed.
    """
    from sklearn.model_selection import StratifiedKFold

    patients = per_patient(rows, modality)
    sick = {row.unit: row.label == "covid" for row in patients}
    names = np.array(list(sick))
    raw, shown, called = np.empty(len(names)), np.empty(len(names)), np.zeros(len(names), dtype=bool)
    refits = 0
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=wish.seed)
    for inside, outside in folds.split(names, list(sick.values())):
        learned = {name: sick[name] for name in names[inside].tolist()}
        certifying = plan.certifying(learned, wish.seed)
        own = np.array([row.unit in learned for row in rows])
        change = None
        if images is not None:
            change = refit(images.where(own), certifying, plan, wish.seed).change
        answered = rows if change is None or images is None else with_change(rows, images, change)
        refits += change is not None
        made = calibrated(
            [row for row, is_in in zip(answered, own, strict=True) if is_in],
            modality,
            certifying,
            is_refit=change is not None,
        )
        left = per_patient([row for row, is_in in zip(answered, own, strict=True) if not is_in], modality)
        of = {row.unit: float(row.probability or 0.0) for row in left}
        raw[outside] = [of[name] for name in names[outside].tolist()]
        shown[outside] = made.studies.apply(raw[outside])
        called[outside] = raw[outside] >= _threshold_like(made.scores, wish)
    return CrossFitted(raw, shown, called, refits)


def with_change(rows: Sequence[Prediction], images: Images, change: Change) -> list[Prediction]:
    """The rows with P(covid) as it is after a change of the last layer."""
    values = expit(change.log_odds(images))
    return [replace(row, probability=float(value)) for row, value in zip(rows, values, strict=True)]


def _threshold_like(scores: FloatArray, wish: SiteWish) -> float:
    """As certified; of nine tenths of the patients, who may be too few to certify, at least the lowest sick score."""
    rank = max(allowed_misses(len(scores), wish.alpha, wish.delta), 0)
    return float(np.partition(scores, rank)[rank])
