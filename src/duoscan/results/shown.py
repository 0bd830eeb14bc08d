"""The images that carried an answer, each with the part of it that the model's activation speaks for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from duoscan.formats.reader import read_image
from duoscan.imaging.heatmap import SeenMap, on_image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from pydicom import Dataset

    from duoscan.cases.case import ModelUsed, Screening
    from duoscan.formats.image import Pixels
    from duoscan.imaging.contract import PreprocessingContract
    from duoscan.results.sources import Instance, StudyPhase, StudyResult

LEVEL = 0.5
"""Share of the largest activation from which on a place belongs to the region that is outlined."""


@dataclass(frozen=True)
class ShownImage:
    """One image that carried the answer.

    Attributes:
        instance: Which.
        pixels: The image as it was decoded for the model.
        activation: Activation map of the model.
        contract: The preprocessing it was made with.
    """

    instance: Instance
    pixels: Pixels
    activation: SeenMap
    contract: PreprocessingContract

    @property
    def header(self) -> Dataset:
        """The image's data set without pixels."""
        return self.instance.header

    @property
    def identity(self) -> tuple[str, ...]:
        """What tells the image from all others: SOPInstanceUID, and the number of the frame of several."""
        frame = self.instance.frame
        return (str(self.header.SOPInstanceUID), *(() if frame is None else (f"frame {frame}",)))

    @cached_property
    def evidence(self) -> NDArray[np.float32]:
        """The activation in the frame of the image, shape (H, W), in logits; 0 where the model saw nothing."""
        return on_image(
            SeenMap(np.nan_to_num(self.activation.values), self.activation.seen), self.pixels, self.contract
        )


@dataclass(frozen=True)
class ShownPhase:
    """One phase of a study with the images that carried its answer.

    Attributes:
        phase: Which.
        model: That answered.
        threshold: Its operating point.
        images: The most suspicious first.
    """

    phase: StudyPhase
    model: ModelUsed
    threshold: float
    images: tuple[ShownImage, ...]


def shown_phases(study: StudyResult, screening: Screening, maps: Mapping[str, SeenMap]) -> list[ShownPhase]:
    """Decode the images that carried the answer of a study once, for everything that is drawn of them.

    Args:
        study: What was answered.
        screening: With the models that answered it.
        maps: Activation map by the name of its image; an image without one is not shown.
    """
    shown = []
    for phase in study.phases:
        model = screening.model(phase.modality)
        images = tuple(
            ShownImage(one, read_image(one.path), maps[one.row.path], model.contract)
            for one in phase.carrying
            if one.row.path in maps
        )
        shown.append(ShownPhase(phase, model, screening.threshold(phase.modality), images))
    return shown


def regions(images: Sequence[ShownImage]) -> NDArray[np.bool_]:
    """Where the activation reaches ``LEVEL`` of the largest among all the images.

    Args:
        images: Of one size.

    Returns:
        shape (N, H, W); empty regions where nothing argues for the finding.
    """
    evidence = np.stack([image.evidence for image in images])
    peak = float(evidence.max())
    return evidence >= LEVEL * peak if peak > 0 else np.zeros(evidence.shape, bool)
