"""Where the model looked in CT, in patient coordinates: a segmentation (PS3.3 A.51) and a parametric map (A.75).

Both hold one frame for each slice that carried the answer, and share the slices' frame of reference, so that a viewer
lays them over the whole series, reformats included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from duoscan.results.codes import (
    ACTIVATION,
    ACTIVATION_REGION,
    ARTIFICIAL_INTELLIGENCE,
    LUNG,
    NO_UNITS,
    SPATIAL_CONCEPT,
)
from duoscan.results.maker import equipment, model_version, private_scheme, result_uid
from duoscan.results.shown import LEVEL, regions
from duoscan.terms import NOTICE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from highdicom.pm import ParametricMap
    from highdicom.seg import Segmentation, SegmentDescription

    from duoscan.cases.case import ModelUsed
    from duoscan.results.shown import ShownImage, ShownPhase

SEGMENTATION_SERIES_NUMBER = 9903
MAP_SERIES_NUMBER = 9904
_PLACED = ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")


def segmentations(shown: ShownPhase) -> list[Segmentation]:
    """The region that carried the answer, one binary segmentation for each series of slices.

    It is where the activation reaches half of its maximum over the slices (``LEVEL``): a region of the model's
    evidence, no outline of disease. Slices that do not say where they lie are left out, and a series in which
    nothing argues for the finding has no segmentation.

    Raises:
        ValueError: No slice says where it lies.
    """
    from highdicom.seg import Segmentation

    made: list[Segmentation] = []
    for images in _placed_series(shown.images):
        mask = regions(images)
        if not mask.any():
            continue
        uid = _uid(images, shown.model, "segmentation")
        segmentation = Segmentation(
            source_images=_as_slices(images),
            pixel_array=mask.astype(np.uint8),
            segmentation_type="BINARY",
            segment_descriptions=[_segment(uid, shown.model)],
            series_instance_uid=_series_uid(images, shown.model, "segmentations"),
            series_number=SEGMENTATION_SERIES_NUMBER,
            sop_instance_uid=uid,
            instance_number=len(made) + 1,
            content_description=f"Activation of at least {LEVEL:g} of its maximum. {NOTICE}"[:64],
            content_label="DUOSCAN",
            **equipment(shown.model),
        )
        _finish(segmentation, images, "duoscan region of activation")
        made.append(segmentation)
    return made


def parametric_maps(shown: ShownPhase) -> list[ParametricMap]:
    """The activation itself as floating point, in logits, one map for each series of slices that say where they lie.

    Raises:
        ValueError: No slice does.
    """
    from highdicom import VOILUTTransformation
    from highdicom.pm import ParametricMap, RealWorldValueMapping

    made: list[ParametricMap] = []
    for images in _placed_series(shown.images):
        evidence = np.stack([image.evidence for image in images])
        low, high = float(evidence.min()), float(evidence.max())
        parametric = ParametricMap(
            source_images=_as_slices(images),
            pixel_array=evidence,
            series_instance_uid=_series_uid(images, shown.model, "maps"),
            series_number=MAP_SERIES_NUMBER,
            sop_instance_uid=_uid(images, shown.model, "map"),
            instance_number=len(made) + 1,
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[
                RealWorldValueMapping(
                    lut_label="ACTIVATION",
                    lut_explanation="evidence for COVID-19, in logits",
                    unit=NO_UNITS,
                    value_range=(low, high),
                    slope=1.0,
                    intercept=0.0,
                    quantity_definition=ACTIVATION,
                )
            ],
            voi_lut_transformations=[VOILUTTransformation((low + high) / 2, max(high - low, 1e-3))],
            content_description=f"Activation map of the model. {NOTICE}"[:64],
            content_label="DUOSCAN",
            **equipment(shown.model),
        )
        _finish(parametric, images, "duoscan activation map")
        made.append(parametric)
    return made


def _segment(uid: str, model: ModelUsed) -> SegmentDescription:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription

    return SegmentDescription(
        segment_number=1,
        segment_label="region of activation",
        segmented_property_category=SPATIAL_CONCEPT,
        segmented_property_type=ACTIVATION_REGION,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=model.name,
            family=ARTIFICIAL_INTELLIGENCE,
            version=model_version(model),
            source="duoscan",
            parameters={"graph SHA-256": model.graph_sha256, "share of the largest activation": f"{LEVEL:g}"},
        ),
        tracking_uid=result_uid(uid, "segment"),
        tracking_id="duoscan region of activation",
        anatomic_regions=[LUNG],
    )


def _placed_series(images: Sequence[ShownImage]) -> list[list[ShownImage]]:
    """The images that have a place in the patient, by series and size, along the slices; copies only once.

    Raises:
        ValueError: None of them has.
    """
    groups: dict[tuple[str, ...], dict[float, ShownImage]] = {}
    for image in images:
        header = image.header
        if all(header.get(keyword) for keyword in _PLACED):
            key = (header.SeriesInstanceUID, header.FrameOfReferenceUID, str(image.evidence.shape))
            groups.setdefault(key, {}).setdefault(round(_height(header), 3), image)
    if images and not groups:
        msg = "the slices do not say where they lie"
        raise ValueError(msg)
    return [[group[height] for height in sorted(group)] for group in groups.values()]


def _height(header: Dataset) -> float:
    """Position of a slice along the normal of its plane, in mm (PS3.3 C.7.6.2.1.1)."""
    cosines = np.asarray(header.ImageOrientationPatient, dtype=float).reshape(2, 3)
    return float(np.cross(cosines[0], cosines[1]) @ np.asarray(header.ImagePositionPatient, dtype=float))


def _series_uid(images: Sequence[ShownImage], model: ModelUsed, kind: str) -> str:
    return result_uid(str(images[0].header.StudyInstanceUID), kind, model.graph_sha256)


def _uid(images: Sequence[ShownImage], model: ModelUsed, kind: str) -> str:
    return result_uid(*(part for image in images for part in image.identity), kind, model.graph_sha256)


def _as_slices(images: Sequence[ShownImage]) -> list[Dataset]:
    """Headers as of single slices: highdicom takes a multi-frame image only whole, and only a few frames are shown."""
    return [image.header if image.instance.frame is None else _as_slice(image.header) for image in images]


def _as_slice(frame: Dataset) -> Dataset:
    header = Dataset()
    header.update(frame)
    header.add_new("SOPClassUID", "UI", CTImageStorage)  # setting the attribute would change the frame's element too
    return header


def _finish(made: Dataset, images: Sequence[ShownImage], description: str) -> None:
    made.SeriesDescription = description
    made.BodyPartExamined = "CHEST"
    made.CodingSchemeIdentificationSequence = [private_scheme()]
    if any(image.instance.frame is not None for image in images):
        _name_frames(made, images)


def _name_frames(made: Dataset, images: Sequence[ShownImage]) -> None:
    """Say which frame of its source each frame rests on, and name each source once (PS3.3 C.7.6.16.2.6)."""
    sop_class = images[0].header.SOPClassUID
    numbers = {_place(image.header.ImagePositionPatient): image.instance.frame for image in images}
    for frame in made.PerFrameFunctionalGroupsSequence:
        number = numbers[_place(frame.PlanePositionSequence[0].ImagePositionPatient)]
        for derivation in frame.DerivationImageSequence:
            for source in derivation.SourceImageSequence:
                source.ReferencedSOPClassUID, source.ReferencedFrameNumber = sop_class, number
    for series in made.ReferencedSeriesSequence:
        named = {str(item.ReferencedSOPInstanceUID): item for item in series.ReferencedInstanceSequence}
        series.ReferencedInstanceSequence = list(named.values())
        for item in named.values():
            item.ReferencedSOPClassUID = sop_class


def _place(position: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(float(value), 3) for value in position)
