"""The stored case: all that screening says of a patient, complete enough that everything else is made from it later.

A :class:`Screening` is one frozen, versioned document. Reports, DICOM and FHIR objects, tables and a changed decision
are made from it and the images; no model is needed again. :mod:`duoscan.cases.stored` writes and reads it.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from duoscan.cases.estimates import Estimate
from duoscan.imaging.contract import PreprocessingContract
from duoscan.notebook import MOST_ROWS, shown
from duoscan.policies.policy import Policy
from duoscan.policies.rule import Answer, PhaseState
from duoscan.predictions import Prediction
from duoscan.reasons import Reason
from duoscan.terms import NOTICE, Decision, Modality, Probability

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, config=_CONFIG)
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
    reason: Reason | None = None


@dataclass(frozen=True, config=_CONFIG)
class StudyAnswer:
    """One study of one phase.

    Attributes:
        modality: Which phase.
        study_id: StudyInstanceUID; ``None`` for images that name none, which are one study a patient.
        date: StudyDate as the files have it.
        state: As of a phase.
        probability: P(covid), as it is compared with the threshold; ``None`` where no image of it could be answered.
        images: Every image of the study with its answer or reason.
        calibrated: P(covid) after the bundle's calibrator for studies; ``None`` where it holds none.
        carrying: Names of the images whose probabilities make the study's, the highest first.
        series: The stacks of a CT study; empty for radiographs and for slices that do not say where they lie.
        reason: Why there is no answer.
        estimates: What is told beside the answer and decides nothing: categories, severity, share of lung involved.
    """

    modality: Modality
    study_id: str | None
    date: str | None
    state: PhaseState
    probability: Probability | None
    images: tuple[Prediction, ...]
    calibrated: Probability | None = None
    carrying: tuple[str, ...] = ()
    series: tuple[SeriesAnswer, ...] = ()
    reason: Reason | None = None
    estimates: tuple[Estimate, ...] = ()


@dataclass(frozen=True, config=_CONFIG)
class PhaseResult:
    """One phase of one patient.

    Each study of the phase is answered by itself, and the patient's state follows the most suspicious of them: what
    one scan shows is not undone by another that does not show it, a missed disease costs more than a second look,
    and dates, which could tell which scan counts, are shifted or gone in many files. States rise with probability,
    so no other study has a graver one.

    Attributes:
        studies: The studies of the phase.
    """

    studies: tuple[StudyAnswer, ...] = ()

    @cached_property
    def _worst(self) -> StudyAnswer | None:
        known = (-1.0 if study.probability is None else study.probability for study in self.studies)
        return max(zip(known, reversed(range(len(self.studies))), self.studies, strict=True), default=(0, 0, None))[2]

    @property
    def state(self) -> PhaseState:
        """Of the most suspicious study; ``absent`` where there is none."""
        return self._worst.state if self._worst else PhaseState.ABSENT

    @property
    def probability(self) -> float | None:
        """P(covid) of that study; ``None`` without an answered image."""
        return self._worst.probability if self._worst else None

    @property
    def calibrated(self) -> float | None:
        """P(covid) of that study after the bundle's calibrator for studies; ``None`` where it holds none."""
        return self._worst.calibrated if self._worst else None

    @cached_property
    def images(self) -> tuple[Prediction, ...]:
        """Every image of the phase with its own answer or reason."""
        return tuple(row for study in self.studies for row in study.images)


