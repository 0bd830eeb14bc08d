"""Where the model looked, as secondary captures that lie over their source images (PS3.3 A.8.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset

from duoscan.imaging.heatmap import overlay, peak_strength
from duoscan.imaging.heatmap_legend import evidence_in_words
from duoscan.results.maker import MANUFACTURER, result_uid
from duoscan.terms import NOTICE

if TYPE_CHECKING:
    from highdicom.sc import SCImage

    from duoscan.results.shown import ShownImage

SERIES_NUMBER = 9902

# Patient orientation of an axial slice as stored, and of a frontal radiograph where the file does not say.
_ORIENTATION = {"CT": ("L", "P")}
_FRONTAL = ("L", "F")


def heatmap_capture(image: ShownImage, *, threshold: float, digest: str, number: int) -> SCImage:
    """The overlay of one image as an RGB secondary capture of the same rows, columns and pixel spacing.

    One colour means one P(covid) in all captures of a threshold. As the capture lies over its source it has no room
    for a colour bar; the numbers stand in its DerivationDescription.

    Args:
        image: The source and its activation.
        threshold: Operating point of the phase.
        digest: Of the model.
        number: InstanceNumber in the series of captures.
    """
    from highdicom.sc import SCImage

    source = image.header
    probability = image.instance.row.probability or 0.0
    peak = peak_strength(probability, threshold)
    picture = np.asarray(overlay(image.pixels, image.activation, image.contract, peak))
    spacing = [float(value) for value in source.get("PixelSpacing") or source.get("ImagerPixelSpacing") or ()]
    orientation = source.get("PatientOrientation") or _ORIENTATION.get(str(source.get("Modality")), _FRONTAL)
    made = SCImage.from_ref_dataset(
        ref_dataset=source,
        pixel_array=picture,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        series_instance_uid=result_uid(str(source.StudyInstanceUID), "captures", digest),
        series_number=SERIES_NUMBER,
        sop_instance_uid=result_uid(*image.identity, "capture", digest),
        instance_number=number,
        manufacturer=MANUFACTURER,
        pixel_spacing=(spacing[0], spacing[1]) if len(spacing) == 2 and min(spacing) > 0 else None,
        patient_orientation=tuple(orientation),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    )
    made.SeriesDescription = "duoscan heatmaps"
    made.DerivationDescription = (
        f"Activation map of the model laid over the source image, P(covid) {probability:.3f} at threshold "
        f"{threshold:.3f}: {evidence_in_words(probability, threshold)}. {NOTICE}"
    )
    made.SourceImageSequence = [_reference(image)]
    made.BurnedInAnnotation = "NO"
    made.BodyPartExamined = "CHEST"  # a part that is not one of a pair needs no laterality (PS3.3 C.7.3.1)
    return made


def _reference(image: ShownImage) -> Dataset:
    """PS3.3 table 10-3: the instance, and the frame of several, that an image was derived from."""
    item = Dataset()
    item.ReferencedSOPClassUID = image.header.SOPClassUID
    item.ReferencedSOPInstanceUID = image.header.SOPInstanceUID
    if image.instance.frame is not None:
        item.ReferencedFrameNumber = image.instance.frame
    return item
