"""Files of many patients → one two-phase answer per patient."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from duoscan.errors import ImageError
from duoscan.imaging.contract import PreprocessingContract
from duoscan.imaging.modality import guess_modality
from duoscan.imaging.quality.check import why_refused
from duoscan.imaging.reader import is_dicom, read_image
from duoscan.inference.collect import NO_RULES, FoundImage, PatientRules, collect, folder_patient
from duoscan.inference.predictor import ImageFile, Predictor, refused
from duoscan.inference.shipped import load_bundle
from duoscan.manifest.dicom_header import read_dicom_header
from duoscan.predictions import Prediction
from duoscan.terms import Decision, Modality
from duoscan.triage.aggregate import patient_probability
from duoscan.triage.policy import ct_state, xray_state
from duoscan.triage.rule import ABSENT, Answer, Step, after_xray, decide
from duoscan.triage.stored import policy_in_force

if TYPE_CHECKING:
    from pathlib import Path

    from duoscan.inference.bundle import Bundle
    from duoscan.triage.policy import Policy

OnImage = Callable[[ImageFile, PreprocessingContract], None]

_UNSURE = "cannot tell whether this is a chest X-ray or a CT slice; say so with --modality or a patients table"


@dataclass(frozen=True)
class PhaseResult:
    """One phase of one patient.

    Attributes:
        state: A :class:`Decision` value, or ``absent``, or, of an X-ray under three zones, ``uncertain``.
        probability: P(covid) of the study, as it is compared with the threshold; ``None`` without a readable image.
        calibrated: P(covid) after the bundle's calibrator for studies; ``None`` where it holds none.
        images: Every image of the phase with its own answer or reason.
    """

    state: str = ABSENT
    probability: float | None = None
    images: tuple[Prediction, ...] = ()
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

    @property
    def images(self) -> tuple[Prediction, ...]:
        """All images of the patient."""
        return self.xray.images + self.ct.images + self.others

    @property
    def unreadable(self) -> tuple[Prediction, ...]:
        """The images that could not be answered."""
        return tuple(image for image in self.images if image.decision == Decision.UNREADABLE)


@dataclass
class _Case:
    xray: list[ImageFile] = field(default_factory=list)
    ct: list[ImageFile] = field(default_factory=list)
    others: list[ImageFile] = field(default_factory=list)

    def of(self, modality: Modality | None) -> list[ImageFile]:
        return {Modality.CXR: self.xray, Modality.CT: self.ct, None: self.others}[modality]


class Screener:
    """The two phases, ready to screen.

    Args:
        xray: Phase 1 bundle; the shipped one where ``None``.
        ct: Phase 2 bundle; the shipped one where ``None``.
        xray_threshold: Operating point of phase 1; the policy's or the bundle's where ``None``.
        ct_threshold: Operating point of phase 2; the policy's or the bundle's where ``None``.
        policy: What to obey; the one the bundles carry where ``None``, else "confirm positives, uncertified".
        check_quality: Refuse what is no whole, upright, sharp image of a chest.

    Raises:
        InputError: The policy's certificate is for other models, or the bundles carry different policies.

    Example:
        ``Screener().screen(["incoming"])`` gives a list of :class:`CaseAnswer`.
    """

    def __init__(
        self,
        xray: Path | None = None,
        ct: Path | None = None,
        *,
        xray_threshold: float | None = None,
        ct_threshold: float | None = None,
        policy: Policy | None = None,
        check_quality: bool = True,
    ) -> None:
        self.check_quality = check_quality
        self.xray_bundle: Bundle = load_bundle(xray, Modality.CXR)
        self.ct_bundle: Bundle = load_bundle(ct, Modality.CT)
        self._bundles = {Modality.CXR: self.xray_bundle, Modality.CT: self.ct_bundle}
        in_force = policy_in_force(self.xray_bundle, self.ct_bundle, policy)
        self.policy: Policy = in_force.with_thresholds(xray_threshold, ct_threshold)
        self.thresholds = {
            Modality.CXR: float(self.policy.xray_threshold or 0.0),
            Modality.CT: float(self.policy.ct_threshold or 0.0),
        }

    def bundle(self, modality: Modality) -> Bundle:
        """The model of a phase."""
        return self._bundles[modality]

    def screen(
        self,
        paths: Sequence[str | Path],
        *,
        rules: PatientRules = NO_RULES,
        need_ct: Collection[str] | bool = (),
        modality: Modality | None = None,
        on_image: OnImage = lambda _file, _contract: None,
    ) -> list[CaseAnswer]:
        """Screen files and folders.

        Args:
            paths: Files or folders of raster or DICOM images, mixed as they come.
            rules: How patients are told apart, before DICOM tags and folders.
            need_ct: Patients for whom the clinician asks for CT; ``True`` for all.
            modality: What raster files are; told from their content where ``None``.
            on_image: Called with each image once a model has answered it, pixels included, and the contract.

        Raises:
            InputError: A path does not exist, or nothing is there.
        """
        found = collect(paths, rules)
        return self.screen_found(found, paths=paths, need_ct=need_ct, modality=modality, on_image=on_image)

    def screen_found(
        self,
        found: Iterable[FoundImage],
        *,
        paths: Sequence[str | Path] = (),
        need_ct: Collection[str] | bool = (),
        modality: Modality | None = None,
        on_image: OnImage = lambda _file, _contract: None,
    ) -> list[CaseAnswer]:
        """As :meth:`screen`, for images of which patient and modality may be known, e.g. from a manifest."""
        cases: dict[str, _Case] = {}
        for image in found:
            file, kind = identify(image, paths, modality, check_quality=self.check_quality)
            cases.setdefault(str(file.row.patient_id), _Case()).of(kind).append(file)
        asked = {name: need_ct if isinstance(need_ct, bool) else name in need_ct for name in cases}
        self._run(Modality.CXR, cases.values(), on_image)
        xrays = {name: self._result(Modality.CXR, case.xray) for name, case in cases.items()}
        to_ct = {name for name in cases if self._sends(xrays[name].state, need_ct=asked[name])}
        self._run(Modality.CT, (cases[name] for name in cases if name in to_ct), on_image)
        return [
            self._answer(name, case, xrays[name], need_ct=asked[name], to_ct=name in to_ct)
            for name, case in cases.items()
        ]

    def _sends(self, xray: str, *, need_ct: bool) -> bool:
        return after_xray(xray, need_ct=need_ct, kind=self.policy.kind)[0] is Step.TO_CT

    def _run(self, modality: Modality, cases: Iterable[_Case], on_image: OnImage) -> None:
        """Answer every image of one modality, in place; the model is loaded only if there is one."""
        lists = [case.of(modality) for case in cases]
        if not any(lists):
            return
        predictor = Predictor(
            self._bundles[modality], threshold=self.thresholds[modality], check_quality=self.check_quality
        )
        places = [(files, index) for files in lists for index in range(len(files))]
        stream = predictor.predict((files[index] for files, index in places), keep_pixels=True)
        for (files, index), file in zip(places, stream, strict=True):
            on_image(file, predictor.bundle.info.contract)
            files[index] = replace(file, pixels=None, answer=None)

    def _result(self, modality: Modality, files: Sequence[ImageFile]) -> PhaseResult:
        rows = tuple(file.row for file in files)
        probabilities = [row.probability for row in rows if row.probability is not None]
        if not rows:
            return PhaseResult()
        if not probabilities:
            return PhaseResult(Decision.UNREADABLE, None, rows)
        probability = patient_probability(modality, rows)
        state_of = xray_state if modality is Modality.CXR else ct_state
        calibrated = self._bundles[modality].info.calibrated_study(probability)
        return PhaseResult(state_of(self.policy, probability), probability, rows, calibrated)

    def _answer(self, name: str, case: _Case, xray: PhaseResult, *, need_ct: bool, to_ct: bool) -> CaseAnswer:
        others = tuple(file.row for file in case.others)
        if to_ct:
            ct = self._result(Modality.CT, case.ct)
        else:
            why = "the rule did not need the CT; ask for it with --need-ct"
            rows = tuple(replace(file.row, decision=Decision.NOT_READ, reason=why) for file in case.ct)
            ct = PhaseResult(Decision.NOT_READ if rows else ABSENT, None, rows)
        answer, reason = decide(xray.state, ct.state, need_ct=need_ct, kind=self.policy.kind)
        certificate = self.policy.certificate.spoken if self.policy.certificate else ""
        obeyed = f"{self.policy.kind}, certified {certificate}" if certificate else self.policy.name
        result = CaseAnswer(name, answer, reason, need_ct, xray, ct, others, self.policy.name, certificate)
        if ct.state == Decision.NOT_READ:
            reason += f"; {len(ct.images)} CT images not read"
        if failed := result.unreadable:
            more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
            first = failed[0]
            named = first.reason if first.path in first.reason else f"{first.path}: {first.reason}"
            reason += f"; unreadable: {named}{more}"
        return replace(result, reason=f"{reason} [policy: {obeyed}]")


def identify(
    found: FoundImage, paths: Sequence[str | Path], modality: Modality | None, *, check_quality: bool = True
) -> tuple[ImageFile, Modality | None]:
    """Tell the patient and the modality of one file; what cannot be told is refused with its reason.

    Args:
        found: The file and what table or pattern say of it.
        paths: What the person gave; a folder below it may name the patient.
        modality: What raster files are taken for; told from their content where ``None``.
        check_quality: Refuse what shows no chest before its modality is guessed.
    """
    row = Prediction(found.name, found.patient_id, None, None, Decision.UNREADABLE)
    try:
        kind = Modality(found.modality) if found.modality else None
        if is_dicom(found.path):
            header = read_dicom_header(found.path)
            kind = header.modality or kind or modality
            row = replace(row, patient_id=row.patient_id or header.patient_id, study_id=header.study_id)
        kind, reason = kind or modality, _UNSURE
        if kind is None:
            pixels = read_image(found.path)
            why = why_refused(pixels) if check_quality else None
            kind, reason = (None, f"{found.path}: {why}") if why else (guess_modality(pixels)[0], _UNSURE)
    except ImageError as error:
        kind, reason = None, str(error)
    except ValueError:
        kind, reason = None, f"modality '{found.modality}' in the patients table is unknown; use cxr or ct"
    row = replace(row, modality=kind, patient_id=row.patient_id or folder_patient(found.path, paths))
    return ImageFile(found.path, row if kind else refused(row, reason)), kind
