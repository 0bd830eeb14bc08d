"""A decoded image with its meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from duoscan.terms import Modality


@dataclass(frozen=True)
class Pixels:
    """A decoded image with its meaning.

    Attributes:
        values: float32, shape (H, W). Grey in [0, 1], bright = dense tissue, or HU when ``is_hu``.
        is_hu: Whether ``values`` are Hounsfield units.
        modality: What the file itself says made the image; ``None`` for raster files, which do not say.
        patient_id: What the file itself says; ``None`` for raster files.
        study_id: Study instance UID of a DICOM file.
        series_id: Series instance UID of a DICOM file.
        view: View position or orientation where the file says it.
    """

    values: NDArray[np.float32]
    is_hu: bool = False
    modality: Modality | None = None
    patient_id: str | None = None
    study_id: str | None = None
    series_id: str | None = None
    view: str | None = None
