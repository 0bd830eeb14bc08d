"""Where the model looked in a radiograph: outlines and a line of text over the untouched image (PS3.3 A.33.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from duoscan.results.maker import equipment, private_scheme, result_uid
from duoscan.results.shown import LEVEL, regions
from duoscan.terms import NOTICE

if TYPE_CHECKING:
    from highdicom.pr import GrayscaleSoftcopyPresentationState
    from numpy.typing import NDArray

    from duoscan.results.shown import ShownImage, ShownPhase

SERIES_NUMBER = 9905
_LEAST_POINTS = 3
_LABEL_WIDTH, _LABEL_HEIGHT = 0.6, 0.08  # of the image's


def presentation_states(shown: ShownPhase) -> list[GrayscaleSoftcopyPresentationState]:
    """One presentation state for each image: outlines of the region of activation, and the answer in one line.

    The grey values are shown as the image itself asks for. Frames of a multi-frame image have none.
    """
    images = [image for image in shown.images if image.instance.frame is None]
    return [_presentation(image, shown, number) for number, image in enumerate(images, start=1)]


def _presentation(image: ShownImage, shown: ShownPhase, number: int) -> GrayscaleSoftcopyPresentationState:
    from highdicom import PresentationLUTTransformation
    from highdicom.pr import GraphicAnnotation, GraphicLayer, GraphicObject, GrayscaleSoftcopyPresentationState

    layer = GraphicLayer("DUOSCAN", order=1, description="region of activation and answer of duoscan")
    outlined = [GraphicObject("POLYLINE", outline, units="PIXEL") for outline in outlines(regions([image])[0])]
    annotation = GraphicAnnotation([image.header], layer, graphic_objects=outlined, text_objects=[_label(image, shown)])
    digest, source = shown.model.graph_sha256, image.header
    # A presentation state replaces what the photometric interpretation asks for (PS3.3 C.11.6.1.2).
    shape = "INVERSE" if source.PhotometricInterpretation == "MONOCHROME1" else "IDENTITY"
    made = GrayscaleSoftcopyPresentationState(
        referenced_images=[source],
        series_instance_uid=result_uid(str(source.StudyInstanceUID), "presentations", digest),
        series_number=SERIES_NUMBER,
        sop_instance_uid=result_uid(str(source.SOPInstanceUID), "presentation", digest, repr(shown.threshold)),
        instance_number=number,
        content_label="DUOSCAN",
        content_description="Region of activation",
        graphic_annotations=[annotation],
        graphic_layers=[layer],
        presentation_lut_transformation=PresentationLUTTransformation(presentation_lut_shape=shape),
        **equipment(shown.model),
    )
    made.SeriesDescription = "duoscan outlines"
    made.BodyPartExamined = "CHEST"
    made.CodingSchemeIdentificationSequence = [private_scheme()]
    return made


def outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Closed outlines of a region.

    Args:
        mask: shape (H, W).

    Returns:
        One array for each part, shape (N, 2) as (column, row), the first point again at the end; 0, 0 is the outer
        corner of the first pixel (PS3.3 C.10.5.1.2), so that a pixel's centre lies at a half.
    """
    import cv2

    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    closed = [np.concatenate([points[:, 0], points[:1, 0]]) + 0.5 for points in found if len(points) >= _LEAST_POINTS]
    return [points.astype(np.float64) for points in closed]


def _label(image: ShownImage, shown: ShownPhase) -> object:
    from highdicom.pr import TextObject

    probability, state = shown.phase.result.probability, shown.phase.result.state
    stated = "no probability" if probability is None else f"P(COVID-19) {probability:.3f}"
    text = (
        f"duoscan {shown.phase.modality.spoken}: {state}, {stated}, threshold {shown.threshold:.3f}.\r\n"
        f"Outlined: activation of at least {LEVEL:g} of its maximum.\r\n{NOTICE}"
    )
    rows, columns = image.evidence.shape
    box = (1.0, 1.0, max(2.0, columns * _LABEL_WIDTH), max(2.0, rows * _LABEL_HEIGHT))
    return TextObject(text, units="PIXEL", bounding_box=box, text_justification="LEFT")
