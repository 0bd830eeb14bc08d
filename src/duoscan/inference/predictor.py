"""Files → predictions with one bundle: read, preprocess by the bundle's contract, run, decide."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from duoscan.errors import ImageError, InputError, SetAsideImageError, UnsupportedImageError
from duoscan.formats.reader import read_image
from duoscan.imaging.preprocess import normalise, prepare_image
from duoscan.imaging.quality.check import why_refused
from duoscan.inference.bundle import Bundle, read_bundle
from duoscan.inference.calibrator import softmax
from duoscan.inference.lung_network import finder_of
from duoscan.inference.pipeline import MAX_HELD_PIXELS, ahead, worker_threads
from duoscan.inference.runtimes.registry import open_runtime
from duoscan.predictions import Prediction
from duoscan.reasons import Reason, ReasonCode
from duoscan.terms import POSITIVE, Decision, Finding, Modality

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from duoscan.formats.image import Pixels
    from duoscan.imaging.lung_view import LungFinder
    from duoscan.imaging.preprocess import Box
    from duoscan.inference.heads import Readings
    from duoscan.inference.runtimes.runtime import Runtime
    from duoscan.manifest.records import ImageRecord, Manifest

BATCH_SIZE = 16


@dataclass(frozen=True)
class ImageAnswer:
    """What the model says of one image.

    Attributes:
        probabilities: One value per class, summing to 1.
        activation: float32 (h, w), the evidence for ``covid`` at each place: its mean plus a constant is the
            logit (Zhou et al., CVPR 2016), so positive values argue for the class.
        calibrated: P(covid) after the bundle's calibrator; ``None`` where it holds none.
        attention: The image's score among those of its study; ``None`` where the graph gives none.
        heads: What the bundle's further heads say (:mod:`duoscan.inference.heads`).
    """

    probabilities: dict[Finding, float]
    activation: NDArray[np.float32]
    calibrated: float | None = None
    attention: float | None = None
    heads: Readings = field(default_factory=dict)

    @property
    def probability(self) -> float:
        """P(covid)."""
        return self.probabilities[POSITIVE]


@dataclass(frozen=True)
class ImageFile:
    """One image on its way through the predictor: what is known before, and the answer after.

    Attributes:
        path: The file.
        row: What is known of it.
        pixels: The decoded image, where it is there.
        answer: What the model says.
        seen: The part of the image that the model was shown, in pixels of the image.
        finder: Asked in place of the bundle's where the lungs lie; in a changed picture they lie where they lay before.
    """

    path: Path
    row: Prediction
    pixels: Pixels | None = None
    answer: ImageAnswer | None = None
    seen: Box | None = None
    finder: LungFinder | None = None

    def refused(self, reason: Reason, decision: Decision = Decision.UNREADABLE) -> ImageFile:
        """The same without an answer, and why."""
        return replace(self, row=refused(self.row, reason, decision), pixels=None, answer=None)

    def failed(self, error: ImageError) -> ImageFile:
        """The same, refused by an error; what is sound but never answered is set aside."""
        is_sound = isinstance(error, SetAsideImageError)
        return self.refused(error.reason, Decision.SET_ASIDE if is_sound else Decision.UNREADABLE)


Prepared = tuple[ImageFile, "NDArray[np.float32] | None"]
"""A file that was read, and the model's input, shape (C, H, W); ``None`` where the file is refused."""


