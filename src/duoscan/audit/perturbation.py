"""Audit: do a model's answers hold when a mark is added that is no sign of disease, and fall when the lungs go?

The decoded image is changed and goes through the whole preprocessing again, as an image with that mark would. DeGrave,
Janizek and Lee (Nature Machine Intelligence 2021) found models that read such marks, Maguolo and Nanni (2021) models
that did as well without the lungs.

What is judged, and why there:

- A mark that surely flips more than :data:`MOST_FLIPS` of the decisions, or surely moves P(covid) by more than
  :data:`MOST_CHANGE` on the mean, is a warning. One in twenty is what a certificate of triage lets leave though sick
  by default, so such a mark alone could use it up; 0.05 is what calibration may be off before it is warned of.
- With the lungs erased, retained skill is judged by the same limits as where a model is trained on images without
  lungs (:mod:`duoscan.evaluation.retained`). Where the central box stands in for them, a rim of the lungs may stay.
- An interval that reaches below its limit raises no alarm, and one that reaches above it is no pass: too few images are
  evidence neither against a model nor for it. The audit passes where every upper end lies below its limit (of the
  skill, that of a failure); else it is ``not known``. Of fewer than :data:`FEWEST_PATIENTS` patients nothing is judged,
  and where nothing can be said of the lungs that is a warning.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from duoscan.audit.result import AuditResult, AuditTable, Level, not_run, worst
from duoscan.errors import ImageError
from duoscan.evaluation.changed import Moved
from duoscan.evaluation.intervals import DEFAULT_RESAMPLES, MAX_DROPPED, Estimate, bootstrap
from duoscan.evaluation.retained import FAIL_RETAINED, LEAST_SKILL, WARN_RETAINED, Retained
from duoscan.formats.image import Pixels
from duoscan.formats.reader import read_image
from duoscan.imaging.lung_view import lung_mask, seen_before
from duoscan.imaging.lungs import central_box, lungs_only, read_lung_mask, without_lungs
from duoscan.imaging.marks import LETTER_SHARE, TEXT_SHARE, Corner, black_out, paste_text
from duoscan.imaging.preprocess import window
from duoscan.inference.predictor import ImageFile, Predictor, unanswered
from duoscan.terms import POSITIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from duoscan.evaluation.sample import BoolArray, FloatArray
    from duoscan.imaging.lung_view import LungFinder
    from duoscan.imaging.marks import Grey
    from duoscan.inference.bundle import Bundle
    from duoscan.manifest.records import ImageRecord, Manifest

NAME, TITLE = "perturbation", "Answers under marks and without the lungs"
MOST_IMAGES = 150
"""Each is answered six to eight times; so many give an interval of a share of 5 % a width of about 7 %."""

FEWEST_PATIENTS = 10
"""Of fewer an interval over patients means little, and nothing is judged."""

MOST_FLIPS = 0.05
MOST_CHANGE = 0.05

WHOLE, ERASED, ONLY, MASK_ERASED, MASK_ONLY = "whole", "lungs-erased", "lungs-only", "mask-erased", "mask-only"
_MARKS: dict[str, Callable[[Grey, Corner], Grey]] = {
    "letter": lambda grey, corner: paste_text(grey, "L", corner, LETTER_SHARE),
    "text": lambda grey, corner: paste_text(grey, "PORTABLE", corner, TEXT_SHARE),
    "box": black_out,
}
_SPOKEN = {
    "letter": "letter L pasted",
    "text": "text PORTABLE pasted",
    "box": "corner blacked out",
    ERASED: "lungs erased",
    ONLY: "lungs only",
    MASK_ERASED: "lungs erased by their masks",
    MASK_ONLY: "lungs only, by their masks",
}
_CENTRAL = "the central box (all but the outer tenth of each side) stood in for the lungs"


@dataclass(frozen=True)
class ChangedAnswers:
    """What a model said of N images, as they are and changed.

    Attributes:
        records: N images that could be read.
        corners: N corners that the marks were put in.
        by_change: Change → P(covid), shape (N,); ``nan`` where a change needs a mask that the image lacks.
        unreadable: Images that could not be read.
        has_masks: Whether every image has a lung mask; else the central box stands in for the lungs.
    """

    records: tuple[ImageRecord, ...]
    corners: tuple[Corner, ...]
    by_change: Mapping[str, FloatArray]
    unreadable: int
    has_masks: bool


def drawn(records: Sequence[ImageRecord], most: int, seed: int) -> list[ImageRecord]:
    """At most so many of the records, drawn at random without replacement, in their order."""
    if len(records) <= most:
        return list(records)
    places = np.random.default_rng(seed).choice(len(records), most, replace=False)
    return [records[place] for place in sorted(places)]


def audit_perturbation(
    bundle: Bundle,
    tested: Manifest,
    *,
    most: int = MOST_IMAGES,
    seed: int = 0,
    on_image: Callable[[], None] | None = None,
) -> AuditResult:
    """Change test images, let the model answer them again, and judge how its answers move.

    Corners are taken in turn, so each mark stands in each corner of a quarter of the images. Where not every image
    has a lung mask, a central box stands in for the lungs of all: masks are mostly known for one class, and what
    shape is missing would tell the label. Images with a mask are answered without their own lungs as well.

    Args:
        bundle: The model.
        tested: Rows of its modality; those without a label are left out.
        most: How many images are drawn.
        seed: Of the draw and of the intervals.
        on_image: Called after each drawn image.
    """
    labelled = [record for record in tested if record.label is not None]
    predictor = Predictor(bundle, check_quality=False)
    answered = _answer(predictor, tested.replace(drawn(labelled, most, seed)), on_image or (lambda: None))
    if len({record.unit for record in answered.records}) < FEWEST_PATIENTS:
        return not_run(NAME, TITLE, f"fewer than {FEWEST_PATIENTS} patients have labelled test images that can be read")
    measured, corners, judged = judge_answers(answered, predictor.threshold, seed)
    alarms = [text for level, text in judged if level is not Level.PASS]
    level = worst(level for level, _ in judged)
    facts = {
        "images": len(answered.records),
        "patients": len({record.unit for record in answered.records}),
        "of": len(labelled),
        "unreadable": answered.unreadable,
        "threshold": predictor.threshold,
        "lungs": "masks" if answered.has_masks else "central box",
        "changes": {name: _json(own) for name, own in measured.items()},
        "flips_by_corner": {name: _json(own) for name, own in corners.items()},
    }
    reasons = (*(alarms or [_fine(measured)]), *_notes(answered, len(labelled)))
    return AuditResult(NAME, TITLE, level, reasons, facts, _tables(answered, measured, corners))


Moves = dict[str, dict[str, Estimate]]


def judge_answers(
    answered: ChangedAnswers, threshold: float, seed: int
) -> tuple[Moves, Moves, list[tuple[Level, str]]]:
    """How answers move by change, and by corner of each mark, and what is to be said of it.

    Args:
        answered: What the model said.
        threshold: From which P(covid) it calls an image positive.
        seed: Of the intervals.
    """
    measured = {name: _measure(answered, name, threshold, seed) for name in answered.by_change if name != WHOLE}
    corners = {name: _by_corner(answered, name, threshold, seed) for name in _MARKS}
    judged = [*_of_marks(measured, corners), *_of_lungs(measured, has_masks=answered.has_masks), *_unknown(measured)]
    return measured, corners, judged


def _answer(predictor: Predictor, manifest: Manifest, on_image: Callable[[], None]) -> ChangedAnswers:
    has_masks = predictor.finder is not None or all(record.lung_mask for record in manifest)
    asked: list[tuple[int, str]] = []
    corners = [list(Corner)[place % len(Corner)] for place in range(len(manifest))]

    def files() -> Iterator[ImageFile]:
        for place, record in enumerate(manifest):
            try:
                grey = window(read_image(manifest.file(record)), predictor.bundle.info.contract)
                looked = None if predictor.finder is None else seen_before(grey, predictor.finder)
                mask = _mask(manifest.root, record, grey, looked)
                changed = dict(_changed(grey, corners[place], mask, by_mask=has_masks))
            except ImageError:
                changed = {}
            for name, values in changed.items():
                asked.append((place, name))
                # A mark is there before the lungs are looked for; lungs that are taken away lie where they lay.
                finder = None if name in _MARKS else looked
                # Grey as the window shows it: the window is the first step, and leaves such grey as it is.
                yield ImageFile(manifest.file(record), unanswered(record), Pixels(values), finder=finder)
            on_image()

    said: dict[int, dict[str, float]] = defaultdict(dict)
    for number, file in enumerate(predictor.predict(files())):
        if file.answer is not None:
            place, name = asked[number]
            said[place][name] = file.answer.probability
    places = sorted(said)
    names = dict.fromkeys(name for own in said.values() for name in own)
    return ChangedAnswers(
        tuple(manifest.records[place] for place in places),
        tuple(corners[place] for place in places),
        {name: np.array([said[place].get(name, np.nan) for place in places]) for name in names},
        len(manifest) - len(places),
        has_masks,
    )


def _mask(root: Path, record: ImageRecord, grey: Grey, finder: LungFinder | None) -> BoolArray | None:
    """The lungs of an image by its mask, else where a model that is shown them alone looks for them."""
    if record.lung_mask:
        return read_lung_mask(root / record.lung_mask, grey.shape)
    return None if finder is None else lung_mask(grey, finder)


def _changed(grey: Grey, corner: Corner, mask: BoolArray | None, *, by_mask: bool) -> Iterator[tuple[str, Grey]]:
    """The image as it is, then each change."""
    yield WHOLE, grey
    for name, mark in _MARKS.items():
        yield name, mark(grey, corner)
    has_lung = mask is not None and mask.any()  # a slice above or below the lungs has nothing to erase
    if not by_mask:
        box = central_box(grey.shape)
        yield ERASED, without_lungs(grey, box)
        yield ONLY, lungs_only(grey, box)
    if mask is not None and has_lung:
        yield ERASED if by_mask else MASK_ERASED, without_lungs(grey, mask)
        yield ONLY if by_mask else MASK_ONLY, lungs_only(grey, mask)


def _measure(answered: ChangedAnswers, name: str, threshold: float, seed: int) -> dict[str, Estimate]:
    """How answers move by one change; where it is one of the lungs, also what skill is left."""
    after = answered.by_change[name]
    known = ~np.isnan(after)
    records = [record for record, is_known in zip(answered.records, known, strict=True) if is_known]
    units = [record.unit for record in records]
    before, after = answered.by_change[WHOLE][known], after[known]
    found = bootstrap(Moved(before, after, threshold), units, seed=seed)
    if name not in _MARKS:
        reference = np.array([record.label is POSITIVE for record in records])
        found |= bootstrap(Retained(reference, after, before), units, seed=seed)
        found["whole"] = bootstrap(Retained(reference, before, before), units, seed=seed)["auroc"]
    return found


def _by_corner(answered: ChangedAnswers, name: str, threshold: float, seed: int) -> dict[str, Estimate]:
    """Share of decisions that one mark flips, by the corner it was put in."""
    found = {}
    for corner in Corner:
        own = np.array([one is corner for one in answered.corners])
        if own.any():
            units = [record.unit for record, is_own in zip(answered.records, own, strict=True) if is_own]
            moved = Moved(answered.by_change[WHOLE][own], answered.by_change[name][own], threshold)
            found[corner.value] = bootstrap(moved, units, seed=seed)["flips"]
    return found


def _of_marks(
    measured: Mapping[str, Mapping[str, Estimate]], corners: Mapping[str, Mapping[str, Estimate]]
) -> Iterator[tuple[Level, str]]:
    for name in _MARKS:
        flips, change = measured[name]["flips"], measured[name]["change"]
        bad = [place for place, share in corners[name].items() if share.low is not None and share.low > MOST_FLIPS]
        if bad or (flips.low is not None and flips.low > MOST_FLIPS):
            where = f", most of all {' and '.join(f'{place} {corners[name][place].spoken()}' for place in bad)}"
            yield (
                Level.WARN,
                f"{_SPOKEN[name]}: {flips.spoken()} of the decisions flip{where if bad else ''}; "
                "the model reads such marks, so train on images without them or with all of them",
            )
        if change.low is not None and change.high is not None and max(change.low, -change.high) > MOST_CHANGE:
            yield (
                Level.WARN,
                f"{_SPOKEN[name]}: P(covid) moves by {change.spoken()} on the mean, though it is no sign of disease",
            )


def _of_lungs(measured: Mapping[str, Mapping[str, Estimate]], *, has_masks: bool) -> Iterator[tuple[Level, str]]:
    if why := _why_unjudged(measured.get(ERASED)):
        yield Level.WARN, f"{_SPOKEN[ERASED]}: {why}"
    for name in (ERASED, MASK_ERASED):
        by_mask = has_masks or name == MASK_ERASED
        enough = f"{'what lies around them' if by_mask else 'the frame around the central box'} is enough for the model"
        if name not in measured or not measured[name]["whole"].value >= LEAST_SKILL:
            continue
        low = _surely(measured[name]["retained"])
        text = f"{_SPOKEN[name]}: {_skill(measured[name])}"
        if low > FAIL_RETAINED:
            yield Level.FAIL, f"{text}; {enough}, so its figure is no evidence of disease"
        elif low > WARN_RETAINED:
            yield Level.WARN, f"{text}; part of the figure may come from something else than disease"


def _unknown(measured: Mapping[str, Mapping[str, Estimate]]) -> Iterator[tuple[Level, str]]:
    """What may be wrong for all that these patients show, where it raised no alarm."""
    for name in _MARKS:
        flips, change = measured[name]["flips"], measured[name]["change"]
        if not _surely_below(flips, MOST_FLIPS) and not (flips.low is not None and flips.low > MOST_FLIPS):
            text = f"{_SPOKEN[name]}: {flips.spoken()} of the decisions flip, which may be more than {MOST_FLIPS:g}"
            yield Level.NOT_KNOWN, f"not known: {text}; change more images"
        elif not _surely_below(change, MOST_CHANGE):
            text = f"{_SPOKEN[name]}: P(covid) moves by {change.spoken()}, which may be more than {MOST_CHANGE:g}"
            yield Level.NOT_KNOWN, f"not known: {text}; change more images"
    erased = measured.get(ERASED)
    if erased is not None and not _why_unjudged(erased):
        low, high = _surely(erased["retained"]), erased["retained"].high
        if low <= WARN_RETAINED and (high is None or high >= FAIL_RETAINED):
            text = f"{_SPOKEN[ERASED]}: {_skill(erased)}, which may be {FAIL_RETAINED:g} or more"
            yield Level.NOT_KNOWN, f"not known: {text}; change more images"


def _surely_below(estimate: Estimate, limit: float) -> bool:
    """Whether the whole interval lies within ±``limit``."""
    low, high = (estimate.value if end is None else end for end in (estimate.low, estimate.high))
    return max(high, -low) < limit


def _why_unjudged(erased: Mapping[str, Estimate] | None) -> str:
    """Why nothing is known of what is left without the lungs; empty where something is."""
    if erased is None:
        return "no image shows a lung, so nothing was erased"
    if not erased["whole"].value >= LEAST_SKILL:
        return f"AUROC of the images as they are is {erased['whole'].spoken()}, so there is no skill to lose"
    return "too few patients to say what skill is left" if np.isnan(_surely(erased["retained"])) else ""


def _surely(retained: Estimate) -> float:
    """The least skill that is left; the value itself where every resample gives it, ``nan`` where nothing is known."""
    if retained.low is not None:
        return retained.low
    is_known = retained.units > 1 and retained.dropped <= MAX_DROPPED * DEFAULT_RESAMPLES
    return retained.value if is_known else float("nan")


def _skill(own: Mapping[str, Estimate]) -> str:
    return f"{own['retained'].spoken()} of the skill is left (AUROC {own['auroc'].spoken()})"


def _fine(measured: Mapping[str, Mapping[str, Estimate]]) -> str:
    flips = "; ".join(f"{_SPOKEN[name]} {measured[name]['flips'].spoken()}" for name in _MARKS)
    erased = f"; {_SPOKEN[ERASED]}: {_skill(measured[ERASED])}" if ERASED in measured else ""
    return f"decisions that a mark flips: {flips}{erased}"


def _notes(answered: ChangedAnswers, labelled: int) -> Iterator[str]:
    """What bounds the reach of the answer."""
    if not answered.has_masks:
        yield f"not every image has a lung mask, so {_CENTRAL}"
    read = len(answered.records)
    if read < labelled:
        yield f"{read} of {labelled} labelled test images were changed, drawn at random"
    if answered.unreadable:
        yield f"{answered.unreadable} drawn images cannot be read and were left out"


def _tables(
    answered: ChangedAnswers,
    measured: Mapping[str, Mapping[str, Estimate]],
    corners: Mapping[str, Mapping[str, Estimate]],
) -> tuple[AuditTable, ...]:
    rows = tuple(
        (_SPOKEN[name], str(own["flips"].n), *(own[key].spoken() for key in ("change", "spread", "flips")))
        for name, own in measured.items()
    )
    skill = tuple(
        (_SPOKEN[name], str(own["flips"].n), *(own[key].spoken() for key in ("whole", "auroc", "retained")))
        for name, own in measured.items()
        if "retained" in own
    )
    places = tuple((_SPOKEN[name], *(own[place].spoken() for place in own)) for name, own in corners.items())
    heads = ("change", *next(iter(corners.values())))
    lungs = "lung masks" if answered.has_masks else "a central box in place of the lungs"
    return (
        AuditTable(
            "How answers move", ("change", "images", "mean change of P(covid)", "its spread (SD)", "flips"), rows
        ),
        AuditTable(
            f"Skill without and with the lungs alone, by {lungs}",
            ("change", "images", "AUROC as they are", "AUROC changed", "retained skill"),
            skill,
        ),
        AuditTable("Flips by the corner of the mark", heads, places),
    )


def _json(own: Mapping[str, Estimate]) -> dict[str, object]:
    return {key: estimate.to_json() for key, estimate in own.items()}
