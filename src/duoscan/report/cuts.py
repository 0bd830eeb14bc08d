"""The thresholds of a report side by side, each with what it is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from duoscan.terms import Modality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.evidence.subject import Subject
    from duoscan.report.flow import ScreeningFlow

_IMAGES = "one image by itself: duoscan predict, and every figure per image here"
_STUDIES = "a study, its images joined: duoscan screen, and every figure per patient here"
_SENT = "what the screening obeyed: where an X-ray leads, and from where on a CT is positive"
_RULE_IN = "what the screening obeyed: at or above it an X-ray is positive without a CT"


@dataclass(frozen=True)
class Cut:
    """One kind of threshold.

    Attributes:
        name: What it is called.
        purpose: What it is for.
        values: One a model, in the order of the report; ``None`` where there is none.
    """

    name: str
    purpose: str
    values: tuple[float | None, ...]


def thresholds(subjects: Sequence[Subject], flow: ScreeningFlow | None) -> tuple[Cut, ...]:
    """Every threshold on P(covid) in the report; kinds that no model has are left out.

    Args:
        subjects: In the order of the report.
        flow: Two-phase answers, where there are any.
    """
    cuts = [
        Cut("Single image", _IMAGES, tuple(one.threshold for one in subjects)),
        Cut("Study", _STUDIES, tuple(one.study_threshold for one in subjects)),
    ]
    if flow is not None:
        policy = flow.screening.policy
        obeyed = {Modality.CXR: policy.xray_threshold, Modality.CT: policy.ct_threshold}
        cuts.append(Cut(f"Policy: {policy.name}", _SENT, tuple(_of(one, obeyed) for one in subjects)))
        if policy.xray_rule_in is not None:
            rule_in = {Modality.CXR: policy.xray_rule_in}
            cuts.append(Cut("Policy, rule-in", _RULE_IN, tuple(_of(one, rule_in) for one in subjects)))
    return tuple(cut for cut in cuts if any(value is not None for value in cut.values))


def _of(subject: Subject, values: dict[Modality, float]) -> float | None:
    return None if subject.modality is None else values.get(subject.modality)
