"""What screening says of one patient: phases, studies, series, images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from duoscan.policies.rule import ABSENT, Answer
from duoscan.terms import Decision, Modality

if TYPE_CHECKING:
    from collections.abc import Mapping

    from duoscan.predictions import Prediction


@dataclass(frozen=True)
class SeriesAnswer:
    """One stack of slices of a CT study.

    Attributes:
        series_id: SeriesInstanceUID; ``None`` where the files do not say.
        number: SeriesNumber.
        description: SeriesDescription.
        kernel: ConvolutionKernel.
        thickness_mm: SliceThickness.
        step_mm: Usual distance of two slices.
        slices: How many positions it shows.
        missing: Positions left out between the lowest and the highest.
        repeated: Slices that lie where another does.
        is_used: Whether the study's answer comes from it.
        reason: Why it is set aside, or what there is to say of it.
    """

    series_id: str | None
    number: int | None
    description: str | None
    kernel: str | None
    thickness_mm: float | None
    step_mm: float | None
    slices: int
    missing: int
    repeated: int
    is_used: bool
    reason: str = ""


@dataclass(frozen=True)
class StudyAnswer:
    """One study of one phase.

    Attributes:
        modality: Which phase.
        study_id: StudyInstanceUID; ``None`` for images that name none, which are one study a patient.
        date: StudyDate as the files have it.
        state: As of a phase.
        probability: P(covid), as it is compared with the threshold; ``None`` where no image of it could be answered.
        calibrated: P(covid) after the bundle's calibrator for studies; ``None`` where it holds none.
        images: Every image of the study with its answer or reason.
        carrying: Names of the images whose probabilities make the study's, the highest first.
        series: The stacks of a CT study; empty for radiographs and for slices that do not say where they lie.
        reason: Why there is no answer; empty where there is one.
    """

    modality: Modality
    study_id: str | None
    date: str | None
    state: str
    probability: float | None
    images: tuple[Prediction, ...] = ()
    calibrated: float | None = None
    carrying: tuple[str, ...] = ()
    series: tuple[SeriesAnswer, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class PhaseResult:
    """One phase of one patient.

    Each study of the phase is answered by itself, and the patient's state follows the most suspicious of them: what
    one scan shows is not undone by another that does not show it, a missed disease costs more than a second look,
    and dates, which could tell which scan counts, are shifted or gone in many files. States rise with probability,
    so no other study has a graver one.

    Attributes:
        state: A :class:`Decision` value, or ``absent``, or, of an X-ray under three zones, ``uncertain``.
        probability: P(covid) of the most suspicious study; ``None`` without an answered image.
        images: Every image of the phase with its own answer or reason.
        studies: The studies of the phase.
        calibrated: P(covid) of that study after the bundle's calibrator for studies; ``None`` where it holds none.
    """

    state: str = ABSENT
    probability: float | None = None
    images: tuple[Prediction, ...] = ()
    studies: tuple[StudyAnswer, ...] = ()
    calibrated: float | None = None


@dataclass(frozen=True)
class CaseAnswer:
    """The two-phase answer for one patient.

    Attributes:
        patient_id: As told by table, pattern, DICOM file or folder.
        answer: Negative, CT needed, positive or unreadable.
        reason: How the rule came to it, and what could not be read.
        need_ct: Whether the clinician asked for CT.
        xray: Phase 1.
        ct: Phase 2.
        others: Images that could not be told to belong to either phase.
        policy: The policy obeyed, in words.
        certificate: What is promised of it, in words; empty where nothing is.
        places: Where the images lie whose names are no paths: members of zips, while the screening goes on.
    """

    patient_id: str
    answer: Answer
    reason: str
    need_ct: bool
    xray: PhaseResult
    ct: PhaseResult
    others: tuple[Prediction, ...] = ()
    policy: str = ""
    certificate: str = ""
    places: Mapping[str, Path] = field(default_factory=dict)

    def place(self, image: Prediction) -> Path:
        """Where an image lies, with the number of its frame where it has one."""
        return self.places.get(image.path, Path(image.path))

    @property
    def images(self) -> tuple[Prediction, ...]:
        """All images of the patient."""
        return self.xray.images + self.ct.images + self.others

    @property
    def studies(self) -> tuple[StudyAnswer, ...]:
        """All studies of the patient."""
        return self.xray.studies + self.ct.studies

    @property
    def unreadable(self) -> tuple[Prediction, ...]:
        """The images that could not be answered."""
        return self._decided(Decision.UNREADABLE)

    @property
    def set_aside(self) -> tuple[Prediction, ...]:
        """The images that are sound but not what is answered."""
        return self._decided(Decision.SET_ASIDE)

    def _decided(self, decision: Decision) -> tuple[Prediction, ...]:
        return tuple(image for image in self.images if image.decision == decision)
