"""The codes the results are written in; what no dictionary has is private, under ``99DUOSCAN`` (PS3.16 clause 8.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.sr.coding import Code

from duoscan.terms import Decision, Modality

if TYPE_CHECKING:
    from collections.abc import Mapping

PRIVATE_SCHEME = "99DUOSCAN"

COVID_19 = Code("840539006", "SCT", "COVID-19")  # its full name is longer than the 64 characters of a meaning
LUNG = Code("39607008", "SCT", "Lung structure")
SPATIAL_CONCEPT = Code("309825002", "SCT", "Spatial and Relational Concept")
ARTIFICIAL_INTELLIGENCE = Code("123109", "DCM", "Artificial Intelligence")
NO_UNITS = Code("1", "UCUM", "no units")
PERCENT = Code("%", "UCUM", "percent")
POSITIVE = Code("10828004", "SCT", "Positive")
NEGATIVE = Code("260385009", "SCT", "Negative")
PROCEDURES: Mapping[Modality, Code] = {
    Modality.CXR: Code("399208008", "SCT", "Plain chest X-ray"),
    Modality.CT: Code("169069000", "SCT", "Computed tomography of chest"),
}

PROBABILITY = Code("probability", PRIVATE_SCHEME, "Probability of COVID-19 stated by the model")
CALIBRATED = Code("calibrated", PRIVATE_SCHEME, "Calibrated probability of COVID-19")
THRESHOLD = Code("threshold", PRIVATE_SCHEME, "Probability at or above which the phase is positive")
PHASE_DECISION = Code("phase-decision", PRIVATE_SCHEME, "Decision of this phase")
ACTIVATION = Code("activation", PRIVATE_SCHEME, "Activation: the model's evidence for COVID-19")
ACTIVATION_REGION = Code("activation-region", PRIVATE_SCHEME, "Region of high model activation")
CASE_ANSWER = Code("case-answer", PRIVATE_SCHEME, "Two-phase answer for the patient")


def private(value: str) -> Code:
    """One of duoscan's own words as a coded value."""
    return Code(value.replace(" ", "-"), PRIVATE_SCHEME, value)


def of_decision(state: str) -> Code:
    """The code of a phase's state."""
    return {Decision.POSITIVE.value: POSITIVE, Decision.NEGATIVE.value: NEGATIVE}.get(str(state)) or private(str(state))
