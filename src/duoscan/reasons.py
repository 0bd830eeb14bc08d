"""Why: a code from a closed list, words for a person, and the image it speaks of.

A reason is data. What leaves this machine (PACS, FHIR, log) is made from ``code`` and ``text``, which never hold a
path; a person at this machine also reads ``image``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ReasonCode(StrEnum):
    """Every kind of reason there is."""

    # Of one image, before it is answered.
    UNREADABLE = "unreadable"
    """Missing, empty, damaged, truncated, too large, or no image at all."""
    UNSUPPORTED = "unsupported"
    """A real image that must not be answered: colour, an unknown encoding, no Hounsfield units, …"""
    OTHER_KIND = "other kind"
    """Sound, but nothing that is ever answered: another modality or body part, a lateral, a localiser, an animal."""
    NOT_OPENED = "not opened"
    """A link that leads nowhere, a folder that may not be read, a member of a zip beyond its bounds."""
    MODALITY_UNKNOWN = "modality unknown"
    """Neither file nor table says whether it is X-ray or CT, and its content does not tell."""
    UNFIT = "unfit"
    """The quality check: a photograph, rotated, inverted, blurred, cropped, no chest."""
    NO_NUMBER = "no number"
    """The model gives no finite probability."""
    NOT_STATED = "not stated"
    """A table from elsewhere gives no probability, or words of its own for why."""

    # Of one image of a CT study, set aside.
    NO_LUNG = "no lung"
    AWAY_FROM_LUNGS = "away from the lungs"
    NEAR_ANSWERED = "near an answered slice"
    SAME_POSITION = "same position"
    OTHER_SERIES = "other series"
    NOT_NEEDED = "not needed"
    """The rule had no need of it."""

    # Of a series, a study, a patient.
    SERIES_CHOICE = "series choice"
    RULE = "rule"
    """How the rule came to the answer."""
    NOT_READ = "images not read"
    SEVERAL_STUDIES = "several studies"
    NOT_MEASURED = "not measured"
    """What is told beside an answer could not be measured."""
    IMAGES_UNREADABLE = "images unreadable"
    IMAGES_SET_ASIDE = "images set aside"
    POSITIONS_MISSING = "positions missing"
    IDENTITY = "identity"
    """Identifiers that contradict each other: one study under two patients, one patient under two spellings."""


@dataclass(frozen=True)
class Reason:
    """One reason.

    Attributes:
        code: Which kind.
        text: For a person, without any path.
        image: Name of the image it speaks of, where that is not the one that carries the reason.
    """

    code: ReasonCode
    text: str
    image: str | None = None

    @property
    def spoken(self) -> str:
        """For a person at this machine."""
        return self.text if self.image is None else f"{self.image}: {self.text}"
