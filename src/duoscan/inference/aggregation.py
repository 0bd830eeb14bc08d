"""P(covid) of a study's images → P(covid) of the study.

A bundle states by name how its images are joined (``max``, ``mean``, ``top-3``, ``noisy-or``, ``attention``), and the
predictions table carries that name, so that whoever holds the table can join its rows again. ``attention`` needs one
more number an image, which the graph of a bundle trained so gives beside the logits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from duoscan.inference.calibrator import LOGIT_FLOOR, expit, logit
from duoscan.terms import Modality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

MOST_SHOWN = 3  # images that stand for an answer to which every image of the study contributes
_TOP = re.compile(r"top-([1-9]\d{0,3})")


class AggregationKind(StrEnum):
    """How probabilities of images become one; the simplest first."""

    MAX = "max"
    MEAN = "mean"
    TOP = "top"
    NOISY_OR = "noisy-or"
    ATTENTION = "attention"


@dataclass(frozen=True)
class Aggregation:
    """A rule that joins the images of a study.

    ``max`` takes the most suspicious image, ``mean`` the mean of all and ``top`` the mean of the ``k`` most suspicious.
    ``noisy-or`` is the chance that at least one image shows disease if each did so on its own: 1 − Π(1 − p).
    ``attention`` is the mean of the images' logits, weighted by the softmax of a score that was trained for it: gated
    attention (Ilse et al., ICML 2018) in its additive form (Javed et al., NeurIPS 2022), where each image's share in
    the study's logit can be read off. The logit of an image is that of P(covid) against all other classes together.

    Attributes:
        kind: Which rule.
        k: Images that ``top`` takes, 1 or more; 0 elsewhere.

    Example:
        >>> Aggregation.named("top-2").apply([0.1, 0.9, 0.5])
        0.7
        >>> round(Aggregation.named("noisy-or").apply([0.5, 0.5]), 6)
        0.75
    """

    kind: AggregationKind
    k: int = 0

    @classmethod
    def named(cls, name: str) -> Aggregation:
        """The rule with this name.

        Raises:
            ValueError: There is none.
        """
        if match := _TOP.fullmatch(name):
            return cls(AggregationKind.TOP, int(match.group(1)))
        if name in set(AggregationKind) - {AggregationKind.TOP}:
            return cls(AggregationKind(name))
        msg = f"aggregation '{name}' is unknown; use max, mean, top-K (a number for K), noisy-or or attention"
        raise ValueError(msg)

    @property
    def name(self) -> str:
        """As in bundles, recipes and tables."""
        return f"top-{self.k}" if self.kind is AggregationKind.TOP else self.kind.value

    @property
    def spoken(self) -> str:
        """What answers for the study, as the subject of a sentence."""
        return {
            AggregationKind.MAX: "the highest P(covid) of the images",
            AggregationKind.MEAN: "the mean P(covid) of the images",
            AggregationKind.TOP: f"the mean of the {self.k} highest P(covid) of the images",
            AggregationKind.NOISY_OR: "the noisy-or of the images' P(covid)",
            AggregationKind.ATTENTION: "the mean logit of the images, weighted by trained attention,",
        }[self.kind]

    def apply(self, probability: Sequence[float], attention: Sequence[float] | None = None) -> float:
        """P(covid) of a study; the order of its images does not matter.

        Args:
            probability: P(covid) of each image, at least one.
            attention: The graph's score of each image, any real number; needed by ``attention`` alone.

        Raises:
            ValueError: No image, or no score where one is needed.
        """
        if not len(probability):
            msg = "a study without an answered image has no probability"
            raise ValueError(msg)
        if self.kind is AggregationKind.NOISY_OR:
            with np.errstate(divide="ignore"):  # P = 1 of one image is P = 1 of the study
                return float(-np.expm1(np.sum(np.log1p(-np.sort(np.asarray(probability, np.float64))))))
        if self.kind is AggregationKind.ATTENTION:
            return float(expit(np.asarray(np.sum(np.sort(self._evidence(probability, attention))))))
        top = sorted(probability, reverse=True)[: self._taken(len(probability))]
        return sum(top) / len(top)

    def contributions(self, probability: Sequence[float], attention: Sequence[float] | None = None) -> FloatArray:
        """What each image adds to the study's answer, shape (N,); arguments as in :meth:`apply`.

        Shares of the mean for ``max``, ``mean`` and ``top``; log chances for ``noisy-or``; shares of the logit for
        ``attention``, counted for the side on which the study came down. Only images of one study may be compared.
        """
        values = np.asarray(probability, np.float64)
        if self.kind is AggregationKind.NOISY_OR:
            return np.asarray(-np.log1p(-np.minimum(values, 1.0 - LOGIT_FLOOR)))
        if self.kind is AggregationKind.ATTENTION:
            evidence = self._evidence(probability, attention)
            return evidence if evidence.sum() >= 0.0 else -evidence
        taken = self._taken(len(values))
        shares = np.zeros(len(values))
        shares[np.argsort(-values, kind="stable")[:taken]] = 1.0 / taken
        return shares * values

    def carrying(self, probability: Sequence[float], attention: Sequence[float] | None = None) -> list[int]:
        """Places of the images that carry the answer, the largest contribution first; arguments as in :meth:`apply`."""
        contributions = self.contributions(probability, attention)
        count = (
            self._taken(len(contributions)) if self.kind in {AggregationKind.MAX, AggregationKind.TOP} else MOST_SHOWN
        )
        return [int(place) for place in np.argsort(-contributions, kind="stable")[:count]]

    def _taken(self, images: int) -> int:
        return min(images, {AggregationKind.MAX: 1, AggregationKind.TOP: self.k}.get(self.kind, images))

    def _evidence(self, probability: Sequence[float], attention: Sequence[float] | None) -> FloatArray:
        """Each image's share of the study's logit, shape (N,)."""
        if attention is None or len(attention) != len(probability):
            msg = "aggregation 'attention' needs a score for every image, which only a graph trained so gives"
            raise ValueError(msg)
        scores = np.asarray(attention, np.float64)
        if not np.isfinite(scores).all():
            msg = "a score of aggregation 'attention' is not a number; the study would have no probability"
            raise ValueError(msg)
        weights = np.exp(scores - scores.max())
        return np.asarray(weights / np.sum(np.sort(weights)) * logit(np.asarray(probability, np.float64)))


# A CT study is positive where disease is, not on average: the mean of its three most suspicious slices keeps one
# odd slice from deciding alone. Radiographs of a patient are few, so the most suspicious one decides.
DEFAULTS = {Modality.CXR: Aggregation(AggregationKind.MAX), Modality.CT: Aggregation(AggregationKind.TOP, 3)}