class Predictor:
    """One trained phase, ready to answer.

    Args:
        bundle: The model; its contract is enforced.
        threshold: Operating point on P(covid); the bundle's default where ``None``.
        runtime: What runs the graph; the registry's default, kept for this process, where ``None``.
        check_quality: Refuse what is no whole, upright, sharp chest image of the bundle's modality.

    Raises:
        InputError: The threshold is no probability.
        BundleError: The graph holds what it must not, or cannot be loaded.

    Example:
        >>> from duoscan.inference.calibrator import softmax
        >>> softmax(np.zeros((1, 2), np.float32)).tolist()
        [[0.5, 0.5]]
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threshold: float | None = None,
        runtime: Runtime | None = None,
        check_quality: bool = True,
    ) -> None:
        self.bundle = bundle
        self.threshold = bundle.info.threshold if threshold is None else threshold
        if not 0 <= self.threshold <= 1:
            raise InputError(f"threshold {self.threshold} is no probability; give one from 0 to 1")
        self.check_quality = check_quality
        self._runtime = runtime or open_runtime(bundle)
        self.finder = finder_of(bundle)

    @property
    def modality(self) -> Modality:
        """The modality this model answers."""
        return self.bundle.info.modality

    def answer(self, batch: NDArray[np.float32]) -> list[ImageAnswer]:
        """Run preprocessed images, shape (N, C, H, W)."""
        logits, activation, attention, heads = self._runtime.run(batch)
        classes = self.bundle.info.classes
        covid = classes.index(POSITIVE)
        probabilities = softmax(logits)
        calibration = self.bundle.info.calibration
        calibrated: list[float | None] = [None] * len(batch)
        if calibration is not None:
            calibrated = list(map(float, calibration.apply(probabilities[:, covid])))
        scores = [None] * len(batch) if attention is None else list(map(float, attention))
        beside = self._beside(heads, len(batch))
        return [
            ImageAnswer(dict(zip(classes, map(float, row), strict=True)), np.asarray(maps[covid]), moved, score, told)
            for row, maps, moved, score, told in zip(probabilities, activation, calibrated, scores, beside, strict=True)
        ]

    def _beside(self, outputs: Mapping[str, NDArray[np.float32]], count: int) -> list[Readings]:
        """What the further heads say of each image."""
        told: list[Readings] = [{} for _ in range(count)]
        for head in self.bundle.info.heads:
            if head.name in outputs:  # what reads features only, while a bundle is made, gives none
                for image, readings in zip(told, head.readings(outputs[head.name]), strict=True):
                    image.update(readings)
        return told

    def predict(self, files: Iterable[ImageFile], *, keep_pixels: bool = False) -> Iterator[ImageFile]:
        """Answer files in order; one that cannot be answered comes back with its reason.

        Args:
            files: Files whose ``row`` holds what is known of them.
            keep_pixels: Keep the decoded image, e.g. for a heatmap overlay.
        """
        with (
            worker_threads() as pool,
            closing(
                ahead(pool, lambda file: self.prepare(file, keep_pixels=keep_pixels), files, held_pixels)
            ) as prepared,
        ):
            for batch in batches(prepared):
                yield from self.answered(batch)

    def answered(self, prepared: Sequence[Prepared]) -> list[ImageFile]:
        """Run what :meth:`prepare` gave, at once, and decide."""
        arrays = [array for _, array in prepared if array is not None]
        answers = iter(self.answer(np.stack(arrays)) if arrays else [])
        return [file if array is None else self._decided(file, next(answers)) for file, array in prepared]

    def _decided(self, file: ImageFile, answer: ImageAnswer) -> ImageFile:
        # It would compare as below every threshold; one image's attention does that for its whole study.
        if not all(map(math.isfinite, (answer.probability, answer.attention or 0.0))):
            why = "the model gives no number for this image; look at it by eye"
            return file.refused(Reason(ReasonCode.NO_NUMBER, why))
        row = replace(
            file.row,
            modality=self.modality,
            probability=answer.probability,
            probabilities=answer.probabilities,
            calibrated=answer.calibrated,
            attention=answer.attention,
            heads=answer.heads,
            aggregation=self.bundle.info.aggregation or "",
            decision=Decision.POSITIVE if answer.probability >= self.threshold else Decision.NEGATIVE,
        )
        return replace(file, row=row, answer=answer)

    def prepare(self, file: ImageFile, *, keep_pixels: bool = True) -> Prepared:
        """Read an image, where its pixels are not there yet, judge it, and make the model's input of it.

        Returns:
            The file, with its pixels where they are kept, and the input, shape (C, H, W); ``None`` where the file is
            refused, or was before.
        """
        if file.row.reason is not None:
            return file, None
        try:
            pixels = file.pixels or read_image(file.path)
            prepared = prepare_image(pixels, self.bundle.info.contract, file.finder or self.finder)
            array = normalise(prepared.grey, self.bundle.info.contract)
            if self.check_quality and (why := why_refused(pixels, self.modality)):
                raise UnsupportedImageError(file.path, why, ReasonCode.UNFIT)
        except ImageError as error:
            return file.failed(error), None
        row, kept = with_identity(file.row, pixels), pixels if keep_pixels else None
        return replace(file, pixels=kept, row=row, seen=prepared.seen), array


def held_pixels(prepared: Prepared) -> int:
    """How many decoded pixels wait with a prepared image."""
    file, _ = prepared
    return 0 if file.pixels is None else file.pixels.values.size


def is_full(batch: Sequence[Prepared]) -> bool:
    """Whether the model should run now: there are as many as it takes at once, or they hold much."""
    return len(batch) >= BATCH_SIZE or sum(map(held_pixels, batch)) > MAX_HELD_PIXELS


def batches(prepared: Iterable[Prepared]) -> Iterator[list[Prepared]]:
    """As many at once as the model is run on, but fewer where they are large."""
    batch: list[Prepared] = []
    for one in prepared:
        batch.append(one)
        if is_full(batch):
            yield batch
            batch = []
    if batch:
        yield batch


def with_identity(row: Prediction, pixels: Pixels) -> Prediction:
    """Fill in what a DICOM file says of itself where nothing else was known."""
    return replace(row, patient_id=row.patient_id or pixels.patient_id, study_id=row.study_id or pixels.study_id)


def refused(row: Prediction, reason: Reason, decision: Decision = Decision.UNREADABLE) -> Prediction:
    """The row of an image that has no answer."""
    return replace(
        row,
        probability=None,
        probabilities={},
        calibrated=None,
        attention=None,
        heads={},
        aggregation="",
        decision=decision,
        reason=reason,
    )


def unanswered(record: ImageRecord) -> Prediction:
    """What a manifest says of an image, before a model answers it."""
    return Prediction(
        path=record.path,
        # Where no patient is known, the block stands for one: resampling must keep it together.
        patient_id=record.patient_id or record.group,
        modality=record.modality,
        probability=None,
        decision=Decision.UNREADABLE,
        study_id=record.study_id,
        source=record.source,
        split=record.split,
        label=record.label,
    )


def predict_manifest(
    bundle: str | Path | Bundle,
    manifest: Manifest,
    *,
    threshold: float | None = None,
    runtime: Runtime | None = None,
    on_image: Callable[[], None] | None = None,
) -> list[Prediction]:
    """One prediction for each record of a manifest that has the bundle's modality.

    Args:
        bundle: The model, or its path.
        manifest: Records with their reference labels, which are carried over.
        threshold: Operating point; the bundle's default where ``None``.
        runtime: What runs the graph; the registry's default, kept for this process, where ``None``.
        on_image: Called after each image, e.g. to move a progress bar.
    """
    # An evaluation answers every row: leaving out the hard images would flatter the model.
    opened = bundle if isinstance(bundle, Bundle) else read_bundle(bundle)
    predictor = Predictor(opened, threshold=threshold, runtime=runtime, check_quality=False)
    files = [ImageFile(manifest.file(one), unanswered(one)) for one in manifest.where(modality=predictor.modality)]
    rows = []
    for file in predictor.predict(files):
        rows.append(file.row)
        if on_image is not None:
            on_image()
    return rows
