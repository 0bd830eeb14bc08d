"""The words everything speaks: modality, finding, split. Values are what stands in files."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

from pydantic import Field

NOTICE = "Research software, not a medical device: a person decides."
"""Stands under every answer."""


Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""From 0 to 1; documents that state another number are refused by type."""

FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
"""Any number there is."""


class Modality(StrEnum):
    """What made the image. The two phases are bound to the two modalities."""

    CXR = "cxr"
    CT = "ct"

    @property
    def spoken(self) -> str:
        """Name for a person."""
        return "chest X-ray" if self is Modality.CXR else "chest CT"


class Finding(StrEnum):
    """The reference label of an image; ``covid`` is the positive class everywhere."""

    COVID = "covid"
    PNEUMONIA = "pneumonia"
    NORMAL = "normal"
    OTHER = "other"


POSITIVE = Finding.COVID


class Split(StrEnum):
    """Part of a data set. Nothing is ever chosen on ``test``."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class Decision(StrEnum):
    """What one image comes to at the operating point in use.

    ``not read`` where the rule had no need of it, ``set aside`` where it is sound but not what is answered: a lateral,
    a localiser, a slice without lung, a second reconstruction of the same scan.
    """

    POSITIVE = "positive"
    NEGATIVE = "negative"
    UNREADABLE = "unreadable"
    NOT_READ = "not read"
    SET_ASIDE = "set aside"


ANSWERS = frozenset({Decision.POSITIVE, Decision.NEGATIVE})
"""The decisions that rest on a probability; every other says that there is none."""

_NOBODY = re.compile(
    r"[\W_]*|<?(nan|none|null|nil|n/?a|nat)>?|not (available|applicable)|undefined|unknown|unidentified"
    r"|anon(ymous|ymi[sz]ed|ym)?",
    re.IGNORECASE,
)


def names_nobody(patient_id: str) -> bool:
    """Whether an id is a program's word for "there is none", or an anonymiser's for everybody: it joins no images.

    Example:
        >>> names_nobody("nan"), names_nobody("ANONYMOUS"), names_nobody("--"), names_nobody("ANON-007")
        (True, True, True, False)
    """
    return _NOBODY.fullmatch(patient_id.strip()) is not None
