"""Files of many patients → one two-phase answer per patient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from duoscan.cases.answer import CaseAnswer, PhaseResult, StudyAnswer
from duoscan.cases.ct_study import CtStudy
from duoscan.cases.find import NO_RULES, FoundImage, PatientRules, collect
from duoscan.cases.identify import Identified, identify
from duoscan.imaging.contract import PreprocessingContract
from duoscan.inference.aggregate import carrying, study_probability
from duoscan.inference.predictor import ImageFile, Predictor
from duoscan.inference.shipped import load_bundle
from duoscan.policies.policy import ct_state, xray_state
from duoscan.policies.rule import ABSENT, Step, after_xray, decide
from duoscan.policies.stored import policy_in_force
from duoscan.terms import Decision, Modality

if TYPE_CHECKING:
    from duoscan.inference.bundle import Bundle
    from duoscan.policies.policy import Policy
    from duoscan.predictions import Prediction

__all__ = ["CaseAnswer", "OnImage", "PhaseResult", "Screener"]

OnImage = Callable[[ImageFile, PreprocessingContract], None]


@dataclass
class _Case:
    """The images of one patient: radiographs by study, CT by study, and what is neither."""

    xrays: dict[str | None, list[Identified]] = field(default_factory=dict)
    cts: dict[str | None, CtStudy] = field(default_factory=dict)
    others: list[Prediction] = field(default_factory=list)
    places: dict[str, Path] = field(default_factory=dict)

    def add(self, identified: Identified) -> None:
        file, study = identified.file, identified.file.row.study_id
        if str(file.path) != file.row.path:
            self.places[file.row.path] = file.path
        if identified.modality is Modality.CXR:
            self.xrays.setdefault(study, []).append(identified)
        elif identified.modality is Modality.CT:
            self.cts.setdefault(study or identified.volume, CtStudy(study)).add(identified)
        else:
            self.others.append(file.row)


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
            paths: Files or folders of raster or DICOM images, mixed as they come, zips and DICOMDIRs among them.
            rules: How patients are told apart, before DICOM tags and folders.
            need_ct: Patients for whom the clinician asks for CT; ``True`` for all.
            modality: What raster files are; told from their content where ``None``.
            on_image: Called with each image once a model has answered it, pixels included, and the contract.

        Raises:
            InputError: A path does not exist, or nothing is there.
        """
        with TemporaryDirectory() as scratch:
            found = collect(paths, rules, Path(scratch))
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
        with ThreadPoolExecutor(2) as pool:
            for images in pool.map(
                lambda image: identify(image, paths, modality, check_quality=self.check_quality), found
            ):
                for one in images:
                    cases.setdefault(str(one.file.row.patient_id), _Case()).add(one)
        asked = {name: need_ct if isinstance(need_ct, bool) else name in need_ct for name in cases}
        xrays = self._answer_xrays(cases, on_image)
        to_ct = {name for name in cases if self._sends(xrays[name].state, need_ct=asked[name])}
        cts = self._answer_cts(cases, to_ct, on_image)
        return [self._answer(name, case, xrays[name], cts[name], need_ct=asked[name]) for name, case in cases.items()]

    def _sends(self, xray: str, *, need_ct: bool) -> bool:
        return after_xray(xray, need_ct=need_ct, kind=self.policy.kind)[0] is Step.TO_CT

    def _answer_xrays(self, cases: Mapping[str, _Case], on_image: OnImage) -> dict[str, PhaseResult]:
        """Answer every radiograph; patients share batches."""
        lists = {
            (name, study): [one.file for one in images]
            for name, case in cases.items()
            for study, images in case.xrays.items()
        }
        self._run_loose(Modality.CXR, lists.values(), on_image)
        return {
            name: self._phase(
                self._study(Modality.CXR, study, images[0].study_date, lists[name, study])
                for study, images in case.xrays.items()
            )
            for name, case in cases.items()
        }

    def _answer_cts(
        self, cases: Mapping[str, _Case], to_ct: Collection[str], on_image: OnImage
    ) -> dict[str, PhaseResult]:
        """Answer the CT studies of those patients whom the rule sends there; the others are said to be unread."""
        # In the order of the cases, so that pictures are numbered alike in every run.
        studies = [study for name, case in cases.items() if name in to_ct for study in case.cts.values()]
        self._run_loose(Modality.CT, (study.loose for study in studies), on_image)
        stacked = [study for study in studies if study.files]
        if stacked:
            predictor = self._predictor(Modality.CT)
            contract = predictor.bundle.info.contract
            for study in stacked:
                study.answer(predictor, lambda file: on_image(file, contract))
        return {
            name: self._phase(map(self._ct_study, case.cts.values())) if name in to_ct else _unread(case.cts.values())
            for name, case in cases.items()
        }

    def _predictor(self, modality: Modality) -> Predictor:
        return Predictor(self._bundles[modality], threshold=self.thresholds[modality], check_quality=self.check_quality)

    def _run_loose(self, modality: Modality, lists: Iterable[list[ImageFile]], on_image: OnImage) -> None:
        """Answer every image that is not refused already, in place; the model is loaded only if there is one."""
        places = [(files, index) for files in lists for index, file in enumerate(files) if not file.row.reason]
        if not places:
            return
        predictor = self._predictor(modality)
        stream = predictor.predict((files[index] for files, index in places), keep_pixels=True)
        for (files, index), file in zip(places, stream, strict=True):
            on_image(file, predictor.bundle.info.contract)
            files[index] = replace(file, pixels=None, answer=None)

    def _ct_study(self, study: CtStudy) -> StudyAnswer:
        answer = self._study(Modality.CT, study.study_id, study.date, [*study.files, *study.loose])
        reason = "" if answer.probability is not None else _why_none([file.row for file in study.telling])
        return replace(answer, series=tuple(study.series), reason=reason)

    def _study(
        self, modality: Modality, study_id: str | None, date: str | None, files: Sequence[ImageFile]
    ) -> StudyAnswer:
        rows = tuple(file.row for file in files)
        answered = [row for row in rows if row.probability is not None]
        if not answered:
            return StudyAnswer(modality, study_id, date, Decision.UNREADABLE, None, rows, reason=_why_none(rows))
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
        )

    def _phase(self, studies: Iterable[StudyAnswer]) -> PhaseResult:
        """The most suspicious study speaks for the phase; see :class:`PhaseResult`."""
        studies = tuple(studies)
        if not studies:
            return PhaseResult()
        worst = max(studies, key=lambda study: -1.0 if study.probability is None else study.probability)
        rows = tuple(row for study in studies for row in study.images)
        return PhaseResult(worst.state, worst.probability, rows, studies, worst.calibrated)

    def _answer(self, name: str, case: _Case, xray: PhaseResult, ct: PhaseResult, *, need_ct: bool) -> CaseAnswer:
        answer, reason = decide(xray.state, ct.state, need_ct=need_ct, kind=self.policy.kind)
        certificate = self.policy.certificate.spoken if self.policy.certificate else ""
        obeyed = f"{self.policy.kind}, certified {certificate}" if certificate else self.policy.name
        others = tuple(case.others)
        result = CaseAnswer(name, answer, reason, need_ct, xray, ct, others, self.policy.name, certificate, case.places)
        parts = [reason, *_remarks(result)]
        return replace(result, reason=f"{'; '.join(parts)} [policy: {obeyed}]")


