"""Numbers that are written as text (DS and IS, PS3.5 6.2), also where they have not the form they must have."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from duoscan.errors import UnreadableImageError

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset

# Pixel values hang on these, so that an image is refused where they cannot be told.
_NEEDED = frozenset({"RescaleSlope", "RescaleIntercept"})

_WRITTEN_NUMBERS = _NEEDED | {
    "WindowCenter", "WindowWidth",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing", "SliceThickness",
    "SliceLocation",
    "AcquisitionNumber", "TemporalPositionIdentifier", "InstanceNumber", "SeriesNumber",
}  # fmt: skip

_DECIMAL_COMMA = re.compile(r"^([+-]?\d+),(\d+)$")


def stated_value(dataset: Dataset, keyword: str) -> Any:
    """The value of an attribute that is there.

    Returns:
        What it says; of decimals with a comma, as some languages write them, what they mean; ``None`` where it is no
        number though it must be, and no pixel value hangs on it.

    Raises:
        ValueError: Pixel values hang on it.
    """
    value = dataset[keyword].value
    if keyword not in _WRITTEN_NUMBERS or not (texts := _texts(value)):
        return value
    numbers = _numbers(texts, keyword)
    if numbers is None and keyword in _NEEDED:
        msg = f"{keyword} is no number"
        raise ValueError(msg)
    return numbers


def mend_numbers(dataset: Dataset, path: Path) -> None:
    """Replace in place what is not of its form by what it means, and take away what means nothing.

    Raises:
        UnreadableImageError: Pixel values hang on it.
    """
    for keyword in _WRITTEN_NUMBERS:
        if keyword not in dataset or not _texts(dataset[keyword].value):
            continue
        try:
            numbers = stated_value(dataset, keyword)
        except ValueError as error:
            raise UnreadableImageError(path, f"{error}; export the image again") from None
        # Away first, for it may have another value representation.
        del dataset[keyword]
        if numbers is not None:
            setattr(dataset, keyword, numbers)


def _texts(value: Any) -> list[str]:
    """The parts of a value where pydicom left one as text because it is no number; none where all is well."""
    parts = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)
    return [str(part) for part in parts] if any(isinstance(part, str) and part for part in parts) else []


def _numbers(texts: list[str], keyword: str) -> Any:
    """As pydicom takes them, or ``None`` where they are not of the kind that the attribute wants."""
    from pydicom.datadict import dictionary_VR
    from pydicom.valuerep import DSfloat

    kind = int if dictionary_VR(keyword) == "IS" else DSfloat
    pointed = [_DECIMAL_COMMA.sub(r"\1.\2", text.strip()) for text in texts]
    try:
        numbers = [kind(text) for text in pointed]
    except ValueError:
        return None
    return numbers if len(numbers) > 1 else numbers[0]