@dataclass(frozen=True, config=_CONFIG)
class CaseAnswer:
    """The two-phase answer for one patient.

    Attributes:
        patient_id: As told by table, pattern, DICOM file, folder or name of the file.
        need_ct: Whether the clinician asked for CT.
        to_ct: Whether phase 1 sent the patient to CT.
        answer: Negative, CT needed, positive or unreadable.
        reasons: How the rule came to it, first; then what else a person should know.
        studies: Every study of both phases.
        others: Images that could not be told to belong to either phase.
        notes: What is known of the files beside their answers; among the reasons, too.
        policy: The policy obeyed, in words.
        certificate: What is promised of it, in words; empty where nothing is.
    """

    patient_id: str
    need_ct: bool
    to_ct: bool
    answer: Answer
    reasons: tuple[Reason, ...]
    studies: tuple[StudyAnswer, ...] = ()
    others: tuple[Prediction, ...] = ()
    notes: tuple[Reason, ...] = ()
    policy: str = ""
    certificate: str = ""

    @cached_property
    def xray(self) -> PhaseResult:
        """Phase 1."""
        return PhaseResult(tuple(study for study in self.studies if study.modality is Modality.CXR))

    @cached_property
    def ct(self) -> PhaseResult:
        """Phase 2."""
        return PhaseResult(tuple(study for study in self.studies if study.modality is Modality.CT))

    @property
    def reason(self) -> str:
        """All reasons in words, with the images they speak of: for a person at this machine."""
        return f"{'; '.join(reason.spoken for reason in self.reasons)} [policy: {self.obeyed}]"

    @property
    def obeyed(self) -> str:
        """Policy and certificate in words."""
        return f"{self.policy} {self.certificate}".strip()

    @property
    def reason_elsewhere(self) -> str:
        """All reasons in words without the names of files, which say nothing elsewhere, or too much."""
        return "; ".join(reason.text for reason in self.reasons)

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        """What is told of the studies beside the answer."""
        return tuple(estimate for study in self.studies for estimate in study.estimates)

    @property
    def images(self) -> tuple[Prediction, ...]:
        """All images of the patient."""
        return self.xray.images + self.ct.images + self.others

    @property
    def unreadable(self) -> tuple[Prediction, ...]:
        """The images that could not be answered."""
        return self._decided(Decision.UNREADABLE)

    @property
    def set_aside(self) -> tuple[Prediction, ...]:
        """The images that are sound but not what is answered."""
        return self._decided(Decision.SET_ASIDE)

    def _repr_html_(self) -> str:
        rows = [
            (study.modality.spoken, study.study_id, study.state, _number(study.probability), len(study.images))
            for study in self.studies
        ]
        title = f"{self.patient_id}: {self.answer}"
        notes = (self.reason, NOTICE)
        return shown(title, ("study of", "id", "state", "P(covid)", "images"), rows, notes)

    def _decided(self, decision: Decision) -> tuple[Prediction, ...]:
        return tuple(image for image in self.images if image.decision == decision)


@dataclass(frozen=True, config=_CONFIG)
class ModelUsed:
    """What made the answers of one phase.

    Attributes:
        name: Of the model.
        graph_sha256: SHA-256 of its graph.
        study_digest: Names what makes P(covid) of a study: the graph and how its answers are joined.
        identity: SHA-256 of all that makes an answer: graph, preprocessing, calibration and how images are joined.
        trained_with: Version of the software that trained it.
        contract: Its preprocessing, which says where on an image its activation lies.
    """

    name: str
    graph_sha256: str
    study_digest: str
    identity: str
    trained_with: str
    contract: PreprocessingContract


@dataclass(frozen=True, config=_CONFIG)
class Screening:
    """What one screening said of its patients.

    Attributes:
        cases: One a patient.
        xray: Phase 1's model.
        ct: Phase 2's model.
        policy: Obeyed, with both thresholds.
        software: Version of duoscan that decided.
        date: When, ISO 8601 in UTC.
        not_images: Files beside the images that are none; nobody's.
        unmatched: What a person typed and matched nobody, in words.
        remarks: How patients were told apart, where a person should know: joined by folder, or named by nobody.
        unfinished: Images of patients who have no answer here, since a person stopped the screening before.
    """

    cases: tuple[CaseAnswer, ...]
    xray: ModelUsed
    ct: ModelUsed
    policy: Policy
    software: str
    date: str
    not_images: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[CaseAnswer]:
        return iter(self.cases)

    def __len__(self) -> int:
        return len(self.cases)

    def _repr_html_(self) -> str:
        rows = [
            (case.patient_id, case.answer, _number(case.xray.probability), _number(case.ct.probability), case.reason)
            for case in self.cases[:MOST_ROWS]
        ]
        counts = ", ".join(f"{count} {answer}" for answer, count in self.counts.items())
        columns = ("patient", "answer", "X-ray P(covid)", "CT P(covid)", "why")
        notes = (*self.unmatched, *self.remarks, NOTICE)
        return shown(f"{len(self)} patients: {counts}", columns, rows, notes, total=len(self))

    def model(self, modality: Modality) -> ModelUsed:
        """The model of a phase."""
        return self.xray if modality is Modality.CXR else self.ct

    def threshold(self, modality: Modality) -> float:
        """The operating point of a phase, for studies."""
        return self.policy.xray_threshold if modality is Modality.CXR else self.policy.ct_threshold

    @property
    def counts(self) -> dict[Answer, int]:
        """Patients by answer, in the order of the answers."""
        found = Counter(case.answer for case in self.cases)
        return {answer: found[answer] for answer in Answer if found[answer]}


def _number(probability: float | None) -> str:
    return "" if probability is None else f"{probability:.3f}"
