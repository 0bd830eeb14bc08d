"""The CT images of one study → the stack that is answered, and the reasons why the others are not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from duoscan.cases.case import SeriesAnswer
from duoscan.cases.lung_share import LungShare
from duoscan.cases.series import Stack, assemble, choose
from duoscan.inference.stack import answer_stack, lung_extent_mm
from duoscan.reasons import Reason, ReasonCode
from duoscan.terms import Decision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from duoscan.cases.identify import Identified
    from duoscan.cases.series import SeriesImage
    from duoscan.inference.predictor import ImageFile, Predictor

_LEAST_TORN = 3  # slices; two studies of one slice each may be two looks at a patient
_SINGLE_MM = 1.0  # what one slice of unknown thickness stands for


@dataclass
class CtStudy:
    """Images of one CT study on their way.

    Attributes:
        study_id: StudyInstanceUID; ``None`` for images that name none.
        date: StudyDate as the files have it.
        files: Slices that know their place; answered in place.
        slices: What is known of each.
        loose: Images that are no slices of a DICOM series; answered one by one, in place.
        series: What came of each stack; filled when the study is answered.
        tried: Places of the slices of every stack that was tried.
        notes: What there is to say of the study beside its answer.
        share: Measures the lung on what is answered.
    """

    study_id: str | None
    date: str | None = None
    files: list[ImageFile] = field(default_factory=list)
    slices: list[SeriesImage] = field(default_factory=list)
    loose: list[ImageFile] = field(default_factory=list)
    series: list[SeriesAnswer] = field(default_factory=list)
    tried: list[int] = field(default_factory=list)
    notes: tuple[Reason, ...] = ()
    share: LungShare = field(default_factory=LungShare)

    @property
    def telling(self) -> list[ImageFile]:
        """The images that say why there is no answer: those that were tried, else all."""
        return [self.files[place] for place in self.tried] or [*self.files, *self.loose]

    def add(self, identified: Identified) -> None:
        """Take in one more image."""
        self.date = self.date or identified.study_date
        if identified.slice is None:
            self.loose.append(identified.file)
        else:
            self.files.append(identified.file)
            self.slices.append(identified.slice)

    def answer(self, predictor: Predictor, on_image: Callable[[ImageFile], None]) -> None:
        """Assemble the slices, choose a stack and answer it; where nothing of it can be answered, the next one.

        Args:
            predictor: Of CT.
            on_image: Called with each answered slice, pixels included.
        """
        stacks = assemble(self.slices)
        if not stacks:
            return
        choice = choose(stacks, self._lung_mm)
        reasons, used = dict(choice.reasons), None
        for place in choice.ranked:
            if used is None and self._answer_stack(stacks[place], predictor, on_image):
                used, reasons[place] = place, choice.note
            elif used is None:
                reasons[place] = "no slice of it could be answered"
            else:
                why = Reason(ReasonCode.OTHER_SERIES, f"series set aside: {reasons[place]}")
                self._set_aside(stacks[place].images, why)
        for stack in stacks:
            for repeat, original in stack.repeats.items():
                name = self.files[original].row.path
                self._set_aside([repeat], Reason(ReasonCode.SAME_POSITION, "the same position as that slice", name))
        if used is not None:
            self.notes += tuple(_told(stacks[used]))
        self.series += [
            _series_answer(stack, is_used=place == used, reason=reasons.get(place, ""))
            for place, stack in enumerate(stacks)
        ]

    def _lung_mm(self, stack: Stack) -> float:
        extent = stack.extent_mm or len(stack.images) * (stack.first.plane.thickness_mm or _SINGLE_MM)
        return lung_extent_mm([self.files[place] for place in stack.images], extent)

    def _answer_stack(self, stack: Stack, predictor: Predictor, on_image: Callable[[ImageFile], None]) -> bool:
        """Answer a stack in place; copies of slices that could not be read stand in for them."""
        places = list(stack.images)
        self.tried += places
        self._run(places, stack.heights_mm, predictor, on_image)
        left = {place for place in places if self.files[place].row.decision == Decision.UNREADABLE}
        for repeat, original in stack.repeats.items():
            if original in left:
                self._run([repeat], (), predictor, on_image)
                places.append(repeat)
                if self.files[repeat].row.decision != Decision.UNREADABLE:
                    left.remove(original)
        return any(self.files[place].row.probability is not None for place in places)

    def _run(
        self,
        places: Sequence[int],
        heights_mm: Sequence[float],
        predictor: Predictor,
        on_image: Callable[[ImageFile], None],
    ) -> None:
        height_of = dict(zip((self.files[place].row.path for place in places), heights_mm, strict=False))

        def answered_one(file: ImageFile) -> None:
            if file.answer is not None and file.pixels is not None:
                self.share.add(file.pixels, height_of.get(file.row.path))
            on_image(file)

        answered = answer_stack(predictor, [self.files[place] for place in places], heights_mm, answered_one)
        for place, file in zip(places, answered, strict=True):
            self.files[place] = file

    def _set_aside(self, places: Sequence[int], why: Reason) -> None:
        """Say why these have no answer, where nothing is said yet."""
        for place in places:
            if self.files[place].row.probability is None and self.files[place].row.reason is None:
                self.files[place] = self.files[place].refused(why, Decision.SET_ASIDE)


def join_torn(studies: Sequence[CtStudy]) -> list[CtStudy]:
    """Join studies of one slice each that are one scan by their positions: an anonymiser gave each file a study.

    Args:
        studies: Of one patient.

    Returns:
        The studies in the same order, a joined one in the place of its first; it is called like its lowest slice.
    """
    torn = [study for study in studies if study.study_id and len(study.slices) == 1 and not study.loose]
    joined: dict[int, CtStudy] = {}
    for stack in assemble([study.slices[0] for study in torn]):
        places = sorted({*stack.images, *stack.repeats})
        if len(places) < _LEAST_TORN:
            continue
        first = torn[stack.images[0]]
        text = f"{len(places)} studies of one slice each are one scan by their positions; answered as one study"
        one = CtStudy(first.study_id, first.date, notes=(Reason(ReasonCode.IDENTITY, text),))
        for place in places:
            one.files += torn[place].files
            one.slices += torn[place].slices
            joined[id(torn[place])] = one
    found = [joined.get(id(study), study) for study in studies]
    return list({id(study): study for study in found}.values())


def _told(stack: Stack) -> Iterator[Reason]:
    """What a person should know of the stack that is answered; positions missing are told of every case."""
    yield from stack.remarks
    if stack.repeats:
        yield Reason(ReasonCode.SAME_POSITION, f"CT slices that lie where another does: {len(stack.repeats)}")


def _series_answer(stack: Stack, *, is_used: bool, reason: str) -> SeriesAnswer:
    first = stack.first
    missing = f"{stack.missing} positions missing" if stack.missing else ""
    said = "; ".join(filter(None, [reason, stack.note, *(remark.text for remark in stack.remarks), missing]))
    return SeriesAnswer(
        series_id=first.series_id,
        number=first.series_number,
        description=first.description,
        kernel=first.plane.kernel,
        thickness_mm=first.plane.thickness_mm,
        step_mm=stack.step_mm,
        slices=len(stack.images),
        missing=stack.missing,
        repeated=len(stack.repeats),
        is_used=is_used,
        reason=Reason(ReasonCode.SERIES_CHOICE, said) if said else None,
    )
