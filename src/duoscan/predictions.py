"""The predictions table: what inference writes and what evaluation, triage, audit and report read.

Because this table is the border, every evidence tool works on predictions of any model.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from duoscan.terms import Finding, Modality, Split


@dataclass(frozen=True)
class Prediction:
    """One image's answer; ``probability`` is that of ``covid``.

    ``decision`` is ``positive`` or ``negative`` at the operating point in use, or ``unreadable``, and then
    ``probability`` is ``None`` and ``reason`` says why. ``probabilities`` holds one value per class of the model
    and is written as columns ``p_covid``, ``p_normal``, ….
    """

    path: str
    patient_id: str | None
    modality: Modality | None
    probability: float | None
    decision: str
    reason: str = ""
    study_id: str | None = None
    source: str | None = None
    split: Split | None = None
    label: Finding | None = None
    probabilities: dict[Finding, float] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        """Key of the patient; an image without one stands for itself."""
        return self.patient_id or f"image:{self.path}"
