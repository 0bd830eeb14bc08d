"""The preprocessing contract: everything that happens between a file and the model's input.

The same object is used for training, stored in the bundle and enforced at inference, so the two cannot differ.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from duoscan.settings import Stated
from duoscan.terms import Modality, Probability

# Lung window in HU, the setting radiology uses for lung parenchyma: centre −600, width 1500.
LUNG_WINDOW_CENTRE_HU = -600.0
LUNG_WINDOW_WIDTH_HU = 1500.0
_LARGEST_HU = 65_536  # what 16 bits hold, after any usual rescale
_OF_VERSION_2 = frozenset({"lungs", "tone"})
_LARGEST_SCALE = 10_000  # of values from 0 to 1; float16 still holds them


class PreprocessingContract(Stated):
    """How pixels become model input; immutable and part of every bundle.

    Order: window (HU only) → crop of black borders, or the lungs' view → resize with anti-aliasing → clip to [0, 1] →
    probe (shortcut audits only) → normalisation.

    Version 2 knows the lungs' view (:mod:`duoscan.imaging.lung_view`); a contract of version 1 has none, and is the
    one it was before there were two, digest included.
    """

    version: Literal[1, 2] = 1
    modality: Modality
    height: int = Field(default=224, ge=8, le=2048)
    width: int = Field(default=224, ge=8, le=2048)
    aspect: Literal["stretch", "pad"] = "stretch"
    crop_borders: bool = True
    border_level: float = Field(default=0.04, ge=0.0, lt=1.0, description="grey at or below this is black border")
    window_centre_hu: float = Field(default=LUNG_WINDOW_CENTRE_HU, ge=-_LARGEST_HU, le=_LARGEST_HU)
    window_width_hu: float = Field(default=LUNG_WINDOW_WIDTH_HU, ge=1, le=2 * _LARGEST_HU)
    normalisation: Literal["fixed", "per-image"] = "fixed"
    mean: tuple[Probability, ...] = (0.5,)
    std: tuple[Annotated[float, Field(ge=1 / _LARGEST_SCALE, le=_LARGEST_SCALE)], ...] = (0.5,)
    lungs: Literal["none", "crop", "hull", "each"] = Field(
        default="none",
        description="version 2: show the box around the lungs, and in it all, or the hull of both or of each alone",
    )
    tone: Literal["plain", "equalised"] = Field(
        default="plain",
        description="version 2: greys as they are, or spread evenly over what is shown of the lungs, else half grey",
    )
    probe: Literal["none", "borders", "centre", "thumbnail"] = Field(
        default="none",
        description="what a shortcut audit leaves of the image; anything but none is never screened with",
    )

    @model_validator(mode="after")
    def _check_channels(self) -> PreprocessingContract:
        if len(self.mean) != len(self.std) or len(self.mean) not in {1, 3}:
            msg = f"mean and std need 1 or 3 values each, found {len(self.mean)} and {len(self.std)}"
            raise ValueError(msg)
        if self.version == 1 and (self.lungs != "none" or self.tone != "plain"):
            msg = f"lungs = '{self.lungs}' and tone = '{self.tone}' are of version 2 of the contract, found version 1"
            raise ValueError(msg)
        if self.tone != "plain" and self.lungs == "none":
            msg = f"tone = '{self.tone}' is of the lungs, and lungs = 'none' shows the whole image"
            raise ValueError(msg)
        return self

    @model_serializer(mode="wrap")
    def _as_its_version(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        stated: dict[str, Any] = serialise(self)
        return {name: value for name, value in stated.items() if self.version > 1 or name not in _OF_VERSION_2}

    @property
    def channels(self) -> int:
        """Channels C of the model input."""
        return len(self.mean)

    def digest(self) -> str:
        """SHA-256 of the contract; equal contracts give equal digests."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()
