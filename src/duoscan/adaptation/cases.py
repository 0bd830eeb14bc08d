"""A site's labelled images: which of them may be used, whether they are enough, and what the bundle says of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from duoscan.adaptation.last_layer import NOT_LINEAR, FeatureReader, last_layer_of
from duoscan.errors import InputError
from duoscan.evaluation.calibrators import LEAST_PATIENTS
from duoscan.inference.predictor import predict_manifest
from duoscan.manifest.problems import manifest_error
from duoscan.policies.certify import positives_needed
from duoscan.reasons import ReasonCode
from duoscan.terms import POSITIVE, Split

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from duoscan.adaptation.last_layer import LastLayer
    from duoscan.inference.bundle import Bundle
    from duoscan.manifest.records import Manifest
    from duoscan.predictions import Prediction

    FloatArray = NDArray[np.float64]


DEFAULT_MISS_RATE = 0.10
"""The least that 100 cases, half of them sick, can promise and still be divided."""


@dataclass(frozen=True)
class SiteWish:
    """What is wanted of a site's bundle.

    Attributes:
        site: Name of the hospital; goes into the bundle.
        alpha: Largest share of the sick below the threshold for studies.
        delta: Chance over the draw of patients that the promise is broken.
        refits: Whether the last layer may be refitted.
        leaves_out: Whether images that cannot be answered are left out; else they are refused.
        seed: Of all chance.
    """

    site: str
    alpha: float = DEFAULT_MISS_RATE
    delta: float = 0.05
    refits: bool = True
    leaves_out: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.site.strip():
            raise InputError("the site has no name; give one, e.g. --site 'St. Anna'")
        for name, value in (("miss rate", self.alpha), ("1 − confidence", self.delta)):
            if not 0.0 < value < 1.0:
                raise InputError(f"{name} {value} is out of range; give one above 0 and below 1")


@dataclass(frozen=True)
class Answers:
    """What a bundle says of a site's N images.

    Attributes:
        rows: N answered rows, each with a label.
        layer: The bundle's last layer; ``None`` where it cannot be refitted.
        features: At its input, shape (N, D); empty without one.
        examples: Model input of the first images, shape (n, C, H, W).
        why_not: Why it cannot be refitted; empty where it can.
        refused: A line for each image that cannot be answered, which is not among the rows.
    """

    rows: tuple[Prediction, ...]
    layer: LastLayer | None
    features: NDArray[np.float32]
    examples: NDArray[np.float32]
    why_not: str = ""
    refused: tuple[str, ...] = ()


def usable(bundle: Bundle, manifest: Manifest, wish: SiteWish) -> Manifest:
    """The rows that are used: labelled, of the bundle's modality, and of each patient the first study listed.

    That study is what triage has before it decides; see :func:`duoscan.policies.scores.patient_scores`.

    Args:
        bundle: The one that is adapted.
        manifest: The site's.
        wish: What is wanted.

    Raises:
        InputError: There is no such row, the bundle was trained on some, or patients of a class are too few; then it
            says how many are missing.
    """
    modality = bundle.info.modality
    of_kind = manifest.where(modality=modality)
    if not len(of_kind):
        kinds = ", ".join(sorted({record.modality.spoken for record in manifest})) or "nothing"
        raise InputError(f"the bundle answers {modality.spoken}, and the cases hold {kinds}; give cases of that kind")
    labelled = of_kind.replace([record for record in of_kind if record.label is not None])
    if not len(labelled):
        raise InputError(f"none of {len(of_kind)} images has a label; add a column 'label'")
    _check_not_trained_on(bundle, labelled)
    first: dict[str, str | None] = {}
    kept = [record for record in labelled if first.setdefault(record.unit, record.study_id) == record.study_id]
    _check_enough(labelled.replace(kept), wish)
    return labelled.replace(kept)


def sick_by_unit(manifest: Manifest) -> dict[str, bool]:
    """Each patient, or what stands for one, and whether any image is labelled covid."""
    sick: dict[str, bool] = {}
    for record in manifest:
        sick[record.unit] = sick.get(record.unit, False) or record.label is POSITIVE
    return sick


def answer(bundle: Bundle, manifest: Manifest, *, refits: bool, on_image: Callable[[], None]) -> Answers:
    """Answer every row, and read the features of the last layer where it is one that can be refitted.

    Args:
        bundle: The one that is adapted.
        manifest: Rows of its modality.
        refits: Whether the last layer is wanted.
        on_image: Called after each image.

    Raises:
        ManifestError: No image can be answered; each is named.
        MissingExtraError: onnx is not installed.
    """
    layer = last_layer_of(bundle.graph) if refits else None
    reader = FeatureReader(bundle, layer) if layer else None
    rows = predict_manifest(bundle, manifest, runtime=reader, on_image=on_image)
    answered = tuple(row for row in rows if row.probability is not None)
    refused = tuple(f"{row.path}: {row.reason.text if row.reason else ''}" for row in rows if row.probability is None)
    if not answered:
        raise manifest_error(f"none of {len(rows)} images can be answered; give other files", refused)
    nothing = np.empty((len(answered), 0), np.float32)
    if reader is None or layer is None or not reader.is_linear:
        return Answers(answered, None, nothing, nothing, NOT_LINEAR if refits else "it was not asked for", refused)
    # The model ran for these, in this order; of some it gave no number.
    ran = [row for row in rows if row.reason is None or row.reason.code is ReasonCode.NO_NUMBER]
    features = reader.features[[row.probability is not None for row in ran]]
    return Answers(answered, layer, features, reader.examples, refused=refused)


def answered_only(manifest: Manifest, answers: Answers, wish: SiteWish) -> Manifest:
    """The rows that were answered.

    Raises:
        ManifestError: Some were not, and they are not to be left out; each is named.
        InputError: Those that were are too few; says how many are missing.
    """
    if answers.refused and not wish.leaves_out:
        summary = f"{len(answers.refused)} of {len(manifest)} images cannot be answered; give other files, take their "
        raise manifest_error(f"{summary}rows out, or leave them out with --leave-out", answers.refused)
    answered = {row.path for row in answers.rows}
    kept = manifest.replace([record for record in manifest if record.path in answered])
    _check_enough(kept, wish)
    return kept


def _check_not_trained_on(bundle: Bundle, manifest: Manifest) -> None:
    provenance = bundle.info.provenance
    if manifest.fingerprint() == provenance.data_fingerprint:
        raise InputError("these are the very rows the bundle was trained with; give cases it has never seen")
    trained = {key.rpartition("/")[0] for key in provenance.data_summary}
    seen = Counter(record.source for record in manifest if record.source in trained and record.split is not Split.TEST)
    if seen:
        raise InputError(
            f"{seen.total()} of {len(manifest)} images are of {', '.join(sorted(seen))}, on which the bundle was "
            "trained; take these rows out, or where they are others of that source mark them as split 'test'"
        )


def _check_enough(manifest: Manifest, wish: SiteWish) -> None:
    sick = sick_by_unit(manifest)
    positives = sum(sick.values())
    negatives = len(sick) - positives
    wanted = max(positives_needed(wish.alpha, wish.delta), LEAST_PATIENTS)
    missing = [
        f"{needed - there} more {name} are missing ({there} of {needed})"
        for name, there, needed in (("with covid", positives, wanted), ("without", negatives, LEAST_PATIENTS))
        if there < needed
    ]
    if not missing:
        return
    least = 1.0 - wish.delta ** (1.0 / positives) if positives else 1.0
    lower = f"; {positives} allow a miss rate of {_upwards(least)}" if LEAST_PATIENTS <= positives < wanted else ""
    raise InputError(
        f"of {len(sick)} patients, {' and '.join(missing)}: recalibration needs {LEAST_PATIENTS} of each, and a miss "
        f"rate of at most {wish.alpha:g} with confidence {1 - wish.delta:g} needs "
        f"{positives_needed(wish.alpha, wish.delta)} with covid{lower}"
    )


def _upwards(share: float) -> str:
    return f"{np.ceil(share * 1000) / 1000:g}"
