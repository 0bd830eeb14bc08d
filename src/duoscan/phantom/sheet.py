"""A contact sheet of phantoms: what the classes look like, for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from duoscan.phantom.ct import lung_window
from duoscan.phantom.hospitals import HOSPITALS
from duoscan.phantom.patient import Patient, simulate_patient
from duoscan.terms import Finding

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from duoscan.phantom.arrays import Mask

_CT_PX = 190
_GAP_PX = 4
_XRAY_PX = 2 * _CT_PX + _GAP_PX
_CAPTION_PX = 20
_LEVELS = 3
_TINT = np.array([255, 64, 48], np.float32)
_WORDS = {
    Finding.NORMAL: "healthy",
    Finding.COVID: "COVID-like",
    Finding.PNEUMONIA: "lobar pneumonia",
}


def draw_sheet(seed: int, patients_per_class: int = 2) -> Image.Image:
    """Draw patients of every class: the X-ray, three CT slices, and the same slices with the lesions tinted.

    Args:
        seed: Seed of the patients.
        patients_per_class: Rows for each class.
    """
    strips = [
        _strip(simulate_patient(finding, HOSPITALS[place % len(HOSPITALS)], (seed, place)), finding)
        for place, finding in enumerate(finding for finding in _WORDS for _ in range(patients_per_class))
    ]
    width, height = (side + 3 * _GAP_PX for side in strips[0].size)
    sheet = Image.new("RGB", (width * patients_per_class, height * len(_WORDS)))
    for place, strip in enumerate(strips):
        row, column = divmod(place, patients_per_class)
        sheet.paste(strip, (column * width, row * height))
    return sheet.quantize(256, dither=Image.Dither.NONE)


def _strip(patient: Patient, finding: Finding) -> Image.Image:
    """The film, beside it the slices, under each the same with its lesions tinted."""
    strip = Image.new("RGB", (_XRAY_PX + _LEVELS * (_CT_PX + _GAP_PX), _XRAY_PX + _CAPTION_PX))
    film = Image.fromarray(np.rint(patient.xray * 255).astype(np.uint8))
    strip.paste(film.resize((_XRAY_PX, _XRAY_PX), Image.Resampling.LANCZOS), (0, _CAPTION_PX))
    for place, level in enumerate(_levels(patient)):
        left = _XRAY_PX + _GAP_PX + place * (_CT_PX + _GAP_PX)
        grey = lung_window(patient.ct_hu[level])
        for row, pixels in enumerate((grey, _tinted(grey, patient.ct.lesion_mask[level]))):
            picture = Image.fromarray(pixels).resize((_CT_PX, _CT_PX), Image.Resampling.LANCZOS)
            strip.paste(picture, (left, _CAPTION_PX + row * (_CT_PX + _GAP_PX)))
    extent = f", {patient.severity:.0%} of the lung" if patient.severity else ""
    words = f"{_WORDS[finding]}{extent}   ({patient.view.position})"
    ImageDraw.Draw(strip).text((4, 2), words, fill=(235, 235, 235), font=ImageFont.load_default(14))
    return strip


def _levels(patient: Patient) -> list[int]:
    """Slices that show the disease, or evenly spaced ones."""
    area = patient.ct.lesion_mask.sum((1, 2))
    if not area.any():
        area = patient.ct.lung_mask.sum((1, 2))
    share = np.cumsum(area) / area.sum()
    return [int(np.searchsorted(share, quantile)) for quantile in (0.22, 0.5, 0.78)]


def _tinted(grey: NDArray[np.uint8], mask: Mask) -> NDArray[np.uint8]:
    colour = np.stack([grey.astype(np.float32)] * 3, -1)
    colour[mask] = 0.62 * colour[mask] + 0.38 * _TINT
    return colour.astype(np.uint8)
