"""The slices of one CT stack → their answers: all are read, those that show lung are selected, a share is answered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from duoscan.errors import ImageError
from duoscan.formats.open_files import kept_open
from duoscan.formats.reader import read_image
from duoscan.imaging.lung_selection import is_clipped, lung_run, measure_lung
from duoscan.inference.pipeline import THREADS, ahead, worker_threads
from duoscan.inference.predictor import held_pixels
from duoscan.reasons import Reason, ReasonCode
from duoscan.terms import Decision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from concurrent.futures import Executor, Future

    from duoscan.formats.image import Pixels
    from duoscan.inference.predictor import ImageFile, Predictor, Prepared

STEP_MM = 2.5
"""Least distance of two answered slices.

A study's probability is made from its highest slices, so it would rise with the number of slices alone if thin slices,
which repeat one another, were all answered. Findings of pneumonia reach over more than this.
"""

_ROUNDING_MM = 1e-3  # of positions written as decimal strings
_BATCH = 8  # as fast as larger ones, in half the memory
_PROBES = 9


def answer_stack(
    predictor: Predictor,
    files: Sequence[ImageFile],
    heights_mm: Sequence[float],
    on_image: Callable[[ImageFile], None] = lambda _: None,
) -> list[ImageFile]:
    """Answer the slices of one stack.

    Where the predictor checks quality, only slices that show lung are answered, and of those only what lies in the
    longest stretch of them. Slices that are no Hounsfield units count as showing it unless their window leaves it
    black. Where heights are known, neighbours nearer than ``STEP_MM`` are not answered twice. What is left out comes
    back as set aside, with the reason; so does a slice that the quality check finds unfit.

    Args:
        predictor: Of CT.
        files: The slices, lowest first.
        heights_mm: Where each lies along the normal; empty where that is not known.
        on_image: Called with each answered slice, pixels included.

    Returns:
        The slices in the same order, without pixels.
    """
    # Judging has threads of its own: reading, which waits for it when much is held, must not keep it waiting.
    with worker_threads() as readers, ThreadPoolExecutor(THREADS) as judges:
        run = _Run(predictor, heights_mm, on_image, judges, list(files))
        run.read_and_answer(readers)
        if predictor.check_quality and heights_mm:
            within = lung_run(run.shows_lung, heights_mm)
            run.leave_out_beyond(within)
            run.answer(run.lonely(within))
    return run.files


def lung_extent_mm(files: Sequence[ImageFile], extent_mm: float) -> float:
    """About how much lung a stack shows along its normal, from a few slices spread over it.

    Args:
        files: The slices, lowest first; at least one.
        extent_mm: From the lowest to the highest.

    Returns:
        0 where none of these slices can be read or shows lung; slices that are no Hounsfield units count as showing it.
    """
    last = len(files) - 1
    places = sorted({round(last * probe / (_PROBES - 1)) for probe in range(_PROBES)})
    with kept_open:
        shown = sum(_read(files[place], measure=True)[1] is None for place in places)
    return extent_mm * shown / len(places)


@dataclass
class _Run:
    """One stack on its way; ``files`` and ``shows_lung`` are by place, lowest first."""

    predictor: Predictor
    heights_mm: Sequence[float]
    on_image: Callable[[ImageFile], None]
    judges: Executor
    files: list[ImageFile]
    shows_lung: list[bool] = field(default_factory=list)
    judged: set[int] = field(default_factory=set)
    last_mm: float = float("-inf")

    def read_and_answer(self, readers: Executor) -> None:
        """Read every slice, and answer those that are picked while the next ones are read."""
        measure = self.predictor.check_quality
        with closing(ahead(readers, lambda file: _read(file, measure=measure), list(self.files), _held)) as read:
            self.answer(place for place, (file, why_not) in enumerate(read) if self._is_picked(place, file, why_not))

    def _is_picked(self, place: int, file: ImageFile, why_not: str | None) -> bool:
        """Take in a slice that was read; one to be answered keeps its pixels, another loses them and says why."""
        self.files[place] = file
        self.shows_lung.append(why_not is None)
        if file.pixels is None:
            return False
        if why_not is not None:
            self._set_aside(place, Reason(ReasonCode.NO_LUNG, why_not))
            return False
        if self.heights_mm and self.heights_mm[place] - self.last_mm < STEP_MM - _ROUNDING_MM:
            self._set_aside(place, Reason(ReasonCode.NEAR_ANSWERED, f"within {STEP_MM:g} mm of an answered slice"))
            return False
        self.last_mm = self.heights_mm[place] if self.heights_mm else self.last_mm
        return True

    def answer(self, places: Iterable[int]) -> None:
        """Judge and answer these slices as they come, and let go of their pixels."""
        waiting: list[tuple[int, Future[Prepared]]] = []
        for place in places:
            waiting.append((place, self.judges.submit(self.predictor.prepare, _unset(self.files[place]))))
            if len(waiting) == _BATCH:
                self._run(waiting)
                waiting = []
        self._run(waiting)

    def _run(self, waiting: Sequence[tuple[int, Future[Prepared]]]) -> None:
        answered = self.predictor.answered([prepared.result() for _, prepared in waiting])
        for (place, _), file in zip(waiting, answered, strict=True):
            self.on_image(file)
            self.files[place] = replace(file, pixels=None, answer=None)
            if file.answer is None and file.row.reason is not None:
                # It was read, so it is sound; one slice that is not fit to be answered is no fault of a study.
                self._set_aside(place, file.row.reason)
            self.judged.add(place)

    def leave_out_beyond(self, within: range) -> None:
        """Set aside what shows lung, or something like it, outside the longest stretch."""
        for place, shows in enumerate(self.shows_lung):
            if shows and place not in within and self.files[place].row.decision != Decision.UNREADABLE:
                self._set_aside(place, Reason(ReasonCode.AWAY_FROM_LUNGS, "shows air away from the lungs"))

    def lonely(self, within: range) -> list[int]:
        """Slices of the stretch that were set aside and have no answered slice near.

        They show no air, as consolidated lung does, or their neighbour was found unfit.
        """
        taken = [self.heights_mm[place] for place in within if self.files[place].row.probability is not None]
        found = []
        for place in within:
            height = self.heights_mm[place]
            is_near = any(abs(height - other) < STEP_MM - _ROUNDING_MM for other in taken)
            if self.files[place].row.decision == Decision.SET_ASIDE and place not in self.judged and not is_near:
                found.append(place)
                taken.append(height)
        return found

    def _set_aside(self, place: int, why: Reason) -> None:
        self.files[place] = self.files[place].refused(why, Decision.SET_ASIDE)


def _unset(file: ImageFile) -> ImageFile:
    """The slice without the reason for which it was set aside first."""
    return replace(file, row=replace(file.row, reason=None))


def _held(read: tuple[ImageFile, str | None]) -> int:
    return held_pixels((read[0], None))


def _read(file: ImageFile, *, measure: bool) -> tuple[ImageFile, str | None]:
    """The slice with its pixels, and why it shows no lung, if so; refused where it cannot be read."""
    try:
        pixels = read_image(file.path)
    except ImageError as error:
        return file.failed(error), "cannot be read"
    return replace(file, pixels=pixels), _why_no_lung(pixels) if measure else None


def _why_no_lung(pixels: Pixels) -> str | None:
    if pixels.is_hu:
        return None if measure_lung(pixels.values).has_lung else "no lung in this slice"
    if is_clipped(pixels.values):
        return "no lung to be seen: the air in the body is plain black, as in a soft-tissue window; give the plain CT"
    return None
