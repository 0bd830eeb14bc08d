"""Numbers and settings in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duoscan.evaluation.intervals import Estimate
    from duoscan.evidence.subject import Subject
    from duoscan.imaging.contract import PreprocessingContract

MISSING = "–"
NINE_METRICS = ("accuracy", "ppv", "sensitivity", "specificity", "npv", "fpr", "fnr", "fdr", "mae")
"""What the two-phase framework reports, in its order."""

OTHER_METRICS = ("auroc", "average_precision", "balanced_accuracy", "f1", "brier_score")

_CHOSEN = {
    "argmax": "fixed beforehand",
    "youden": "chosen on the validation part for the largest sum of sensitivity and specificity",
    "sensitivity": "chosen on the validation part for the sensitivity that was aimed at",
}


def number(value: float | None) -> str:
    """Three digits, as ``duoscan evaluate`` prints them; a dash where undefined."""
    if value is None or math.isnan(value):
        return MISSING
    return f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


def interval(estimate: Estimate) -> str:
    """The 95 % interval, or why there is none."""
    if estimate.low is None or estimate.high is None:
        return f"no interval: {estimate.note}" if estimate.note else "no interval"
    return f"{number(estimate.low)} to {number(estimate.high)}"


def spoken(estimate: Estimate) -> str:
    """Value and interval, for running text and labels of figures."""
    return f"{number(estimate.value)} ({interval(estimate)})"


_LUNGS = {
    "crop": "and all that is in it",
    "hull": "all but the hull of both as bright as they are on the mean",
    "each": "all but the hull of each as bright as they are on the mean",
}


def contract_steps(contract: PreprocessingContract) -> list[str]:
    """The preprocessing contract, a step a line, in the order in which it is carried out."""
    low = contract.window_centre_hu - contract.window_width_hu / 2
    high = contract.window_centre_hu + contract.window_width_hu / 2
    steps = [
        f"CT in Hounsfield units: window {_signed(low)} to {_signed(high)} HU to grey 0 to 1; pictures: grey as it is",
    ]
    if contract.lungs != "none":
        steps.append(f"Find the lungs; show the box around them, {_LUNGS[contract.lungs]}")
    elif contract.crop_borders:
        steps.append(f"Cut off black borders (grey at or below {contract.border_level:g})")
    shape = "stretched" if contract.aspect == "stretch" else "padded with black, proportions kept"
    steps.append(f"Resize to {contract.width} × {contract.height} pixels with anti-aliasing, {shape}; clip to 0 to 1")
    if contract.tone == "equalised":
        steps.append("Spread the greys of the lungs evenly, half grey elsewhere")
    if contract.probe != "none":
        steps.append(f"Shortcut audit: keep only '{contract.probe}' of the image")
    is_fixed = contract.normalisation == "fixed"
    per_image = "" if is_fixed else "bring each image to mean 0 and standard deviation 1, then "
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (contract.mean, contract.std))
    steps.append(f"Normalise: {per_image}subtract {mean}, divide by {std}; {contract.channels} channel(s)")
    return steps


def _signed(value: float) -> str:
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def question(subject: Subject) -> str:
    """What the model was asked."""
    image = f"{subject.modality.spoken} image" if subject.modality else "image"
    return f"Does this {image} show COVID-19?"


def tested_part(subject: Subject) -> str:
    """Which rows the numbers are of."""
    if subject.making and len(subject.making.parts) > 1:
        return f"every image, answered by one of {len(subject.making.parts)} models that never saw its patient"
    named = f"the {subject.split} part" if subject.split else "all images, which are not split,"
    return f"{named} of another manifest" if subject.is_external else f"{named} of the data"


def operating_point(subject: Subject, threshold: float | None, origin: str) -> str:
    """When an image is called positive, and who decided that."""
    parts = subject.making.parts if subject.making else ()
    if len(parts) > 1:
        cuts = [part.info.threshold for part in parts]
        return (
            f"each fold has its own threshold on P(covid), {number(min(cuts))} to {number(max(cuts))}, "
            f"{_CHOSEN.get(parts[0].info.default_point, parts[0].info.default_point)}"
        )
    if parts:
        info = parts[0].info
        how = _CHOSEN.get(info.default_point, info.default_point)
        return f"P(covid) at or above {number(info.threshold)}, {how}"
    return f"P(covid) at or above {number(threshold)} ({origin})" if threshold is not None else origin
