"""Audit: does the evidence a model sees for covid lie on the lungs?

The bundle's graph returns an activation map whose mean is the logit (Zhou et al., CVPR 2016), so its positive part says
where evidence for covid was found. Its share inside the lungs is compared with the share of the picture that the lungs
take up, which is what a map gives that is spread evenly and so knows nothing of the place.

``warn`` where the interval of the difference holds 0: the map may as well be spread evenly. ``fail`` where all of it
lies below 0: the model looks away from the lungs. The gate takes either as a warning, since a map of few places says
where evidence is, not what it is, and a model may need the heart or the diaphragm to find the lungs.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from duoscan.audit.perturbation import FEWEST_PATIENTS, MOST_IMAGES, drawn
from duoscan.audit.result import AuditResult, AuditTable, Level, not_run, worst
from duoscan.errors import ImageError
from duoscan.evaluation.intervals import Estimate, bootstrap
from duoscan.evaluation.metrics import ratio
from duoscan.imaging.heatmap import SeenMap, relative
from duoscan.imaging.heatmap import on_image as in_frame
from duoscan.imaging.lung_view import lung_mask
from duoscan.imaging.lungs import boxed, read_lung_mask
from duoscan.imaging.preprocess import source_box, window
from duoscan.inference.predictor import ImageFile, Predictor, unanswered
from duoscan.terms import Decision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from duoscan.evaluation.sample import BoolArray, FloatArray
    from duoscan.formats.image import Pixels
    from duoscan.imaging.contract import PreprocessingContract
    from duoscan.inference.bundle import Bundle
    from duoscan.manifest.records import ImageRecord, Manifest

NAME, TITLE = "attention", "Attention on the lungs"
MASKS, BOXES, FOUND = "masks", "boxes", "masks as the model finds them"
_ALL, _POSITIVE = "all images", "answered positive"


@dataclass(frozen=True)
class Overlap:
    """Where the activation of one image lies.

    Attributes:
        unit: Patient.
        inside: Share of the positive activation that lies in the lungs.
        area: Share of what the model sees that the lungs take up.
        has_peak: Whether the strongest place lies in the lungs.
        is_positive: Whether the image is called positive.
    """

    unit: str
    inside: float
    area: float
    has_peak: bool
    is_positive: bool


class _Shares:
    """Means over images of the share inside, of the area, and of their difference, and the ratio of the two means."""

    def __init__(self, overlaps: Sequence[Overlap]) -> None:
        self._inside, self._area = (np.array([getattr(one, key) for one in overlaps]) for key in ("inside", "area"))
        self._peak = np.array([one.has_peak for one in overlaps])

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        total = weights.sum(axis=1)
        inside, area, peak = (weights @ values / total for values in (self._inside, self._area, self._peak))
        return {"inside": inside, "area": area, "excess": inside - area, "ratio": ratio(inside, area), "peak": peak}

    def denominators(self) -> dict[str, BoolArray]:
        return {"peak": np.ones_like(self._peak)}


def audit_attention(
    bundle: Bundle,
    tested: Manifest,
    *,
    most: int = MOST_IMAGES,
    seed: int = 0,
    on_image: Callable[[], None] | None = None,
) -> AuditResult:
    """Measure how much of the activation map lies on the lungs, by masks and by boxes.

    Args:
        bundle: The model.
        tested: Rows of its modality; those without a lung mask and without lung boxes are left out, unless the model
            looks for the lungs itself.
        most: How many images are drawn.
        seed: Of the draw and of the intervals.
        on_image: Called after each drawn image.
    """
    known = list(tested) if bundle.finder else with_lungs(tested)
    if not known:
        return not_run(NAME, TITLE, "the manifest names neither lung masks nor lung boxes of test images")
    overlaps, left_out = _measure(bundle, tested.replace(drawn(known, most, seed)), on_image or (lambda: None))
    measured = {
        kind: {
            name: bootstrap(_Shares(part), [one.unit for one in part], seed=seed)
            for name, part in ((_ALL, own), (_POSITIVE, [one for one in own if one.is_positive]))
            if part
        }
        for kind, own in overlaps.items()
    }
    judged = [_judge(kind, own[_ALL]) for kind, own in measured.items() if own[_ALL]["inside"].units >= FEWEST_PATIENTS]
    if not judged:
        why = f"fewer than {FEWEST_PATIENTS} patients have test images with known lungs and evidence for covid"
        return not_run(NAME, TITLE, why)
    level = worst(level for level, _ in judged)
    reasons = [text for _, text in judged]
    if left_out:
        reasons.append(f"{left_out} images cannot be read or show no evidence for covid, and were left out")
    facts = {
        "of": len(known),
        "left_out": left_out,
        "lungs": {
            kind: {name: {key: one.to_json() for key, one in part.items()} for name, part in own.items()}
            for kind, own in measured.items()
        },
    }
    return AuditResult(NAME, TITLE, level, tuple(reasons), facts, (_table(measured),))


def with_lungs(manifest: Manifest) -> list[ImageRecord]:
    """The records whose lungs are known."""
    return [record for record in manifest if record.lung_mask or record.boxes]


def _measure(
    bundle: Bundle, manifest: Manifest, on_image: Callable[[], None]
) -> tuple[Mapping[str, list[Overlap]], int]:
    predictor = Predictor(bundle, check_quality=False)
    files = [ImageFile(manifest.file(record), unanswered(record)) for record in manifest]
    found: dict[str, list[Overlap]] = defaultdict(list)
    left_out = 0
    for record, file in zip(manifest, predictor.predict(files, keep_pixels=True), strict=True):
        on_image()
        own: dict[str, Overlap] = {}
        if file.answer is not None and file.pixels is not None:
            activation = relative(file.answer.activation)
            try:
                lungs = dict(_lungs(manifest, record, file.pixels))
                if predictor.finder is not None:
                    lungs[FOUND] = lung_mask(window(file.pixels, bundle.info.contract), predictor.finder)
            except ImageError:
                lungs = {}
            for kind, lung in lungs.items():
                overlap = _overlap(SeenMap(activation, file.seen), lung, file.pixels, bundle.info.contract)
                if overlap is not None:
                    is_positive = file.row.decision == Decision.POSITIVE
                    own[kind] = Overlap(record.unit, *overlap, is_positive)
        left_out += not own
        for kind, one in own.items():
            found[kind].append(one)
    return found, left_out


def _lungs(manifest: Manifest, record: ImageRecord, pixels: Pixels) -> Iterator[tuple[str, BoolArray]]:
    height, width = pixels.values.shape
    if record.lung_mask:
        yield MASKS, read_lung_mask(manifest.root / record.lung_mask, (height, width))
    if record.boxes:
        yield BOXES, boxed(record.boxes, (height, width))


def _overlap(
    activation: SeenMap, lung: BoolArray, pixels: Pixels, contract: PreprocessingContract
) -> tuple[float, float, bool] | None:
    """Share inside, share of area, and whether the peak is inside; ``None`` without evidence or without lung."""
    seen = activation.seen or source_box(pixels, contract)
    part = slice(seen.top, seen.bottom), slice(seen.left, seen.right)
    strength, lung = in_frame(activation, pixels, contract)[part], lung[part]
    total = float(strength.sum(dtype=np.float64))
    if not total > 0 or not lung.any():
        return None
    inside = float(strength[lung].sum(dtype=np.float64)) / total
    return inside, float(lung.mean()), bool(lung.flat[int(strength.argmax())])


def _judge(kind: str, measured: Mapping[str, Estimate]) -> tuple[Level, str]:
    excess = measured["excess"]
    text = (
        f"{measured['inside'].spoken()} of the activation lies in the lungs' {kind}, which take up "
        f"{measured['area'].spoken()} of the picture"
    )
    if excess.low is not None and excess.low > 0:
        return Level.PASS, text
    if excess.high is not None and excess.high < 0:
        return Level.FAIL, f"{text}: the model looks away from the lungs"
    return Level.WARN, f"{text}: no more than a map that is spread evenly may have"


def _table(measured: Mapping[str, Mapping[str, Mapping[str, Estimate]]]) -> AuditTable:
    rows = tuple(
        (
            kind,
            name,
            str(part["inside"].n),
            str(part["inside"].units),
            *(part[key].spoken() for key in ("inside", "area", "ratio", "peak")),
        )
        for kind, own in measured.items()
        for name, part in own.items()
    )
    columns = (
        "lungs by",
        "of",
        "images",
        "patients (or blocks)",
        "inside",
        "area of the lungs",
        "ratio",
        "peak inside",
    )
    return AuditTable("Share of the activation map in the lungs", columns, rows)
