"""The synthetic hospitals: each has its own X-ray system and CT scanner, so a cohort has sources to confound."""

from __future__ import annotations

from dataclasses import dataclass

from duoscan.phantom.ct import Scanner
from duoscan.phantom.xray import Imager


@dataclass(frozen=True)
class Hospital:
    """A source of images.

    Attributes:
        name: As it stands in the manifest's ``source``.
        imager: Its X-ray system.
        scanner: Its CT scanner.
    """

    name: str
    imager: Imager
    scanner: Scanner


HOSPITALS = (
    Hospital(
        "phantom-north",
        Imager(photons=110_000, scatter=0.30, equalisation=0.35, detail=1.4, width=0.50, blur=0.1),
        Scanner(noise_hu=17.0, sharpness=0.25, table_curve_mm=46.0, table_gap_mm=4.0, circle=False),
    ),
    Hospital(
        "phantom-south",
        Imager(photons=60_000, scatter=0.38, equalisation=0.25, detail=1.0, width=0.56, blur=0.35),
        Scanner(noise_hu=26.0, sharpness=0.75, table_curve_mm=20.0, table_gap_mm=9.0, circle=True),
    ),
)
