"""Files of many patients → one two-phase answer per patient."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from duoscan.cases.case import CaseAnswer, ModelUsed, PhaseResult, Screening, StudyAnswer
from duoscan.cases.ct_study import CtStudy, join_torn
from duoscan.cases.decide import asks_for_ct, decided, sends_to_ct
from duoscan.cases.estimates import estimates_of
from duoscan.cases.find import Found, FoundImage, collect, unmatched_patients
from duoscan.cases.identify import Identified, identify
from duoscan.cases.patients import remarks_on, settle_patients
from duoscan.cases.stopping import ScreeningStopped, Stop
from duoscan.files import file_sha256
from duoscan.formats.frame_names import split_frame
from duoscan.imaging.contract import PreprocessingContract
from duoscan.inference.aggregate import carrying, study_probability
from duoscan.inference.pipeline import ahead, worker_threads
from duoscan.inference.predictor import ImageFile, Predictor, held_pixels, is_full
from duoscan.inference.shipped import load_bundle
from duoscan.manifest.patient_rules import NO_RULES, PatientRules
from duoscan.policies.policy import ct_state, xray_state
from duoscan.policies.rule import PhaseState
from duoscan.policies.stored import policy_in_force
from duoscan.reasons import Reason, ReasonCode
from duoscan.terms import Decision, Modality
from duoscan.version import __version__

if TYPE_CHECKING:
    from duoscan.inference.bundle import Bundle
    from duoscan.inference.predictor import Prepared
    from duoscan.policies.policy import Policy, PolicyDraft
    from duoscan.predictions import Prediction

__all__ = ["CaseAnswer", "OnImage", "Screener", "Screening"]

OnImage = Callable[[ImageFile, PreprocessingContract], None]
OnStage = Callable[[str, int], None]
OnTick = Callable[[], None]
OnCase = Callable[[CaseAnswer], None]

_NOT_NEEDED = Reason(ReasonCode.NOT_NEEDED, "the rule did not need the CT; ask for it with --need-ct")


@dataclass
class _Patient:
    """The images of one patient on their way: radiographs by study, CT by study, and what is neither."""

    xrays: dict[str | None, list[Identified]] = field(default_factory=dict)
    cts: dict[str | None, CtStudy] = field(default_factory=dict)
    others: list[Prediction] = field(default_factory=list)

    def add(self, identified: Identified) -> None:
        file, study = identified.file, identified.file.row.study_id
        if identified.modality is Modality.CXR:
            self.xrays.setdefault(study, []).append(identified)
        elif identified.modality is Modality.CT:
            self.cts.setdefault(study or identified.volume, CtStudy(study)).add(identified)
        else:
            self.others.append(file.row)

    def join_torn(self) -> None:
        """Join CT studies that are one."""
        joined = join_torn(list(self.cts.values()))
        self.cts = {study.study_id or str(place): study for place, study in enumerate(joined)}

    @property
    def names(self) -> list[str]:
        """Of all images."""
        files = [one.file for images in self.xrays.values() for one in images]
        files += [file for study in self.cts.values() for file in (*study.files, *study.loose)]
        return [file.row.path for file in files] + [row.path for row in self.others]

    @property
    def notes(self) -> tuple[Reason, ...]:
        """What there is to say of the CT studies beside their answers."""
        return tuple(dict.fromkeys(note for study in self.cts.values() for note in study.notes))


class Screener:
    """The two phases, ready to screen.

    Args:
        xray: Phase 1 bundle; the shipped one where ``None``.
        ct: Phase 2 bundle; the shipped one where ``None``.
        xray_threshold: Operating point of phase 1; the policy's or the bundle's where ``None``.
        ct_threshold: Operating point of phase 2; the policy's or the bundle's where ``None``.
        policy: What to obey; the one the bundles carry where ``None``, else "confirm positives, uncertified".
        check_quality: Refuse what is no whole, upright, sharp image of a chest.
        keep_pixels: Give ``on_image`` the decoded image, e.g. to draw on it; without, less memory is taken.

    Raises:
        InputError: The policy's certificate is for other models, or the bundles carry different policies.

    Example:
        ``Screener().screen(["incoming"])`` gives a :class:`Screening`, which holds a :class:`CaseAnswer` a patient.
    """

    def __init__(
        self,
        xray: str | Path | None = None,
        ct: str | Path | None = None,
        *,
        xray_threshold: float | None = None,
        ct_threshold: float | None = None,
        policy: PolicyDraft | None = None,
        check_quality: bool = True,
        keep_pixels: bool = True,
    ) -> None:
        self.check_quality = check_quality
        self.keep_pixels = keep_pixels
        self._predictors: dict[Modality, Predictor] = {}
        self._bundles = {Modality.CXR: load_bundle(xray, Modality.CXR), Modality.CT: load_bundle(ct, Modality.CT)}
        in_force = policy_in_force(self._bundles[Modality.CXR], self._bundles[Modality.CT], policy)
        self.policy: Policy = in_force.with_thresholds(xray_threshold, ct_threshold)

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
        on_stage: OnStage = lambda _name, _total: None,
        on_tick: OnTick = lambda: None,
    ) -> Screening:
        """Screen files and folders.

        Args:
            paths: Files or folders of raster or DICOM images, mixed as they come, zips and DICOMDIRs among them.
            rules: How patients are told apart, before and after what DICOM files say.
            need_ct: Patients for whom the clinician asks for CT, or the answer for each; ``True`` for all.
            modality: What raster files are taken for; told from their content where ``None``.
            on_image: Called with each image once a model has answered it, and the contract.
            on_stage: Called when files are looked at, and when CT is answered, with how many steps that has.
            on_tick: Called after each of these steps.

        Raises:
            InputError: A path does not exist, nothing is there but what is no image, or the pattern never matches.
            ScreeningStopped: By KeyboardInterrupt; it holds the patients who are finished.
        """
        with TemporaryDirectory() as scratch:
            return self.screen_found(
                collect(paths, rules, Path(scratch)),
                need_ct=need_ct,
                modality=modality,
                on_image=on_image,
                on_stage=on_stage,
                on_tick=on_tick,
            )

    def screen_found(
        self,
        found: Found | Iterable[FoundImage],
        *,
        need_ct: Collection[str] | bool = (),
        modality: Modality | None = None,
        on_image: OnImage = lambda _file, _contract: None,
        on_stage: OnStage = lambda _name, _total: None,
        on_tick: OnTick = lambda: None,
        on_case: OnCase = lambda _case: None,
    ) -> Screening:
        """As :meth:`screen`, for images of which patient and modality may be known, e.g. from a manifest.

        ``on_case`` is called with each patient's answer as soon as it is final: first those who need no CT, then the
        others one by one.
        """
        found = found if isinstance(found, Found) else Found(tuple(found))
        stop = Stop()
        on_stage("Looking at files", len(found))
        looked_at = self._looked_at(found, modality, on_image, on_tick, stop)
        images, notes = settle_patients(looked_at)
        everybody = _by_patient(images)
        patients = _finished(everybody, stop)
        asked = {name: asks_for_ct(need_ct, name) for name in patients}
        xrays = self._answer_xrays(patients)
        to_ct = {
            name
            for name, studies in xrays.items()
            if sends_to_ct(self.policy, PhaseResult(studies).state, need_ct=asked[name])
        }

        def case_of(name: str, cts: Sequence[StudyAnswer]) -> CaseAnswer:
            patient = patients[name]
            studies, said = (*xrays[name], *cts), (*notes.get(name, ()), *patient.notes)
            return decided(name, studies, patient.others, self.policy, need_ct=asked[name], notes=said)

        cts = self._answer_cts(
            patients, to_ct, on_image, on_stage, on_tick, stop, lambda name, own: on_case(case_of(name, own))
        )
        finished = _finished(patients, stop)
        cases = (case_of(name, cts[name]) for name in finished)
        unmatched = () if isinstance(need_ct, bool) else unmatched_patients(need_ct, everybody)
        screening = Screening(
            cases=tuple(cases),
            xray=model_used(self._bundles[Modality.CXR]),
            ct=model_used(self._bundles[Modality.CT]),
            policy=self.policy,
            software=__version__,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            not_images=found.not_images,
            unmatched=(*found.unmatched, *unmatched),
            remarks=remarks_on(images),
            unfinished=tuple(
                name for patient in everybody if patient not in finished for name in everybody[patient].names
            ),
        )
        if stop.is_asked:
            raise ScreeningStopped(screening)
        return screening

    def _looked_at(
        self,
        found: Found,
        modality: Modality | None,
        on_image: OnImage,
        on_tick: OnTick,
        stop: Stop,
    ) -> list[Identified]:
        """Every image, in order, radiographs with their answer: they are run as soon as they are told and prepared."""
        images: list[Identified] = []
        waiting: list[tuple[int, Prepared]] = []

        def run() -> None:
            predictor = self._predictor(Modality.CXR)
            answered = predictor.answered([prepared for _, prepared in waiting])
            for (place, _), file in zip(waiting, answered, strict=True):
                on_image(file, predictor.bundle.info.contract)
                images[place] = replace(images[place], file=replace(file, pixels=None, answer=None))
            waiting.clear()

        seen = 0
        with stop.heeded():
            with (
                worker_threads() as pool,
                closing(ahead(pool, lambda one: self._identified(one, modality), found, _held_by_all)) as stream,
            ):
                for several in stream:
                    for one, prepared in several:
                        if prepared is not None:
                            waiting.append((len(images), prepared))
                        images.append(one)
                    seen += 1
                    if is_full([prepared for _, prepared in waiting]):
                        run()
                    on_tick()
            if waiting:
                run()
            places = [place for place, one in enumerate(images) if one.modality is Modality.CXR]
            files = [images[place].file for place in places]
            self._run_loose(Modality.CXR, [files], on_image)  # frames of files that hold several
            for place, file in zip(places, files, strict=True):
                images[place] = replace(images[place], file=file)
        if stop.is_asked:
            # Whose the others are is read from their headers alone: these patients are not finished.
            unseen = [one for file in found.images[seen:] for one in identify(file, modality or Modality.CXR)]
            is_open = [one for one in images if one.modality is Modality.CXR and _is_open(one.file)]
            stop.images |= {one.file.row.path for one in (*unseen, *is_open)}
            images += unseen
        return images

    def _identified(self, found: FoundImage, modality: Modality | None) -> list[tuple[Identified, Prepared | None]]:
        """The images of one file, with the hash that tells later what was looked at; a radiograph is prepared."""
        images = identify(found, modality, check_quality=self.check_quality)
        if not any(one.file.row.decision is Decision.UNREADABLE and one.file.row.reason for one in images):
            # What is unreadable may be no file at all, or without end.
            digest = file_sha256(split_frame(found.path)[0])
            images = [replace(one, file=replace(one.file, row=replace(one.file.row, sha256=digest))) for one in images]
        prepared = None
        if len(images) == 1 and images[0].modality is Modality.CXR:  # the frames of one file may be thousands
            prepared = self._predictor(Modality.CXR).prepare(images[0].file, keep_pixels=self.keep_pixels)
        return [(replace(one, file=replace(one.file, pixels=None)), prepared) for one in images]

    def _answer_xrays(self, patients: Mapping[str, _Patient]) -> dict[str, tuple[StudyAnswer, ...]]:
        """The studies of radiographs, whose images are answered."""
        return {
            name: tuple(
                self._study(Modality.CXR, study, images[0].study_date, [one.file for one in images])
                for study, images in patient.xrays.items()
            )
            for name, patient in patients.items()
        }

    def _answer_cts(
        self,
        patients: Mapping[str, _Patient],
        to_ct: Collection[str],
        on_image: OnImage,
        on_stage: OnStage,
        on_tick: OnTick,
        stop: Stop,
        on_patient: Callable[[str, Sequence[StudyAnswer]], None],
    ) -> dict[str, tuple[StudyAnswer, ...]]:
        """Answer the CT studies of those patients whom the rule sends there; the others are said to be unread.

        ``on_patient`` is called with each patient's as soon as they are there.
        """
        found = {
            name: tuple(map(_unread, patient.cts.values()))
            for name, patient in patients.items()
            if name not in to_ct or not patient.cts
        }
        with stop.heeded():
            for name, own in found.items():
                on_patient(name, own)
        # In the order of the patients, so that pictures are numbered alike in every run.
        waiting = {name: list(patient.cts.values()) for name, patient in patients.items() if name not in found}
        studies = [study for own in waiting.values() for study in own]
        left = {id(study): study for study in studies}
        contract = self._bundles[Modality.CT].info.contract
        if studies and not stop.is_asked:
            on_stage("Answering CT studies", len(studies))
            with stop.heeded():
                self._run_loose(Modality.CT, (study.loose for study in studies), _measuring(studies, on_image))
                for name, several in waiting.items():
                    for study in several:
                        if study.files:
                            study.answer(self._predictor(Modality.CT), lambda file: on_image(file, contract))
                        del left[id(study)]
                        on_tick()
                    found[name] = tuple(map(self._ct_study, several))
                    on_patient(name, found[name])
        stop.images |= {file.row.path for study in left.values() for file in (*study.files, *study.loose)}
        return {
            name: found[name] if name in found else tuple(map(self._ct_study, waiting[name]))
            for name in _finished(patients, stop)
        }

    def _predictor(self, modality: Modality) -> Predictor:
        if modality not in self._predictors:
            threshold = self.policy.xray_threshold if modality is Modality.CXR else self.policy.ct_threshold
            self._predictors[modality] = Predictor(
                self._bundles[modality], threshold=threshold, check_quality=self.check_quality
            )
        return self._predictors[modality]

    def _run_loose(self, modality: Modality, lists: Iterable[list[ImageFile]], on_image: OnImage) -> None:
        """Answer every image that is neither answered nor refused already, in place."""
        places = [(files, index) for files in lists for index, file in enumerate(files) if _is_open(file)]
        if not places:
            return  # and the model is not loaded
        predictor = self._predictor(modality)
        # The share of lung involved is measured on CT, whatever is drawn.
        keep_pixels = self.keep_pixels or modality is Modality.CT
        stream = predictor.predict((files[index] for files, index in places), keep_pixels=keep_pixels)
        for (files, index), file in zip(places, stream, strict=True):
            on_image(file, predictor.bundle.info.contract)
            files[index] = replace(file, pixels=None, answer=None)

    def _ct_study(self, study: CtStudy) -> StudyAnswer:
        answer = self._study(Modality.CT, study.study_id, study.date, [*study.files, *study.loose])
        if answer.probability is None:
            return replace(answer, series=tuple(study.series), reason=_why_none([file.row for file in study.telling]))
        return replace(answer, series=tuple(study.series), estimates=(*answer.estimates, study.share.estimate()))

    def _study(
        self, modality: Modality, study_id: str | None, date: str | None, files: Sequence[ImageFile]
    ) -> StudyAnswer:
        rows = tuple(file.row for file in files)
        answered = [row for row in rows if row.probability is not None]
        if not answered:
            return StudyAnswer(modality, study_id, date, PhaseState.UNREADABLE, None, rows, reason=_why_none(rows))
        probability = study_probability(modality, answered)
        state_of = xray_state if modality is Modality.CXR else ct_state
        return StudyAnswer(
            modality,
            study_id,
            date,
            state_of(self.policy, probability),
            probability,
            rows,
            calibrated=self._bundles[modality].info.calibrated_study(probability),
            carrying=tuple(row.path for row in carrying(modality, answered)),
            estimates=estimates_of(self._bundles[modality].info.heads, answered),
        )


def _measuring(studies: Sequence[CtStudy], on_image: OnImage) -> OnImage:
    """As ``on_image``, and the lung is measured on every image of these studies that is answered by itself."""
    share_of = {file.row.path: study.share for study in studies for file in study.loose}

    def measured(file: ImageFile, contract: PreprocessingContract) -> None:
        if file.answer is not None and file.pixels is not None:
            share_of[file.row.path].add(file.pixels)
        on_image(file, contract)

    return measured


def _is_open(file: ImageFile) -> bool:
    return file.row.reason is None and file.row.probability is None


def _by_patient(images: Sequence[Identified]) -> dict[str, _Patient]:
    """Everybody who is in the images."""
    patients: dict[str, _Patient] = {}
    for one in images:
        patients.setdefault(str(one.file.row.patient_id), _Patient()).add(one)
    for patient in patients.values():
        patient.join_torn()
    return patients


def _finished(patients: Mapping[str, _Patient], stop: Stop) -> dict[str, _Patient]:
    """Those whose answer wants no image that was not done when a person stopped the screening."""
    return {name: patient for name, patient in patients.items() if stop.images.isdisjoint(patient.names)}


def _held_by_all(images: Sequence[tuple[Identified, Prepared | None]]) -> int:
    return sum(held_pixels(prepared) for _, prepared in images if prepared is not None)


def model_used(bundle: Bundle) -> ModelUsed:
    """What a stored case names of a model."""
    decides = bundle.info.model_dump_json(exclude={"provenance", "policy", "verdict"})
    return ModelUsed(
        name=bundle.info.name,
        graph_sha256=bundle.digest,
        study_digest=bundle.study_digest,
        identity=hashlib.sha256(decides.encode()).hexdigest(),
        trained_with=bundle.info.provenance.duoscan_version,
        contract=bundle.info.contract,
    )


def _unread(study: CtStudy) -> StudyAnswer:
    """CT that the rule had no need of."""
    rows = tuple(
        replace(file.row, decision=Decision.NOT_READ, reason=_NOT_NEEDED) for file in (*study.files, *study.loose)
    )
    return StudyAnswer(Modality.CT, study.study_id, study.date, PhaseState.NOT_READ, None, rows)


def _why_none(rows: Sequence[Prediction]) -> Reason:
    """Why no image of a study has an answer: the commonest reason."""
    told = Counter(row.reason for row in rows if row.reason is not None)
    reason, count = told.most_common(1)[0]
    return reason if count == len(rows) else replace(reason, text=f"{reason.text} ({count} of {len(rows)} images)")
