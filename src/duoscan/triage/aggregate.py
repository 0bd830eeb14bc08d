"""Images → one probability per study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.terms import Modality

if TYPE_CHECKING:
    from collections.abc import Sequence

# A CT study is positive where disease is, not on average: the mean of its three most suspicious slices keeps one
# odd slice from deciding alone. Radiographs of a patient are few, so the most suspicious one decides.
TOP_SLICES = 3


def study_probability(modality: Modality, probabilities: Sequence[float]) -> float:
    """P(covid) of a study from its images' P(covid).

    Args:
        modality: X-ray takes the maximum, CT the mean of the three largest.
        probabilities: At least one.

    Example:
        >>> study_probability(Modality.CT, [0.1, 0.9, 0.6, 0.3])
        0.6
    """
    top = [probabilities[place] for place in carrying(modality, probabilities)]
    return sum(top) / len(top)


def carrying(modality: Modality, probabilities: Sequence[float]) -> list[int]:
    """Places of the images whose probabilities make the study's, the highest first.

    Example:
        >>> carrying(Modality.CT, [0.1, 0.9, 0.6, 0.3])
        [1, 2, 3]
    """
    ranked = sorted(range(len(probabilities)), key=lambda place: -probabilities[place])
    return ranked[: 1 if modality is Modality.CXR else TOP_SLICES]
