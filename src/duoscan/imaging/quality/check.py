"""Every check of the pixels, in the order in which a reason helps most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.imaging.quality.content import why_not_answerable
from duoscan.imaging.quality.pixel_checks import why_unfit

if TYPE_CHECKING:
    from duoscan.formats.image import Pixels
    from duoscan.terms import Modality


def why_refused(pixels: Pixels, modality: Modality | None = None) -> str | None:
    """Why the image should not be answered, or ``None`` where no check finds anything.

    Args:
        pixels: A decoded image, grey in [0, 1] or Hounsfield units.
        modality: What it is said to be; ``None`` where nothing is said.

    Returns:
        A short kind of fault, a colon, and what was found and what to do.
    """
    return why_unfit(pixels) or why_not_answerable(pixels, modality)
