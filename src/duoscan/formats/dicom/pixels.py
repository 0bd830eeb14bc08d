"""DICOM files → pixels with their meaning: Hounsfield units of a slice, or the greys of a radiograph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import UnreadableImageError, UnsupportedImageError
from duoscan.formats.dicom.cells import negative_cells, values_of_cells
from duoscan.formats.dicom.colour import GREY, grey_of_colour
from duoscan.formats.dicom.decoding import decode_cells
from duoscan.formats.dicom.fitness import check_fitness
from duoscan.formats.dicom.frames import check_frames_held, single_frame
from duoscan.formats.dicom.header import dicom_errors, header_of, open_dicom, text_of
from duoscan.formats.frame_names import split_frame
from duoscan.formats.hounsfield import clip_to_air, is_beyond_scale, why_not_hu
from duoscan.formats.image import Pixels
from duoscan.formats.limits import check_contrast, stretch
from duoscan.formats.open_files import kept_open
from duoscan.terms import Modality

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom import Dataset

# PS3.3 C.11.1.1.2: US is "unspecified". Some scanners write "Houndsfield Unit" out, in that spelling.
_MAYBE_HU = ("HU", "HOUN", "US")
_RESCALE = ("RescaleSlope", "RescaleIntercept")


def read_dicom(path: Path) -> Pixels:
    """Read a chest radiograph or an axial CT slice; of a file with several frames one, named as ``file.dcm#12``.

    CT becomes Hounsfield units by the modality LUT (PS3.3 C.11.1), no window applied. Padding
    (PS3.3 C.7.5.1.1.2) and anything darker than −1024 HU is set to −1024 HU. Values that cannot be HU of a body
    (:mod:`duoscan.formats.hounsfield`) are refused, since no window fits them. Only an 8-bit CT without a rescale is
    an image that somebody windowed before: it becomes grey from its smallest to its largest value.

    A radiograph becomes grey in [0, 1]: modality LUT, then VOI LUT or the first window (PS3.3 C.11.2), then
    stretched to its own extremes without padding; MONOCHROME1 is inverted (PS3.3 C.7.6.3.1.2), so that dense
    tissue is bright. The same is done to a secondary capture that names no modality. A colour object whose pixels
    are grey is read as that grey, from its smallest to its largest.

    Raises:
        UnreadableImageError: Missing, empty, damaged, too large, or not DICOM.
        UnsupportedImageError: It should not be answered (see :mod:`duoscan.formats.dicom.fitness`), it is coloured,
            or its transfer syntax cannot be decoded.
    """
    file, number = split_frame(path)
    with dicom_errors(path):
        whole = open_dicom(file) if number is None else kept_open.opened(file, open_dicom)
        dataset = single_frame(whole, number, path)
        header = header_of(dataset)
        check_fitness(dataset, header, path)
        check_frames_held(whole, path)
        cells = decode_cells(dataset, path)
        stored = values_of_cells(cells, dataset, path)
        if stored.shape[:2] != (header.rows, header.columns):
            raise UnreadableImageError(path, "its pixel data are not the one frame it states; export it again")
        if dataset.PhotometricInterpretation not in GREY:
            # Greys made for a screen: no rescale, window or padding value is in their units.
            grey = grey_of_colour(stored, dataset, path)
            values, is_hu = stretch(grey, grey.min(), grey.max()), False
        elif header.modality is Modality.CT:
            values, is_hu = _slice_values(stored, _padding(cells, stored, dataset), dataset, path)
        else:
            values, is_hu = _radiograph_grey(stored, _padding(cells, stored, dataset), dataset), False
        check_contrast(values, path)
    return Pixels(
        values,
        is_hu=is_hu,
        modality=header.modality,
        patient_id=header.patient_id,
        study_id=header.study_id,
        series_id=header.series_id,
        view=header.view,
    )


def _padding(cells: NDArray[Any], stored: NDArray[Any], dataset: Dataset) -> NDArray[np.bool_]:
    """Where stored values are padding: PixelPaddingValue to PixelPaddingRangeLimit (PS3.3 C.7.5.1.1.2).

    A declaration that covers the whole image is wrong and ignored. Negative numbers in an unsigned image are padding
    without any.
    """
    undeclared = negative_cells(cells, int(dataset.BitsStored))
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return undeclared
    limit = dataset.get("PixelPaddingRangeLimit")
    ends = sorted(_as_stored(int(end), cells) for end in (value, value if limit is None else limit))
    # Bits that a value does not have may be set in padding alone, so that only the whole cell equals it.
    padding = _is_between(cells, *ends) | _is_between(stored, *ends)
    return undeclared | (padding & ~padding.all())


def _is_between(values: NDArray[Any], low: int, high: int) -> NDArray[np.bool_]:
    wide = values.astype(np.int64)
    return (wide >= low) & (wide <= high)


def _as_stored(value: int, cells: NDArray[Any]) -> int:
    """Undo the common fault of a negative padding value written as unsigned 16 bits, and of its opposite."""
    kind = np.iinfo(cells.dtype)
    return int((value - kind.min) % 2**16 + kind.min) if kind.bits == 16 else value


def _slice_values(
    stored: NDArray[Any], padding: NDArray[np.bool_], dataset: Dataset, path: Path
) -> tuple[NDArray[np.float32], bool]:
    """CT values and whether they are HU."""
    from pydicom.pixels.processing import apply_modality_lut

    values = apply_modality_lut(stored, dataset).astype(np.float64)
    rescale_type = text_of(dataset, "RescaleType") or "HU"
    if not rescale_type.upper().startswith(_MAYBE_HU):
        raise UnsupportedImageError(path, f"RescaleType is {rescale_type}, not HU; give the plain CT series")
    reason = why_not_hu(values, padding)
    if reason is None:
        return clip_to_air(values, padding | is_beyond_scale(values)), True
    if dataset.BitsStored > 8 or not _is_unscaled(dataset):
        raise UnsupportedImageError(
            path,
            f"{reason} after its rescale ({_rescale(dataset)}), which was lost, left over or applied twice, "
            "or no air is in it; export the series as the scanner made it, uncropped",
        )
    # The window in such a file, if any, is the one of the original values, so it is not applied again.
    return _to_grey(values, padding, dataset), False


def _is_unscaled(dataset: Dataset) -> bool:
    """Whether a file claims no unit: without a rescale, or with one that changes nothing."""
    stated = (dataset.get("RescaleSlope") or 1, dataset.get("RescaleIntercept") or 0)
    return stated == (1, 0) and not dataset.get("ModalityLUTSequence")


def _rescale(dataset: Dataset) -> str:
    stated = {keyword: dataset.get(keyword) for keyword in _RESCALE}
    return ", ".join(f"{keyword} {'none' if value is None else f'{value:g}'}" for keyword, value in stated.items())


def _radiograph_grey(stored: NDArray[Any], padding: NDArray[np.bool_], dataset: Dataset) -> NDArray[np.float32]:
    """Grey in [0, 1] as the file asks to be shown, bright = dense."""
    from pydicom.pixels.processing import apply_modality_lut

    values = apply_modality_lut(stored, dataset)
    return _to_grey(_as_shown(values, dataset), padding, dataset)


def _as_shown(values: NDArray[Any], dataset: Dataset) -> NDArray[np.float64]:
    """Apply the VOI LUT or first window; one that is invalid or leaves no contrast counts as absent."""
    from pydicom.pixels.processing import apply_voi_lut

    for item in dataset.get("VOILUTSequence") or ():
        # pydicom indexes in the type of the entries, so that 8-bit entries would wrap at 256; 16 bits hold both.
        item.LUTDescriptor = [*item.LUTDescriptor[:2], max(int(item.LUTDescriptor[2]), 16)]
    # A LUT is looked up by whole values, and rescaling has made them floats.
    looked_up = np.rint(values).astype(np.int64) if dataset.get("VOILUTSequence") else values
    try:
        shown = apply_voi_lut(looked_up, _voi_alone(dataset)).astype(np.float64)
    except ValueError:  # a width below 1 or an unknown function, which PS3.3 C.11.2.1.2 and C.11.2.1.3 forbid
        return values.astype(np.float64)
    return shown if shown.min() < shown.max() else values.astype(np.float64)


def _voi_alone(dataset: Dataset) -> Dataset:
    """What the VOI LUT needs without the rescale: of a negative slope pydicom makes a window that falls.

    PS3.3 C.11.2.1.2: output rises with the rescaled value.
    """
    from pydicom import Dataset as PlainDataset
    from pydicom.datadict import tag_for_keyword

    unwanted = {tag_for_keyword(keyword) for keyword in (*_RESCALE, "ModalityLUTSequence")}
    alone = PlainDataset({tag: element for tag, element in dataset.items() if tag not in unwanted})
    alone.file_meta = dataset.file_meta
    alone.set_original_encoding(*dataset.original_encoding)
    return alone


def _to_grey(values: NDArray[np.float64], padding: NDArray[np.bool_], dataset: Dataset) -> NDArray[np.float32]:
    """Stretch between the extremes that are not padding; dense becomes bright and padding black."""
    seen = values[~padding]
    grey = stretch(values, seen.min(), seen.max())
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey = 1 - grey
    grey[padding] = 0
    return grey