def _unread(studies: Iterable[CtStudy]) -> PhaseResult:
    """CT that the rule had no need of."""
    why = "the rule did not need the CT; ask for it with --need-ct"
    unread = [
        StudyAnswer(
            Modality.CT,
            study.study_id,
            study.date,
            Decision.NOT_READ,
            None,
            tuple(replace(file.row, decision=Decision.NOT_READ, reason=why) for file in (*study.files, *study.loose)),
        )
        for study in studies
    ]
    rows = tuple(row for study in unread for row in study.images)
    return PhaseResult(Decision.NOT_READ if rows else ABSENT, None, rows, tuple(unread))


def _why_none(rows: Sequence[Prediction]) -> str:
    """Why no image of a study has an answer: the commonest reason."""
    told = Counter(row.reason.removeprefix(f"{row.path}: ") for row in rows)
    reason, count = told.most_common(1)[0]
    return reason if count == len(rows) else f"{reason} ({count} of {len(rows)} images)"


def _remarks(case: CaseAnswer) -> Iterator[str]:
    """What a person should know beside the rule's reason."""
    if case.ct.state == Decision.NOT_READ:
        yield f"CT images not read: {len(case.ct.images)}"
    if len(case.ct.studies) > 1 and case.ct.probability is not None:
        yield f"the most suspicious of {len(case.ct.studies)} CT studies counts"
    if failed := case.unreadable:
        yield _first_of("unreadable", failed)
    if aside := case.set_aside:
        without = [study for study in case.studies if study.state == Decision.UNREADABLE]
        is_answered = not without and not case.others
        yield f"images set aside: {len(aside)}" if is_answered else _first_of("set aside", aside)


def _first_of(what: str, rows: Sequence[Prediction]) -> str:
    more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    first = rows[0]
    named = first.reason if first.path in first.reason else f"{first.path}: {first.reason}"
    return f"{what}: {named}{more}"
